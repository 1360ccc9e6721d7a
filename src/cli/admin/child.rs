//! This program's own subcommands as child processes. A wish to stop reaches them, and they do not outlive us.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::Stdio;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Lines that an error repeats.
const KEPT_LINES: usize = 20;

/// Where a child's words go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Through us, line by line; when it fails the last ones are the error, as a mail about it needs.
    PassedOn,
    /// To our standard error, without us in between: a terminal shows its bars. Our standard output stays ours.
    OnStandardError,
}

/// How a child ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It did its work.
    Done,
    /// Somebody stopped it.
    Stopped,
}

/// Who started this process: a subcommand that [`run`] starts has this argument.
#[derive(Debug, clap::Args)]
pub struct StartedBy {
    /// End when this process, which started us, ends.
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<u32>,
}

impl StartedBy {
    /// Whether it was a person, or at least not this program.
    pub fn is_a_person(&self) -> bool {
        self.parent.is_none()
    }

    /// A parent that is killed takes us, and what we started, along: otherwise two would write into one folder when it
    /// is called again.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn end_with_it(&self) -> anyhow::Result<()> {
        let Some(parent) = self.parent else { return Ok(()) };
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // It may have ended before.
        if getppid().is_none_or(|now| now.as_raw_nonzero().get().unsigned_abs() != parent) {
            bail!("process {parent}, which started this one, has ended");
        }
        Ok(())
    }
}

/// Is cancelled when somebody wants this process to stop (SIGTERM, SIGINT). From now on these signals do not end it by
/// themselves, so that no child is left behind. To be called in a runtime.
///
/// # Errors
/// When the system does not let us hear the signals.
pub fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let hear = |kind| signal(kind).context("cannot listen for signals");
    let (mut terminate, mut interrupt) = (hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let heard = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        heard.cancel();
    });
    Ok(stop)
}

/// Runs `fcdd CALL`, a subcommand with [`StartedBy`]. A wish to stop is passed on, and the child's own end awaited.
///
/// # Errors
/// When it cannot be started, or failed.
pub async fn run(call: Vec<OsString>, output: Output, stop: &CancellationToken) -> anyhow::Result<Ended> {
    if stop.is_cancelled() {
        return Ok(Ended::Stopped);
    }
    let words: Vec<String> = call.iter().take(2).map(|word| word.to_string_lossy().into_owned()).collect();
    let what = format!("fcdd {}", words.join(" "));
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(&program);
    command.args(call).args(["--parent", &std::process::id().to_string()]).stdin(Stdio::null());
    match output {
        Output::PassedOn => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
        Output::OnStandardError => command.stdout(std::io::stderr().as_fd().try_clone_to_owned()?),
    };
    let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    let id = child.id();
    let ended = async {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (printed, said) = tokio::join!(pass_on(stdout, std::io::stdout()), pass_on(stderr, std::io::stderr()));
        // Errors go to standard error; a subcommand that said nothing there may have printed something.
        (child.wait().await, if said.is_empty() { printed } else { said })
    };
    tokio::pin!(ended);
    let (status, said) = tokio::select! {
        ended = &mut ended => ended,
        () = stop.cancelled() => {
            // At a terminal it has heard the same signal itself, and it may be gone already.
            if let Some(pid) = id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
            ended.await
        }
    };
    let status = status.with_context(|| format!("{what} is lost"))?;
    if stop.is_cancelled() {
        return Ok(Ended::Stopped);
    }
    if status.success() {
        return Ok(Ended::Done);
    }
    match output {
        Output::PassedOn => bail!("{what} ended with {status}; its last lines:\n{}", Vec::from(said).join("\n")),
        Output::OnStandardError => bail!("{what} ended with {status}, see above"),
    }
}

/// Copies line by line what there is to be heard, and returns the last lines.
async fn pass_on(from: Option<impl AsyncRead + Unpin>, mut to: impl Write) -> VecDeque<String> {
    let mut kept = VecDeque::new();
    let Some(from) = from else { return kept };
    let (mut from, mut line) = (BufReader::new(from), Vec::new());
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
