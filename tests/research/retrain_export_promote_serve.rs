//! From an archive to the daemon in one go, as a researcher and an administrator type it: phantoms in the layout of
//! ds004199, `retrain`, `export`, `promote`; the daemon serves the model, and the next one without being started again.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::calls::{self, quickly, said};
use crate::support::{Configuration, Daemon, phantom_study, require_onnxruntime, storescu};

const PATIENCE: Duration = Duration::from_secs(180);

/// Runs `fcdd`; what it said.
#[track_caller]
fn fcdd(arguments: &[&str], folder: &Path, code: i32) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fcdd"));
    command.args(arguments).current_dir(folder);
    said(&command.output().unwrap(), code)
}

/// Trains on the archive and makes the model folder `models/NAME`.
fn model(name: &str, seed: &str, folder: &Path) {
    let run = format!("run-{name}");
    let mut retrain = calls::retrain(folder, &run, env!("CARGO_BIN_EXE_fcdd-trainer"));
    retrain.args(quickly("40,48,40", "4")).args(["--epochs", "1", "--seed", seed]);
    said(&retrain.output().unwrap(), 0);
    let model = format!("models/{name}");
    let said = fcdd(&["admin", "export", &run, "--output", &model], folder, 0);
    assert!(said.contains("trained on synthetic data only"), "{said}");
}

#[test]
fn a_model_goes_from_the_archive_to_the_daemon() {
    if require_onnxruntime().is_none() {
        return;
    }
    let configuration = Configuration::new();
    let folder = configuration.directory().to_owned();
    let phantoms =
        ["phantom", "--output", "archive", "--subjects", "8", "--seed", "5", "--format", "bids", "--size", "small"];
    fcdd(&phantoms, &folder, 0);
    model("first", "1", &folder);
    model("second", "2", &folder);

    // One epoch on eight subjects proves nothing, and promotion says so; a person may insist, with a reason.
    let promote = |name, more: &[&str], code| {
        fcdd(&[&["admin", "promote", name, "--models", "models"], more].concat(), &folder, code)
    };
    let refused = promote("first", &[], 1);
    assert!(refused.contains("not promoted") && refused.contains("against it"), "{refused}");
    promote("first", &["--override", "to see it served"], 0);

    let pointer = folder.join("models/current-flair").to_str().unwrap().to_owned();
    let mut daemon = Daemon::start(configuration.set("analyze.models", vec![pointer]));
    let Some(name) = served(&daemon, 11) else { return };
    assert_eq!(name, "first");
    promote("second", &["--override", "to see it taken over"], 0);
    daemon.wait_for_log("models taken over", PATIENCE);
    assert_eq!(served(&daemon, 12).as_deref(), Some("second"));
}

/// The name of the model that analyzed a phantom's FLAIR; none without DCMTK.
fn served(daemon: &Daemon, seed: u64) -> Option<String> {
    let study = tempfile::tempdir().unwrap();
    let study_uid = phantom_study(seed, study.path());
    let sent = storescu(&[study.path()], Configuration::AE_TITLE, daemon.port())?;
    assert!(sent.success, "{}", sent.log);
    let study = daemon.wait_for_state(&study_uid, "delivered", PATIENCE);
    let models = study["result"]["models"].as_array().cloned().unwrap_or_default();
    assert_eq!(models.len(), 1, "{study}");
    assert_eq!((&models[0]["sequence"], &models[0]["synthetic"]), (&Value::from("flair"), &Value::from(true)));
    models[0]["name"].as_str().map(str::to_owned)
}
