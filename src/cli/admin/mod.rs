//! `fcdd admin`: the research side, one file per subcommand.

mod archive_add;
mod archive_check;
mod archive_secret;
mod child;
mod collect;
mod epoch_bar;
mod evaluate;
mod export;
mod grid;
mod mail;
mod promote;
mod report;
mod retrain;
mod retrain_periodically;
mod training_choices;

use std::process::ExitCode;

pub use retrain_periodically::argument_mistakes;

/// The research side: from a local archive to models that the daemon may serve.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd admin archive check /data/archive")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The local archive of patients and controls (BIDS).
    #[command(subcommand, after_help = "Example: fcdd admin archive check /data/archive")]
    Archive(Archive),
    Export(export::Args),
    Retrain(retrain::Args),
    Grid(grid::Args),
    RetrainPeriodically(retrain_periodically::Args),
    Mail(mail::Args),
    Collect(collect::Args),
    Report(report::Args),
    Evaluate(evaluate::Args),
    Promote(promote::Promote),
    Rollback(promote::Rollback),
}

#[derive(Debug, clap::Subcommand)]
enum Archive {
    /// Say what of an archive is usable, what is not and why.
    Check(archive_check::Args),
    /// Add a study of the daemon's ledger, pseudonymised and labelled.
    Add(archive_add::Args),
    /// Make a new site secret, once, outside every archive.
    Secret(archive_secret::Args),
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Export(args) => export::run(args),
        Command::Retrain(args) => retrain::run(args),
        Command::Grid(args) => grid::run(args),
        Command::RetrainPeriodically(args) => retrain_periodically::run(args),
        Command::Mail(args) => mail::run(args),
        Command::Collect(args) => collect::run(args),
        Command::Report(args) => report::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Promote(args) => promote::promote(args),
        Command::Rollback(args) => promote::rollback(args),
        Command::Archive(Archive::Check(args)) => archive_check::run(args),
        Command::Archive(Archive::Add(args)) => archive_add::run(args),
        Command::Archive(Archive::Secret(args)) => archive_secret::run(args),
    }
}
