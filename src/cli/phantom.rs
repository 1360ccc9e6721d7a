//! `fcdd phantom`: makes synthetic subjects as DICOM studies or as a BIDS folder.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::progress::Progress;
use crate::phantom::Size;
use crate::phantom::cohort::{self, CohortError, CohortOptions, Design, Format, SubjectSummary};

/// Make synthetic subjects: heads with and without a focal cortical dysplasia.
///
/// They are computed, not scanned: no figure from them says anything about patients. The same seed gives the
/// same files. Where each lesion is stands in the output of --json, in DICOM output also in subjects.json,
/// in BIDS output in the masks *_FLAIR_roi.nii.gz.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fcdd phantom --output study --subjects 1 --seed 7 --controls 0
  fcdd phantom --output cohort --subjects 40 --seed 1 --format bids --cohort balanced --size small --strength 0.5..1")]
pub struct Args {
    /// New or empty folder for the subjects.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// How many subjects.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99_999))]
    subjects: u32,
    /// Seed: everything follows from it.
    #[arg(long, value_name = "S")]
    seed: u64,
    /// DICOM studies, or BIDS in the layout of OpenNeuro ds004199.
    #[arg(long, value_enum, default_value_t = Format::Dicom)]
    format: Format,
    /// Whether scanner, protocol and age go with the label.
    #[arg(long, value_enum, default_value_t = Design::Balanced)]
    cohort: Design,
    /// Strength of the lesions, 0 (no signal at all) to 1; `0.5..1` draws each patient's between the two.
    #[arg(long, value_name = "S|LOW..HIGH", default_value = "1", value_parser = strength)]
    strength: Strength,
    /// Share of controls, 0 to 1.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.5, value_parser = share::<f64>)]
    controls: f64,
    /// Spacing as scanned (0.8 and 1 mm), or 1.5 mm: for training at 2 mm, in a small part of the time.
    #[arg(long, value_enum, default_value_t = Size::Full)]
    size: Size,
    /// Print what was made as JSON.
    #[arg(long)]
    json: bool,
}

/// Least and greatest strength of a cohort's lesions.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Strength([f32; 2]);

/// `0.7`, or `0.5..1`.
fn strength(text: &str) -> Result<Strength, String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    match (share::<f32>(low), share::<f32>(high)) {
        (Ok(low), Ok(high)) if low <= high => Ok(Strength([low, high])),
        _ => Err("give a number from 0 to 1, or two as LOW..HIGH".to_owned()),
    }
}

/// A number from 0 to 1.
fn share<T: std::str::FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(value) if value >= T::from(0) && value <= T::from(1) => Ok(value),
        _ => Err("give a number from 0 to 1".to_owned()),
    }
}

/// Makes the cohort and says what it made.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let options = CohortOptions {
        subjects: args.subjects as usize,
        seed: args.seed,
        controls: args.controls,
        strength: args.strength.0,
        design: args.cohort,
        size: args.size,
    };
    let mut progress = Progress::new("making subjects", u64::from(args.subjects));
    let result = cohort::write(&options, args.format, &args.output, |_| progress.advance(1));
    drop(progress);
    let summaries = match result {
        Err(error @ CohortError::NotEmpty(_)) => {
            eprintln!("fcdd: {error}");
            return Ok(ExitCode::from(2));
        }
        other => other?,
    };
    if args.json {
        let answer = json!({"synthetic": true, "output": args.output, "cohort": options.design, "subjects": summaries});
        println!("{answer:#}");
    } else {
        summaries.iter().for_each(print_line);
        println!("{} synthetic subjects in {}", summaries.len(), args.output.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn print_line(summary: &SubjectSummary) {
    let protocols = summary.protocols.join(" + ");
    match &summary.lesion {
        Some(lesion) => {
            let [x, y, z] = lesion.centre_lps_mm;
            let (id, radius) = (&summary.id, lesion.radius_mm);
            println!("{id}  fcd  {protocols}  lesion at LPS {x:.0} {y:.0} {z:.0} mm, radius {radius:.0} mm");
        }
        None => println!("{}  hc   {protocols}", summary.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strength_is_one_number_or_a_range() {
        assert_eq!(strength("0.7"), Ok(Strength([0.7, 0.7])));
        assert_eq!(strength("0.5..1"), Ok(Strength([0.5, 1.0])));
        for wrong in ["", "1.1", "-0.1", "1..0.5", "0.5..", "..1", "a..b", "NaN"] {
            assert!(strength(wrong).is_err(), "{wrong}");
        }
    }
}
