//! Periodic retraining: which runs there are, and what is to be done now.
//!
//! ```text
//! RUNS/2026-11-24/                  a run as `fcdd admin retrain` makes it; a second one of the day: 2026-11-24-2
//! RUNS/2026-11-24/periodic.json     with which arguments it was begun; when it was finished, what it was exported to,
//!                                   who is still to be told
//! ```
//!
//! Only folders with such a name and such a file count: a run that somebody made by hand beside them is left alone.
//! The record is written before anything else and after each step, durably: a kill at any instant leaves a state from
//! which the next start goes on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::research::run::folder::{RunFolder, RunFolderError, write_durably};
use crate::study::Sequence;

/// The record's file in a run's folder.
pub const RECORD: &str = "periodic.json";
/// Version of the record.
const FORMAT: u32 = 1;

/// What is known of a periodic run beside what training writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    format: u32,
    /// `research.retrain_arguments` when it was begun.
    pub arguments: Vec<String>,
    /// What became of it; none: it is to be gone on with.
    pub finished: Option<Finished>,
}

/// A run that is trained and exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finished {
    /// When.
    pub at: jiff::Timestamp,
    /// What it was exported to.
    pub models: Vec<ExportedModel>,
    /// Recipients who have not been told yet.
    pub owed: Vec<String>,
}

/// A model of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedModel {
    /// T1 or FLAIR.
    pub sequence: Sequence,
    /// Its folder's name in the models' folder.
    pub name: String,
}

/// A run of the runs' folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodicRun {
    /// Its folder.
    pub path: PathBuf,
    /// When it was begun.
    pub date: Date,
    /// Which one of that day, from 1.
    pub of_day: u32,
    /// What is known of it.
    pub record: Record,
}

/// What a start of `fcdd admin retrain-periodically` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The last finished run is so young that no new one is due. The archive was not looked at.
    NotDue {
        /// The last finished run.
        last: PeriodicRun,
        /// The first day on which a new one is due.
        due: Date,
    },
    /// The archive and the arguments are those of the last finished run.
    Unchanged {
        /// The last finished run.
        last: PeriodicRun,
    },
    /// The newest run is unfinished, and its archive and arguments are still the same.
    GoOn(PeriodicRun),
    /// A new run.
    Begin {
        /// An unfinished run that cannot be gone on with, because the archive or the arguments have changed since.
        given_up: Option<PeriodicRun>,
    },
}

/// What the decision is made of.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The day.
    pub today: Date,
    /// `research.new_run_after_days`
    pub new_run_after_days: u32,
    /// `research.retrain_arguments`
    pub arguments: &'a [String],
}

/// The runs' folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeriodicError {
    /// It cannot be read.
    #[error("cannot use the runs' folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A record is damaged.
    #[error("{path} is damaged: {message}; move the run's folder elsewhere, or delete it")]
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file of a run.
    #[error(transparent)]
    Run(#[from] RunFolderError),
}

impl PeriodicRun {
    /// Begins a run in a new folder of `runs`, with its record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(runs: &Path, today: Date, arguments: &[String]) -> Result<PeriodicRun, PeriodicError> {
        let folder = |source| PeriodicError::Folder { path: runs.to_owned(), source };
        fs::create_dir_all(runs).map_err(folder)?;
        let mut of_day = 1;
        let path = loop {
            let path = runs.join(name(today, of_day));
            match fs::create_dir(&path) {
                Ok(()) => break path,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => of_day += 1,
                Err(source) => return Err(folder(source)),
            }
        };
        let record = Record { format: FORMAT, arguments: arguments.to_vec(), finished: None };
        let run = PeriodicRun { path, date: today, of_day, record };
        run.write()?;
        Ok(run)
    }

    /// Its folder's name.
    pub fn name(&self) -> String {
        name(self.date, self.of_day)
    }

    /// The name of the model that one of its modalities becomes.
    pub fn model_name(&self, sequence: Sequence) -> String {
        format!("fcd-{}-{}", sequence.label().to_lowercase(), self.name())
    }

    /// Writes the record.
    ///
    /// # Errors
    /// When it cannot be written; the old one is still there.
    pub fn write(&self) -> Result<(), RunFolderError> {
        let path = self.path.join(RECORD);
        let text = serde_json::to_vec_pretty(&self.record)
            .map_err(|e| RunFolderError::Table { path: path.clone(), message: e.to_string() })?;
        write_durably(&path, &text)
    }

    /// The fingerprint of the archive that it is trained on; none when training has not begun.
    fn archive(&self) -> Result<Option<String>, RunFolderError> {
        match RunFolder::of_modalities(&self.path).first() {
            Some(part) if part.plan_path().exists() => Ok(Some(part.plan()?.archive)),
            _ => Ok(None),
        }
    }
}

