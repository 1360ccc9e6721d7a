//! `fcdd-trainer` as a child process: finding it, starting it for a fold, hearing what it tells, stopping it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::research::run::folder::TrainerEvent;

/// Names the trainer where it does not lie beside `fcdd`.
pub const VARIABLE: &str = "FCDD_TRAINER";
const NAME: &str = "fcdd-trainer";
/// Signals with which a person or a scheduler stops both processes at once.
const STOPPING: [i32; 2] = [2, 15];

/// The trainer cannot be started, or did not do its fold.
#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    /// It is not there.
    #[error("{path} is not there: get it by `make trainer`, or set FCDD_TRAINER to where it is")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The system did not start it.
    #[error("cannot start {path}: {source}")]
    NotStarted {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It said why it could not go on.
    #[error("fold {fold}: {message}")]
    Failed {
        /// The fold.
        fold: usize,
        /// Its own words.
        message: String,
    },
    /// It was killed, or its words are not ours.
    #[error("fold {fold}: fcdd-trainer {what}; go on with --resume")]
    Broken {
        /// The fold.
        fold: usize,
        /// What happened.
        what: String,
    },
    /// Somebody stopped it; the fold can be resumed.
    #[error("stopped in fold {fold}")]
    Stopped {
        /// The fold.
        fold: usize,
    },
}

/// What to train.
#[derive(Debug, Clone, Copy)]
pub struct FoldRequest<'a> {
    /// The run's folder.
    pub run: &'a Path,
    /// The index of the cache on this machine.
    pub cache_index: &'a Path,
    /// The fold.
    pub fold: usize,
    /// Go on with what is there.
    pub resume: bool,
    /// cpu, cuda, cuda:N, auto.
    pub device: &'a str,
}

/// The trainer: `$FCDD_TRAINER`, else beside this program.
///
/// # Errors
/// When it is not there; the error says how to get it.
pub fn find() -> Result<PathBuf, TrainerError> {
    let said = std::env::var_os(VARIABLE).filter(|said| !said.is_empty()).map(PathBuf::from);
    let beside = || std::env::current_exe().unwrap_or_default().with_file_name(NAME);
    let path = said.unwrap_or_else(beside);
    if path.is_file() { Ok(path) } else { Err(TrainerError::Missing { path }) }
}

/// Trains one fold in a child process and returns when it is done. When `stop` is cancelled the child is killed: its
/// fold can be resumed from the last whole epoch.
///
/// # Errors
/// See [`TrainerError`].
pub async fn train_fold(
    trainer: &Path,
    request: FoldRequest<'_>,
    stop: &CancellationToken,
    mut hear: impl FnMut(TrainerEvent),
) -> Result<(), TrainerError> {
    let fold = request.fold;
    let mut command = Command::new(trainer);
    command.arg("fold").arg("--run").arg(request.run).arg("--cache-index").arg(request.cache_index);
    command.args(["--fold", &fold.to_string(), "--device", request.device]);
    if request.resume {
        command.arg("--resume");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let not_started = |source| TrainerError::NotStarted { path: trainer.to_owned(), source };
    let mut child = command.spawn().map_err(not_started)?;
    let broken = |what: String| TrainerError::Broken { fold, what };
    let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(broken("has no output".to_owned()));
    };
    // Read at the same time, or a trainer with much to say would wait for us and we for it.
    let said = tokio::spawn(async move {
        let mut said = String::new();
        let _ = stderr.read_to_string(&mut said).await;
        said
    });
    let mut lines = BufReader::new(stdout).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line,
            () = stop.cancelled() => {
                let _ = child.kill().await;
                return Err(TrainerError::Stopped { fold });
            }
        };
        let Some(line) = line.map_err(|e| broken(format!("cannot be heard: {e}")))? else { break };
        match serde_json::from_str(&line) {
            Ok(event) => hear(event),
            Err(_) => {
                let _ = child.kill().await;
                return Err(broken(format!("said `{line}`: is it of the same version as fcdd?")));
            }
        }
    }
    let status = child.wait().await.map_err(|e| broken(format!("is lost: {e}")))?;
    let said = said.await.unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    if stop.is_cancelled() || status.signal().is_some_and(|signal| STOPPING.contains(&signal)) {
        return Err(TrainerError::Stopped { fold });
    }
    let said = said.trim().trim_start_matches("fcdd-trainer: ").to_owned();
    match status.signal() {
        // The kernel's way to say that memory ran out.
        Some(9) => {
            Err(broken("was killed (signal 9): out of memory? Then begin a new run with a smaller --batch".to_owned()))
        }
        Some(signal) => Err(broken(format!("ended by signal {signal} {said}"))),
        None if said.is_empty() => Err(broken(format!("ended with {status}"))),
        None => Err(TrainerError::Failed { fold, message: said }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A trainer that is a few lines of shell.
    fn trainer(folder: &Path, script: &str) -> PathBuf {
        let (text, path) = (folder.join("trainer.sh"), folder.join(NAME));
        fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
        // Written by another process: a child of a neighbour could hold what we write open, and it would be busy.
        let installed =
            std::process::Command::new("install").args(["-m", "755"]).args([&text, &path]).status().unwrap();
        assert!(installed.success());
        path
    }

    fn train(script: &str, stop_at: Option<usize>) -> (Result<(), TrainerError>, Vec<TrainerEvent>) {
        let folder = tempfile::tempdir().unwrap();
        let path = trainer(folder.path(), script);
        let request = FoldRequest {
            run: Path::new("run"),
            cache_index: Path::new("index"),
            fold: 3,
            resume: true,
            device: "cpu",
        };
        let stop = CancellationToken::new();
        let mut heard = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let hear = |event| {
            heard.push(event);
            if Some(heard.len()) == stop_at {
                stop.cancel();
            }
        };
        let result = runtime.block_on(train_fold(&path, request, &stop, hear));
        (result, heard)
    }

    const STEP: &str = r#"echo '{"event":"step","step":1,"steps":2,"loss":0.5}'"#;

    #[test]
    fn events_are_heard_and_arguments_are_given() {
        let script = format!(
            r#"[ "$*" = "fold --run run --cache-index index --fold 3 --device cpu --resume" ] || exit 1
{STEP}"#
        );
        let (result, heard) = train(&script, None);
        result.unwrap();
        assert_eq!(heard, [TrainerEvent::Step { step: 1, steps: 2, loss: 0.5 }]);
    }

    #[test]
    fn its_own_words_are_the_error() {
        let (result, _) = train("echo 'fcdd-trainer: the disk is full' >&2; exit 1", None);
        assert_eq!(result.unwrap_err().to_string(), "fold 3: the disk is full");
        let (result, _) = train("kill -9 $$", None);
        assert!(result.unwrap_err().to_string().contains("smaller --batch"));
        // Not SIGINT: whoever runs the tests in the background of a script may have it ignored.
        let (result, _) = train("kill -15 $$", None);
        assert!(matches!(result, Err(TrainerError::Stopped { fold: 3 })));
        let (result, _) = train("echo hello", None);
        assert!(result.unwrap_err().to_string().contains("`hello`"));
    }

    #[test]
    fn a_stopped_trainer_is_gone() {
        let began = std::time::Instant::now();
        let (result, heard) = train(&format!("{STEP}\nexec sleep 60"), Some(1));
        assert!(matches!(result, Err(TrainerError::Stopped { fold: 3 })) && heard.len() == 1);
        assert!(began.elapsed().as_secs() < 30);
    }
}
