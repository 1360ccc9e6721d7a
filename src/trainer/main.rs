//! The `fcdd-trainer` program: everything of fcdd that needs libtorch, and nothing else.
//!
//! `fcdd admin …` starts it; it is a binary of its own, behind the cargo feature `train`, so that the daemon neither
//! builds against nor loads libtorch. What it trains is [`fcdd::network`]'s specification; what it writes are
//! [`fcdd::network::Weights`], which the library exports.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod adam;
mod bench_step;
mod check_weights;
mod checkpoint;
mod device;
mod epochs;
mod fold;
#[cfg(test)]
#[path = "../../tests/golden/network.rs"]
mod golden_network;
#[cfg(test)]
mod golden_tests;
mod guidance;
mod info;
mod medicalnet;
#[cfg(test)]
mod medicalnet_tests;
mod network;
mod out_of_memory;
mod precision;
mod predict;
mod pretrained;
mod schedule;
mod step;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "fcdd-trainer",
    version,
    about = "Trains fcdd's networks; started by `fcdd admin`. Research use only."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train one fold of a run
    Fold(fold::Args),
    /// Say which libtorch this is, and which devices it sees
    Info(info::Args),
    /// Look into a MedicalNet `.pth` file: does it fit an architecture?
    CheckWeights(check_weights::Args),
    /// Measure training steps on random volumes and print JSON
    #[command(hide = true)]
    BenchStep(bench_step::Args),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Fold(args) => fold::run(&args),
        Command::Info(args) => info::run(&args),
        Command::CheckWeights(args) => check_weights::run(&args),
        Command::BenchStep(args) => bench_step::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fcdd-trainer: {error:#}");
            ExitCode::FAILURE
        }
    }
}
