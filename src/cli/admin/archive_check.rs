//! `fcdd admin archive check`: what of an archive can be trained on, and what gives its labels away.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use crate::cli::progress::Progress;
use crate::research::archive::Archive;
use crate::research::archive::check::{self, Check, Counts, ScanCheck, SubjectCheck};

/// Say what of an archive is usable, what is not and why.
///
/// Every volume is read and preprocessed once. Then follow scanner, protocol, sex and age by group, with a warning
/// where the label can be read off one of them, and the archive's fingerprint.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd admin archive check /data/archive

Exit status: 0 at least one modality can be trained; 1 none can, or the archive cannot be read; 2 the call is wrong.")]
pub struct Args {
    /// BIDS folder with participants.tsv.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Folds that training would make; each needs a patient and a control.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=50))]
    folds: u8,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Checks the archive and prints what was found.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let archive = Archive::read(&args.directory)?;
    let progress = Mutex::new(Progress::new("reading scans", check::count_scans(&archive) as u64));
    let advance = || progress.lock().unwrap_or_else(PoisonError::into_inner).advance(1);
    let check = check::check(&archive, usize::from(args.folds), &advance)?;
    drop(progress);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&check)?);
    } else {
        print(&check, usize::from(args.folds));
    }
    Ok(if check.can_be_trained() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(check: &Check, folds: usize) {
    check.subjects.iter().for_each(print_subject);
    if !check.excluded.is_empty() {
        println!("\nexcluded.tsv excludes {} studies", check.excluded.len());
        for excluded in &check.excluded {
            println!("  {}: {}", excluded.subject, excluded.reason());
        }
    }
    for table in &check.tables {
        println!("\n{:<28} {:>12} {:>12}", table.of, "fcd (usable)", "hc (usable)");
        for row in &table.rows {
            let cell = |found: usize, usable: usize| format!("{found} ({usable})");
            let (fcd, hc) = (cell(row.found.fcd, row.usable.fcd), cell(row.found.hc, row.usable.hc));
            println!("  {:<26} {fcd:>12} {hc:>12}", row.value);
        }
    }
    println!();
    for warning in &check.warnings {
        println!("WARNING: {warning}");
    }
    for (label, Counts { fcd, hc }, problem) in
        [("T1", check.t1, &check.t1_problem), ("FLAIR", check.flair, &check.flair_problem)]
    {
        match problem {
            Some(problem) => println!("{label}: cannot be trained: {problem}"),
            None => println!("{label}: {fcd} patients and {hc} controls can be trained on in {folds} folds"),
        }
    }
    println!("fingerprint {}", check.fingerprint);
}

fn print_subject(subject: &SubjectCheck) {
    let group = subject.group.map_or("?", |group| group.name());
    let mut line = format!("{}  {group:<3}", subject.subject);
    if let Some(why) = &subject.why {
        line.push_str(&format!("  not usable: {}", why.text));
    } else {
        for ScanCheck { sequence, usable, why, .. } in &subject.scans {
            let answer = match why {
                _ if *usable => "usable".to_owned(),
                Some(why) => format!("not usable ({})", why.text),
                None => "not usable".to_owned(),
            };
            line.push_str(&format!("  {} {answer}", sequence.label()));
        }
    }
    if let Some(ml) = subject.lesion_ml {
        line.push_str(&format!("  lesion {ml:.1} ml"));
    }
    println!("{line}");
    for note in &subject.notes {
        println!("    note: {}", note.text);
    }
    for gate in subject.scans.iter().flat_map(|scan| &scan.gates) {
        println!("    serving would withhold a verdict: {}", gate.text);
    }
}
