//! `kill -9` once in each stage, between stock peers (DCMTK sends, Orthanc keeps): what was acknowledged is there after
//! the restart, each result reaches the PACS once, under the same UID, and nothing is stuck. The many kills at random
//! instants are in survives_many_kills.rs.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;

use crate::support::{self, Configuration, Daemon, Orthanc, files_below, require_onnxruntime, storescu, wait_until};

const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn once_in_each_stage() {
    let Some(_) = require_onnxruntime() else { return };
    let Some(orthanc) = Orthanc::start() else { return };
    // No half of a study is complete because a restart takes its time.
    let configuration = Configuration::new().set("assemble.quiet_s", 600.0).destination(
        "pacs",
        Orthanc::AE_TITLE,
        orthanc.dicom_port(),
    );
    let daemon = Daemon::start(configuration);
    let folder = tempfile::tempdir().unwrap();
    let study_uid = support::phantom_study(11, folder.path());
    let files = files_below(folder.path());

    let spooled = daemon.spool().join("studies").join(&study_uid);
    let port = daemon.port();
    let source = folder.path().to_owned();
    let sender = std::thread::spawn(move || storescu(&[&source], Configuration::AE_TITLE, port));
    wait_until("some objects are in the spool", PATIENCE, || (files_below(&spooled).len() >= 5).then_some(()));
    let killed = daemon.kill();
    let Some(interrupted) = sender.join().unwrap() else { return };
    let acknowledged = interrupted.log.matches("Received Store Response (Success)").count();
    let kept = files_below(&spooled).iter().filter(|p| p.extension().is_some_and(|e| e == "dcm")).count();
    assert!(kept >= acknowledged, "{acknowledged} acknowledged, {kept} kept");
    assert!(!interrupted.success, "the kill came after the last object; nothing was shown");

    let daemon = killed.restart();
    let Some(again) = storescu(&[folder.path()], Configuration::AE_TITLE, daemon.port()) else { return };
    assert!(again.success, "{}", again.log);
    assert_eq!(files_below(&spooled).len(), files.len());

    let daemon = Daemon::start(daemon.kill().configuration().set("assemble.quiet_s", 0.5));
    daemon.wait_for_state(&study_uid, "analyzing", PATIENCE);
    let daemon = daemon.kill().restart();
    wait_until("the first results are in the PACS", PATIENCE, || (orthanc.instance_count() >= 3).then_some(()));
    let killed = daemon.kill();
    let before = result_uids(&orthanc, &study_uid);

    let daemon = killed.restart();
    let study = daemon.wait_for_state(&study_uid, "delivered", PATIENCE);
    assert_eq!(study["revision"], 1);
    let after = result_uids(&orthanc, &study_uid);
    assert_eq!(after.len(), files.len() + 2, "{}", study["reason"]);
    assert!(before.is_subset(&after), "a result came again under another UID");
}

/// A destination that accepts connections and never answers must not keep a stop from ending.
#[test]
fn a_stop_ends_within_its_bound_and_the_next_start_goes_on() {
    let Some(_) = require_onnxruntime() else { return };
    let Some(orthanc) = Orthanc::start() else { return };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let configuration = Configuration::new().set("observe.drain_s", 3.0).destination(
        "silent",
        "SILENT",
        silent.local_addr().unwrap().port(),
    );
    let daemon = Daemon::start(configuration);
    let folder = tempfile::tempdir().unwrap();
    let study_uid = support::phantom_study(14, folder.path());
    let files = files_below(folder.path());
    let Some(sent) = storescu(&[folder.path()], Configuration::AE_TITLE, daemon.port()) else { return };
    assert!(sent.success, "{}", sent.log);
    daemon.wait_for_state(&study_uid, "reported", PATIENCE);

    let (exit, stopped) = daemon.stop(Duration::from_secs(10));
    assert_eq!(exit, support::Exit::Status(0));
    let configuration = stopped.configuration().set("destination.silent.port", i64::from(orthanc.dicom_port()));
    let daemon = Daemon::start(configuration.set("destination.silent.ae_title", Orthanc::AE_TITLE));
    daemon.wait_for_state(&study_uid, "delivered", PATIENCE);
    assert_eq!(orthanc.instance_count() as usize, files.len() + 2);
}

fn result_uids(orthanc: &Orthanc, study_uid: &str) -> BTreeSet<String> {
    let found = orthanc.find_instances(json!({ "StudyInstanceUID": study_uid }));
    let uid = |instance: &serde_json::Value| instance["MainDicomTags"]["SOPInstanceUID"].as_str().unwrap().to_owned();
    found.iter().map(uid).collect()
}