/// The periodic runs in a folder, the oldest first; none when there is no such folder.
///
/// # Errors
/// When the folder or a record cannot be read.
pub fn runs(folder: &Path) -> Result<Vec<PeriodicRun>, PeriodicError> {
    let unreadable = |source| PeriodicError::Folder { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(unreadable(source)),
    };
    let mut runs = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let Some((date, of_day)) = path.file_name().and_then(|name| name.to_str()).and_then(parse_name) else {
            continue;
        };
        if let Some(record) = read_record(&path)? {
            runs.push(PeriodicRun { path, date, of_day, record });
        }
    }
    runs.sort_by_key(|run| (run.date, run.of_day));
    Ok(runs)
}

/// What became of the run in `path`; none where it is unfinished, or no periodic run.
///
/// # Errors
/// When its record cannot be read.
pub fn finished(path: &Path) -> Result<Option<Finished>, PeriodicError> {
    Ok(read_record(path)?.and_then(|record| record.finished))
}

fn read_record(run: &Path) -> Result<Option<Record>, PeriodicError> {
    let path = run.join(RECORD);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&e.kind()) => return Ok(None),
        Err(source) => return Err(RunFolderError::File { path, source }.into()),
    };
    let damaged = |message| PeriodicError::Record { path: path.clone(), message };
    let record: Record = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    if record.format != FORMAT {
        return Err(damaged(format!("its format is {}, expected {FORMAT}", record.format)));
    }
    Ok(Some(record))
}

/// What is to be done. `fingerprint` reads the whole archive and is asked only where the answer depends on it.
///
/// # Errors
/// When the fingerprint or a run's plan cannot be had.
pub fn decide<E: From<PeriodicError>>(
    runs: &[PeriodicRun],
    now: Circumstances<'_>,
    fingerprint: impl FnOnce() -> Result<String, E>,
) -> Result<Decision, E> {
    let unfinished = runs.last().filter(|run| run.record.finished.is_none());
    let last = runs.iter().rfind(|run| run.record.finished.is_some());
    if let (None, Some(last)) = (unfinished, last) {
        let due = last.date.saturating_add(SignedDuration::from_hours(24 * i64::from(now.new_run_after_days)));
        if now.today < due {
            return Ok(Decision::NotDue { last: last.clone(), due });
        }
    }
    let same_arguments = |run: &&PeriodicRun| run.record.arguments == now.arguments;
    let fingerprint = fingerprint()?;
    if let Some(run) = unfinished.filter(same_arguments) {
        // Training that has not begun has nothing to compare, and nothing to lose.
        if run.archive().map_err(PeriodicError::from)?.is_none_or(|archive| archive == fingerprint) {
            return Ok(Decision::GoOn(run.clone()));
        }
    }
    if let Some(last) = last.filter(same_arguments)
        && last.archive().map_err(PeriodicError::from)?.is_some_and(|archive| archive == fingerprint)
    {
        return Ok(Decision::Unchanged { last: last.clone() });
    }
    Ok(Decision::Begin { given_up: unfinished.cloned() })
}

fn name(date: Date, of_day: u32) -> String {
    if of_day == 1 { date.to_string() } else { format!("{date}-{of_day}") }
}

