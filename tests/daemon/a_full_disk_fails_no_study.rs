//! A disk that is full at any write: objects that cannot be stored are refused and may come again, nothing that was
//! acknowledged is lost, and a study whose results cannot be written waits for room instead of failing.

use std::time::Duration;

use serde_json::Value;

use crate::support::{
    self, Configuration, Daemon, MountedDisk, SmallDisk, files_below, require_onnxruntime, storescu, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(120);

fn acknowledged(log: &str) -> usize {
    log.matches("Received Store Response (Success)").count()
}

fn received(disk: &MountedDisk, study_uid: &str) -> usize {
    files_below(&disk.root().join("studies").join(study_uid)).len()
}

/// `fcdd status` where the daemon is: SQLite would follow `/proc/PID/root` out of its mount namespace.
fn status(daemon: &Daemon) -> Value {
    let output = std::process::Command::new("nsenter")
        .args([&format!("--mount=/proc/{}/ns/mnt", daemon.id()), env!("CARGO_BIN_EXE_fcdd"), "status", "--json"])
        .arg("--config")
        .arg(daemon.configuration_file())
        .output()
        .expect("nsenter is there where unshare is");
    assert!(output.status.success(), "on a full disk people look: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}

#[test]
fn it_waits_for_room() {
    let Some(_) = require_onnxruntime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mount_point = folder.path().join("spool");
    let Some(small) = SmallDisk::new(96, &mount_point, folder.path()) else { return };
    let configuration = Configuration::new()
        .set("spool.directory", mount_point.to_str().unwrap())
        // The steps of back-pressure would keep the disk from filling up: here every write must meet the end itself.
        .set("spool.min_free_mib", 0)
        // Long enough for what is done between the two halves of the study, and after them.
        .set("assemble.quiet_s", 8.0);
    let daemon = Daemon::start(configuration.under(small.wrapper.iter()));
    let disk = MountedDisk::of(daemon.id(), &mount_point);
    let source = folder.path().join("study");
    let study_uid = support::phantom_study(17, &source);
    let files = files_below(&source);

    // No room for the whole study.
    disk.fill_up_to(3 << 10);
    let Some(sent) = storescu(&[&source], Configuration::AE_TITLE, daemon.port()) else { return };
    let stored = acknowledged(&sent.log);
    assert!(!sent.success && stored < files.len(), "the disk was not full\n{}", sent.log);
    assert!(received(&disk, &study_uid) >= stored, "{stored} acknowledged, {} there", received(&disk, &study_uid));
    assert!(daemon.log().contains("No space left on device"), "the reason is in the log");

    // Room again: the sender sends again, and before the results are written the room is gone.
    disk.empty();
    let Some(sent) = storescu(&[&source], Configuration::AE_TITLE, daemon.port()) else { return };
    assert!(sent.success, "{}", sent.log);
    assert_eq!(received(&disk, &study_uid), files.len());
    disk.fill_up_to(1 << 10);
    wait_until("the analysis meets the full disk", PATIENCE, || {
        daemon.log().contains("task=\"analysis\"").then_some(())
    });
    let troubled = status(&daemon);
    assert_eq!(troubled["studies"]["failed"], 0, "{troubled}");

    disk.empty();
    wait_until("the study is through", PATIENCE, || {
        let status = status(&daemon);
        (status["studies"]["delivered"] == 1 && status["troubles"].as_array()?.is_empty()).then_some(())
    });
    let results = files_below(&disk.root().join("results").join(&study_uid));
    let objects = results.iter().filter(|path| path.extension().is_some_and(|e| e == "dcm")).count();
    assert_eq!(objects, files.len() + 2, "every result, whole");
    let is_whole = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "dcm" || e == "json");
    assert!(results.iter().all(is_whole), "{results:?}");
    assert_eq!(files_below(&disk.root().join("incoming")).len(), 0);
}
