//! `fcdd prepare-spool`: leaves the sentinel that proves that the spool's file system is mounted.

use std::path::PathBuf;
use std::process::ExitCode;

use super::studies::{load_config, print};
use crate::spool::sentinel;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd prepare-spool --config /etc/fcdd/fcdd.toml

Run it once, as the user that fcdd runs as, when the file system of the spool is mounted. With `spool.mounted = true` the
daemon then starts only where that file system is.

Exit status: 0 done; 1 it failed; 2 the configuration is wrong.")]
pub struct Args {
    /// Configuration of the daemon.
    #[arg(long, value_name = "FILE", default_value = super::DEFAULT_CONFIG)]
    config: PathBuf,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(config) = load_config(&args.config) else { return Ok(ExitCode::from(2)) };
    let path = sentinel::prepare(&config.spool.directory)?;
    let note = if config.spool.mounted { "" } else { " (it is asked for with spool.mounted = true)" };
    print(&format!("{} is there{note}\n", path.display()))?;
    Ok(ExitCode::SUCCESS)
}
