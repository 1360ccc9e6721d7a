//! A BIDS archive of made-up heads and a finished run on it, without a trainer: random weights, predictions that ONNX
//! Runtime made, and labels dealt by them, so that the networks rank the subjects as well as a scenario wants.
#![allow(dead_code)] // Each scenario is a program of its own and uses a part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use fcdd::analyze::preprocess::{self, InputSpec};
use fcdd::analyze::runtime;
use fcdd::analyze::session::{GraphShapes, ModelSessions};
use fcdd::config::Device;
use fcdd::network::manifest::Precision;
use fcdd::network::{Architecture, onnx_model, random_init};
use fcdd::research::archive::Archive;
use fcdd::research::cache::Cache;
use fcdd::research::plan::{Plan, Profile, Said};
use fcdd::research::run_folder::{Epoch, Part, Prediction, RunFolder, write_durably, write_table};
use fcdd::research::weights_file::{BestNote, to_bytes};
use fcdd::study::Sequence;
use fcdd::volume::{Volume, nifti};
use ndarray::Array3;

use crate::archive::{anat, head, write_flair, write_participants};

/// Half of them patients, half of them tested by each of two folds.
pub const SUBJECTS: usize = 24;
const INPUT: [usize; 3] = [64, 80, 64];
const SPACING_MM: f64 = 3.0;
const SEED: u64 = 4;

/// What was made.
pub struct FinishedRun {
    pub archive: PathBuf,
    pub cache: PathBuf,
    pub run: RunFolder,
}

pub fn id(index: usize) -> String {
    format!("sub-{index:05}")
}

/// A head with a bright ball of 12 mm somewhere in the upper half, and the ball's mask.
pub fn head_with_lesion(seed: usize) -> [Volume; 2] {
    let mut volume = head(seed % 5);
    let turn = seed as f64 * 2.4;
    let centre = [40.0 * turn.cos(), 45.0 * turn.sin(), 10.0 + (seed % 7) as f64 * 5.0];
    let affine = volume.affine;
    let mut mask = Array3::zeros(volume.data.dim());
    for ((i, j, k), value) in volume.data.indexed_iter_mut() {
        let place = affine.apply([i as f64, j as f64, k as f64]);
        let distance: f64 = place.iter().zip(centre).map(|(a, b)| (a - b).powi(2)).sum();
        if distance < 144.0 {
            *value += 100.0 + 10.0 * (seed % 3) as f32;
            mask[[i, j, k]] = 1.0;
        }
    }
    [volume, Volume { data: mask, affine }]
}

