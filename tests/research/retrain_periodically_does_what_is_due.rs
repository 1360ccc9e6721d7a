//! `fcdd admin retrain-periodically`: begins, goes on, does nothing, and tells of it. No trainer is needed: what cannot
//! be trained fails, and a trainer that never ends can be stopped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fcdd::research::archive::{Archive, fingerprint};
use fcdd::research::periodic::{self, ExportedModel, Finished, PeriodicRun};
use fcdd::study::Sequence;

use crate::archive::{copy_flair, head, write_flair, write_participants};
use crate::calls::{SMALL_NETWORK, admin, quickly, said};
use crate::mail::{self, Server, configure, finished_run, to_server};
use crate::support;

const SUBJECTS: [&str; 8] = ["sub-1", "sub-2", "sub-3", "sub-4", "sub-5", "sub-6", "sub-7", "sub-8"];

/// Eight subjects of one head; `age` is the first one's.
fn participants(folder: &Path, age: &str) {
    let row = |(index, id)| [id, if index % 2 == 0 { "fcd" } else { "hc" }, "F", if index == 0 { age } else { "40" }];
    write_participants(folder, &SUBJECTS.into_iter().enumerate().map(row).collect::<Vec<_>>());
}

fn make_archive(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    participants(folder, "30");
    write_flair(folder, SUBJECTS[0], "35083", &head(1));
    SUBJECTS[1..].iter().for_each(|id| drop(copy_flair(folder, SUBJECTS[0], id)));
}

fn research() -> String {
    let arguments = [&SMALL_NETWORK[..], &quickly("32,40,32", "6")[..]].concat();
    format!(
        "[research]\narchive = 'archive'\nruns = 'runs'\nmodels = 'models'\ncache = 'cache'\nnew_run_after_days = 0\n\
         retrain_arguments = {arguments:?}\n"
    )
}

fn command(folder: &Path, trainer: &Path) -> Command {
    let mut command = admin("retrain-periodically", trainer);
    command.arg("--config").arg(folder.join("fcdd.toml"));
    command
}

/// A start without a trainer.
fn start(folder: &Path) -> Output {
    command(folder, &folder.join("no-trainer")).output().unwrap()
}

fn runs(folder: &Path) -> Vec<PeriodicRun> {
    periodic::runs(&folder.join("runs")).unwrap()
}

#[test]
fn it_begins_goes_on_and_leaves_an_unchanged_archive_alone() {
    let Some(server) = Server::start("plain", None) else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_archive(&folder.join("archive"));
    configure(folder, &(research() + &to_server(server.port, "none", "['ann@example.org']", "")));

    // Begun, failed, told.
    let text = said(&start(folder), 1);
    assert!(text.contains("beginning ") && text.contains("mailed to ann@example.org"), "{text}");
    let run = runs(folder).remove(0);
    let told = server.mails(1).pop().unwrap();
    assert_eq!(told.headers["Subject"], format!("fcdd: run {} failed (research use only)", run.name()));
    assert!(told.text.contains("fcdd admin retrain ended with") && told.text.contains("make trainer"), "{}", told.text);

    // The same run again.
    let text = said(&start(folder), 1);
    assert!(text.contains("going on with ") && text.contains(&run.name()), "{text}");
    assert_eq!(runs(folder).len(), 1);
    server.mails(2);

    // As if it had been trained and exported, and the mail server had been away then.
    let archive = fingerprint::of(&Archive::read(&folder.join("archive")).unwrap()).unwrap();
    finished_run(&run.path, &archive, true);
    let model = ExportedModel { sequence: Sequence::Flair, name: run.model_name(Sequence::Flair) };
    let owed = vec!["ann@example.org".to_owned(), "gone@example.org".to_owned()];
    let mut finished = run.clone();
    finished.record.finished = Some(Finished { at: jiff::Timestamp::UNIX_EPOCH, models: vec![model], owed });
    finished.write().unwrap();
    let text = said(&start(folder), 0);
    assert!(text.contains("have not changed") && text.contains("nothing is done"), "{text}");
    assert_eq!(runs(folder).len(), 1);
    let told = server.mails(3).pop().unwrap();
    assert_eq!(told.envelope.1, ["ann@example.org"]);
    let promote = format!(
        "fcdd admin promote fcd-flair-{} --models {} --config {}",
        run.name(),
        folder.join("models").display(),
        folder.join("fcdd.toml").display()
    );
    assert!(told.text.contains(&promote) && told.text.contains("Confounds: passed"), "{}", told.text);

    // Told once, and nothing more to do.
    assert!(runs(folder)[0].record.finished.as_ref().unwrap().owed.is_empty());
    said(&start(folder), 0);
    assert_eq!(runs(folder).len(), 1);

    // Now the archive says something else.
    participants(&folder.join("archive"), "31");
    said(&start(folder), 1);
    assert_eq!(runs(folder).len(), 2);
    assert_eq!(server.mails(4).len(), 4);
}

#[test]
fn stopped_it_keeps_the_run_and_tells_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_archive(&folder.join("archive"));
    // Nobody listens there: a mail would fail, and the exit status with it.
    configure(folder, &(research() + &to_server(support::free_port(), "none", "['ann@example.org']", "")));
    let trainer = folder.join("trainer");
    let begun = folder.join("begun");
    fs::write(&trainer, format!("#!/bin/sh\necho $$ > {}.new; mv {0}.new {0}\nexec sleep 600\n", begun.display()))
        .unwrap();
    fs::set_permissions(&trainer, fs::Permissions::from_mode(0o755)).unwrap();

    let child = command(folder, &trainer).spawn().unwrap();
    let pid = support::wait_until("the trainer begins", mail::SOON * 5, || fs::read_to_string(&begun).ok());
    let signalled = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    let text = said(&child.wait_with_output().unwrap(), 0);
    assert!(text.contains("the next start goes on"), "{text}");
    let trainer_is_there = || PathBuf::from(format!("/proc/{}/cmdline", pid.trim())).exists();
    support::wait_until("the trainer is gone", mail::SOON, || (!trainer_is_there()).then_some(()));
    assert!(runs(folder)[0].record.finished.is_none());
    assert!(said(&start(folder), 1).contains("going on with "));
}

#[test]
fn what_is_not_configured_is_said() {
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), "");
    assert!(said(&start(folder.path()), 2).contains("[research]"));
    configure(folder.path(), &(research() + "export_arguments = ['--dta', 'people']\n"));
    let text = said(&start(folder.path()), 2);
    assert!(text.contains("research.export_arguments cannot be used") && text.contains("--dta"), "{text}");
    assert!(!folder.path().join("runs").exists());
}
