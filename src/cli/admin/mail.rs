//! `fcdd admin mail`: tells the configured recipients of a run.

use std::path::PathBuf;
use std::process::ExitCode;

use super::super::studies::load_config;
use super::retrain_periodically::promotable;
use crate::config::Config;
use crate::research::mail::{self, Letter};
use crate::research::periodic;

/// Mail the summary of a run to the recipients of the configuration.
///
/// The mail holds the figures of the whole cohort, the verdict on confounds, and what to type to promote; it says
/// nothing of single subjects. report.html goes along only where mail.attach_report is true. Without [mail] in the
/// configuration nothing is ever sent.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fcdd admin mail /var/lib/fcdd/runs/2026-11-24 --print
  fcdd admin mail --failed \"the archive's disk is full\" --config /etc/fcdd/fcdd.toml

Exit status: 0 sent to everybody; 1 not sent, or not to everybody; 2 the call or the configuration is wrong.")]
pub struct Args {
    /// The run's folder (of one modality, or of both).
    #[arg(value_name = "RUN", required_unless_present = "failed")]
    run: Option<PathBuf>,
    /// Tell instead that RUN, or retraining as a whole, failed, and why.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    failed: Option<String>,
    /// Words for the subject line; that it is for research use only is added.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    subject: Option<String>,
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = super::super::DEFAULT_CONFIG)]
    config: PathBuf,
    /// Print the mail and send nothing.
    #[arg(long)]
    print: bool,
}

/// Writes the mail, and sends or prints it.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(config) = load_config(&args.config) else { return Ok(ExitCode::from(2)) };
    let letter = letter(&args, &config)?;
    let letter = match &args.subject {
        Some(words) => letter.with_subject(words),
        None => letter,
    };
    if args.print {
        println!("Subject: {}\n\n{}", letter.subject, letter.text);
        letter.attachments.iter().for_each(|(name, bytes)| println!("[{name}, {} bytes]", bytes.len()));
        return Ok(ExitCode::SUCCESS);
    }
    let Some(mail) = &config.mail else {
        eprintln!("fcdd: {} has no [mail]: nothing is sent anywhere; see --print", args.config.display());
        return Ok(ExitCode::from(2));
    };
    mail::send(mail, &letter, &mail.to)?;
    println!("mailed to {}", mail.to.join(", "));
    Ok(ExitCode::SUCCESS)
}

fn letter(args: &Args, config: &Config) -> anyhow::Result<Letter> {
    let run = match (&args.failed, &args.run) {
        (Some(why), run) => return Ok(mail::failed(run.as_deref(), why)),
        (None, Some(run)) => run,
        // The command line asks for one of them.
        (None, None) => anyhow::bail!("name a run"),
    };
    // A run of `retrain-periodically` knows its models; others were exported by hand.
    let models = periodic::finished(run)?.map(|finished| finished.models).unwrap_or_default();
    let attach = config.mail.as_ref().is_some_and(|mail| mail.attach_report);
    Ok(mail::of_run(run, &promotable(&models, config, &args.config), attach)?)
}