/// The run, in which every patient of a fold has a higher logit than every control: AUC 1. None where ONNX Runtime is
/// not there.
pub fn finished_run(folder: &Path) -> Option<FinishedRun> {
    let environment = match runtime::environment(None) {
        Ok(environment) => environment,
        Err(error) => {
            assert!(std::env::var_os("FCDD_FORBID_SKIPS").is_none(), "{error}");
            eprintln!("skipped: {error}");
            return None;
        }
    };
    let said = Said {
        architecture: Some(Architecture::Resnet10),
        width: Some(4),
        input: Some(INPUT),
        spacing_mm: Some(SPACING_MM),
        folds: Some(2),
        ..Said::default()
    };
    let plan = Plan::new(Profile::Default, Sequence::Flair, "a".repeat(64), None, SEED, &said);
    let spec = plan.spec();
    let run = RunFolder::new(folder.join("run"));
    run.begin(&plan).unwrap();
    let heads: Vec<[Volume; 2]> = (0..SUBJECTS).map(head_with_lesion).collect();
    let input = InputSpec { shape: INPUT, spacing_mm: SPACING_MM, background: plan.background.value as f32 };
    let tensors: Vec<Array3<f32>> =
        heads.iter().map(|[head, _]| preprocess::prepare(head, &input).unwrap().tensor).collect();

    let mut is_patient = [false; SUBJECTS];
    for fold in 0..2 {
        let weights = random_init(&spec, SEED + fold as u64);
        let note = BestNote { plan: plan.digest(), fold, epoch: 2 };
        let checkpoint = to_bytes(weights.tensors(), toml::to_string(&note).unwrap()).unwrap();
        write_durably(&run.fold(fold).checkpoint_best(), &checkpoint).unwrap();
        let onnx = onnx_model(&spec, &weights, INPUT, &Default::default()).unwrap();
        let shapes = GraphShapes { input: INPUT, map: spec.map_shape(INPUT) };
        let files = [("fold.onnx".to_owned(), onnx)];
        let fp32 = [Precision::Fp32].into();
        let mut sessions = ModelSessions::open(&environment, "test", &files, shapes, &fp32, Device::Cpu, 2).unwrap();
        let mut logits: Vec<(usize, f64)> = (0..SUBJECTS)
            .filter(|index| index % 2 == fold)
            .map(|index| (index, sessions.run(tensors[index].view()).unwrap()[0].logit))
            .collect();
        logits.sort_by(|a, b| a.1.total_cmp(&b.1));
        assert!(logits.windows(2).all(|pair| pair[0].1 < pair[1].1), "all heads differ: {logits:?}");
        let mut rows = Vec::new();
        for (rank, (index, logit)) in logits.iter().enumerate() {
            is_patient[*index] = rank >= logits.len() / 2;
            let (subject, fcd) = (id(*index), is_patient[*index]);
            rows.push(Prediction { subject, fold, part: Part::Test, fcd, logit_hc: 0.0, logit_fcd: *logit });
        }
        rows.sort_by(|a, b| a.subject.cmp(&b.subject));
        write_table(&run.fold(fold).predictions_path(), &rows).unwrap();
        let epoch = |epoch: usize| Epoch {
            epoch,
            train_loss: 0.7 / epoch as f64,
            train_accuracy: 0.75,
            validation_loss: 0.7,
            validation_accuracy: 0.5,
            validation_auc: None,
            learning_rate: 1e-3,
            seconds: 10.0,
            waited_s: 0.0,
        };
        write_table(&run.fold(fold).history_path(), &[epoch(1), epoch(2)]).unwrap();
    }

    let archive = folder.join("archive");
    fs::create_dir_all(&archive).unwrap();
    fs::write(archive.join("dataset_description.json"), r#"{"GeneratedBy": [{"Name": "fcdd phantom"}]}"#).unwrap();
    let rows: Vec<[String; 4]> = (0..SUBJECTS)
        .map(|index| {
            let group = if is_patient[index] { "fcd" } else { "hc" };
            [id(index), group.to_owned(), ["F", "M"][index / 3 % 2].to_owned(), (3 + index * 7 % 11).to_string()]
        })
        .collect();
    let rows: Vec<[&str; 4]> = rows.iter().map(|row| [0, 1, 2, 3].map(|cell| row[cell].as_str())).collect();
    write_participants(&archive, &rows);
    for (index, [volume, mask]) in heads.iter().enumerate() {
        write_flair(&archive, &id(index), ["20619", "35083"][index / 2 % 2], volume);
        if is_patient[index] {
            let name = format!("{}_acq-T2sel_FLAIR_roi.nii.gz", id(index));
            nifti::write(&anat(&archive, &id(index)).join(name), mask).unwrap();
        }
    }
    let cache = folder.join("cache");
    let read = Archive::read(&archive).unwrap();
    let built = Cache::build(&read, Sequence::Flair, &input, &cache, &|| {}).unwrap();
    assert_eq!((built.len(), built.excluded().len()), (SUBJECTS, 0), "{:?}", built.excluded());
    built.write_index(&run.cache_index()).unwrap();
    Some(FinishedRun { archive, cache, run })
}

/// `fcdd admin …`, which must end with this exit status; its standard output and error.
#[track_caller]
pub fn admin<const N: usize>(arguments: [&str; N], status: i32) -> [String; 2] {
    let output: Output =
        std::process::Command::new(env!("CARGO_BIN_EXE_fcdd")).arg("admin").args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{}\n{}", said[0], said[1]);
    said
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
