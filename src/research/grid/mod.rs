//! The paper's eighteen configurations from our own runs: three networks × two modalities × three transfer strategies.
//!
//! ```text
//! RUN/resnet18-none/{t1,flair}   a run each, with equal splits.json (see `run::folder`)
//! RUN/resnet18-1/…               from MedicalNet's resnet_18.pth
//! RUN/resnet18-23/…              from MedicalNet's resnet_18_23dataset.pth
//! RUN/grid.md  grid.html  grid.json
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `configurations` | which networks, their folders, their weights' names |
//! | `outcome` | what one run came to |
//! | `tables`, `comparisons` | Tables 1 and 2; the paper's test and ours |
//! | `pages`, `blocks` | what the pages say; how Markdown and HTML write it |

mod blocks;
pub mod comparisons;
pub mod configurations;
pub mod outcome;
mod pages;
pub mod tables;

pub use comparisons::{MeansTest, SubjectsTest};
pub use configurations::{ARCHITECTURES, Configuration, Training, Transfer};
pub use outcome::Outcome;
pub use tables::Table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::network::Architecture;
use crate::research::archive::fingerprint::sha256;
use crate::research::run::collect::{self, FoldState};
use crate::research::run::folder::{RunFolder, RunFolderError, write_durably};
use crate::research::run::plan::{Plan, Said};
use crate::research::run::splits::{Splits, SplitsError};
use crate::research::statistics::MeanSd;

/// Version of `grid.json`.
pub const FORMAT: u32 = 1;

