//! `fcdd decode`: the child side of decoding compressed pixels. Not for people.

use std::process::ExitCode;

/// Reads frames on standard input, writes their samples on standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "fcdd starts this itself; the protocol is described in the source (assemble/decode_child).")]
pub struct Args {}

/// Runs until standard input ends.
pub fn run(_args: Args) -> anyhow::Result<ExitCode> {
    // A decoder whose parent was killed has nobody to answer, and a decoder that hangs would never find out.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    crate::assemble::decode_child::serve(std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}
