//! `fcdd serve`: run the daemon until SIGTERM or SIGINT.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{Config, ConfigError};
use crate::{daemon, observe};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd serve --config /etc/fcdd/fcdd.toml")]
pub struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = super::DEFAULT_CONFIG)]
    config: PathBuf,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("fcdd: {error}");
            if matches!(error, ConfigError::Mistakes { .. }) {
                eprintln!("fcdd: nothing was started; correct the file and try `fcdd check-config` first");
            }
            return Ok(ExitCode::from(2));
        }
    };
    observe::log::init(&config.observe);
    // Everything that is written here is patients' data or says something about it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(daemon::run(config));
    // Work that the drain's bound left behind (a running inference) must not hold the exit.
    runtime.shutdown_background();
    result?;
    Ok(ExitCode::SUCCESS)
}
