//! `fcdd deliveries`: what became of the results, per study and destination.

use std::path::PathBuf;
use std::process::ExitCode;

use super::studies::{LEDGER_FILE, load_config, local, print};
use super::table::table;
use crate::ledger::Ledger;
use crate::ledger::deliveries::{DeliveryFilter, DeliveryGroup};
use crate::ledger::outbox::OutboxStatus;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fcdd deliveries --status refused
  fcdd deliveries --destination pacs --limit 200

`fcdd studies show STUDY` has every object; `fcdd studies retry STUDY` tries again what was refused.

Exit status: 0 done; 1 it failed; 2 the call or the configuration is wrong.")]
pub struct Args {
    /// Only to this destination, by its name in the configuration.
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Only deliveries in this status: waiting, delivered, refused, held.
    #[arg(long, value_name = "STATUS", value_parser = parse_status)]
    status: Option<OutboxStatus>,
    /// Of at most this many studies.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// Configuration of the daemon whose ledger is asked.
    #[arg(long, value_name = "FILE", default_value = super::DEFAULT_CONFIG)]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn parse_status(text: &str) -> Result<OutboxStatus, String> {
    OutboxStatus::from_name(text).ok_or_else(|| "allowed are waiting, delivered, refused, held".to_owned())
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(config) = load_config(&args.config) else { return Ok(ExitCode::from(2)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ledger = Ledger::open_existing(&config.spool.directory.join(LEDGER_FILE)).await?;
        let filter = DeliveryFilter { destination: args.destination, status: args.status };
        let groups = ledger.list_deliveries(&filter, args.limit).await?;
        ledger.close().await;
        print(&if args.json { serde_json::to_string_pretty(&groups)? + "\n" } else { list(&groups) })?;
        Ok(ExitCode::SUCCESS)
    })
}

fn list(groups: &[DeliveryGroup]) -> String {
    if groups.is_empty() {
        return "no deliveries\n".to_owned();
    }
    table(
        ["TO", "STATUS", "OBJECTS", "ATTEMPTS", "WHEN", "ANSWER", "STUDY", "WHY"],
        groups.iter().map(|group| {
            let when = match (group.next_attempt_at, group.delivered_at) {
                (Some(at), _) => format!("next {}", local(at)),
                (None, Some(at)) => local(at),
                (None, None) => "-".to_owned(),
            };
            [
                group.destination.clone(),
                group.status.name().to_owned(),
                group.objects.to_string(),
                group.attempts.to_string(),
                when,
                group.dimse_status.map_or_else(|| "-".to_owned(), |status| format!("{status:04X}H")),
                group.study_uid.to_string(),
                group.last_error.clone(),
            ]
        }),
    )
}
