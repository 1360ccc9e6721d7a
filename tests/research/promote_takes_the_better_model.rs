//! Promotion: the better model is served, the worse, the confounded and the incomparable one is not, every decision
//! is recorded, a rollback takes it back, and a running daemon follows.

use std::path::Path;
use std::time::Duration;

use fcdd::network::ModelFolder;
use fcdd::research::models::promote::{DECISIONS, Decision, Models, Outcome, PromoteError, Signature};
use fcdd::research::run::folder::RunFolder;
use fcdd::study::Sequence;

use crate::research_run::exported;
use crate::support::{Configuration, Daemon};

fn signature() -> Signature {
    Signature { who: "tester (uid 0)".into(), when: "2026-11-23T12:00:00Z".into() }
}

fn promote(models: &Models, name: &str, why: Option<&str>) -> Decision {
    models.promote(name, None, None, why, &signature()).unwrap()
}

#[test]
fn the_better_one_is_served_and_every_decision_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, runs) = (folder.path().join("models"), folder.path().join("runs"));
    std::fs::create_dir_all(&directory).unwrap();
    let make = |name: &str, seed, wrong, synthetic| exported(&directory, &runs, name, seed, wrong, synthetic);
    if make("good", 3, 1, false).is_none() {
        return;
    }
    make("worse", 4, 4, false);
    make("synthetic", 5, 0, true);
    let models = Models::new(&directory);
    let current = || std::fs::read_link(models.pointer(Sequence::T1)).ok();

    // Nobody is served: chance is the rival.
    let refused = promote(&models, "worse", None);
    assert_eq!((refused.outcome, current()), (Outcome::Refused, None), "{refused:?}");
    assert_eq!(promote(&models, "good", None).outcome, Outcome::Promoted);
    assert_eq!(current().unwrap(), Path::new("good"));
    assert!(matches!(
        models.promote("good", None, None, None, &signature()),
        Err(PromoteError::AlreadyCurrent(name)) if name == "good"
    ));
    // Worse on the same 40 subjects; and never a synthetic one after one that saw people.
    let refused = promote(&models, "worse", None);
    assert!(refused.reasons.iter().any(|r| r.contains("not better")), "{refused:?}");
    assert_eq!(refused.figures["compared_on"], serde_json::json!({"patients": 20, "controls": 20}));
    let difference = refused.figures["auc_difference"]["estimate"].as_f64().unwrap();
    assert!((difference - (0.36 - 0.81)).abs() < 1e-12, "{difference}");
    assert!(promote(&models, "synthetic", None).reasons[0].contains("synthetic"));
    assert_eq!(current().unwrap(), Path::new("good"));

    // A failed confound report refuses; a missing one too.
    let run = RunFolder::new(runs.join("worse"));
    for (text, word) in [("{\"confounds\": {\"passed\": false}}", "failed"), ("{}", "no confound report")] {
        std::fs::write(run.metrics_path(), text).unwrap();
        let refused = models.promote("worse", None, Some(&run), None, &signature()).unwrap();
        assert!(refused.reasons.iter().any(|r| r.contains(word)), "{refused:?}");
    }
    // The figures of another run say nothing about it.
    let other = RunFolder::new(runs.join("synthetic"));
    let error = models.promote("worse", None, Some(&other), Some("for a test"), &signature()).unwrap_err();
    assert!(matches!(&error, PromoteError::OtherRun { name, .. } if name == "worse"), "{error}");
    assert!(error.to_string().contains("did not make worse"), "{error}");
    // An override is recorded with its reason, and can be taken back once.
    let forced = promote(&models, "worse", Some("for a test"));
    assert_eq!(forced.override_reason.as_deref(), Some("for a test"));
    assert_eq!(current().unwrap(), Path::new("worse"));
    let back = models.rollback(Sequence::T1, None, &signature()).unwrap();
    assert_eq!((back.outcome, current().unwrap().as_path()), (Outcome::RolledBack, Path::new("good")));
    let nothing = models.rollback(Sequence::T1, None, &signature());
    assert!(matches!(nothing, Err(PromoteError::NothingBefore(Sequence::T1))), "{nothing:?}");
    assert_eq!(models.decisions().unwrap().len(), 8);

    // A line that was cut short decided nothing and swallows nothing.
    let record = directory.join(DECISIONS);
    let mut text = std::fs::read_to_string(&record).unwrap();
    text.push_str("{\"when\": \"2026");
    std::fs::write(&record, text).unwrap();
    promote(&models, "worse", None);
    assert_eq!(models.decisions().unwrap().len(), 9);
}

#[test]
fn a_running_daemon_takes_it_over_and_keeps_the_old_one_if_it_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, runs) = (folder.path().join("models"), folder.path().join("runs"));
    std::fs::create_dir_all(&directory).unwrap();
    let Some(first) = exported(&directory, &runs, "first", 3, 2, false) else { return };
    let second = exported(&directory, &runs, "second", 4, 2, false).unwrap();
    let models = Models::new(&directory);
    promote(&models, "first", Some("the first"));
    let pointer = models.pointer(Sequence::T1);
    let configuration = Configuration::new().set("analyze.models", vec![toml::Value::from(pointer.to_str().unwrap())]);
    let mut daemon = Daemon::start(configuration);
    assert!(daemon.log().contains(ModelFolder::load(&first).unwrap().digest()));

    promote(&models, "second", Some("the second"));
    let line = daemon.wait_for_log("models taken over", Duration::from_secs(30));
    assert!(line.contains("second 1.0.0"), "{line}");

    // The link goes to a folder whose network was damaged.
    std::fs::write(first.join("fold_0.onnx"), b"damaged").unwrap();
    let aside = directory.join("aside");
    std::os::unix::fs::symlink("first", &aside).unwrap();
    std::fs::rename(&aside, &pointer).unwrap();
    let line = daemon.wait_for_log("the running ones are kept", Duration::from_secs(30));
    assert!(line.contains("fold_0.onnx"), "{line}");
    assert!(ModelFolder::load(&second).is_ok());
}
