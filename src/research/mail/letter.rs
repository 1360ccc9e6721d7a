//! What a mail about a run says.

use std::fmt::Write;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::research::run::collect::{self, FoldState};
use crate::research::run::folder::{RunFolder, RunFolderError};
use crate::study::Sequence;

const RESEARCH_ONLY: &str = "Research use only; not a medical device.";

/// A mail, but for who gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The subject line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// HTML files: name and content.
    pub attachments: Vec<(String, Vec<u8>)>,
}

/// A model that a run was exported to, and what to type to have it served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotable {
    /// T1 or FLAIR.
    pub sequence: Sequence,
    /// The model's name.
    pub model: String,
    /// The whole command.
    pub command: String,
}

/// Nothing can be said of a run.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// Not a run's folder.
    #[error("{path} holds no run: there is no plan.toml in it, nor in its t1 or flair")]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// A part of the run is damaged.
    #[error(transparent)]
    Run(#[from] RunFolderError),
    /// A page of the report cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The figures are damaged.
    #[error("{path} is damaged: {message}; make the report again")]
    Metrics {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// What the mail needs of `metrics.json`.
#[derive(Debug, Default, Deserialize)]
struct Metrics {
    #[serde(default)]
    synthetic: bool,
    confounds: Option<Confounds>,
}

#[derive(Debug, Deserialize)]
struct Confounds {
    passed: bool,
}

/// The summary of a run: how far it is, the verdict on confounds, how to promote, and its `report.md` without the lines
/// about single subjects. `report.html` goes along where `attach_report` is true and the file exists.
///
/// # Errors
/// When there is no run, or a file of it cannot be read.
pub fn of_run(run: &Path, promotable: &[Promotable], attach_report: bool) -> Result<Letter, LetterError> {
    let parts = RunFolder::of_modalities(run);
    let mut synthetic = false;
    let mut finished = true;
    let (mut summary, mut reports, mut attachments) = (String::new(), String::new(), Vec::new());
    for part in &parts {
        if !part.plan_path().exists() {
            return Err(LetterError::NoRun { path: run.to_owned() });
        }
        let sequence = part.plan()?.sequence;
        let folds = collect::status(part)?;
        let done = folds.iter().filter(|fold| fold.state == FoldState::Done).count();
        finished &= done == folds.len();
        let metrics = metrics(part)?;
        synthetic |= metrics.synthetic;
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(summary, "{}: {done} of {} folds are done.", sequence.label(), folds.len());
        let _ = writeln!(summary, "  Confounds: {}", verdict(&metrics));
        for promotable in promotable.iter().filter(|promotable| promotable.sequence == sequence) {
            let _ = writeln!(
                summary,
                "  The model {} was exported. It is not served. To have it compared with the one that is, and served if \
                 it is better:\n    {}",
                promotable.model, promotable.command
            );
        }
        let report = part.path().join("report.md");
        match read(&report)? {
            Some(text) => {
                let text = without_subjects(&String::from_utf8_lossy(&text), &report);
                let _ = write!(reports, "\n---- {} ----\n\n{text}", report.display());
            }
            None => {
                let _ = writeln!(summary, "  There is no report yet: {} is not there.", report.display());
            }
        }
        if attach_report && let Some(html) = read(&part.path().join("report.html"))? {
            attachments.push((format!("report-{}.html", sequence.label().to_lowercase()), html));
        }
    }
    let state = if finished { "finished" } else { "not finished" };
    let name = name(run);
    let text = format!(
        "{RESEARCH_ONLY}\n{}\nThe run {name} is {state}; its folder is {}.\n\n{summary}{reports}",
        if synthetic { "Trained on synthetic subjects: no figure here says anything about patients.\n" } else { "" },
        run.display(),
    );
    Ok(Letter { subject: subject(&format!("run {name} {state}"), synthetic), text, attachments })
}

/// Tells that a run, or what should have become one, failed. Subjects that `text` names are made unrecognisable.
pub fn failed(run: Option<&Path>, text: &str) -> Letter {
    let what = run.map_or_else(|| "retraining".to_owned(), |run| format!("run {}", name(run)));
    let synthetic = run.is_some_and(|run| {
        RunFolder::of_modalities(run).iter().any(|part| metrics(part).is_ok_and(|metrics| metrics.synthetic))
    });
    let mut said = format!("{RESEARCH_ONLY}\n\nThe {what} failed.\n\n{}\n", masked(text.trim()));
    if let Some(run) = run {
        let _ = writeln!(said, "\nWhat was done is kept in {}.", run.display());
    }
    Letter { subject: subject(&format!("{what} failed"), synthetic), text: said, attachments: Vec::new() }
}

impl Letter {
    /// With other words in the subject line; what it is for and whether it is synthetic stays.
    pub fn with_subject(mut self, words: &str) -> Letter {
        let tail = self.subject.rfind(" (").and_then(|at| self.subject.get(at..)).unwrap_or_default();
        self.subject = masked(&format!("{}{tail}", words.split_whitespace().collect::<Vec<_>>().join(" ")));
        self
    }
}

fn subject(what: &str, synthetic: bool) -> String {
    masked(&format!("fcdd: {what} ({}research use only)", if synthetic { "synthetic, " } else { "" }))
}

/// A run's name: its folder's, with the folder above where it is one of two modalities.
fn name(run: &Path) -> String {
    let run = run.canonicalize().unwrap_or_else(|_| run.to_owned());
    let part = |path: Option<&Path>| path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let own = part(Some(&run)).unwrap_or_else(|| run.display().to_string());
    match part(run.parent()) {
        Some(above) if ["t1", "flair"].contains(&own.as_str()) => format!("{above}/{own}"),
        _ => own,
    }
}

fn verdict(metrics: &Metrics) -> &'static str {
    match &metrics.confounds {
        Some(confounds) if confounds.passed => "passed.",
        Some(_) => "FAILED. Promotion will be refused unless --override \"why\" says why it should not be.",
        None => "NOT ASSESSED, which is no pass. Promotion will be refused unless --override \"why\" says why.",
    }
}

fn metrics(run: &RunFolder) -> Result<Metrics, LetterError> {
    let path = run.path().join("metrics.json");
    let Some(bytes) = read(&path)? else { return Ok(Metrics::default()) };
    serde_json::from_slice(&bytes).map_err(|e| LetterError::Metrics { path, message: e.to_string() })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, LetterError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LetterError::Read { path: path.to_owned(), source }),
    }
}

