//! `fcdd admin report`: the report of a finished run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::cli::progress::Progress;
use crate::research::archive::origin::Data;
use crate::research::cache::Cache;
use crate::research::report::Contents;
use crate::research::report::of_both::{self, Single};
use crate::research::report::of_run::{self, Request};
use crate::research::run::folder::RunFolder;
use crate::research::statistics::MeanSd;
use crate::study::Sequence;

/// Make the report of a finished run: report.html, report.md, metrics.json and subjects.csv.
///
/// `retrain` and `collect` make it when all folds are done. Every fold's network is run once more on its test subjects,
/// for the maps. A run of both modalities gets a report in RUN/t1 and in RUN/flair, and one of both together in RUN.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd admin report runs/first

Exit status: 0 the report is written, whatever it says; 1 it could not be made; 2 the call is wrong.")]
pub struct Args {
    /// The run's folder.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// What the archive holds [default: as its dataset_description.json says].
    #[arg(long, value_enum)]
    data: Option<Data>,
    /// The ONNX Runtime library, where it is not found by itself.
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// Print the main figures as JSON.
    #[arg(long)]
    json: bool,
}

/// Makes it and says what it says.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let request = Request { data: args.data, onnxruntime: args.onnxruntime.as_deref() };
    let (mut said, mut made) = (Vec::new(), Vec::new());
    for run in RunFolder::of_modalities(&args.run) {
        if !run.plan_path().exists() {
            bail!("{} is not there; name the folder of a run", run.plan_path().display());
        }
        let cache = Cache::open_index(&run.cache_index())?;
        let contents = write(&run, &cache, &request)?;
        if args.json {
            said.push(main_figures(&contents, &run.report_path()));
        } else {
            print(&contents, &run.report_path());
        }
        made.push((run, contents));
    }
    if let Some((contents, page)) = together(&args.run, &made)? {
        if args.json {
            said.push(main_figures(&contents, &page));
        } else {
            print(&contents, &page);
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&said)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the report of one run, with progress.
pub(super) fn write(run: &RunFolder, cache: &Cache, request: &Request<'_>) -> anyhow::Result<Contents> {
    let progress = Mutex::new(Progress::new("making the report", 2 * cache.len() as u64));
    let advance = || progress.lock().unwrap_or_else(PoisonError::into_inner).advance(1);
    Ok(of_run::write(run, cache, request, &advance)?)
}

/// The report at the end of training, and its main figures.
pub(super) fn after_training(run: &RunFolder, cache: &Cache) -> anyhow::Result<Contents> {
    let made = write(run, cache, &Request::default()).with_context(|| {
        let path = run.path().display();
        format!("all folds are done, but there is no report; `fcdd admin report {path}` makes it")
    })?;
    print(&made, &run.report_path());
    Ok(made)
}

/// The report of T1 and FLAIR together, in the folder above both runs, and its page; none unless both have one.
pub(super) fn together(folder: &Path, made: &[(RunFolder, Contents)]) -> anyhow::Result<Option<(Contents, PathBuf)>> {
    let [(t1, of_t1), (flair, of_flair)] = made else { return Ok(None) };
    let seed = t1.plan()?.seed;
    let single = |sequence, run, contents| Single { sequence, run, contents };
    let runs = [single(Sequence::T1, t1, of_t1), single(Sequence::Flair, flair, of_flair)];
    let contents = of_both::write(folder, runs, seed)?;
    Ok(Some((contents, RunFolder::new(folder).report_path())))
}

/// The main figures, and where the rest is, as JSON.
pub(super) fn main_figures(contents: &Contents, page: &Path) -> Value {
    let metrics = &contents.metrics;
    json!({
        "report": page,
        "confounds_passed": contents.confounds.as_ref().map(|report| report.passed),
        "synthetic": contents.synthetic,
        "scored_by": contents.scored_by,
        "subjects": metrics.subjects,
        "patients": metrics.patients,
        "accuracy": metrics.accuracy,
        "auc": metrics.auc,
        "heat": metrics.heat,
        "withheld": contents.withheld,
    })
}

/// The main figures and where the rest is.
pub(super) fn print(contents: &Contents, page: &Path) {
    println!("{}: {} subjects, {} patients", contents.title, contents.metrics.subjects, contents.metrics.patients);
    if contents.synthetic {
        println!("synthetic subjects: no statement about patients");
    }
    let figures = [("accuracy", &contents.metrics.accuracy), ("AUC", &contents.metrics.auc)];
    for (name, measure) in figures {
        match measure.over_folds {
            Some(MeanSd { mean, sd: Some(sd), n }) => println!("{name} {mean:.3} ± {sd:.3}, mean of {n} folds"),
            Some(MeanSd { mean, .. }) => println!("{name} {mean:.3}"),
            None => println!("{name} undefined"),
        }
    }
    if let Some(heat) = &contents.metrics.heat {
        let number = |value: Option<f64>| value.map_or_else(|| "undefined".to_owned(), |v| format!("{v:.2}"));
        println!("Heat-Score {}, mirrored {}", number(heat.lesion.mean), number(heat.mirrored.mean));
    }
    match &contents.confounds {
        Some(report) if report.passed => println!("confound report: passed"),
        Some(_) => println!("confound report: FAILED, such a model is not promoted"),
        None => println!("confound report: not assessed, such a model is not promoted"),
    }
    println!("{}", page.display());
}
