//! `fcdd admin evaluate`: the report of any model on any archive.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};

use crate::analyze::preprocess::InputSpec;
use crate::cli::progress::Progress;
use crate::network::ModelFolder;
use crate::research::archive::origin::Data;
use crate::research::archive::{Archive, SEQUENCES};
use crate::research::cache::{self, Cache};
use crate::research::report::of_model::{self, Request};

/// Say how a model fares on an archive: the same report as a run's.
///
/// The networks answer together, with the model's own calibration and threshold. A subject on whom the model was trained
/// is scored only by the network that tested it in the cross-validation; where the model does not have that one, the
/// command refuses and names the subject.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: fcdd admin evaluate --model models/fcd-flair-3 --archive /data/second --output reports/second

Exit status: 0 the report is written, whatever it says; 1 it could not be made; 2 the call is wrong."
)]
pub struct Args {
    /// The model's folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// BIDS folder with participants.tsv.
    #[arg(long, value_name = "DIR")]
    archive: PathBuf,
    /// Folder for report.html, report.md, metrics.json and subjects.csv.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Folder for preprocessed scans [default: fcdd in the user's cache folder].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
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

/// Preprocesses, runs, writes.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Err(error) = of_model::check_output(&args.output) {
        eprintln!("fcdd: {error}");
        return Ok(ExitCode::from(2));
    }
    let model = ModelFolder::load(&args.model)?;
    let archive = Archive::read(&args.archive)?;
    let cache = args.preprocess(&model, &archive)?;
    let name = args.archive.canonicalize().unwrap_or_else(|_| args.archive.clone());
    let name = name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let request = Request { archive: &name, data: args.data, onnxruntime: args.onnxruntime.as_deref() };
    let progress = Mutex::new(Progress::new("evaluating", 2 * cache.len() as u64));
    let advance = || progress.lock().unwrap_or_else(PoisonError::into_inner).advance(1);
    let contents = of_model::write(&model, &cache, &args.output, &request, &advance)?;
    drop(progress);
    let page = args.output.join("report.html");
    if args.json {
        println!("{}", serde_json::to_string_pretty(&super::report::main_figures(&contents, &page))?);
    } else {
        super::report::print(&contents, &page);
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// The archive's scans as the model's networks want them.
    fn preprocess(&self, model: &ModelFolder, archive: &Archive) -> anyhow::Result<Cache> {
        let manifest = model.manifest();
        let (sequence, label) = (manifest.sequence, manifest.sequence.label());
        let count = |sequence| archive.subjects.iter().filter(|subject| subject.scan(sequence).is_some()).count();
        let shown = self.archive.display();
        let scans = count(sequence);
        if scans == 0 {
            let other = SEQUENCES.into_iter().find(|other| *other != sequence).filter(|other| count(*other) > 0);
            match other {
                Some(other) => bail!(
                    "{} is for {label}, and {shown} has no {label} scan that can be used, but {} of {}; give a model for \
                     {}, or see fcdd admin archive check",
                    manifest.name,
                    count(other),
                    other.label(),
                    other.label()
                ),
                None => bail!("{shown} has no scan that can be used; see fcdd admin archive check"),
            }
        }
        let folder = self.cache.clone().or_else(cache::default_folder);
        let folder = folder.context("neither XDG_CACHE_HOME nor HOME is set: give --cache DIR")?;
        let progress = Mutex::new(Progress::new(&format!("preprocessing {label}"), scans as u64));
        let advance = || progress.lock().unwrap_or_else(PoisonError::into_inner).advance(1);
        let spec = InputSpec {
            shape: manifest.input.shape,
            spacing_mm: manifest.input.spacing_mm,
            background: manifest.input.background as f32,
        };
        let cache = Cache::build(archive, sequence, &spec, &folder, &advance)?;
        for left_out in cache.excluded() {
            eprintln!("{label}: {} is left out: {}", left_out.subject, left_out.reason.text);
        }
        if cache.is_empty() {
            bail!("no {label} scan of {shown} can be used; see fcdd admin archive check");
        }
        Ok(cache)
    }
}
