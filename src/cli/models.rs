//! `fcdd models`: which models there are, what they say of themselves, whether they run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::analyze::Engine;
use crate::config::{self, Config};
use crate::network::ModelFolder;
use crate::network::manifest::CalibrationKind;
use crate::research::models::promote::Models;
use crate::study::Sequence;

/// List, show and verify model folders.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fcdd models list
  fcdd models show demo-t1 --models models
  fcdd models verify fcd-flair-2 --config /etc/fcdd/fcdd.toml")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Every model in the folder, and which ones are served.
    List(List),
    /// One model's manifest in words.
    Show(Show),
    /// Check digests, open the networks in ONNX Runtime and run each once.
    Verify(Verify),
}

/// Where models are looked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// Folder of the models; default: where the configuration's first model lies.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = super::DEFAULT_CONFIG)]
    config: PathBuf,
}

impl Place {
    /// The folder of the models.
    pub fn models(&self) -> anyhow::Result<Models> {
        if let Some(directory) = &self.models {
            return Ok(Models::new(directory));
        }
        let config = Config::load(&self.config)?;
        match config.analyze.models.first().and_then(|model| model.parent()) {
            Some(directory) => Ok(Models::new(directory)),
            None => bail!("{} names no model; name the folder with --models", self.config.display()),
        }
    }

    /// The folder that the configuration names for a sequence, where there is a configuration.
    pub fn served(&self, sequence: Sequence) -> Option<PathBuf> {
        let config = Config::load(&self.config).ok()?;
        let is_for = |folder: &&PathBuf| ModelFolder::load(folder).is_ok_and(|m| m.manifest().sequence == sequence);
        config.analyze.models.iter().find(is_for).cloned()
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd models list --models models --json")]
struct List {
    #[command(flatten)]
    place: Place,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd models show demo-t1 --models models")]
struct Show {
    /// The model's folder in the folder of the models.
    name: String,
    #[command(flatten)]
    place: Place,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd models verify demo-t1 --models models")]
struct Verify {
    /// The model's folder in the folder of the models; all of them without it.
    name: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Where the dry run runs: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: config::Device,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => list(&args),
        Command::Show(args) => show(&args),
        Command::Verify(args) => verify(&args),
    }
}

fn list(args: &List) -> anyhow::Result<ExitCode> {
    let models = args.place.models()?;
    let mut printed = Vec::new();
    for (name, loaded) in models.list()? {
        match loaded {
            Ok(model) => {
                let served = is_served(&models, &model);
                if !args.json {
                    let manifest = model.manifest();
                    let mark = if served { "*" } else { " " };
                    let label = manifest.sequence.label();
                    println!("{mark} {name:<24} {label:<6} {:<10} {}", manifest.version, standing(&model));
                }
                printed.push(json!({"folder": name, "served": served, "model": summary(&model)}));
            }
            Err(error) => {
                if !args.json {
                    println!("! {name:<24} {error}");
                }
                printed.push(json!({"folder": name, "served": false, "error": error.to_string()}));
            }
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&printed)?);
    } else if printed.is_empty() {
        println!("no models in {}", models.directory().display());
    }
    Ok(ExitCode::SUCCESS)
}

fn is_served(models: &Models, model: &ModelFolder) -> bool {
    let target = models.current(model.manifest().sequence).ok().flatten();
    let real = |path: &Path| path.canonicalize().ok();
    target.is_some_and(|target| real(&models.directory().join(target)) == real(model.path()))
}

fn standing(model: &ModelFolder) -> &'static str {
    match (model.manifest().trained, model.manifest().is_synthetic()) {
        (false, _) => "untrained",
        (true, true) => "trained on synthetic data only",
        (true, false) => "trained",
    }
}

fn summary(model: &ModelFolder) -> Value {
    let manifest = model.manifest();
    json!({"manifest": manifest, "digest": model.digest(), "standing": standing(model)})
}

fn show(args: &Show) -> anyhow::Result<ExitCode> {
    let models = args.place.models()?;
    let model = ModelFolder::load(&models.directory().join(&args.name))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary(&model))?);
        return Ok(ExitCode::SUCCESS);
    }
    let m = model.manifest();
    let [d, h, w] = m.input.shape;
    println!("{} {} for {}, {}", m.name, m.version, m.sequence.label(), standing(&model));
    println!("digest        {}", model.digest());
    println!("intended use  {}", m.intended_use);
    println!("data          {}", m.data_source);
    println!(
        "networks      {} x {} of width {}, geometry {}",
        model.folds(),
        m.architecture,
        m.width,
        m.geometry.name()
    );
    println!("input         {d} x {h} x {w} voxels of {} mm, {}", m.input.spacing_mm, m.input.preprocessing);
    let rule = |rule: &Option<String>| rule.as_ref().map_or(String::new(), |rule| format!(" ({rule})"));
    println!("threshold     {:.1} %{}", m.decision.threshold * 100.0, rule(&m.decision.rule));
    let calibration = match m.calibration.kind {
        CalibrationKind::None => "none".to_owned(),
        CalibrationKind::Platt => format!("{:.4} x logit {:+.4}", m.calibration.scale, m.calibration.offset),
    };
    println!("calibration   {calibration}{}", rule(&m.calibration.fitted_on));
    let percentile = m.map.control_percentile.map_or(String::new(), |p| format!(", percentile {p}"));
    println!("regions       above {:.4} logit{percentile}{}", m.map.threshold_logit, rule(&m.map.threshold_rule));
    if let Some(training) = &m.training {
        println!("training      {} folds, {:.1} % patients", training.folds, training.prevalence * 100.0);
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(args: &Verify) -> anyhow::Result<ExitCode> {
    let models = args.place.models()?;
    let names: Vec<String> = match &args.name {
        Some(name) => vec![name.clone()],
        None => models.list()?.into_keys().collect(),
    };
    if names.is_empty() {
        bail!("no models in {}", models.directory().display());
    }
    let mut printed = Vec::new();
    let mut good = true;
    for name in names {
        let settings = config::Analyze {
            models: vec![models.directory().join(&name)],
            device: args.device,
            ..config::Analyze::default()
        };
        // Loading checks every digest and runs every network once on zeros.
        let loaded = Engine::load(&settings).map(|engine| engine.models());
        let (line, value) = match loaded.as_deref() {
            Ok([model, ..]) => (
                format!("{name}: {} networks run on {} in {}", model.folds, model.provider, model.precision),
                json!({"folder": name, "good": true, "folds": model.folds, "provider": model.provider,
                    "precision": model.precision, "digest": model.digest}),
            ),
            Ok([]) => (format!("{name}: no model"), json!({"folder": name, "good": false})),
            Err(error) => {
                let error = error.to_string();
                (format!("{name}: {error}"), json!({"folder": name, "good": false, "error": error}))
            }
        };
        good &= value["good"] == true;
        if !args.json {
            println!("{line}");
        }
        printed.push(value);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&printed).context("printing")?);
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