/// A grid whose tables cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GridError {
    /// Weights that are not where they should be.
    #[error(
        "missing: {files}; MedicalNet's files are looked for under these names in --weights-1 and --weights-23 (for \
         another --width, files of that width under the same names)"
    )]
    MissingWeights {
        /// The files, as a list.
        files: String,
    },
    /// One file under two names.
    #[error(
        "{first} and {second} are byte for byte the same, so that the tables would compare weights with themselves: put \
         the right file under each name"
    )]
    SameWeights {
        /// A file.
        first: PathBuf,
        /// Another that equals it.
        second: PathBuf,
    },
    /// A run without predictions.
    #[error("{path} is not trained: call fcdd admin grid again")]
    Unfinished {
        /// The run.
        path: PathBuf,
    },
    /// Runs that cannot be compared.
    #[error(
        "{second} splits the subjects otherwise than {first}, so that the configurations cannot be compared: train all \
         of them anew into another --output"
    )]
    OtherSplits {
        /// A splits file.
        first: PathBuf,
        /// One that differs.
        second: PathBuf,
    },
    /// A logit that is no number.
    #[error("{path}: the logit of {subject} is not finite; delete the run's folder and train it again")]
    NotFinite {
        /// The predictions.
        path: PathBuf,
        /// The subject.
        subject: String,
    },
    /// A report that is not this run's, or damaged.
    #[error("{path} cannot be used: {message}; make it again by fcdd admin report")]
    Report {
        /// `metrics.json`
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of a run.
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
    /// A splits file.
    #[error(transparent)]
    Splits(#[from] SplitsError),
    /// The tables cannot be written as JSON.
    #[error("cannot write the tables as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The configuration with the highest accuracy.
#[derive(Debug, Clone, Serialize)]
pub struct Best {
    /// Which; the first of the table where several are equal.
    #[serde(flatten)]
    pub configuration: Configuration,
    /// Over folds.
    pub accuracy: MeanSd,
    /// How many others have the same mean.
    pub equals: usize,
    /// The verdict of its confound report; none: not assessed.
    pub confounds_passed: Option<bool>,
}

/// Everything that the pages say.
#[derive(Debug, Serialize)]
pub struct Grid {
    /// [`FORMAT`].
    pub format: u32,
    /// True when the subjects of any run are synthetic; none: no run says it.
    pub synthetic: Option<bool>,
    /// How the networks were trained, in words.
    pub choices: String,
    /// What the figures do not say, a sentence each.
    pub cautions: Vec<String>,
    /// Table 1, shares.
    pub accuracy: Table,
    /// The paper's test on Table 1.
    pub accuracy_tests: Vec<MeansTest>,
    /// Table 2.
    pub heat_score: Table,
    /// The paper's test on Table 2.
    pub heat_score_tests: Vec<MeansTest>,
    /// Our tests.
    pub subjects_tests: Vec<SubjectsTest>,
    /// By accuracy over folds.
    pub best: Option<Best>,
    /// Every configuration, in the tables' order.
    pub configurations: Vec<Outcome>,
}

/// Whether nothing is left to do in a run: all folds are done and joined, and the report is made.
///
/// # Errors
/// When the plan or a history cannot be read.
pub fn is_finished(run: &RunFolder) -> Result<bool, RunFolderError> {
    if !run.plan_path().exists() {
        return Ok(false);
    }
    let is_trained = collect::status(run)?.iter().all(|fold| fold.state == FoldState::Done);
    Ok(is_trained && run.predictions_path().exists() && outcome::metrics_path(run).exists())
}

/// The weights of every training, in order, where all are there and no two are the same.
///
/// # Errors
/// Every file that is missing; else two that are the same, or one that cannot be read.
pub fn find_weights(
    trainings: &[Training],
    one: &Path,
    twenty_three: &Path,
) -> Result<Vec<Option<PathBuf>>, GridError> {
    let files: Vec<Option<PathBuf>> =
        trainings.iter().map(|training| training.weights_file(one, twenty_three)).collect();
    let missing: Vec<String> =
        files.iter().flatten().filter(|file| !file.is_file()).map(|file| file.display().to_string()).collect();
    if !missing.is_empty() {
        return Err(GridError::MissingWeights { files: missing.join(", ") });
    }
    all_differ(&files)?;
    Ok(files)
}

fn all_differ(files: &[Option<PathBuf>]) -> Result<(), GridError> {
    let mut known: BTreeMap<String, &PathBuf> = BTreeMap::new();
    for file in files.iter().flatten() {
        let digest = sha256(file).map_err(|source| GridError::File { path: file.clone(), source })?;
        if let Some(first) = known.insert(digest, file) {
            return Err(GridError::SameWeights { first: first.clone(), second: file.clone() });
        }
    }
    Ok(())
}

impl Grid {
    /// Reads the finished runs of a grid and compares them; `resamples` is the bootstrap's.
    ///
    /// # Errors
    /// When a run is not finished or damaged, or was split otherwise than the others.
    pub fn read(folder: &Path, architectures: &[Architecture], resamples: usize) -> Result<Grid, GridError> {
        // By row of the tables: a network's modality, then its strategies.
        let trainings = Training::all(architectures);
        let mut configurations: Vec<Configuration> =
            trainings.iter().flat_map(|training| training.configurations()).collect();
        let row = |of: &Configuration| (architectures.iter().position(|a| *a == of.architecture), of.sequence);
        configurations.sort_by_key(|of| (row(of), of.transfer as usize));

        same_splits(folder, &configurations)?;
        let outcomes: Vec<Outcome> =
            configurations.iter().map(|of| Outcome::read(folder, *of)).collect::<Result<_, _>>()?;
        let plan = match configurations.first() {
            Some(first) => Some(RunFolder::new(folder.join(first.folder())).plan()?),
            None => None,
        };
        let seed = plan.as_ref().map_or(1, |plan| plan.seed);
        let accuracy = Table::new(&outcomes, |outcome| outcome.accuracy);
        let heat_score = Table::new(&outcomes, |outcome| outcome.heat_score);
        let [papers_accuracy, papers_heat_score] = comparisons::PAPERS_P;
        Ok(Grid {
            format: FORMAT,
            synthetic: outcomes.iter().filter_map(|outcome| outcome.synthetic).reduce(|a, b| a || b),
            choices: plan.as_ref().map(choices).unwrap_or_default(),
            cautions: cautions(&outcomes, plan.as_ref()),
            accuracy_tests: comparisons::over_means(&accuracy, papers_accuracy),
            accuracy,
            heat_score_tests: comparisons::over_means(&heat_score, papers_heat_score),
            heat_score,
            subjects_tests: comparisons::on_subjects(&outcomes, resamples, seed),
            best: best(&outcomes),
            configurations: outcomes,
        })
    }

    /// Writes `grid.md`, `grid.html` and `grid.json` into a folder.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), GridError> {
        write_durably(&folder.join("grid.json"), serde_json::to_string_pretty(self)?.as_bytes())?;
        let blocks = pages::blocks(self);
        write_durably(&folder.join("grid.md"), blocks::markdown(pages::TITLE, &blocks).as_bytes())?;
        write_durably(&folder.join("grid.html"), blocks::html(pages::TITLE, &blocks).as_bytes())?;
        Ok(())
    }
}

fn same_splits(folder: &Path, configurations: &[Configuration]) -> Result<(), GridError> {
    let mut first: Option<(PathBuf, Splits)> = None;
    for configuration in configurations {
        let path = RunFolder::new(folder.join(configuration.folder())).splits();
        let splits = Splits::read(&path)?;
        match &first {
            Some((_, known)) if *known == splits => {}
            Some((known, _)) => return Err(GridError::OtherSplits { first: known.clone(), second: path }),
            None => first = Some((path, splits)),
        }
    }
    Ok(())
}

/// The highest mean accuracy over folds.
fn best(outcomes: &[Outcome]) -> Option<Best> {
    let mut best: Option<Best> = None;
    for outcome in outcomes {
        let Some(accuracy) = outcome.accuracy else { continue };
        match &mut best {
            // Sums of the same folds in another order differ by rounding.
            Some(best) if (accuracy.mean - best.accuracy.mean).abs() < 1e-12 => best.equals += 1,
            Some(best) if accuracy.mean < best.accuracy.mean => {}
            _ => {
                let (configuration, confounds_passed) = (outcome.configuration, outcome.confounds_passed);
                best = Some(Best { configuration, accuracy, equals: 0, confounds_passed });
            }
        }
    }
    best
}

fn choices(plan: &Plan) -> String {
    let [d, h, w] = plan.input.value;
    format!(
        "Profile {}, width {}, input {d} × {h} × {w} at {} mm, {} folds, at most {} epochs, batch {}, {}, seed {}.",
        format!("{:?}", plan.profile).to_lowercase(),
        plan.width.value,
        plan.spacing_mm.value,
        plan.folds.value,
        plan.epochs.value,
        plan.batch.value,
        format!("{:?}", plan.precision.value).to_lowercase(),
        plan.seed
    )
}

fn cautions(outcomes: &[Outcome], plan: Option<&Plan>) -> Vec<String> {
    let mut cautions = Vec::new();
    if let Some(plan) = plan {
        let papers = Plan::new(plan.profile, plan.sequence, String::new(), None, plan.seed, &Said::default());
        let mut other = Vec::new();
        if plan.width.value != papers.width.value {
            other.push(format!("width {}", plan.width.value));
        }
        if plan.input.value != papers.input.value {
            let [d, h, w] = plan.input.value;
            other.push(format!("input {d} × {h} × {w}"));
        }
        if plan.folds.value != papers.folds.value {
            other.push(format!("{} folds", plan.folds.value));
        }
        if !other.is_empty() {
            cautions.push(format!("Not the paper's: {}. No figure here can be set against it.", other.join(", ")));
        }
    }
    let machines = machines(outcomes);
    if machines.len() > 1 {
        cautions.push(format!("The times are not of the same machines: {}.", machines.join(" / ")));
    }
    if !outcomes.iter().any(|outcome| outcome.synthetic.is_some()) {
        cautions.push("Whether the subjects are synthetic is not known.".to_owned());
    }
    // Once for all that share it: what is wrong with one run is often wrong with all.
    let mut remarks: Vec<(&str, Vec<String>)> = Vec::new();
    for outcome in outcomes {
        for remark in &outcome.remarks {
            let of = outcome.configuration.to_string();
            match remarks.iter_mut().find(|(known, _)| known == remark) {
                Some((_, configurations)) => configurations.push(of),
                None => remarks.push((remark, vec![of])),
            }
        }
    }
    for (remark, configurations) in remarks {
        let all = configurations.len() == outcomes.len() && configurations.len() > 1;
        let who = if all { "All configurations".to_owned() } else { configurations.join("; ") };
        cautions.push(format!("{who}: {remark}."));
    }
    cautions
}

/// What the runs' reports say of their machines, each once.
fn machines(outcomes: &[Outcome]) -> Vec<String> {
    let known = outcomes.iter().filter(|outcome| !outcome.hardware.is_empty());
    let mut machines: Vec<String> = known.map(|outcome| outcome.hardware.join("; ")).collect();
    machines.sort_unstable();
    machines.dedup();
    machines
}
