//! `fcdd send`: DICOM files to an application entity by C-STORE.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;
use walkdir::WalkDir;

use super::progress::Progress;
use super::studies::print;
use crate::deliver::dicom_file::{DicomFile, FileError};
use crate::deliver::scu::{self, StoreOutcome};
use crate::deliver::{Association, AssociationError, Call};
use crate::dicom::{AeTitle, Peer};

/// SOP class of a DICOMDIR: a table of contents, not an object that is sent.
const MEDIA_STORAGE_DIRECTORY: &str = "1.2.840.10008.1.3.10";

/// Broken associations in a row after which the rest is not tried.
const MAX_BROKEN_IN_A_ROW: u32 = 3;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd send ./study --to PACS@192.0.2.7:104 --from WORKSTATION

Folders are sent with everything below them. Each object goes out in its own transfer syntax; an uncompressed
one is rewritten as Implicit VR Little Endian where the peer takes nothing else.

Exit status: 0 every object was stored; 1 one was not; 2 the call is wrong.")]
pub struct Args {
    /// Files and folders.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where to.
    #[arg(long, value_name = "AET@HOST:PORT")]
    to: Peer,
    /// Our AE title.
    #[arg(long, value_name = "AET", default_value = "FCDD")]
    from: AeTitle,
    /// Seconds to wait for any answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    to: String,
    from: AeTitle,
    pub(super) stored: usize,
    /// Stored with a warning status (Bxxx); counted in `stored` too.
    warnings: usize,
    pub(super) failed: Vec<Problem>,
    skipped: Vec<Problem>,
    seconds: f64,
}

/// A file that was not stored.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    path: PathBuf,
    why: String,
}

impl Problem {
    fn new(path: &Path, why: impl ToString) -> Problem {
        Problem { path: path.to_owned(), why: why.to_string() }
    }
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(missing) = args.paths.iter().find(|path| !path.exists()) {
        eprintln!("fcdd: there is no {}", missing.display());
        return Ok(ExitCode::from(2));
    }
    let call = Call { calling: args.from, peer: args.to, timeout: Duration::from_secs(args.timeout) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let summary = runtime.block_on(send_paths(&call, &args.paths));
    report(&summary, args.json)?;
    // Nothing to send is a failure too: a script that expects a study to go out must hear it.
    let done = summary.failed.is_empty() && summary.stored > 0;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Sends every DICOM file below the paths.
pub(super) async fn send_paths(call: &Call, paths: &[PathBuf]) -> Summary {
    let started = Instant::now();
    let mut summary = Summary {
        to: call.peer.to_string(),
        from: call.calling.clone(),
        stored: 0,
        warnings: 0,
        failed: Vec::new(),
        skipped: Vec::new(),
        seconds: 0.0,
    };
    let files = find_files(paths, &mut summary);
    send(call, &files, &mut summary).await;
    summary.seconds = started.elapsed().as_secs_f64();
    summary
}

/// The heads of every DICOM file below the paths, in the order of names.
fn find_files(paths: &[PathBuf], summary: &mut Summary) -> Vec<DicomFile> {
    let mut files = Vec::new();
    for entry in paths.iter().flat_map(|path| WalkDir::new(path).follow_links(true).sort_by_file_name()) {
        let path = match entry {
            Ok(entry) if entry.file_type().is_dir() => continue,
            Ok(entry) => entry.into_path(),
            Err(error) => {
                let path = error.path().unwrap_or(Path::new("")).to_owned();
                summary.failed.push(Problem::new(&path, error));
                continue;
            }
        };
        match DicomFile::open(&path) {
            Ok(file) if file.sop_class_uid.as_str() == MEDIA_STORAGE_DIRECTORY => {
                summary.skipped.push(Problem::new(&path, "a DICOMDIR is not an object"));
            }
            Ok(file) => files.push(file),
            Err(FileError::NotDicom { .. }) => summary.skipped.push(Problem::new(&path, "not a DICOM file")),
            Err(error) => summary.failed.push(Problem::new(&path, error)),
        }
    }
    files
}

async fn send(call: &Call, files: &[DicomFile], summary: &mut Summary) {
    let mut progress = Progress::new("sending", files.len() as u64);
    let mut broken_in_a_row = 0;
    for run in scu::runs(files) {
        let mut rest = run;
        while !rest.is_empty() {
            let stored_before = summary.stored;
            let (sent, result) = send_run(call, rest, summary, &mut progress).await;
            rest = rest.get(sent..).unwrap_or_default();
            let Err(error) = result else { continue };
            broken_in_a_row = if summary.stored > stored_before { 1 } else { broken_in_a_row + 1 };
            // The object under way failed with the association; without one, none can be sent.
            if sent == 0 || broken_in_a_row >= MAX_BROKEN_IN_A_ROW {
                summary.failed.extend(rest.iter().map(|file| Problem::new(&file.path, format!("not sent: {error}"))));
                break;
            }
        }
    }
}

/// Sends files in one association; returns how many were dealt with.
async fn send_run(
    call: &Call,
    files: &[DicomFile],
    summary: &mut Summary,
    progress: &mut Progress,
) -> (usize, Result<(), AssociationError>) {
    let mut association = match Association::request(call, &scu::offers(files)).await {
        Ok(association) => association,
        Err(error) => return (0, Err(error)),
    };
    for (index, file) in files.iter().enumerate() {
        match association.store(file).await {
            Ok(outcome) => count(call, file, outcome, summary),
            Err(error) => {
                summary.failed.push(Problem::new(&file.path, &error));
                progress.advance(1);
                association.abort().await;
                return (index + 1, Err(error));
            }
        }
        progress.advance(1);
    }
    association.release().await;
    (files.len(), Ok(()))
}

fn count(call: &Call, file: &DicomFile, outcome: StoreOutcome, summary: &mut Summary) {
    let why = match outcome {
        StoreOutcome::Stored { status } => {
            summary.stored += 1;
            summary.warnings += usize::from(status.0 != 0);
            return;
        }
        StoreOutcome::Passing { status, comment } => format!("refused for now: {status} {comment}"),
        StoreOutcome::Refused { status, comment } => format!("refused: {status} {comment}"),
        StoreOutcome::NotAccepted => format!(
            "{} does not accept SOP class {} in {}",
            call.peer,
            file.sop_class_uid,
            file.transfer_syntaxes().join(" or ")
        ),
        StoreOutcome::Unreadable(error) => error.to_string(),
    };
    summary.failed.push(Problem::new(&file.path, why.trim_end()));
}

fn report(summary: &Summary, json: bool) -> anyhow::Result<()> {
    if json {
        return print(&(serde_json::to_string_pretty(summary)? + "\n"));
    }
    for problem in &summary.skipped {
        eprintln!("skipped {}: {}", problem.path.display(), problem.why);
    }
    for problem in &summary.failed {
        eprintln!("failed {}: {}", problem.path.display(), problem.why);
    }
    let Summary { to, stored, warnings, failed, skipped, seconds, .. } = summary;
    let with_warnings = if *warnings > 0 { format!(" ({warnings} with a warning)") } else { String::new() };
    print(&format!(
        "{to}: {stored} stored{with_warnings}, {} failed, {} skipped, {seconds:.1} s\n",
        failed.len(),
        skipped.len()
    ))
}
