//! `fcdd check-config`: every mistake in the configuration and in the files that it names, at once.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::assemble::admission::Admission;
use crate::config::sequences::SequenceRules;
use crate::config::{Config, ConfigError, Mistake};
use crate::dicom::templates::Templates;
use crate::network::ModelFolder;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd check-config --config /etc/fcdd/fcdd.toml")]
pub struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = super::DEFAULT_CONFIG)]
    config: PathBuf,
    /// Print the mistakes as a JSON array.
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mistakes = match Config::load(&args.config) {
        Ok(config) => mistakes_in_named_files(&config),
        Err(ConfigError::Mistakes { mistakes, .. }) => mistakes,
        Err(error @ ConfigError::Read { .. }) => {
            vec![Mistake { line: None, key: String::new(), what: error.to_string() }]
        }
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&mistakes)?);
    } else if mistakes.is_empty() {
        println!("{}: ok", args.config.display());
    } else {
        println!("{}: {} mistake(s)", args.config.display(), mistakes.len());
        for mistake in &mistakes {
            println!("  {mistake}");
        }
    }
    Ok(if mistakes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// What is wrong in the rules, templates and model folders that a good configuration names.
fn mistakes_in_named_files(config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut note = |key: &str, what: String| mistakes.push(Mistake { line: None, key: key.to_owned(), what });
    if let Some(Err(error)) = config.assemble.sequences.as_deref().map(SequenceRules::load) {
        note("assemble.sequences", error.to_string());
    }
    if let Err(error) = Admission::new(&config.assemble.admission) {
        note("assemble.admission", error.to_string());
    }
    if let Some(Err(error)) = config.report.templates.as_deref().map(Templates::load) {
        note("report.templates", error.to_string());
    }
    let mut by_sequence = std::collections::BTreeMap::new();
    for folder in &config.analyze.models {
        match ModelFolder::load(folder) {
            Ok(model) => {
                let manifest = model.manifest();
                if let Some(other) = by_sequence.insert(manifest.sequence, folder) {
                    note(
                        "analyze.models",
                        format!(
                            "has two models for {}: {} and {}; keep one",
                            manifest.sequence.label(),
                            other.display(),
                            folder.display()
                        ),
                    );
                }
            }
            Err(error) => note("analyze.models", error.to_string()),
        }
    }
    mistakes
}
