//! A fold learns, and one that is killed again and again ends with the same bytes as one that is not.

use std::fs;
use std::io::{BufRead, BufReader};

use fcdd::research::run::folder::{Part, TrainerEvent};
use fcdd::research::run::plan::{Choice, Plan};

use crate::retrain::{Run, failed, plan, results, run, succeeded};

#[test]
fn the_loss_falls_and_everybody_is_predicted_once_in_two_folds() {
    let run = run(plan(8), 16);
    let mut tested = Vec::new();
    for fold in 0..2 {
        let output = run.train(fold, false);
        succeeded(&output);
        let events: Vec<TrainerEvent> =
            String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(matches!(&events[0], TrainerEvent::FoldStarted { epochs: 8, epochs_done: 0, .. }), "{:?}", events[0]);
        assert!(matches!(events.last(), Some(TrainerEvent::FoldDone { .. })));
        let folder = run.fold(fold);
        let history = folder.history().unwrap();
        let told: Vec<_> =
            events.iter().filter_map(|e| if let TrainerEvent::Epoch(row) = e { Some(row) } else { None }).collect();
        assert_eq!(told.len(), history.len());
        assert_eq!(told[0].epoch, 1);
        let lowest = history.iter().map(|row| row.train_loss).fold(f64::MAX, f64::min);
        assert!(lowest < 0.7 * history[0].train_loss, "{history:?}");
        assert!(!folder.checkpoint_latest().exists() && folder.is_done());
        let predictions = folder.predictions().unwrap();
        assert!(predictions.iter().any(|row| row.part == Part::Validation));
        tested.extend(predictions.into_iter().filter(|row| row.part == Part::Test).map(|row| row.subject));
    }
    tested.sort();
    assert_eq!(tested, (0..16).map(|n| format!("sub-{n:03}")).collect::<Vec<_>>());

    // A finished fold: refused without --resume, left as it is with it.
    let before = results(&run.fold(0));
    assert!(failed(&run.train(0, false)).contains("--resume"));
    succeeded(&run.train(0, true));
    assert_eq!(results(&run.fold(0)), before);
}

#[test]
fn a_fold_killed_at_any_instant_ends_with_the_same_bytes() {
    kill_and_resume(&run(plan(4), 12));
}

/// What guides learns too, and must be resumed as well.
#[test]
fn so_does_a_guided_one_which_learns_something_else() {
    let guided = run(Plan { lesion_guidance: Some(Choice::ours(1.0)), ..plan(4) }, 12);
    kill_and_resume(&guided);
    let plain = run(plan(4), 12);
    succeeded(&plain.train(0, false));
    assert_ne!(results(&plain.fold(0)), results(&guided.fold(0)));
}

fn kill_and_resume(whole: &Run) {
    succeeded(&whole.train(0, false));
    let broken = whole.copy("broken");
    // Each time a few events further than it was, until it is done.
    let mut kills = 0;
    for events in [1, 2, 3, 4, 5, 6, 3, 7, 5, 9, 4, 11, 6, 13] {
        let mut child = broken.start(0, true);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let heard = lines.take(events).count();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        kills += usize::from(!status.success());
        if heard < events {
            break;
        }
    }
    assert!(kills >= 5, "only {kills} kills");
    succeeded(&broken.train(0, true));
    assert_eq!(results(&broken.fold(0)), results(&whole.fold(0)));
    let figures = |run: &Run| {
        let history = run.fold(0).history().unwrap();
        history
            .into_iter()
            .map(|row| (row.epoch, row.train_loss, row.validation_loss, row.learning_rate))
            .collect::<Vec<_>>()
    };
    assert_eq!(figures(&broken), figures(whole));
}

/// The instants that a signal hardly meets: between the files of one epoch.
#[test]
fn files_that_follow_from_the_checkpoint_are_made_again() {
    // So many epochs that the first is not the last when the signal comes.
    let whole = run(plan(6), 12);
    succeeded(&whole.train(0, false));
    let broken = whole.copy("broken");
    let mut child = broken.start(0, false);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Ok(TrainerEvent::Epoch(_)) = serde_json::from_str(&line.unwrap()) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let folder = broken.fold(0);
    assert!(folder.checkpoint_latest().exists());
    // As if killed right after the checkpoint; and half a file of a kill while writing.
    fs::remove_file(folder.checkpoint_best()).unwrap();
    fs::remove_file(folder.history_path()).unwrap();
    fs::write(folder.path().join("checkpoint_latest.new"), b"half").unwrap();
    succeeded(&broken.train(0, true));
    assert_eq!(results(&folder), results(&whole.fold(0)));
    assert_eq!(folder.history().unwrap().len(), 6);
}
