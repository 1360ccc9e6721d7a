//! `fcdd associations`: the receipt of every association, and of one of them each object that was refused.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::studies::{LEDGER_FILE, load_config, local, print};
use super::table::table;
use crate::ledger::Ledger;
use crate::ledger::associations::AssociationRow;
use crate::ledger::refusals::{KEPT_PER_ASSOCIATION, RefusalRow};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fcdd associations --problems
  fcdd associations 1742

Exit status: 0 done; 1 it failed, or there is no such association; 2 the call or the configuration is wrong.")]
pub struct Args {
    /// One association: its receipt, and which objects were refused and why.
    #[arg(value_name = "ID")]
    id: Option<i64>,
    /// Only those that were rejected, aborted or lost, or refused an object or put one into quarantine.
    #[arg(long, conflicts_with = "id")]
    problems: bool,
    /// At most this many, the newest.
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "id")]
    limit: u32,
    /// Configuration of the daemon whose ledger is asked.
    #[arg(long, value_name = "FILE", default_value = super::DEFAULT_CONFIG)]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is printed of one association.
#[derive(Debug, Serialize)]
struct Receipt {
    #[serde(flatten)]
    association: AssociationRow,
    refusals: Vec<RefusalRow>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(config) = load_config(&args.config) else { return Ok(ExitCode::from(2)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ledger = Ledger::open_existing(&config.spool.directory.join(LEDGER_FILE)).await?;
        let text = match args.id {
            None => {
                let rows = ledger.list_associations_with(args.limit, args.problems).await?;
                if args.json { serde_json::to_string_pretty(&rows)? + "\n" } else { list(&rows) }
            }
            Some(id) => {
                let found = ledger.association(id).await?;
                let association = found.ok_or_else(|| anyhow::anyhow!("there is no association {id} in the ledger"))?;
                let receipt = Receipt { association, refusals: ledger.list_refusals(id).await? };
                if args.json { serde_json::to_string_pretty(&receipt)? + "\n" } else { describe(&receipt)? }
            }
        };
        ledger.close().await;
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn outcome(row: &AssociationRow) -> String {
    row.outcome.clone().unwrap_or_else(|| "open".to_owned())
}

fn list(rows: &[AssociationRow]) -> String {
    if rows.is_empty() {
        return "no associations\n".to_owned();
    }
    let header =
        ["ID", "OPENED", "FROM", "PEER", "OUTCOME", "OFFERED", "STORED", "SAME", "QUARANTINED", "REFUSED", "WHY"];
    table(
        header,
        rows.iter().map(|row| {
            [
                row.id.to_string(),
                local(row.opened_at),
                row.calling_ae.clone(),
                row.peer.clone(),
                outcome(row),
                row.offered.to_string(),
                row.stored.to_string(),
                row.duplicates.to_string(),
                row.quarantined.to_string(),
                row.refused.to_string(),
                row.why.clone(),
            ]
        }),
    )
}

fn describe(receipt: &Receipt) -> Result<String, std::fmt::Error> {
    let row = &receipt.association;
    let mut text = String::new();
    writeln!(text, "association  {} from {} ({}) to {}", row.id, row.calling_ae, row.peer, row.called_ae)?;
    let closed = row.closed_at.map_or_else(String::new, |at| format!(" to {}", local(at)));
    writeln!(text, "time         {}{closed}", local(row.opened_at))?;
    writeln!(text, "outcome      {}: {}", outcome(row), row.why)?;
    writeln!(text, "contexts     {} proposed, {} accepted", row.contexts_offered, row.contexts_accepted)?;
    writeln!(
        text,
        "objects      {} offered: {} stored, {} there already, {} quarantined, {} refused; {} bytes",
        row.offered, row.stored, row.duplicates, row.quarantined, row.refused, row.bytes
    )?;
    for refusal in &receipt.refusals {
        writeln!(text, "  refused {} ({:04X}H): {}", refusal.sop_instance_uid, refusal.status, refusal.why)?;
    }
    if row.refused > receipt.refusals.len() as i64 && receipt.refusals.len() as i64 >= KEPT_PER_ASSOCIATION {
        writeln!(text, "  ... of {} refused objects the first {KEPT_PER_ASSOCIATION} are noted", row.refused)?;
    }
    Ok(text)
}
