//! `fcdd check-config`: every mistake in the configuration and in the files that it names, at once.

use std::path::PathBuf;
use std::process::ExitCode;

use super::admin::argument_mistakes;
use crate::assemble::admission::Admission;
use crate::config::private_file::open_to_others;
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
    /// Of the files that it names, look only at those without which the daemon does not start: an archive that is not
    /// mounted or a mail password keeps it from nothing, and what is wrong with models is a warning.
    #[arg(long)]
    daemon: bool,
    /// Print the mistakes as a JSON array.
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mistakes = match Config::load(&args.config) {
        Ok(config) => {
            let mut mistakes = mistakes_in_named_files(&config);
            let in_models = mistakes_in_models(&config);
            if args.daemon {
                // The daemon receives without models, too, and waits for them: they keep nothing from starting.
                for mistake in in_models {
                    eprintln!("warning: {mistake}");
                }
            } else {
                mistakes.extend(in_models);
                mistakes.extend(mistakes_of_research(&config));
            }
            mistakes
        }
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

/// What is wrong in what only the research side uses.
fn mistakes_of_research(config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut note = |key: &str, what: String| mistakes.push(Mistake { line: None, key: key.to_owned(), what });
    if let Some(archive) = &config.research.archive
        && !archive.join("participants.tsv").is_file()
    {
        note("research.archive", format!("{} has no participants.tsv: it must be a BIDS folder", archive.display()));
    }
    for (key, what) in argument_mistakes(config) {
        note(key, what);
    }
    if let Some(file) = config.mail.as_ref().and_then(|mail| mail.password_file.as_deref()) {
        // Whoever checks the configuration need not be allowed to read the password.
        match std::fs::metadata(file).map(|metadata| open_to_others(&metadata)) {
            Ok(None) => {}
            Ok(Some(mode)) => note(
                "mail.password_file",
                format!("{} is open to others (mode {mode:o}): chmod 600 it", file.display()),
            ),
            Err(error) => note("mail.password_file", format!("cannot look at {}: {error}", file.display())),
        }
    }
    mistakes
}

/// What is wrong in the rules and templates that a good configuration names.
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
    mistakes
}

/// What is wrong in the model folders.
fn mistakes_in_models(config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut note = |key: &str, what: String| mistakes.push(Mistake { line: None, key: key.to_owned(), what });
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