fn parse_name(text: &str) -> Option<(Date, u32)> {
    let (date, rest) = text.split_at_checked("2026-11-24".len())?;
    let date: Date = date.parse().ok()?;
    let of_day = match rest.strip_prefix('-') {
        Some(number) => number.parse().ok()?,
        None => 1,
    };
    (name(date, of_day) == text).then_some((date, of_day))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::research::run::plan::{Plan, Profile, Said};

    const TODAY: Date = jiff::civil::date(2026, 11, 24);

    struct Bench {
        folder: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Bench {
            Bench { folder: tempfile::tempdir().unwrap() }
        }

        /// A run of T1 that was begun `days` ago on the archive `archive` (a hexadecimal digit).
        fn run(&self, days: i64, archive: Option<&str>, arguments: &[&str], finished: bool) -> PeriodicRun {
            let date = TODAY.saturating_sub(SignedDuration::from_hours(24 * days));
            let mut run = PeriodicRun::begin(self.folder.path(), date, &strings(arguments)).unwrap();
            if let Some(archive) = archive {
                let plan = Plan::new(Profile::Paper, Sequence::T1, archive.repeat(64), None, 1, &Said::default());
                RunFolder::new(run.path.join("t1")).begin(&plan).unwrap();
            }
            if finished {
                run.record.finished =
                    Some(Finished { at: jiff::Timestamp::UNIX_EPOCH, models: Vec::new(), owed: Vec::new() });
                run.write().unwrap();
            }
            run
        }

        fn decide(&self, archive: Option<&str>, arguments: &[&str]) -> Decision {
            let runs = runs(self.folder.path()).unwrap();
            let arguments = strings(arguments);
            let now = Circumstances { today: TODAY, new_run_after_days: 28, arguments: &arguments };
            let fingerprint = || Ok::<_, PeriodicError>(archive.expect("the archive is not to be read").repeat(64));
            decide(&runs, now, fingerprint).unwrap()
        }
    }

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_first_run_begins_and_the_next_one_when_archive_or_arguments_changed() {
        let bench = Bench::new();
        assert_eq!(bench.decide(Some("a"), &[]), Decision::Begin { given_up: None });
        let last = bench.run(28, Some("a"), &[], true);
        assert_eq!(bench.decide(Some("a"), &[]), Decision::Unchanged { last });
        assert_eq!(bench.decide(Some("b"), &[]), Decision::Begin { given_up: None });
        assert_eq!(bench.decide(Some("a"), &["--seed", "2"]), Decision::Begin { given_up: None });
    }

    #[test]
    fn a_young_run_is_not_followed_and_the_archive_not_read() {
        let bench = Bench::new();
        let last = bench.run(27, Some("a"), &[], true);
        let due = jiff::civil::date(2026, 11, 25);
        assert_eq!(bench.decide(None, &["--seed", "2"]), Decision::NotDue { last, due });
    }

    #[test]
    fn an_unfinished_run_is_gone_on_with_while_it_can_be() {
        let bench = Bench::new();
        bench.run(40, Some("a"), &[], true);
        let begun = bench.run(1, None, &[], false);
        assert_eq!(bench.decide(Some("b"), &[]), Decision::GoOn(begun));
        let bench = Bench::new();
        let last = bench.run(40, Some("a"), &[], true);
        let training = bench.run(1, Some("b"), &[], false);
        assert_eq!(bench.decide(Some("b"), &[]), Decision::GoOn(training.clone()));
        assert_eq!(bench.decide(Some("c"), &[]), Decision::Begin { given_up: Some(training.clone()) });
        assert_eq!(bench.decide(Some("b"), &["--seed", "2"]), Decision::Begin { given_up: Some(training) });
        // The archive is again what the finished run was trained on.
        assert_eq!(bench.decide(Some("a"), &[]), Decision::Unchanged { last });
    }

    #[test]
    fn runs_are_in_order_and_those_made_by_hand_are_left_alone() {
        let bench = Bench::new();
        for _ in 0..11 {
            bench.run(0, None, &[], true);
        }
        bench.run(3, None, &[], true);
        for other in ["first", "2026-11-24-1", "2026-1-1", "2026-11-2é"] {
            fs::create_dir(bench.folder.path().join(other)).unwrap();
            fs::write(bench.folder.path().join(other).join(RECORD), "not ours").unwrap();
        }
        // A date, but no record.
        fs::create_dir(bench.folder.path().join("2026-10-01")).unwrap();
        let names: Vec<String> = runs(bench.folder.path()).unwrap().iter().map(PeriodicRun::name).collect();
        assert_eq!(names.len(), 12);
        assert_eq!(names[..3], ["2026-11-21", "2026-11-24", "2026-11-24-2"]);
        assert_eq!(names[11], "2026-11-24-11");
        let damaged = bench.run(1, None, &[], false);
        fs::write(damaged.path.join(RECORD), "{").unwrap();
        assert!(matches!(runs(bench.folder.path()), Err(PeriodicError::Record { .. })));
    }
}
