//! Intake needs the disk and nothing else: with a damaged model the daemon starts, receives, says what is wrong, and
//! analyzes what has waited once the model is mended.

use std::time::Duration;

use crate::support::{self, Configuration, Daemon, fcdd, require_onnxruntime, storescu, wait_until};

const PATIENCE: Duration = Duration::from_secs(120);

fn status(daemon: &Daemon) -> String {
    let output = fcdd(["status".as_ref(), "--config".as_ref(), daemon.configuration_file().as_os_str()]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn studies_wait_until_the_model_is_mended() {
    let Some(_) = require_onnxruntime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let good = support::marker_model("flair", folder.path());
    let (model, aside) = (folder.path().join("model"), folder.path().join("damaged"));
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(&good).unwrap() {
        let entry = entry.unwrap();
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if entry.path().extension().is_some_and(|e| e == "onnx") {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x55;
        }
        std::fs::write(model.join(entry.file_name()), bytes).unwrap();
    }
    let configuration =
        Configuration::new().set("analyze.models", vec![model.to_str().expect("test paths are UTF-8").to_owned()]);
    let checked = |arguments: &[&str]| {
        let file = configuration.write();
        fcdd(["check-config", "--config", file.to_str().unwrap()].iter().chain(arguments)).status.code()
    };
    assert_eq!(checked(&[]), Some(2), "whoever asks is told");
    assert_eq!(checked(&["--daemon"]), Some(0), "the service starts all the same");

    let daemon = Daemon::start(configuration);
    let study_uid = support::phantom_study(16, &folder.path().join("study"));
    let Some(sent) = storescu(&[&folder.path().join("study")], Configuration::AE_TITLE, daemon.port()) else { return };
    assert!(sent.success, "{}", sent.log);
    daemon.wait_for_state(&study_uid, "complete", PATIENCE);
    let troubled = status(&daemon);
    assert!(troubled.contains("TROUBLE       models: they do not load"), "{troubled}");
    assert!(daemon.log().contains("no models: studies are received and wait"));

    std::fs::rename(&model, &aside).unwrap();
    std::fs::rename(&good, &model).unwrap();
    let study = daemon.wait_for_state(&study_uid, "delivered", PATIENCE);
    assert_eq!(study["revision"], 1);
    wait_until("the trouble is over", PATIENCE, || (!status(&daemon).contains("TROUBLE")).then_some(()));
}
