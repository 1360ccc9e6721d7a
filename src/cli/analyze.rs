//! `fcdd analyze`: the daemon's pipeline on files, without a network.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};

use super::progress::Progress;
use crate::config::{self, Device};
use crate::network::logit::log_odds;
use crate::pipeline::{Finished, Pipeline};
use crate::report;
use crate::spool;
use crate::study::{AssembledStudy, Revision, Sequence};
use crate::volume::{Volume, nifti};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fcdd analyze study/ --output result
  fcdd analyze --t1 sub-01_T1w.nii.gz --flair sub-01_FLAIR.nii.gz --output result --json

Writes result.json, heatmap_t1.nii.gz / heatmap_flair.nii.gz (in the source's space), overview.png and, for DICOM
input, the result objects in dicom/. Several studies get a folder each, named by their Study Instance UID.")]
pub struct Args {
    /// DICOM files or folders (searched recursively).
    #[arg(value_name = "PATH", required_unless_present_any = ["t1", "flair"])]
    paths: Vec<PathBuf>,
    /// A T1 volume as NIfTI, instead of DICOM.
    #[arg(long, value_name = "FILE", conflicts_with = "paths")]
    t1: Option<PathBuf>,
    /// A FLAIR volume as NIfTI, instead of DICOM.
    #[arg(long, value_name = "FILE", conflicts_with = "paths")]
    flair: Option<PathBuf>,
    /// Folder for the results; made if it is not there.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Model folder, at most one per sequence; default: the demonstration models that come with fcdd.
    #[arg(long = "model", value_name = "DIR")]
    models: Vec<PathBuf>,
    /// Where inference runs: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: Device,
    /// Share of FCD among the patients whom the site examines (between 0 and 1): moves the shown probabilities, no
    /// verdict; default: each model's training prevalence.
    #[arg(long, value_name = "P", value_parser = prevalence)]
    site_prevalence: Option<f64>,
    /// Rules that classify series; default: those that fcdd was built with.
    #[arg(long, value_name = "FILE")]
    sequences: Option<PathBuf>,
    /// Texts and codes of the result objects; default: those that fcdd was built with.
    #[arg(long, value_name = "DIR")]
    templates: Option<PathBuf>,
    /// Print result.json (an array when there are several studies).
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let analyze = config::Analyze {
        models: if args.models.is_empty() { super::resources::demo_models()? } else { args.models.clone() },
        device: args.device,
        site_prevalence: args.site_prevalence,
        ..config::Analyze::default()
    };
    let assemble = config::Assemble { sequences: args.sequences.clone(), ..config::Assemble::default() };
    let report = config::Report { templates: args.templates.clone(), ..config::Report::default() };

    let mut progress = Progress::new("analyzing", 3);
    let begun = Instant::now();
    let pipeline = Pipeline::load(&assemble, &analyze, &report)?;
    let load_ms = milliseconds(begun);
    progress.advance(1);

    let begun = Instant::now();
    let studies = if args.paths.is_empty() {
        vec![pipeline.assemble_nifti(args.t1.as_deref(), args.flair.as_deref())?]
    } else {
        assemble_folders(&pipeline, &args.paths)?
    };
    let assemble_ms = milliseconds(begun);
    progress.advance(1);
    if studies.is_empty() {
        bail!("there is no DICOM study in {}", display_paths(&args.paths));
    }

    let several = studies.len() > 1;
    progress.add_steps(studies.len().saturating_sub(1) as u64);
    let mut printed = Vec::new();
    let mut failed = false;
    for study in studies {
        let folder = if several { args.output.join(study.study_uid.as_str()) } else { args.output.clone() };
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let dicom = folder.join("dicom");
        if report::is_dicom(&study) {
            std::fs::create_dir_all(&dicom).with_context(|| format!("cannot make {}", dicom.display()))?;
        }
        let (mut finished, failure) = pipeline.analyze_and_report(study, |_| Revision::first(), &dicom)?;
        finished.analysis.timings_ms.insert("load_models".to_owned(), load_ms);
        finished.analysis.timings_ms.insert("assemble".to_owned(), assemble_ms);
        if let Some(error) = failure {
            eprintln!("fcdd: the analysis failed: {error}");
            failed = true;
        }
        let result = write_results(&pipeline, &finished, &folder)?;
        progress.advance(1);
        if args.json {
            printed.push(result);
        } else {
            progress.hide(|| print_summary(&finished, &folder));
        }
    }
    if args.json {
        let document = if several { serde_json::Value::Array(printed) } else { printed.remove(0) };
        println!("{}", serde_json::to_string_pretty(&document)?);
    }
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn prevalence(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| log_odds(*share).is_some());
    share.ok_or_else(|| "must be a number above 0 and below 1, e.g. 0.05 for one patient in twenty".to_owned())
}

fn assemble_folders(pipeline: &Pipeline, paths: &[PathBuf]) -> anyhow::Result<Vec<AssembledStudy>> {
    let assembly = pipeline.assemble_all(&super::volume::files_below(paths)?);
    for leftover in &assembly.leftovers {
        eprintln!("fcdd: left out {}: {}", leftover.path.display(), leftover.why);
    }
    Ok(assembly.studies)
}

/// Heatmaps, pictures and `result.json`, the last one when everything else is there.
fn write_results(pipeline: &Pipeline, finished: &Finished, folder: &Path) -> anyhow::Result<serde_json::Value> {
    let begun = Instant::now();
    for outcome in &finished.analysis.outcomes {
        let Some(source) = finished.study.chosen(outcome.sequence).and_then(|s| s.volume.as_ref()) else { continue };
        let name = match outcome.sequence {
            Sequence::T1 => "t1",
            Sequence::Flair => "flair",
            Sequence::Other => continue,
        };
        let heatmap = Volume { data: outcome.heatmap.display.as_ref().clone(), affine: source.volume.affine };
        nifti::write(&folder.join(format!("heatmap_{name}.nii.gz")), &heatmap)?;
    }
    let (study, analysis) = (&finished.study, &finished.analysis);
    let png = report::overview_png(study, analysis, pipeline.templates(), pipeline.report_config())?;
    let path = folder.join("overview.png");
    std::fs::write(&path, png).with_context(|| format!("cannot write {}", path.display()))?;
    let mut result = report::result_json(study, analysis, pipeline.templates());
    if let Some(timings) = result.get_mut("timings_ms").and_then(|t| t.as_object_mut()) {
        timings.insert("write_files".to_owned(), serde_json::json!(milliseconds(begun)));
    }
    spool::write_durably(&folder.join("result.json"), serde_json::to_string_pretty(&result)?.as_bytes())?;
    Ok(result)
}

fn print_summary(finished: &Finished, folder: &Path) {
    let study = &finished.study;
    println!("study {}", study.study_uid);
    for stack in &study.stacks {
        let chosen = [study.t1, study.flair].into_iter().flatten().any(|i| std::ptr::eq(&study.stacks[i], stack));
        println!(
            "  {} {:5} {:<32} {} image(s), {}: {}",
            if chosen { "*" } else { " " },
            stack.sequence.label(),
            stack.description,
            stack.images,
            stack.verdict,
            stack.sequence_because
        );
    }
    let percent = |p: f64| format!("{:.1} %", p * 100.0);
    for outcome in &finished.analysis.outcomes {
        println!(
            "{}: probability {} (threshold {}), {} {} on {}",
            outcome.sequence.label(),
            percent(outcome.probability),
            percent(outcome.threshold),
            outcome.model.name,
            outcome.model.version,
            outcome.model.provider
        );
    }
    if let Some(fused) = &finished.analysis.fused {
        println!("fused: probability {} (threshold {})", percent(fused.probability), percent(fused.threshold));
        println!("probabilities assume the {}", fused.prior);
        for outcome in finished.analysis.outcomes.iter().filter(|outcome| outcome.prior != fused.prior) {
            println!("  {} alone: the {}", outcome.sequence.label(), outcome.prior);
        }
    }
    println!("verdict: {}", finished.analysis.verdict.code());
    for reason in finished.analysis.verdict.reasons().iter().chain(&finished.analysis.remarks) {
        println!("  {}", reason.text);
    }
    println!("results: {}", folder.display());
    println!("Research use only. Not for diagnostic use.");
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn display_paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_prevalence_is_a_share_that_is_neither_none_nor_all() {
        assert_eq!(prevalence("0.05"), Ok(0.05));
        for wrong in ["0", "1", "5%", "nan", "-0.1", ""] {
            assert!(prevalence(wrong).unwrap_err().contains("above 0 and below 1"), "{wrong}");
        }
    }
}
