//! `fcdd admin grid`: the paper's eighteen configurations, and its tables from our own runs.
//!
//! Nine calls of this same program as `admin retrain --modality both --resume`, one after another, then the tables.
//! What can be wrong is found before the first of them: missing, equal or unfitting weights, runs of other choices.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::child::{self, Ended, Output};
use super::retrain::{pretrained, this_call};
use super::training_choices::TrainingChoices;
use crate::network::Architecture;
use crate::research::archive::{Archive, fingerprint};
use crate::research::grid::{self, ARCHITECTURES, Grid, Training};
use crate::research::run::folder::RunFolder;
use crate::research::run::plan::{Plan, Said};
use crate::research::statistics::bootstrap::RESAMPLES;
use crate::research::training::process;

/// Train the paper's eighteen configurations and make its tables from them.
///
/// Three networks × T1 and FLAIR × no transfer, MedicalNet trained on 1 and on 23 datasets, all with the same folds, into
/// RUN/NETWORK-TRANSFER/{t1,flair}; then RUN/grid.md, RUN/grid.html and RUN/grid.json: accuracy and Heat-Score with the
/// paper's test and ours, gaps, times. Killed at any instant, the same call goes on; what is finished is not trained again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fcdd admin grid --archive /data/archive --output runs/grid --weights-1 medicalnet --weights-23 medicalnet
  fcdd admin grid --archive /data/archive --output runs/small --weights-1 narrow --weights-23 narrow \\
      --architectures resnet18 --width 8 --input 80,96,80 --spacing 2 --epochs 20 --folds 3

Exit status: 0 everything is trained and the tables are made; 1 a training failed or was stopped, or runs do not belong
together; 2 the call is wrong.")]
pub struct Args {
    /// BIDS folder with participants.tsv.
    #[arg(long, value_name = "DIR")]
    archive: PathBuf,
    /// The grid's folder.
    #[arg(long, value_name = "RUN")]
    output: PathBuf,
    /// Folder with resnet_18.pth, resnet_34.pth, resnet_50.pth.
    #[arg(long, value_name = "DIR")]
    weights_1: PathBuf,
    /// Folder with resnet_18_23dataset.pth, resnet_34_23dataset.pth, resnet_50_23dataset.pth.
    #[arg(long, value_name = "DIR")]
    weights_23: PathBuf,
    /// Of resnet18, resnet34 and resnet50.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "resnet18,resnet34,resnet50",
          value_parser = architecture)]
    architectures: Vec<Architecture>,
    #[command(flatten)]
    choices: TrainingChoices,
    /// Print RUN/grid.json.
    #[arg(long)]
    json: bool,
}

fn architecture(name: &str) -> Result<Architecture, String> {
    let known = |architecture: &Architecture| architecture.name() == name.trim();
    ARCHITECTURES.into_iter().find(known).ok_or_else(|| format!("{name:?} is none of resnet18, resnet34 and resnet50"))
}

/// A call of `retrain`.
struct Work {
    training: Training,
    weights: Option<PathBuf>,
}

