//! This program's own subcommands as child processes: what they say is passed on, and the end of it kept.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::signal::unix::{Signal as Heard, SignalKind, signal};

/// Lines that an error repeats.
const KEPT_LINES: usize = 20;

/// How a child ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It did its work.
    Done,
    /// Somebody stopped it.
    Stopped,
}

/// Hears that somebody wants this process to stop (SIGTERM, SIGINT).
pub struct Stop {
    terminate: Heard,
    interrupt: Heard,
    wanted: bool,
}

impl Stop {
    /// From now on the signals no longer end this process.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn listen() -> anyhow::Result<Stop> {
        let hear = |kind| signal(kind).context("cannot listen for signals");
        Ok(Stop { terminate: hear(SignalKind::terminate())?, interrupt: hear(SignalKind::interrupt())?, wanted: false })
    }

    async fn heard(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        self.wanted = true;
    }
}

/// Runs `fcdd CALL` and passes on what it says. A wish to stop is passed on too, and the child's own end awaited.
///
/// # Errors
/// When it cannot be started, or failed: then its last lines are the error.
pub async fn run(call: Vec<OsString>, stop: &mut Stop) -> anyhow::Result<Ended> {
    if stop.wanted {
        return Ok(Ended::Stopped);
    }
    let words: Vec<String> = call.iter().take(2).map(|word| word.to_string_lossy().into_owned()).collect();
    let what = format!("fcdd {}", words.join(" "));
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(&program);
    command.args(call).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        bail!("{what} has no output");
    };
    let id = child.id();
    let ended = async {
        let (printed, said) = tokio::join!(pass_on(stdout, std::io::stdout()), pass_on(stderr, std::io::stderr()));
        // Errors go to standard error; a subcommand that said nothing there may have printed something.
        (child.wait().await, if said.is_empty() { printed } else { said })
    };
    tokio::pin!(ended);
    let (status, said) = loop {
        tokio::select! {
            ended = &mut ended => break ended,
            () = stop.heard() => {
                // It may have heard the same signal itself, or be gone already.
                if let Some(pid) = id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::TERM);
                }
            }
        }
    };
    let status = status.with_context(|| format!("{what} is lost"))?;
    if status.success() {
        return Ok(if stop.wanted { Ended::Stopped } else { Ended::Done });
    }
    if stop.wanted {
        return Ok(Ended::Stopped);
    }
    bail!("{what} ended with {status}; its last lines:\n{}", Vec::from(said).join("\n"))
}

/// Copies line by line and returns the last ones.
async fn pass_on(from: impl AsyncRead + Unpin, mut to: impl Write) -> VecDeque<String> {
    let mut from = BufReader::new(from);
    let (mut line, mut kept) = (Vec::new(), VecDeque::new());
    // A pipe that breaks has nothing more to say, and nobody may read what we print: the child goes on all the same.
    while from.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0) {
        let _ = to.write_all(&line).and_then(|()| to.flush());
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
    kept
}
