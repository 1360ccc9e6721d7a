//! `fcdd studies`: what the ledger knows of studies, and an operator's retry.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;

use super::table::table;
use crate::config::Config;
use crate::dicom::Uid;
use crate::ledger::outbox::OutboxStatus;
use crate::ledger::overview::StudyDetails;
use crate::ledger::studies::StudyRow;
use crate::ledger::{Ledger, LedgerError, StudyState};

/// The ledger's file in the spool's directory.
pub(super) const LEDGER_FILE: &str = "ledger.sqlite";

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fcdd studies list --state failed
  fcdd studies show 1.2.840.113619.2.1.5
  fcdd studies retry 1.2.840.113619.2.1.5

Exit status: 0 done; 1 it failed, or there is no such study; 2 the call or the configuration is wrong.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Configuration of the daemon whose ledger is asked.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/fcdd/fcdd.toml")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The newest studies.
    #[command(after_help = "Example: fcdd studies list --state failed --limit 100")]
    List {
        /// Only studies in this state: receiving, complete, analyzing, reported, delivered, not_for_analysis, failed.
        #[arg(long, value_name = "STATE", value_parser = parse_state)]
        state: Option<StudyState>,
        /// At most this many.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
    },
    /// Everything about one study.
    #[command(after_help = "Example: fcdd studies show 1.2.840.113619.2.1.5 --json")]
    Show {
        /// Study Instance UID.
        #[arg(value_name = "STUDY", value_parser = Uid::parse)]
        study: Uid,
    },
    /// Analyze a study again, and try again what a destination refused.
    #[command(after_help = "Example: fcdd studies retry 1.2.840.113619.2.1.5

For studies that are reported, delivered, failed or not for analysis. What a destination has stored is not sent
to it again. A running daemon takes the study up within a second or two.")]
    Retry {
        /// Study Instance UID.
        #[arg(value_name = "STUDY", value_parser = Uid::parse)]
        study: Uid,
    },
}

