//! Every reference set, undamaged and in every damaged variant: cut short at each hundredth, with each element of the
//! image modules removed, emptied or made absurd, with bits turned in compressed pixels, and by the recipes that come
//! with the sets. Each gives the right volume or a named verdict; never a panic, a hang, or other pixels.
//!
//! A sample of the variants runs with the other tests; FCDD_ALL_DAMAGE=1 (`make test-files`) runs all of them.
//! FCDD_DAMAGE=TEXT runs those whose set or description has the text. Needs FCDD_REFERENCE_DATA.

#[path = "support/damage/mod.rs"]
mod damage;
mod support;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use damage::{Outcome, Set, Variant, judge, sets, variants};
use fcdd::assemble::{self, Options, VolumesWanted};
use rand::SeedableRng;
use rand::seq::SliceRandom;

/// So many variants of each kind and set are the sample.
const SAMPLE: usize = 6;
/// A run in which no variant ends for so long is broken off.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nor may all of them together take more memory (MiB).
const MOST_MEMORY_MIB: u64 = 2048;
/// How often a run of all variants says how far it is.
const NEWS: Duration = Duration::from_secs(30);
/// Findings that are printed.
const MOST_FINDINGS: usize = 200;

/// What one variant gave.
struct Verdict {
    set: usize,
    variant: Variant,
    took: Duration,
    outcome: Result<Outcome, String>,
    /// Codes of the verdicts of stacks without a volume, and of files left over.
    reasons: Vec<String>,
}

#[test]
fn every_damaged_variant_gives_the_right_volume_or_a_verdict() {
    let Some(sets) = sets() else { return };
    assert!(sets.len() >= 28, "only {} sets", sets.len());
    let sets = Arc::new(sets);
    let queue = queue(&sets);
    let due = queue.len();
    let began = Instant::now();
    let verdicts = run_all(&sets, queue);
    assert_eq!(verdicts.len(), due);
    print_table(&sets, &verdicts, began.elapsed());
    for verdict in verdicts.iter().filter(|v| matches!(v.variant, Variant::AsItIs)) {
        let set = &sets[verdict.set];
        let wanted = if set.accepted > 0 { Outcome::Right } else { Outcome::Refused };
        assert_eq!(verdict.outcome, Ok(wanted), "{}, as it is", set.name);
    }
    let findings: Vec<String> = verdicts
        .iter()
        .filter_map(|v| {
            let why = v.outcome.as_ref().err()?;
            Some(format!("{}: {}: {why}", sets[v.set].name, v.variant.describe()))
        })
        .collect();
    let shown = findings.iter().take(MOST_FINDINGS).cloned().collect::<Vec<_>>().join("\n");
    assert!(findings.is_empty(), "{} of {due} variants:\n{shown}", findings.len());
    // A length that is believed takes long, and so does a decoder that nobody reads until its time is over.
    let slowest = verdicts.iter().max_by_key(|v| v.took).expect("there are variants");
    let what = format!("{}: {} took {:?}", sets[slowest.set].name, slowest.variant.describe(), slowest.took);
    println!("the slowest: {what}");
    assert!(slowest.took < damage::limits().timeout, "{what}");
    let peak_mib = peak_mib();
    println!("peak memory {peak_mib} MiB");
    assert!(peak_mib < MOST_MEMORY_MIB, "{peak_mib} MiB");
}

/// The variants to run, those that take longest first.
fn queue(sets: &[Set]) -> Vec<(usize, Variant)> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let wanted = std::env::var("FCDD_DAMAGE").unwrap_or_default();
    let takes_all = is_set("FCDD_ALL_DAMAGE") || !wanted.is_empty();
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(20_260_104);
    let mut queue = Vec::new();
    for (index, set) in sets.iter().enumerate() {
        let mut all = variants(set);
        if !takes_all {
            all.shuffle(&mut random);
        }
        let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
        for variant in all {
            let of_kind = taken.entry(variant.kind()).or_default();
            *of_kind += 1;
            let is_wanted = set.name.contains(&wanted) || variant.describe().contains(&wanted);
            if takes_all && is_wanted || !takes_all && *of_kind <= SAMPLE {
                queue.push((index, variant));
            }
        }
    }
    queue.sort_by_key(|(set, _)| sets[*set].files.len());
    queue
}

