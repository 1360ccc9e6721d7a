//! `fcdd status`: how the daemon stands, in five lines, and one for each thing that is wrong.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use super::studies::{LEDGER_FILE, load_config, print};
use crate::config::Config;
use crate::ledger::Ledger;
use crate::ledger::overview::{OutboxCounts, Overview};
use crate::spool::room::Level;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd status --config /etc/fcdd/fcdd.toml

Exit status: 0 it is shown; 1 there is no ledger to read; 2 the configuration is wrong.")]
pub struct Args {
    /// Configuration of the daemon.
    #[arg(long, value_name = "FILE", default_value = "/etc/fcdd/fcdd.toml")]
    config: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Status {
    now: Timestamp,
    #[serde(flatten)]
    overview: Overview,
    disk: Option<Disk>,
    models: Vec<ModelLine>,
}

#[derive(Debug, Serialize)]
struct Disk {
    directory: PathBuf,
    free_mib: u64,
    total_mib: u64,
    /// Below this, the log warns.
    warn_free_mib: u64,
    /// Below this, associations are rejected.
    min_free_mib: u64,
    /// Below this, objects in flight are refused too.
    reserve_free_mib: u64,
    /// `enough`, `low`, `rejecting` or `refusing`; on the way up the daemon may still be a step lower.
    level: &'static str,
}

#[derive(Debug, Serialize)]
struct ModelLine {
    folder: PathBuf,
    /// Name, version and whether it is trained; or what is wrong.
    text: String,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(config) = load_config(&args.config) else { return Ok(ExitCode::from(2)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let overview = runtime.block_on(async {
        let ledger = Ledger::open_existing(&config.spool.directory.join(LEDGER_FILE)).await?;
        let overview = ledger.overview().await;
        ledger.close().await;
        overview
    })?;
    let status = Status {
        now: Timestamp::now(),
        overview,
        disk: disk(&config),
        models: config.analyze.models.iter().map(|folder| model(folder)).collect(),
    };
    print(&if args.json { serde_json::to_string_pretty(&status)? + "\n" } else { status.lines() })?;
    Ok(ExitCode::SUCCESS)
}

fn disk(config: &Config) -> Option<Disk> {
    let directory = &config.spool.directory;
    let space = rustix::fs::statvfs(directory).ok()?;
    let mib = |blocks: u64| blocks.saturating_mul(space.f_frsize) >> 20;
    let (steps, free_mib) = (config.spool.steps(), mib(space.f_bavail));
    Some(Disk {
        directory: directory.clone(),
        free_mib,
        total_mib: mib(space.f_blocks),
        warn_free_mib: steps.warn_mib,
        min_free_mib: steps.min_mib,
        reserve_free_mib: steps.reserve_mib,
        level: steps.level(free_mib, Level::Enough).name(),
    })
}

/// What a model folder says of itself. Nothing is checked here: the daemon does that when it starts.
fn model(folder: &Path) -> ModelLine {
    let manifest = std::fs::read_to_string(folder.join("manifest.toml")).map_err(|error| error.to_string());
    let read = manifest.and_then(|text| text.parse::<toml::Table>().map_err(|error| error.message().to_owned()));
    let text = match read {
        Ok(table) => {
            let field = |name: &str| table.get(name).and_then(|v| v.as_str()).unwrap_or("?").to_owned();
            let trained = table.get("trained").and_then(toml::Value::as_bool).unwrap_or(false);
            let note = if trained { "" } else { " (untrained)" };
            format!("{} {}{note}", field("name"), field("version"))
        }
        Err(why) => format!("{}: {why}", folder.display()),
    };
    ModelLine { folder: folder.to_owned(), text }
}

impl Status {
    fn lines(&self) -> String {
        let mut text = format!(
            "intake        {}\nbacklog       {}\nlast success  {}\ndisk          {}\nmodels        {}\n",
            self.intake(),
            self.backlog(),
            self.last_success(),
            self.disk_line(),
            self.models.iter().map(|m| m.text.as_str()).collect::<Vec<_>>().join(", ")
        );
        for trouble in &self.overview.troubles {
            text +=
                &format!("TROUBLE       {}: {} ({})\n", trouble.task, trouble.text, self.ago("since", trouble.since));
        }
        text
    }

    fn intake(&self) -> String {
        let last = self.overview.last_received_at.map_or("nothing yet".to_owned(), |at| self.ago("last object", at));
        let open = format!("{} associations open", self.overview.open_associations);
        let receipt = self.overview.last_association.as_ref().map_or_else(String::new, |a| {
            format!(
                "; last from {} {}: {} offered, {} stored, {} refused",
                a.calling_ae, a.outcome, a.offered, a.stored, a.refused
            )
        });
        format!("{last}; {open}{receipt}")
    }

    fn backlog(&self) -> String {
        let studies = |state: &str| self.overview.studies.get(state).copied().unwrap_or(0);
        let mut text = format!(
            "{} receiving, {} complete, {} analyzing, {} reported, {} failed",
            studies("receiving"),
            studies("complete"),
            studies("analyzing"),
            studies("reported"),
            studies("failed")
        );
        if let Some(since) = self.overview.oldest_waiting_since {
            text += &format!("; {}", self.ago("oldest waiting since", since));
        }
        for (destination, OutboxCounts { waiting, refused, held }) in &self.overview.outbox {
            text += &format!("; to {destination}: {waiting} waiting, {refused} refused, {held} held");
        }
        text
    }

    fn last_success(&self) -> String {
        let Some(study) = &self.overview.last_delivered else { return "none yet".to_owned() };
        let verdict = study.verdict.as_deref().unwrap_or("no verdict");
        self.ago(&format!("study {} ({verdict}) delivered", study.study_uid), study.state_since)
    }

    fn disk_line(&self) -> String {
        let Some(disk) = &self.disk else { return "cannot be measured".to_owned() };
        let warning = match disk.level {
            "enough" => "",
            "low" => "; GETTING LOW",
            "rejecting" => "; TOO LOW, associations are rejected",
            _ => "; FULL, nothing is taken any more",
        };
        let gib = |mib: u64| mib as f64 / 1024.0;
        format!(
            "{:.1} GiB free of {:.1} in {} (at least {:.1} are kept){warning}",
            gib(disk.free_mib),
            gib(disk.total_mib),
            disk.directory.display(),
            gib(disk.min_free_mib)
        )
    }

    /// `what 5 min ago`.
    fn ago(&self, what: &str, time: Timestamp) -> String {
        let seconds = self.now.duration_since(time).as_secs().max(0);
        let span = match seconds {
            0..120 => format!("{seconds} s"),
            120..7200 => format!("{} min", seconds / 60),
            7200..172_800 => format!("{} h", seconds / 3600),
            _ => format!("{} days", seconds / 86_400),
        };
        format!("{what} {span} ago")
    }
}