fn parse_state(text: &str) -> Result<StudyState, String> {
    let names = || StudyState::ALL.map(StudyState::name).join(", ");
    StudyState::from_name(text).ok_or_else(|| format!("allowed are {}", names()))
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(config) = load_config(&args.config) else { return Ok(ExitCode::from(2)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ledger = Ledger::open_existing(&config.spool.directory.join(LEDGER_FILE)).await?;
        let text = match args.command {
            Command::List { state, limit } => {
                let studies = ledger.list_studies(limit, state).await?;
                if args.json { serde_json::to_string_pretty(&studies)? + "\n" } else { list(&studies) }
            }
            Command::Show { study } => {
                let details = ledger.show_study(&study).await?;
                if args.json { serde_json::to_string_pretty(&details)? + "\n" } else { describe(&details)? }
            }
            Command::Retry { study } => {
                let retried = ledger.retry_study(&study).await.map_err(explain)?;
                if args.json {
                    serde_json::to_string_pretty(&retried)? + "\n"
                } else {
                    let deliveries = match retried.deliveries_tried_again {
                        0 => String::new(),
                        n => format!(", and {n} deliveries of earlier results are tried again"),
                    };
                    format!("{study} was {} and will be analyzed again{deliveries}\n", retried.from)
                }
            }
        };
        ledger.close().await;
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Reads the configuration, or says what is wrong with it.
pub(super) fn load_config(path: &Path) -> Option<Config> {
    Config::load(path).inspect_err(|error| eprintln!("fcdd: {error}")).ok()
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn explain(error: LedgerError) -> anyhow::Error {
    match error {
        LedgerError::Move { study_uid, from, .. } => {
            anyhow::anyhow!("study {study_uid} is {from}: it is on its way already, there is nothing to retry")
        }
        other => other.into(),
    }
}

/// A time as people here write it.
pub(super) fn local(time: Timestamp) -> String {
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn list(studies: &[StudyRow]) -> String {
    if studies.is_empty() {
        return "no studies\n".to_owned();
    }
    let row = |study: &StudyRow| {
        [
            local(study.last_received_at),
            study.state.to_string(),
            study.verdict.clone().unwrap_or_else(|| "-".to_owned()),
            study.probability.map_or_else(|| "-".to_owned(), |p| format!("{p:.3}")),
            study.calling_ae.clone(),
            study.study_uid.to_string(),
            study.reason.clone(),
        ]
    };
    table(["LAST IMAGE", "STATE", "VERDICT", "P", "FROM", "STUDY", "WHY"], studies.iter().map(row))
}

fn describe(details: &StudyDetails) -> Result<String, std::fmt::Error> {
    let study = &details.study;
    let mut text = String::new();
    writeln!(text, "study        {}", study.study_uid)?;
    writeln!(text, "state        {} since {}", study.state, local(study.state_since))?;
    if !study.reason.is_empty() {
        writeln!(text, "why          {}", study.reason)?;
    }
    writeln!(
        text,
        "received     {} to {} from {}",
        local(study.first_received_at),
        local(study.last_received_at),
        study.calling_ae
    )?;
    if study.late_instances > 0 {
        writeln!(text, "late         {} objects came after the study was complete", study.late_instances)?;
    }
    if !details.quarantined.is_empty() {
        writeln!(text, "quarantined  {} objects came again with other bytes", details.quarantined.len())?;
        for variant in &details.quarantined {
            writeln!(
                text,
                "  {} {}: {} ({})",
                variant.kind,
                variant.sop_instance_uid,
                variant.why,
                variant.path.display()
            )?;
        }
    }
    if let Some(at) = study.files_removed_at {
        writeln!(text, "files        left the spool at {}", local(at))?;
    }
    if let Some(verdict) = &study.verdict {
        let probability = study.probability.map_or_else(String::new, |p| format!(", probability {p:.3}"));
        let revision = if study.revision > 1 { format!(", rev {}", study.revision) } else { String::new() };
        writeln!(text, "verdict      {verdict}{probability}{revision}")?;
    }
    for series in &details.series {
        writeln!(text, "\nseries {}: {} objects, {} bytes", series.series_uid, series.instances, series.bytes)?;
        for verdict in details.verdicts.iter().filter(|v| v.series_uid == series.series_uid) {
            let chosen = if verdict.chosen { ", analyzed" } else { "" };
            let what = verdict.verdict.get("verdict").and_then(|v| v.as_str()).unwrap_or("?");
            writeln!(text, "  {} ({}): {what}{chosen}", verdict.sequence, verdict.because)?;
        }
    }
    describe_deliveries(&mut text, details)?;
    Ok(text)
}

/// One line per destination, then every delivery that is not done.
fn describe_deliveries(text: &mut String, details: &StudyDetails) -> std::fmt::Result {
    let mut destinations: Vec<&str> =
        details.objects.iter().flat_map(|o| &o.deliveries).map(|d| d.destination.as_str()).collect();
    destinations.sort_unstable();
    destinations.dedup();
    if !details.objects.is_empty() {
        writeln!(text, "\nresults      {} objects", details.objects.len())?;
    }
    for destination in destinations {
        let of_this = || {
            let deliveries = details.objects.iter().flat_map(|o| o.deliveries.iter().map(move |d| (o, d)));
            deliveries.filter(|(_, d)| d.destination == destination)
        };
        let count = |status| of_this().filter(|(_, d)| d.status == status).count();
        writeln!(
            text,
            "to {destination}: {} delivered, {} waiting, {} refused, {} held",
            count(OutboxStatus::Delivered),
            count(OutboxStatus::Waiting),
            count(OutboxStatus::Refused),
            count(OutboxStatus::Held)
        )?;
        for (object, delivery) in of_this().filter(|(_, d)| d.status != OutboxStatus::Delivered) {
            let status = delivery.status.name();
            writeln!(text, "  {status} {} {}: {}", object.kind, object.sop_instance_uid, delivery.last_error)?;
        }
    }
    Ok(())
}
