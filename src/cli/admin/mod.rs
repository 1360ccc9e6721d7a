//! `fcdd admin`: the research side, one file per subcommand.

mod archive_check;

use std::process::ExitCode;

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
}

#[derive(Debug, clap::Subcommand)]
enum Archive {
    /// Say what of an archive is usable, what is not and why.
    Check(archive_check::Args),
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Archive(Archive::Check(args)) => archive_check::run(args),
    }
}
