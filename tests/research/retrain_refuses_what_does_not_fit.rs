//! Another plan, a damaged checkpoint, a full disk, two trainers at once: said in a sentence, and nothing is lost.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use fcdd::research::run::folder::TrainerEvent;
use fcdd::research::run::plan::Choice;

use crate::retrain::{Run, failed, plan, results, run, succeeded};

/// Trained to the end of the first epoch, then killed.
fn begun(run: &Run) {
    let mut child = run.start(0, false);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Ok(TrainerEvent::Epoch(_)) = serde_json::from_str(&line.unwrap()) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(run.fold(0).checkpoint_latest().exists());
}

#[test]
fn a_checkpoint_of_another_plan_is_refused_and_left_alone() {
    let run = run(plan(50), 12);
    begun(&run);
    let latest = fs::read(run.fold(0).checkpoint_latest()).unwrap();

    assert!(failed(&run.train(0, false)).contains("--resume"));

    let mut other = run.plan.clone();
    other.learning_rate = Choice::ours(0.5);
    fs::write(run.folder().plan_path(), other.to_toml()).unwrap();
    let said = failed(&run.train(0, true));
    assert!(said.contains("another plan") && said.contains("checkpoint_latest"), "{said}");
    assert_eq!(fs::read(run.fold(0).checkpoint_latest()).unwrap(), latest);

    fs::write(run.folder().plan_path(), run.plan.to_toml()).unwrap();
    fs::write(run.fold(0).checkpoint_latest(), &latest[..latest.len() / 2]).unwrap();
    let said = failed(&run.train(0, true));
    assert!(said.contains("damaged") && said.contains("checkpoint_latest"), "{said}");

    assert!(failed(&run.train(2, true)).contains("no fold 2"));
}

#[test]
fn a_full_disk_leaves_the_old_checkpoint_whole() {
    let whole = run(plan(3), 12);
    succeeded(&whole.train(0, false));
    let full = whole.copy("full");
    begun(&full);
    let latest = fs::read(full.fold(0).checkpoint_latest()).unwrap();
    // No file may become as large as the checkpoint: the write fails in its middle, as on a full disk.
    let blocks = latest.len() / 1024 / 2;
    let trainer = full.command(0, true);
    let mut command = Command::new("bash");
    command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    command.arg(trainer.get_program()).args(trainer.get_args()).stdin(Stdio::null());
    let said = failed(&command.output().unwrap());
    assert!(said.contains("checkpoint_latest") && said.contains("--resume"), "{said}");
    assert_eq!(fs::read(full.fold(0).checkpoint_latest()).unwrap(), latest);
    assert!(!full.fold(0).path().join("checkpoint_latest.new").exists());

    succeeded(&full.train(0, true));
    assert_eq!(results(&full.fold(0)), results(&whole.fold(0)));
}

#[test]
fn two_trainers_do_not_share_a_fold() {
    let run = run(plan(500), 12);
    let mut first = run.start(0, false);
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let said = failed(&run.train(0, true));
    assert!(said.contains("another process"), "{said}");
    first.kill().unwrap();
    first.wait().unwrap();
}
