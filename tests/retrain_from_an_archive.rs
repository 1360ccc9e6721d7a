//! From a BIDS archive to joined predictions by the command line; fold by fold gives what all at once gives.
#![cfg(feature = "train")]

mod archive;
mod calls;

use std::fs;
use std::path::Path;
use std::process::Output;

use archive::write_archive;
use calls::{admin, quickly, said};
use fcdd::research::plan::Origin;
use fcdd::research::run_folder::RunFolder;

const TRAINER: &str = env!("CARGO_BIN_EXE_fcdd-trainer");

fn retrain(folder: &Path, output: &str, more: &[&str]) -> Output {
    let mut command = calls::retrain(folder, output, TRAINER);
    command.args(quickly("32,40,32", "6")).args(["--epochs", "2", "--threads", "1"]).args(more).output().unwrap()
}

fn collect(folder: &Path, output: &str) -> Output {
    admin("collect", TRAINER).arg(folder.join(output)).output().unwrap()
}

#[test]
fn fold_by_fold_gives_what_all_at_once_gives() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_archive(&folder.join("archive"), 8);

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
    let mut without = calls::retrain(folder, "other", folder.join("nowhere"));
    assert!(said(&without.output().unwrap(), 1).contains("make trainer"));
}
