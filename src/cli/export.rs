//! `fcdd export`: a model folder with random weights, by our own ONNX writer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use super::progress::Progress;
use crate::network::manifest::{self, Calibration, Change, Decision, Input, Manifest, Map, Precision, PrecisionList};
use crate::network::model_folder::{ModelFolder, require_empty};
use crate::network::{Architecture, NetworkSpec, marker, onnx_model, random_init};
use crate::study::Sequence;

/// Version that exported models carry.
const VERSION: &str = "0.1.0";

/// Date of the exporter's last change that alters models; a clock would make equal models unequal.
const CHANGED: &str = "2026-11-23";

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  fcdd export --architecture resnet10 --width 16 --input 80,96,80 --spacing 2 --sequence t1 \\
      --name demo-t1 --random-init 1 --output models/demo-t1

The model is untrained: results made with it say so and give no verdict. The same arguments give the same bytes.")]
pub struct Args {
    /// Depth of the network: resnet10, resnet18, resnet34 or resnet50.
    #[arg(long)]
    architecture: Architecture,
    /// Channels of the first stage; 64 is the full network.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    width: u16,
    /// Input shape: left-right, posterior-anterior, inferior-superior.
    #[arg(long, value_name = "D,H,W", default_value = "160,192,160", value_parser = parse_shape)]
    input: [usize; 3],
    /// Voxel size of the input, mm.
    #[arg(long, value_name = "MM", default_value_t = 1.0, value_parser = parse_spacing)]
    spacing: f64,
    /// The sequence that the model reads.
    #[arg(long, value_enum, default_value = "t1")]
    sequence: SequenceName,
    /// Name of the model [default: ARCHITECTURE-SEQUENCE].
    #[arg(long)]
    name: Option<String>,
    /// Number of networks in the ensemble, each with random weights of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    folds: u16,
    /// Seed of the random weights.
    #[arg(long, value_name = "SEED", required_unless_present = "marker")]
    random_init: Option<u64>,
    /// Hand-weighted network that answers to a bright marker, for tests of place.
    #[arg(long, hide = true, conflicts_with = "random_init")]
    marker: bool,
    /// Folder to write; it must be empty or not exist.
    #[arg(long, short)]
    output: PathBuf,
    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SequenceName {
    T1,
    Flair,
}

impl SequenceName {
    fn sequence(self) -> Sequence {
        match self {
            SequenceName::T1 => Sequence::T1,
            SequenceName::Flair => Sequence::Flair,
        }
    }
}

fn parse_shape(text: &str) -> Result<[usize; 3], String> {
    let edges: Vec<usize> = text
        .split(',')
        .map(|edge| edge.trim().parse().ok().filter(|n| (1..=1024).contains(n)))
        .collect::<Option<_>>()
        .ok_or("three whole numbers from 1 to 1024 are needed, such as 160,192,160")?;
    edges.try_into().map_err(|found: Vec<usize>| format!("three numbers are needed, there are {}", found.len()))
}

fn parse_spacing(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(spacing) if spacing > 0.0 && spacing <= 20.0 => Ok(spacing),
        _ => Err("a voxel size above 0 and up to 20 mm is needed".to_owned()),
    }
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    require_empty(&args.output)?;
    let spec = NetworkSpec::paper(args.architecture, usize::from(args.width));
    let manifest = manifest_for(&args, &spec);
    let metadata = BTreeMap::from([
        ("name".to_owned(), manifest.name.clone()),
        ("version".to_owned(), manifest.version.clone()),
        ("trained".to_owned(), manifest.trained.to_string()),
    ]);
    let mut files = Vec::new();
    let mut progress = Progress::new("making networks", u64::from(args.folds));
    for fold in 0..u64::from(args.folds) {
        let weights = match args.random_init {
            Some(seed) => random_init(&spec, seed.wrapping_add(fold)),
            None => marker::marker_weights(&spec, args.input)?,
        };
        files.push(onnx_model(&spec, &weights, args.input, &metadata)?);
        progress.advance(1);
    }
    drop(progress);
    let folder = ModelFolder::write(&args.output, manifest, &files)?;
    print(&folder, &spec, &files, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// What the manifest says about the weights.
struct Statement {
    default_name: String,
    trained: bool,
    intended_use: &'static str,
    data_source: &'static str,
    threshold_logit: f64,
    change: &'static str,
}

impl Statement {
    fn about(args: &Args) -> Statement {
        let sequence = args.sequence.sequence().label().to_lowercase();
        if args.marker {
            Statement {
                default_name: format!("marker-{sequence}"),
                // Nothing was trained, but its answers mean what they say, unlike random weights'.
                trained: true,
                intended_use: "Tests of place with phantoms that carry a bright marker. Never for patients.",
                data_source: "hand-weighted marker network: no training data, for tests of place only",
                threshold_logit: f64::from(marker::MAP_THRESHOLD_LOGIT),
                change: "Exported by fcdd with hand-written weights.",
            }
        } else {
            Statement {
                default_name: format!("{}-{sequence}", args.architecture),
                trained: false,
                intended_use: "Demonstration and tests of the processing chain. Its probabilities and maps mean nothing.",
                data_source: "none: random weights",
                // Nothing was measured on controls: every positive part of the map would count.
                threshold_logit: 0.0,
                change: "Exported by fcdd with random weights.",
            }
        }
    }
}

fn manifest_for(args: &Args, spec: &NetworkSpec) -> Manifest {
    let statement = Statement::about(args);
    Manifest {
        format: manifest::FORMAT,
        name: args.name.clone().unwrap_or(statement.default_name),
        version: VERSION.into(),
        sequence: args.sequence.sequence(),
        architecture: spec.architecture,
        width: spec.width,
        geometry: spec.geometry,
        trained: statement.trained,
        intended_use: statement.intended_use.into(),
        data_source: statement.data_source.into(),
        training_run: String::new(),
        input: Input {
            shape: args.input,
            axes: "RAS".into(),
            stem_stride_one_axis: manifest::stem_stride_one_axis(spec.geometry).into(),
            spacing_mm: args.spacing,
            preprocessing: manifest::PREPROCESSING.into(),
            background: 0.0,
        },
        map: Map {
            stride: spec.total_stride(),
            shape: spec.map_shape(args.input),
            threshold_logit: statement.threshold_logit,
            threshold_rule: None,
            control_percentile: None,
        },
        decision: Decision { threshold: 0.5, rule: None },
        calibration: Calibration::NONE,
        precision: PrecisionList { validated: [Precision::Fp32].into() },
        training: None,
        distribution: None,
        files: Vec::new(),
        records: Vec::new(),
        changelog: vec![Change { version: VERSION.into(), date: CHANGED.into(), text: statement.change.into() }],
    }
}

fn print(folder: &ModelFolder, spec: &NetworkSpec, files: &[Vec<u8>], json: bool) -> anyhow::Result<()> {
    let manifest = folder.manifest();
    let parameters = spec.parameter_count();
    let multiply_adds = spec.multiply_adds(manifest.input.shape);
    if json {
        let listed: Vec<_> = manifest
            .files
            .iter()
            .zip(files)
            .map(|(file, bytes)| serde_json::json!({"name": file.name, "sha256": file.sha256, "bytes": bytes.len()}))
            .collect();
        let summary = serde_json::json!({
            "name": manifest.name,
            "version": manifest.version,
            "digest": folder.digest(),
            "folder": folder.path(),
            "trained": manifest.trained,
            "input_shape": manifest.input.shape,
            "map_shape": manifest.map.shape,
            "parameters": parameters,
            "multiply_adds": multiply_adds,
            "files": listed,
        });
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        let [d, h, w] = manifest.map.shape;
        println!("{} {} in {}", manifest.name, manifest.version, folder.path().display());
        println!(
            "{} networks {} of width {}: {parameters} parameters, {:.1} G multiply-adds, map {d}x{h}x{w}",
            files.len(),
            manifest.architecture,
            manifest.width,
            multiply_adds as f64 / 1e9
        );
        println!("digest {}", folder.digest());
    }
    Ok(())
}