/// Trains what is missing and makes the tables.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let architectures: Vec<Architecture> =
        ARCHITECTURES.into_iter().filter(|architecture| args.architectures.contains(architecture)).collect();
    let trainings = Training::all(&architectures);
    let weights = match grid::find_weights(&trainings, &args.weights_1, &args.weights_23) {
        Ok(weights) => weights,
        Err(error) => {
            eprintln!("fcdd: {error}");
            return Ok(ExitCode::from(2));
        }
    };
    let works: Vec<Work> =
        trainings.into_iter().zip(weights).map(|(training, weights)| Work { training, weights }).collect();
    let fingerprint = fingerprint::of(&Archive::read(&args.archive)?)?;

    let mut left = Vec::new();
    for (index, work) in works.iter().enumerate() {
        let mut is_finished = true;
        for (run, plan) in args.plans(work, &fingerprint)? {
            if let Err(error) = plan.check() {
                eprintln!("fcdd: {error}");
                return Ok(ExitCode::from(2));
            }
            // In a grid of other choices nothing is touched.
            if run.plan_path().exists() {
                run.begin(&plan)?;
            }
            is_finished &= grid::is_finished(&run)?;
        }
        if !is_finished {
            left.push((index, work));
        }
    }
    if !left.is_empty() {
        let trainer = process::find()?;
        for (_, work) in &left {
            args.check_weights(&trainer, work)?;
        }
        eprintln!("grid: {} of {} trainings are finished", works.len() - left.len(), works.len());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        if let Some(training) = runtime.block_on(args.train(&left, works.len()))? {
            eprintln!(
                "fcdd: the grid was stopped in {training}; what is done is kept. Go on with:\n  {}",
                this_call().join(" ")
            );
            return Ok(ExitCode::from(1));
        }
    }

    let grid = Grid::read(&args.output, &architectures, RESAMPLES)?;
    grid.write(&args.output)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&grid)?);
    } else {
        for page in ["grid.html", "grid.md", "grid.json"] {
            println!("{}", args.output.join(page).display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// The run folders of a training, with the plans that `retrain` will make for them.
    fn plans(&self, work: &Work, fingerprint: &str) -> anyhow::Result<Vec<(RunFolder, Plan)>> {
        let weights = work.weights.as_deref().map(pretrained).transpose()?;
        let said = Said { architecture: Some(work.training.architecture), ..self.choices.said() };
        let plan = |configuration: grid::Configuration| {
            let TrainingChoices { profile, seed, .. } = self.choices;
            let (archive, weights) = (fingerprint.to_owned(), weights.clone());
            let plan = Plan::new(profile, configuration.sequence, archive, weights, seed, &said);
            (RunFolder::new(self.output.join(configuration.folder())), plan)
        };
        Ok(work.training.configurations().map(plan).into())
    }

    /// Weights of another depth or width are found out now, not after days of training.
    fn check_weights(&self, trainer: &Path, work: &Work) -> anyhow::Result<()> {
        let Some(weights) = &work.weights else { return Ok(()) };
        let mut command = std::process::Command::new(trainer);
        command.arg("check-weights").arg(weights).args(["--architecture", work.training.architecture.name()]);
        if let Some(width) = self.choices.width {
            command.args(["--width", &width.to_string()]);
        }
        let output = command.output().with_context(|| format!("cannot start {}", trainer.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}", said.trim().trim_start_matches("fcdd-trainer: "));
        }
        Ok(())
    }

    /// The call of this program that does one training.
    fn retrain_call(&self, work: &Work) -> Vec<OsString> {
        let mut call: Vec<OsString> = ["admin", "retrain", "--modality", "both", "--resume"].map(OsString::from).into();
        let output = self.output.join(work.training.to_string());
        call.extend(["--archive".into(), self.archive.clone().into(), "--output".into(), output.into()]);
        call.extend(["--architecture".into(), work.training.architecture.name().into()]);
        if let Some(weights) = &work.weights {
            call.extend(["--weights".into(), weights.into()]);
        }
        call.extend(self.choices.arguments());
        call
    }

    /// One training after another. The training in which the grid was stopped, if it was.
    async fn train(&self, left: &[(usize, &Work)], count: usize) -> anyhow::Result<Option<Training>> {
        let stop = child::stop_on_signal()?;
        for (index, work) in left {
            let training = work.training;
            let start = match &work.weights {
                Some(weights) => format!("from {}", weights.display()),
                None => "from random weights".to_owned(),
            };
            eprintln!("grid: {training}, {} of {count}, {start}", index + 1);
            // Standard output is for the tables.
            let ended = child::run(self.retrain_call(work), Output::OnStandardError, &stop).await;
            let not_trained = || format!("{training} ({} of {count}) is not trained; the same call goes on", index + 1);
            if ended.with_context(not_trained)? == Ended::Stopped {
                return Ok(Some(training));
            }
        }
        Ok(None)
    }
}
