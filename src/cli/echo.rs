//! `fcdd echo`: does an application entity answer?

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;

use super::studies::print;
use crate::deliver::Call;
use crate::deliver::scu;
use crate::dicom::dimse::Status;
use crate::dicom::{AeTitle, Peer};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd echo PACS@192.0.2.7:104

Exit status: 0 it answered; 1 it did not; 2 the call is wrong.")]
pub struct Args {
    /// Whom to ask.
    #[arg(value_name = "AET@HOST:PORT")]
    peer: Peer,
    /// Our AE title.
    #[arg(long, value_name = "AET", default_value = "FCDD")]
    from: AeTitle,
    /// Seconds to wait for any answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let call = Call { calling: args.from, peer: args.peer, timeout: Duration::from_secs(args.timeout) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let started = Instant::now();
    let answer = runtime.block_on(scu::echo(&call));
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    let problem = match &answer {
        Ok(Some(Status::SUCCESS)) => None,
        Ok(Some(status)) => Some(format!("{} answered with status {status}", call.peer)),
        Ok(None) => Some(format!("{} accepts associations but not Verification (C-ECHO)", call.peer)),
        Err(error) => Some(error.to_string()),
    };
    if args.json {
        let value = json!({
            "peer": call.peer.to_string(),
            "from": call.calling,
            "answered": problem.is_none(),
            "milliseconds": milliseconds,
            "error": problem,
        });
        print(&format!("{value:#}\n"))?;
    } else if problem.is_none() {
        print(&format!("{} answers ({milliseconds:.0} ms)\n", call.peer))?;
    }
    match problem {
        None => Ok(ExitCode::SUCCESS),
        Some(_) if args.json => Ok(ExitCode::from(1)),
        Some(problem) => Err(anyhow::anyhow!(problem)),
    }
}
