//! `fcdd admin promote` and `fcdd admin rollback`: which model the daemon serves.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::models::Place;
use crate::network::ModelFolder;
use crate::research::models::promote::{Decision, Models, Outcome, Signature};
use crate::research::run::folder::RunFolder;
use crate::study::Sequence;

/// Let the daemon serve a model, if it is better than the one that it serves.
///
/// Compared on subjects that neither model's scoring networks trained on. Refused when the run's confound report
/// failed or is missing, or when the model is not better or not comparable.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fcdd admin promote fcd-flair-2
  fcdd admin promote fcd-flair-2 --override \"new scanner, agreed in the board of 3 May\"

The configuration must name the links: models = [\"models/current-t1\", \"models/current-flair\"]. A running daemon takes
the model over between two studies. Every decision is a line of promotions.jsonl beside the models.")]
pub struct Promote {
    /// The model's folder in the folder of the models.
    name: String,
    /// Promote whatever speaks against it; the reason is recorded.
    #[arg(long = "override", value_name = "WHY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    override_reason: Option<String>,
    /// The folder of the run that made the model, where its report was made after the export.
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Print the decision as JSON.
    #[arg(long)]
    json: bool,
}

/// Let the daemon serve the model again that it served before the last promotion.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd admin rollback --sequence flair --why \"too many false alarms\"")]
pub struct Rollback {
    /// For which sequence.
    #[arg(long, value_enum)]
    sequence: SequenceName,
    /// Why; recorded.
    #[arg(long, value_name = "WHY")]
    why: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Print the decision as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SequenceName {
    T1,
    Flair,
}

pub fn promote(args: Promote) -> anyhow::Result<ExitCode> {
    let models = args.place.models()?;
    let sequence = ModelFolder::load(&models.directory().join(&args.name))?.manifest().sequence;
    let served = args.place.served(sequence);
    let run = args.run.map(RunFolder::new);
    let override_reason = args.override_reason.as_deref();
    let decision = models.promote(&args.name, served.as_deref(), run.as_ref(), override_reason, &signature())?;
    print(&decision, args.json)?;
    let pointer = models.pointer(sequence);
    if decision.outcome == Outcome::Promoted && !serves_pointer(&models, served, sequence) {
        eprintln!("fcdd: no configuration was found that serves {}; set analyze.models to it", pointer.display());
    }
    Ok(if decision.outcome == Outcome::Refused { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn serves_pointer(models: &Models, served: Option<PathBuf>, sequence: Sequence) -> bool {
    served.is_some_and(|path| path.file_name() == models.pointer(sequence).file_name())
}

pub fn rollback(args: Rollback) -> anyhow::Result<ExitCode> {
    let sequence = match args.sequence {
        SequenceName::T1 => Sequence::T1,
        SequenceName::Flair => Sequence::Flair,
    };
    let decision = args.place.models()?.rollback(sequence, args.why.as_deref(), &signature())?;
    print(&decision, args.json)?;
    Ok(ExitCode::SUCCESS)
}

fn signature() -> Signature {
    let name = ["SUDO_USER", "LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok());
    let uid = rustix::process::getuid().as_raw();
    let who = name.map_or_else(|| format!("uid {uid}"), |name| format!("{name} (uid {uid})"));
    Signature { who, when: jiff::Timestamp::now().to_string() }
}

fn print(decision: &Decision, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(decision)?);
        return Ok(());
    }
    let model = format!("{} {}", decision.to.name, decision.to.version);
    match decision.outcome {
        Outcome::Promoted => println!("{model} is served for {}", decision.sequence.label()),
        Outcome::RolledBack => println!("{model} is served for {} again", decision.sequence.label()),
        Outcome::Refused => println!("{model} is not promoted"),
    }
    if let Some(from) = &decision.from {
        println!("until now: {} {}", from.name, from.version);
    }
    for reason in &decision.reasons {
        println!("  against it: {reason}");
    }
    if let Some(why) = &decision.override_reason {
        println!("  because: {why}");
    }
    Ok(())
}