fn run_all(sets: &Arc<Vec<Set>>, queue: Vec<(usize, Variant)>) -> Vec<Verdict> {
    let due = queue.len();
    let queue = Arc::new(Mutex::new(queue));
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get());
    let under_way = Arc::new(Mutex::new(vec![String::new(); workers]));
    let (done, results) = mpsc::channel();
    for worker in 0..workers {
        let (sets, queue, under_way, done) = (sets.clone(), queue.clone(), under_way.clone(), done.clone());
        std::thread::spawn(move || {
            let scratch = scratch();
            loop {
                let next = queue.lock().expect("no panic holds it").pop();
                let Some((index, variant)) = next else { return };
                let set = &sets[index];
                under_way.lock().expect("no panic holds it")[worker] = format!("{}: {}", set.name, variant.describe());
                let verdict = run(set, index, variant, scratch.path());
                if done.send(verdict).is_err() {
                    return;
                }
            }
        });
    }
    drop(done);
    let mut verdicts = Vec::with_capacity(due);
    let began = Instant::now();
    let mut last_news = began;
    loop {
        match results.recv_timeout(PATIENCE) {
            Ok(verdict) => {
                verdicts.push(verdict);
                if last_news.elapsed() > NEWS {
                    last_news = Instant::now();
                    let seconds = began.elapsed().as_secs();
                    let wrong = verdicts.iter().filter(|verdict| verdict.outcome.is_err()).count();
                    let under_way = under_way.lock().expect("no panic holds it");
                    println!(
                        "{seconds} s: {} of {due} variants, {wrong} wrong; under way: {under_way:?}",
                        verdicts.len()
                    );
                }
            }
            Err(RecvTimeoutError::Disconnected) => return verdicts,
            Err(RecvTimeoutError::Timeout) => {
                let under_way = under_way.lock().expect("no panic holds it");
                panic!("nothing ended within {PATIENCE:?}; under way: {under_way:?}");
            }
        }
    }
}

fn run(set: &Set, index: usize, variant: Variant, folder: &std::path::Path) -> Verdict {
    let limits = damage::limits();
    let options =
        Options { rules: damage::rules(), decode: &limits, volumes: VolumesWanted::All, digests: true, on_file: None };
    let began = Instant::now();
    let assembled = catch_unwind(AssertUnwindSafe(|| {
        let files = variant.write(set, folder);
        let assembly = assemble::assemble_with(&files.paths, options);
        (files, assembly)
    }));
    let took = began.elapsed();
    let (outcome, reasons) = match &assembled {
        Ok((files, assembly)) => (judge(set, &variant, files, assembly), reasons(assembly)),
        Err(_) => (Err("it panicked".to_owned()), Vec::new()),
    };
    Verdict { set: index, variant, took, outcome, reasons }
}

fn reasons(assembly: &assemble::Assembly) -> Vec<String> {
    let stacks = assembly.studies.iter().flat_map(|study| &study.stacks).filter(|stack| stack.volume.is_none());
    let code = |stack: &fcdd::study::Stack| {
        let verdict = serde_json::to_value(&stack.verdict).expect("a verdict is JSON");
        verdict["verdict"].as_str().expect("a verdict has a code").to_owned()
    };
    stacks.map(code).chain(assembly.leftovers.iter().map(|_| "left over".to_owned())).collect()
}

/// A folder for what differs from the sets, in memory where there is one.
fn scratch() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a temporary folder can be made")
}

fn print_table(sets: &[Set], verdicts: &[Verdict], took: Duration) {
    let mut rows: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for verdict in verdicts {
        let column = match &verdict.outcome {
            Ok(Outcome::Right) => "right",
            Ok(Outcome::Part) => "part",
            Ok(Outcome::Refused) => "refused",
            Ok(Outcome::OtherValues) => "other values",
            Err(_) => "WRONG",
        };
        *rows.entry(verdict.variant.kind()).or_default().entry(column).or_default() += 1;
        verdict.reasons.iter().for_each(|reason| *reasons.entry(reason).or_default() += 1);
    }
    let columns = ["right", "part", "refused", "other values", "WRONG"];
    println!("{} entries of sets, {} variants in {:.0} s", sets.len(), verdicts.len(), took.as_secs_f64());
    println!("{:34} {}", "", columns.map(|column| format!("{column:>13}")).join(""));
    for (kind, counts) in &rows {
        let cells = columns.map(|column| format!("{:>13}", counts.get(column).copied().unwrap_or(0)));
        println!("{kind:34} {}", cells.join(""));
    }
    println!("reasons given: {reasons:?}");
}

/// The most memory that this process had (MiB).
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") / 1024
}
