//! A grid that is stopped or killed takes its training along and says how to go on. The trainer is a few lines of shell.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::archive::{flair_as_t1, write_archive};
use crate::calls::{self, quickly, said};
use crate::support::wait_until;

const DEADLINE: Duration = Duration::from_secs(120);

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// Four subjects with T1 and FLAIR; weights that nobody looks into.
    fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        let archive = place.path("archive");
        for id in write_archive(&archive, 4) {
            flair_as_t1(&archive, &id, "35083");
        }
        fs::create_dir_all(place.path("weights")).unwrap();
        for name in ["resnet_18.pth", "resnet_18_23dataset.pth"] {
            fs::write(place.path("weights").join(name), name).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `fcdd admin grid` with a trainer that does `check` for `check-weights`, and `fold` for a fold.
    fn grid(&self, check: &str, fold: &str) -> Command {
        let trainer = self.path("trainer");
        let script = format!("#!/bin/sh\ncase \"$1\" in\ncheck-weights) {check} ;;\nfold) {fold} ;;\nesac\n");
        fs::write(&trainer, script).unwrap();
        fs::set_permissions(&trainer, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = calls::grid(self.folder.path(), ["weights", "weights"], trainer);
        command.env("FCDD_TEST_PID", self.path("pid")).args(["--width", "2"]).args(quickly("32,40,32", "6"));
        command
    }

    /// Started, and its trainer too.
    fn training(&self) -> (Child, Pid) {
        let pid_file = self.path("pid");
        let _ = fs::remove_file(&pid_file);
        let child = self.grid("exit 0", "echo $$ > \"$FCDD_TEST_PID\"; exec sleep 600").spawn().unwrap();
        (child, wait_until("the trainer starts", DEADLINE, || read_pid(&pid_file)))
    }
}

fn read_pid(path: &Path) -> Option<Pid> {
    let text = fs::read_to_string(path).ok()?;
    Pid::from_raw(text.strip_suffix('\n')?.parse().ok()?)
}

fn ends(trainer: Pid) {
    wait_until("the trainer ends", DEADLINE, || test_kill_process(trainer).is_err().then_some(()));
}

#[test]
fn its_training_ends_with_it_and_the_sentence_says_how_to_go_on() {
    let place = Place::new();
    let (child, trainer) = place.training();
    // To the grid alone, as from a service manager's `kill`; Ctrl-C reaches all three at once.
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let text = said(&child.wait_with_output().unwrap(), 1);
    ends(trainer);
    assert!(text.contains("grid: resnet18-none, 1 of 3, from random weights"), "{text}");
    let (_, how) = text.split_once("Go on with:\n").expect(&text);
    assert!(how.contains("admin grid --archive") && !how.contains("retrain") && !how.contains("--parent"), "{text}");
    assert_eq!(text.matches("Go on with").count(), 1, "{text}");

    // Killed without a chance to say anything.
    let (mut child, trainer) = place.training();
    child.kill().unwrap();
    child.wait().unwrap();
    ends(trainer);

    // What a trainer says reaches the user, and the training is named.
    let failing = place.grid("exit 0", "echo 'fcdd-trainer: the disk is full' >&2; exit 1").output().unwrap();
    let text = said(&failing, 1);
    assert!(text.contains("the disk is full") && text.contains("resnet18-none (1 of 3) is not trained"), "{text}");
    assert!(failing.stdout.is_empty());
}

#[test]
fn weights_that_do_not_fit_are_refused_before_anything_starts() {
    let place = Place::new();
    let refusing = "echo \"fcdd-trainer: $2: conv1.weight is of width 64\" >&2; exit 1";
    let text = said(&place.grid(refusing, "exit 1").output().unwrap(), 1);
    assert!(text.contains("resnet_18.pth: conv1.weight is of width 64"), "{text}");
    assert!(!place.path("grid").exists());

    // One file for both: a network would be compared with itself.
    let [one, twenty_three] = ["resnet_18.pth", "resnet_18_23dataset.pth"].map(|name| place.path("weights").join(name));
    fs::copy(&one, &twenty_three).unwrap();
    let text = said(&place.grid("exit 0", "exit 1").output().unwrap(), 2);
    let both = format!("{} and {} are byte for byte the same", one.display(), twenty_three.display());
    assert!(text.contains(&both), "{text}");
    assert!(!place.path("grid").exists());
}