/// The text without the lines that name a subject; in the place of each block of them stands how many they were.
fn without_subjects(text: &str, path: &Path) -> String {
    let mut kept = String::new();
    let mut left_out = 0;
    let note = |kept: &mut String, left_out: &mut usize| {
        if *left_out > 0 {
            let _ = writeln!(kept, "({left_out} lines about single subjects are left out, see {})", path.display());
            *left_out = 0;
        }
    };
    for line in text.lines() {
        if named_subjects(line).next().is_some() {
            left_out += 1;
        } else {
            note(&mut kept, &mut left_out);
            let _ = writeln!(kept, "{line}");
        }
    }
    note(&mut kept, &mut left_out);
    kept
}

/// The text with every subject's name replaced.
fn masked(text: &str) -> String {
    let (mut masked, mut end) = (String::new(), 0);
    for name in named_subjects(text) {
        masked.push_str(text.get(end..name.start).unwrap_or_default());
        masked.push_str("sub-…");
        end = name.end;
    }
    masked.push_str(text.get(end..).unwrap_or_default());
    masked
}

/// Where a text names a subject as BIDS does: `sub-` with letters and digits, not within a word.
fn named_subjects(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("sub-").filter_map(|(start, prefix)| {
        let (before, after) = text.split_at(start);
        let name = after.chars().skip(prefix.len()).take_while(char::is_ascii_alphanumeric).count();
        let within_a_word = before.chars().next_back().is_some_and(char::is_alphanumeric);
        (name > 0 && !within_a_word).then(|| start..start + prefix.len() + name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::research::run::plan::{Plan, Profile, Said};

    fn run(folder: &Path, sequence: Sequence, metrics: &str) -> RunFolder {
        let run = RunFolder::new(folder);
        let said = Said { folds: Some(2), ..Said::default() };
        run.begin(&Plan::new(Profile::Paper, sequence, "0".repeat(64), None, 1, &said)).unwrap();
        fs::write(folder.join("metrics.json"), metrics).unwrap();
        fs::write(folder.join("report.md"), "# Run\n| AUC | 0.7 |\n\n| sub-01 | FCD |\n| sub-02 | FCD |\nend\n")
            .unwrap();
        fs::write(folder.join("report.html"), "<p>sub-01</p>").unwrap();
        run
    }

    fn finish(run: &RunFolder) {
        for fold in [0, 1].map(|fold| run.fold(fold)) {
            fs::create_dir_all(fold.path()).unwrap();
            fs::write(fold.predictions_path(), "").unwrap();
            fs::write(fold.checkpoint_best(), "").unwrap();
        }
    }

    #[test]
    fn two_modalities_are_told_in_one_letter_and_no_subject_in_any() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("2026-11-24");
        let confounded = r#"{"synthetic": true, "confounds": {"passed": false, "checks": []}}"#;
        let passed = r#"{"synthetic": false, "confounds": {"passed": true, "checks": []}}"#;
        finish(&run(&path.join("t1"), Sequence::T1, confounded));
        let flair = run(&path.join("flair"), Sequence::Flair, passed);
        let promote = |sequence, model: &str| Promotable {
            sequence,
            model: model.to_owned(),
            command: format!("fcdd admin promote {model}"),
        };
        let letter = of_run(&path, &[promote(Sequence::T1, "fcd-t1-1")], false).unwrap();
        assert_eq!(letter.subject, "fcdd: run 2026-11-24 not finished (synthetic, research use only)");
        finish(&flair);
        let letter = of_run(&path, &[promote(Sequence::T1, "fcd-t1-1")], true).unwrap();
        assert_eq!(letter.subject, "fcdd: run 2026-11-24 finished (synthetic, research use only)");
        for part in [
            "T1: 2 of 2 folds are done.\n  Confounds: FAILED",
            "FLAIR: 2 of 2 folds are done.\n  Confounds: passed",
            "fcdd admin promote fcd-t1-1\n",
            "| AUC | 0.7 |",
            "(2 lines about single subjects are left out, see ",
            "Research use only",
            "synthetic subjects",
        ] {
            assert!(letter.text.contains(part), "{part}: {}", letter.text);
        }
        assert!(!letter.text.contains("sub-0"), "{}", letter.text);
        let names: Vec<&str> = letter.attachments.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["report-t1.html", "report-flair.html"]);
    }

    #[test]
    fn one_modality_of_two_says_whose_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spring").join("flair");
        run(&path, Sequence::Flair, "{}");
        let letter = of_run(&path, &[], false).unwrap();
        assert_eq!(letter.subject, "fcdd: run spring/flair not finished (research use only)");
        assert!(letter.text.contains("NOT ASSESSED"), "{}", letter.text);
    }

    #[test]
    fn a_failure_names_nobody_and_a_subject_line_keeps_its_warning() {
        let letter = failed(None, "cannot read /a/sub-AB12/anat/sub-AB12_T1w.nii.gz: no such file\n");
        assert!(letter.text.contains("/a/sub-…/anat/sub-…_T1w.nii.gz: no such file"), "{}", letter.text);
        let letter = letter.with_subject("night of\r\nBcc: a@b.c sub-AB12");
        assert_eq!(letter.subject, "night of Bcc: a@b.c sub-… (research use only)");
    }

    #[test]
    fn what_is_no_run_or_damaged_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(of_run(folder.path(), &[], false), Err(LetterError::NoRun { .. })));
        run(folder.path(), Sequence::T1, "{");
        assert!(matches!(of_run(folder.path(), &[], false), Err(LetterError::Metrics { .. })));
    }
}
