//! The command line: one file per subcommand. This is the only place, with `main`, that prints.
//!
//! Exit status: 0 done; 1 it ran and failed, or the answer is no; 2 the call or the configuration is wrong.

pub mod progress;

mod admin;
mod analyze;
mod associations;
mod check_config;
mod conformance;
mod decode;
mod deliveries;
mod demo;
mod echo;
mod export;
mod models;
mod phantom;
mod prepare_spool;
mod resources;
mod send;
mod serve;
mod status;
mod studies;
mod table;
mod volume;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Where a packaged installation has its configuration.
const DEFAULT_CONFIG: &str = "/etc/fcdd/fcdd.toml";

/// Looks for focal cortical dysplasia in MR studies beside a PACS. Research use only: not a medical device.
#[derive(Debug, Parser)]
#[command(name = "fcdd", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Serve(serve::Args),
    /// Check a configuration and name every mistake at once.
    CheckConfig(check_config::Args),
    /// Show the whole main job on a synthetic study, on this machine only.
    Demo(demo::Args),
    /// Analyze DICOM folders or NIfTI volumes without a network.
    Analyze(analyze::Args),
    /// Turn DICOM series into NIfTI volumes and say what each series is.
    Volume(volume::Args),
    /// Send DICOM objects to an application entity by C-STORE.
    Send(send::Args),
    /// Ask an application entity whether it answers (C-ECHO).
    Echo(echo::Args),
    /// Make synthetic subjects.
    Phantom(phantom::Args),
    /// Write a model folder with random weights.
    Export(export::Args),
    /// The research side: from a local archive to models that the daemon may serve.
    Admin(admin::Args),
    /// List, show and verify model folders.
    Models(models::Args),
    /// List, show and retry studies of the ledger.
    Studies(studies::Args),
    /// The receipts of associations: what was offered, stored and refused, and why they ended.
    Associations(associations::Args),
    /// What became of the results, per study and destination.
    Deliveries(deliveries::Args),
    /// Prove that the spool's file system is mounted (once).
    PrepareSpool(prepare_spool::Args),
    /// The daemon's state in five lines.
    Status(status::Args),
    /// Print the DICOM conformance statement.
    Conformance(conformance::Args),
    /// Decode compressed pixels for a parent process (used by fcdd itself).
    #[command(hide = true)]
    Decode(decode::Args),
}

/// Parses the command line and runs the subcommand.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::CheckConfig(args) => check_config::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Analyze(args) => analyze::run(args),
        Command::Volume(args) => volume::run(args),
        Command::Send(args) => send::run(args),
        Command::Echo(args) => echo::run(args),
        Command::Phantom(args) => phantom::run(args),
        Command::Export(args) => export::run(args),
        Command::Admin(args) => admin::run(args),
        Command::Models(args) => models::run(args),
        Command::Studies(args) => studies::run(args),
        Command::Associations(args) => associations::run(args),
        Command::Deliveries(args) => deliveries::run(args),
        Command::PrepareSpool(args) => prepare_spool::run(args),
        Command::Status(args) => status::run(args),
        Command::Conformance(args) => conformance::run(args),
        Command::Decode(args) => decode::run(args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fcdd: {error:#}");
            ExitCode::from(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// Contradictions in a subcommand's arguments show only when that subcommand is called, unless they are asked for.
    #[test]
    fn no_subcommand_contradicts_itself() {
        super::Cli::command().debug_assert();
    }
}
