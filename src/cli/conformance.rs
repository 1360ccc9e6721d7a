//! `fcdd conformance`: the DICOM conformance statement of this version, for an installation or by default.

use std::path::PathBuf;
use std::process::ExitCode;

use super::studies::print;
use crate::config::{Config, ConfigError};
use crate::conformance::{Site, statement};
use crate::dicom::Templates;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fcdd conformance > conformance.md
  fcdd conformance --config /etc/fcdd/fcdd.toml > conformance.md

The tables are those that negotiation and the writers of the results use. It is Markdown, in the order of DICOM PS3.2.")]
pub struct Args {
    /// The installation's configuration; without it: every value's default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = match args.config.as_deref().map(Config::load).transpose() {
        Ok(config) => config,
        Err(error @ (ConfigError::Read { .. } | ConfigError::Mistakes { .. })) => {
            eprintln!("fcdd: {error}");
            return Ok(ExitCode::from(2));
        }
    };
    let is_configured = config.is_some();
    let config = config.unwrap_or_default();
    let templates = match config.report.templates.as_deref().map(Templates::load).transpose() {
        Ok(templates) => templates.unwrap_or_else(Templates::built_in),
        Err(error) => {
            eprintln!("fcdd: {error}");
            return Ok(ExitCode::from(2));
        }
    };
    print(&statement(Site { config: &config, templates: &templates, is_configured })?)?;
    Ok(ExitCode::SUCCESS)
}
