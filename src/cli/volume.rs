//! `fcdd volume`: DICOM to NIfTI through the daemon's own assembly.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Context;
use serde::Serialize;

use super::progress::Progress;
use crate::assemble::{self, DecodeLimits, Leftover, Options, VolumesWanted};
use crate::config::sequences::SequenceRules;
use crate::study::{Sequence, SeriesVerdict, Stack};
use crate::volume::nifti;

/// Turn DICOM series into NIfTI volumes and say what each series is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd volume /data/study --output volumes\n\n\
    Exit status: 0 every series became a volume or has a verdict; 1 nothing could be read; 2 wrong call.")]
pub struct Args {
    /// DICOM files, or folders that are searched through.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Folder for the .nii.gz files; made if it is not there.
    #[arg(long)]
    output: PathBuf,
    /// Write .nii files, which take less time and more room.
    #[arg(long)]
    uncompressed: bool,
    /// Rules that classify series, instead of those that come with fcdd.
    #[arg(long)]
    sequences: Option<PathBuf>,
    /// Print a JSON array instead of lines.
    #[arg(long)]
    json: bool,
}

/// One stack, as `--json` prints it.
#[derive(Serialize)]
struct Line<'a> {
    study_uid: &'a str,
    series_uid: &'a str,
    series_number: Option<i64>,
    stack: usize,
    description: &'a str,
    images: usize,
    sequence: Sequence,
    because: &'a str,
    chosen: bool,
    #[serde(flatten)]
    verdict: &'a SeriesVerdict,
    verdict_text: String,
    /// Columns, rows, slices.
    dims: Option<[usize; 3]>,
    file: Option<PathBuf>,
}

/// A file that became nothing, as `--json` prints it.
#[derive(Serialize)]
struct LeftoverLine<'a> {
    verdict: &'static str,
    #[serde(flatten)]
    leftover: &'a Leftover,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let rules = match &args.sequences {
        Some(path) => SequenceRules::load(path)?,
        None => SequenceRules::built_in(),
    };
    let files = files_below(&args.paths)?;
    std::fs::create_dir_all(&args.output).with_context(|| format!("cannot make {}", args.output.display()))?;
    let decode = DecodeLimits::default();
    let progress = Mutex::new(Progress::new("reading", files.len() as u64));
    let on_file = || {
        if let Ok(mut progress) = progress.lock() {
            progress.advance(1);
        }
    };
    let volumes = VolumesWanted::All;
    let options = Options { rules: &rules, decode: &decode, volumes, digests: false, on_file: Some(&on_file) };
    let assembly = assemble::assemble_with(&files, options);
    drop(progress);
    let ending = if args.uncompressed { "nii" } else { "nii.gz" };
    let mut json = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for study in &assembly.studies {
        for (i, stack) in study.stacks.iter().enumerate() {
            let dims = stack.volume.as_ref().map(|v| v.volume.data.dim()).map(|(k, j, i)| [i, j, k]);
            let file = match &stack.volume {
                Some(source) => {
                    let path = args.output.join(unique_name(stack, ending, &mut names));
                    nifti::write(&path, &source.volume)?;
                    Some(path)
                }
                None => None,
            };
            let line = Line {
                study_uid: study.study_uid.as_str(),
                series_uid: stack.series_uid.as_str(),
                series_number: stack.series_number,
                stack: stack.index_in_series,
                description: &stack.description,
                images: stack.images,
                sequence: stack.sequence,
                because: &stack.sequence_because,
                chosen: [study.t1, study.flair].contains(&Some(i)),
                verdict: &stack.verdict,
                verdict_text: stack.verdict.to_string(),
                dims,
                file,
            };
            if args.json {
                json.push(serde_json::to_value(&line)?);
            } else {
                print_line(&line);
            }
        }
        for problem in study.problems.iter().filter(|_| !args.json) {
            println!("study {}: {}", study.study_uid, problem.text);
        }
    }
    for leftover in &assembly.leftovers {
        if args.json {
            json.push(serde_json::to_value(LeftoverLine { verdict: "left_over", leftover })?);
        } else {
            println!("left over: {}: {}", leftover.path.display(), leftover.why);
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&json)?);
    }
    Ok(if assembly.studies.is_empty() { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn print_line(line: &Line) {
    let number = line.series_number.map_or("?".to_owned(), |n| n.to_string());
    let chosen = if line.chosen { ", chosen" } else { "" };
    let stack = if line.stack > 0 { format!(" stack {}", line.stack) } else { String::new() };
    println!("series {number}{stack} {:?}: {}{chosen} ({})", line.description, line.sequence.label(), line.because);
    match (&line.file, line.dims) {
        (Some(file), Some([i, j, k])) => println!("  {}: {i} x {j} x {k}, {}", line.verdict_text, file.display()),
        _ => println!("  {} ({} images)", line.verdict_text, line.images),
    }
}

/// All regular files below the paths; a path that is not there is a mistake of the call.
pub(super) fn files_below(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        for entry in walkdir::WalkDir::new(path).follow_links(true).sort_by_file_name() {
            let entry = entry.with_context(|| format!("cannot search {}", path.display()))?;
            if entry.file_type().is_file() {
                files.push(entry.into_path());
            }
        }
    }
    Ok(files)
}

/// `<series number>_<description>_<stack>.<ending>` of harmless characters, with a suffix where it is taken.
fn unique_name(stack: &Stack, ending: &str, names: &mut std::collections::BTreeSet<String>) -> String {
    let safe: String = stack
        .description
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '_' })
        .take(60)
        .collect();
    let safe = safe.trim_matches(['_', '.']).to_owned();
    let number = stack.series_number.map_or("unnumbered".to_owned(), |n| n.to_string());
    let parts: Vec<&str> = [number.as_str(), safe.as_str()].into_iter().filter(|p| !p.is_empty()).collect();
    let stem = format!("{}_{}", parts.join("_"), stack.index_in_series);
    let free = (0..)
        .map(|n| if n == 0 { format!("{stem}.{ending}") } else { format!("{stem}_{n}.{ending}") })
        .find(|name| !names.contains(name));
    let name = free.unwrap_or(stem);
    names.insert(name.clone());
    name
}
