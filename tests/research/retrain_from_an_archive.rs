//! From a BIDS archive to joined predictions by the command line; fold by fold gives what all at once gives.

use std::fs;
use std::path::Path;
use std::process::Output;

use fcdd::research::run::folder::RunFolder;
use fcdd::research::run::plan::Origin;
use fcdd::research::run::weights_file;

use crate::archive::write_archive;
use crate::calls::{self, admin, quickly, said};

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

#[test]
fn a_run_begins_with_another_runs_network_but_not_on_its_subjects() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_archive(&folder.join("archive"), 8);
    // Nobody has a lesion mask here: guidance is possible, and has little to say.
    let text = said(&retrain(folder, "first", &["--fold", "0", "--lesion-guidance", "1"]), 0);
    assert!(text.contains("no patient of") && text.contains("FLAIR lesion mask"), "{text}");
    let first = RunFolder::new(folder.join("first"));
    let begin_with = |output: &str, weights: &Path| {
        let weights = weights.to_str().unwrap();
        retrain(
            folder,
            output,
            &["--fold", "0", "--learning-rate", "1e-12", "--trainable", "all", "--weights", weights],
        )
    };

    let text = said(&begin_with("refused", &first.fold(0).checkpoint_best()), 1);
    assert!(text.contains("has seen 8 scans of this archive: sub-"), "{text}");
    assert!(!folder.join("refused").exists(), "a refused run leaves nothing that the next plan would have to match");

    // Taken out of its run it does not say whom it has seen.
    fs::create_dir_all(folder.join("other/fold_0")).unwrap();
    let other = folder.join("other/fold_0/checkpoint_best");
    fs::copy(first.fold(0).checkpoint_best(), &other).unwrap();
    let text = said(&begin_with("unsaid", &other), 1);
    assert!(text.contains("list of subjects") && text.contains("RUN/fold_K/checkpoint_best"), "{text}");

    // With a list of other subjects it may be gone on with: at next to no learning rate it stays what it was.
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(first.cache_index()).unwrap()).unwrap();
    for (number, subject) in index["subjects"].as_array_mut().unwrap().iter_mut().enumerate() {
        subject["source_sha256"] = format!("{number:064}").into();
    }
    fs::write(folder.join("other/cache.json"), index.to_string()).unwrap();
    said(&begin_with("second", &other), 0);
    let second = RunFolder::new(folder.join("second"));
    assert_eq!(second.plan().unwrap().weights.unwrap().path, other.canonicalize().unwrap());
    let seen = fcdd::research::models::pretrained_on::read(&second).unwrap();
    assert_eq!(seen.len(), 8);
    assert!(seen.iter().any(|seen| seen.content == format!("{:064}", 7)));
    let spec = second.plan().unwrap().spec();
    let weights = |run: &RunFolder| weights_file::read_weights(&run.fold(0).checkpoint_best(), &spec).unwrap();
    for name in ["conv1.weight", "layer4.0.conv2.weight", "fc.weight"] {
        let [before, after] = [weights(&first), weights(&second)].map(|all| all.tensors()[name].data.clone());
        let largest = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 1e-6, "{name}: {largest}");
    }
}
