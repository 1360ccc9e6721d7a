//! `fcdd admin export`: a finished run becomes a model folder.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::json;

use super::child::StartedBy;
use crate::cli::progress::Progress;
use crate::research::archive::origin::{self, Data};
use crate::research::cache::Cache;
use crate::research::models::export::{Exported, Request, export};
use crate::research::run::folder::RunFolder;

/// Make a model that the daemon can serve of a finished run.
///
/// Every fold becomes one ONNX file, checked in ONNX Runtime against the trainer's logits on the subjects that it never
/// saw. Calibration, decision threshold and map threshold are chosen on those, by rules that the manifest states.
// `--version` is the model's here, not the program's.
#[derive(Debug, clap::Args)]
#[command(
    disable_version_flag = true,
    after_help = "Example: fcdd admin export runs/flair-3 --output models/fcd-flair-3

Make the run's report first: its metrics.json goes into the model, and promotion asks for its confound report."
)]
pub struct Args {
    /// The run's folder (of one modality: RUN/t1 or RUN/flair of a run of both).
    run: PathBuf,
    /// Folder to write; it must be empty or not exist.
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Name of the model [default: the output folder's].
    #[arg(long)]
    name: Option<String>,
    /// Its semantic version.
    #[arg(long, default_value = "1.0.0")]
    version: String,
    /// What the archive holds [default: as its dataset_description.json says].
    #[arg(long, value_enum)]
    data: Option<Data>,
    /// Export the folds that are finished although others are missing.
    #[arg(long)]
    folds_present: bool,
    /// The ONNX Runtime library, where it is not found by itself.
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// Print what was exported as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    started_by: StartedBy,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    args.started_by.end_with_it()?;
    let run = RunFolder::new(&args.run);
    if !run.plan_path().exists() {
        bail!("{} is not there; name the folder of one modality's run", run.plan_path().display());
    }
    let cache = Cache::open_index(&args.run.join("cache.json"))?;
    let of_output = || args.output.file_name().map(|name| name.to_string_lossy().into_owned());
    let request = Request {
        name: args.name.clone().or_else(of_output).context("the model needs a name: give --name")?,
        version: args.version.clone(),
        date: jiff::Zoned::now().date().to_string(),
        synthetic: args.data.map_or_else(|| stated_data(&cache), Ok)? == Data::Synthetic,
        folds_present: args.folds_present,
        onnxruntime: args.onnxruntime.clone(),
    };
    let mut progress = Progress::new("checking networks", 0);
    let mut begun = false;
    let exported = export(&run, &cache, &request, &args.output, &mut |_, total| {
        if !std::mem::replace(&mut begun, true) {
            progress.add_steps(total as u64);
        }
        progress.advance(1);
    })?;
    drop(progress);
    print(&exported, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// What the dataset says of itself. Whether people were scanned must be known, so that no doubt counts as a no.
fn stated_data(cache: &Cache) -> anyhow::Result<Data> {
    let stated = origin::stated(cache.subjects().iter().map(|subject| subject.source.as_path()));
    match (stated.data(), stated.unknown) {
        (Some(data), _) => Ok(data),
        (None, Some(scan)) => bail!(
            "no dataset_description.json lies above {}; say what the archive holds with --data people or --data \
             synthetic",
            scan.display()
        ),
        (None, None) => bail!("the run's cache holds no scan"),
    }
}

fn print(exported: &Exported, as_json: bool) -> anyhow::Result<()> {
    let (folder, figures) = (&exported.folder, &exported.figures);
    let manifest = folder.manifest();
    if as_json {
        let value = json!({"folder": folder.path(), "name": manifest.name, "version": manifest.version,
            "digest": folder.digest(), "synthetic": manifest.is_synthetic(), "figures": figures});
        println!("{}", serde_json::to_string_pretty(&value)?);
        return Ok(());
    }
    println!("{} {} in {}", manifest.name, manifest.version, folder.path().display());
    println!(
        "{} networks; ONNX Runtime agrees with the trainer on {} subjects (largest difference of a logit {:.1e})",
        figures.folds, figures.subjects, figures.largest_logit_difference
    );
    if let Some(auc) = figures.auc {
        println!("out-of-fold AUC {auc:.3}, threshold {:.1} %", figures.threshold * 100.0);
    }
    println!("regions above {:.4} logit, the 95th percentile of controls", figures.map_threshold_logit);
    match figures.largest_bf16_change {
        Some(change) => println!("bf16 moves a probability by at most {change:.4}"),
        None => println!("bf16 was not tried: this processor has none"),
    }
    if let Some(why) = &figures.not_calibrated {
        println!("{why}");
    }
    if manifest.is_synthetic() {
        println!("trained on synthetic data only");
    }
    println!("digest {}", folder.digest());
    Ok(())
}
