//! A study from "complete" to the last result file on disk, as the daemon takes it through: models warm, files just
//! received, results durable.
//!
//! | what | bar |
//! |---|---|
//! | T1 + FLAIR of 192 slices 256×256 each, two ResNet-18 of full width at 160×192×160 | ≤ 2.5 s on 2 cores with bf16 |
//! | peak memory | ≤ 1.5 GB |
//!
//! The head is a phantom and the weights are random, so the verdict is withheld and no regions are looked for; all else
//! is what a patient's study costs. Where the processor has no bf16 units the time is told without a bar. Stages that
//! run beside or within others are indented below them.
//!
//! `cargo bench --bench whole_study -- --rounds 5 --threads 2`

#[path = "random_model/mod.rs"]
mod random_model;
#[path = "../tests/support/unit.rs"]
mod unit;

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use fcdd::assemble::{self, DecodeLimits, Options, VolumesWanted};
use fcdd::config::sequences::SequenceRules;
use fcdd::dicom::Uid;
use fcdd::network::spec::Architecture;
use fcdd::phantom::{self, Protocol, Subject, SubjectOptions};
use fcdd::pipeline::Pipeline;
use fcdd::study::Revision;
use fcdd::{config, report, spool};
use random_model::{machine, median, peak_resident_mb};

const TIME_BAR_S: f64 = 2.5;
const MEMORY_BAR_MB: f64 = 1500.0;

/// Stages in the order in which they happen; a leading space for each one that is a part of the one above.
const STAGES: [&str; 17] = [
    "assemble",
    " hashing",
    "analyze",
    " preprocess_t1",
    " gates_t1",
    " inference_t1",
    " gradcam_t1",
    " preprocess_flair",
    " gates_flair",
    " inference_flair",
    " gradcam_flair",
    "report",
    " report_paint_t1",
    " report_paint_flair",
    " report_documents",
    " report_write",
    "record",
];

fn main() {
    // The allocator reads its variables when a program starts.
    if unit::environment().next().is_some() {
        let this = std::env::current_exe().expect("this program");
        panic!("{}", Command::new(this).args(std::env::args_os().skip(1)).envs(unit::environment()).exec());
    }
    let (mut rounds, mut threads) = (5, 2);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse::<usize>().ok()).expect("a whole number follows");
        match word.as_str() {
            "--rounds" => rounds = number(),
            "--threads" => threads = number(),
            "--bench" => {} // Cargo says so to every benchmark.
            other => panic!("{other} is none of --rounds, --threads"),
        }
    }
    // Cargo's folder lies beside the build and so on a disk, where a sync costs what it costs.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let models = ["t1", "flair"].map(|sequence| {
        let model = folder.path().join(sequence);
        random_model::write(Architecture::Resnet18, sequence, 18, &model);
        model
    });
    let (study_uid, files) = phantom_study(&folder.path().join("study"));

    let began = Instant::now();
    let analyze = config::Analyze { models: models.to_vec(), threads, ..config::Analyze::default() };
    let pipeline = Pipeline::load(&config::Assemble::default(), &analyze, &config::Report::default()).expect("loads");
    let load_s = began.elapsed().as_secs_f64();
    let running = pipeline.engine().models();
    let after_load_mb = peak_resident_mb();
    // From here on the kernel counts the peak anew.
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak can be reset");

    let mut whole = Vec::new();
    let mut stages: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut objects = 0;
    for round in 0..rounds {
        let results = folder.path().join(format!("results-{round}"));
        std::fs::create_dir(&results).expect("a folder");
        let began = Instant::now();
        let study = pipeline.assemble(&study_uid, &files).expect("assembles");
        let assemble_ms = began.elapsed().as_secs_f64() * 1e3;
        let (finished, failure) =
            pipeline.analyze_and_report(study, |_| Revision::first(), &results).expect("is reported");
        assert!(failure.is_none(), "{failure:?}");
        assert_eq!(finished.analysis.outcomes.len(), 2, "both sequences are looked at");
        let recording = Instant::now();
        let json = report::result_json(&finished.study, &finished.analysis, pipeline.templates());
        spool::write_durably(&results.join("result.json"), json.to_string().as_bytes()).expect("is written");
        whole.push(began.elapsed().as_secs_f64());
        objects = finished.objects.len();
        let mut timings = finished.analysis.timings_ms.clone();
        timings.insert("assemble".to_owned(), assemble_ms);
        timings.insert("record".to_owned(), recording.elapsed().as_secs_f64() * 1e3);
        for (stage, ms) in timings {
            stages.entry(stage).or_default().push(ms);
        }
        drop(finished);
        // What the digests of the received files cost is what assembling takes less without them.
        let (rules, decode) = (SequenceRules::built_in(), DecodeLimits::default());
        let options =
            Options { rules: &rules, decode: &decode, volumes: VolumesWanted::Chosen, digests: false, on_file: None };
        let began = Instant::now();
        assert_eq!(assemble::assemble_with(&files, options).studies.len(), 1);
        let hashing_ms = assemble_ms - began.elapsed().as_secs_f64() * 1e3;
        stages.entry("hashing".to_owned()).or_default().push(hashing_ms);
        std::fs::remove_dir_all(&results).expect("results can be removed");
    }
    let peak_mb = peak_resident_mb();

    println!("whole study on {}, {threads} thread(s), random weights:", machine());
    for model in &running {
        println!("  {} on {} {}", model.name, model.provider, model.precision);
    }
    println!("  models load and warm in {load_s:.1} s, {after_load_mb:.0} MB at most meanwhile");
    let whole_s = median(&whole);
    for stage in STAGES {
        let Some(ms) = stages.remove(stage.trim_start()) else { continue };
        let ms = median(&ms);
        let indent = stage.len() - stage.trim_start().len();
        println!("  {:indent$}{:20} {ms:8.1} ms {:5.1} %", "", stage.trim_start(), ms / whole_s / 10.0);
    }
    assert!(stages.is_empty(), "stages that this benchmark does not know: {:?}", stages.keys());
    let is_bf16 = running.iter().all(|model| model.precision == "bf16");
    let time_met = match is_bf16 {
        false => "no bar: this processor has no bf16 units",
        true if whole_s <= TIME_BAR_S => "met",
        true => "missed",
    };
    let memory_met = if peak_mb <= MEMORY_BAR_MB { "met" } else { "missed" };
    println!(
        "{} files in, {objects} objects out: {whole_s:.2} s (median of {rounds}; the first {:.2} s), bar {TIME_BAR_S}: \
         {time_met}",
        files.len(),
        whole[0]
    );
    println!("peak memory {peak_mb:.0} MB, bar {MEMORY_BAR_MB:.0}: {memory_met}");
}

/// T1 and FLAIR at 1 mm: 192 sagittal slices of 256×256 each.
fn phantom_study(folder: &Path) -> (Uid, Vec<PathBuf>) {
    let subject = Subject::new(&SubjectOptions { seed: 18, ..SubjectOptions::default() }).expect("a subject");
    let protocols = [Protocol::t1_sag111(), Protocol::flair_tse3dvfl()];
    assert!(protocols.iter().all(|protocol| protocol.grid().shape == [192, 256, 256]));
    let study = phantom::dicom::write_study(&subject, &protocols, folder).expect("a study");
    (study.study_uid.clone(), study.files().map(Path::to_owned).collect())
}
