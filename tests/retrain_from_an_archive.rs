//! From a BIDS archive to joined predictions by the command line; fold by fold gives what all at once gives.
#![cfg(feature = "train")]

mod archive;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use archive::{copy_flair, head, write_flair, write_participants};
use fcdd::research::plan::Origin;
use fcdd::research::run_folder::RunFolder;

/// Eight subjects; two heads, so that little has to be computed.
fn make_archive(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let ids = ["sub-1", "sub-2", "sub-3", "sub-4", "sub-5", "sub-6", "sub-7", "sub-8"];
    let group = |index: usize| if index.is_multiple_of(2) { "fcd" } else { "hc" };
    let rows: Vec<[&str; 4]> = ids.iter().enumerate().map(|(index, id)| [*id, group(index), "F", "30"]).collect();
    write_participants(folder, &rows);
    for first in [0, 1] {
        write_flair(folder, ids[first], "35083", &head(first * 40));
        for later in (first + 2..ids.len()).step_by(2) {
            copy_flair(folder, ids[first], ids[later]);
        }
    }
}

fn retrain(folder: &Path, output: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fcdd"));
    command.env("FCDD_TRAINER", env!("CARGO_BIN_EXE_fcdd-trainer")).args(["admin", "retrain"]);
    command.arg("--archive").arg(folder.join("archive")).arg("--output").arg(folder.join(output));
    command.arg("--cache").arg(folder.join("cache"));
    command.args(["--modality", "flair", "--architecture", "resnet10", "--width", "2", "--input", "32,40,32"]);
    command.args(["--spacing", "6", "--folds", "2", "--epochs", "2", "--batch", "2", "--threads", "1"]);
    command.args(["--device", "cpu"]).args(more).output().unwrap()
}

fn collect(folder: &Path, output: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fcdd"));
    command.args(["admin", "collect"]).arg(folder.join(output)).output().unwrap()
}

#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

#[test]
fn fold_by_fold_gives_what_all_at_once_gives() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_archive(&folder.join("archive"));

    let text = said(&retrain(folder, "whole", &[]), 0);
    assert!(text.contains("FLAIR fold 1 epoch 2/2: loss") && text.contains("AUC"), "{text}");
    let whole = RunFolder::new(folder.join("whole"));
    let plan = whole.plan().unwrap();
    assert_eq!((plan.epochs.from, plan.learning_rate.from), (Origin::User, Origin::Paper));

    said(&retrain(folder, "parts", &["--fold", "1"]), 0);
    let text = said(&collect(folder, "parts"), 1);
    assert!(text.contains("fold(s) 0 not done"), "{text}");
    said(&retrain(folder, "parts", &["--fold", "0"]), 0);
    said(&collect(folder, "parts"), 0);
    let parts = RunFolder::new(folder.join("parts"));
    for (ours, theirs) in [
        (parts.plan_path(), whole.plan_path()),
        (parts.splits(), whole.splits()),
        (parts.predictions_path(), whole.predictions_path()),
        (parts.fold(0).checkpoint_best(), whole.fold(0).checkpoint_best()),
        (parts.fold(1).checkpoint_best(), whole.fold(1).checkpoint_best()),
    ] {
        assert!(fs::read(&ours).unwrap() == fs::read(theirs).unwrap(), "{} differs", ours.display());
    }

    // What is there is not trained again, another plan is refused.
    assert!(said(&retrain(folder, "whole", &[]), 1).contains("--resume"));
    said(&retrain(folder, "whole", &["--resume"]), 0);
    assert!(said(&retrain(folder, "whole", &["--resume", "--seed", "9"]), 1).contains("another plan"));
    assert!(said(&retrain(folder, "other", &["--trainable", "layer4"]), 2).contains("--weights"));
    assert!(said(&retrain(folder, "other", &["--fold", "2"]), 2).contains("no fold 2"));
    let mut missing = Command::new(env!("CARGO_BIN_EXE_fcdd"));
    missing.env("FCDD_TRAINER", folder.join("nowhere")).args(["admin", "retrain", "--archive", "a", "--output", "b"]);
    assert!(said(&missing.output().unwrap(), 1).contains("make trainer"));
}
