//! A BIDS archive of made-up heads and a finished run on it, without a trainer: labels are dealt by the logits of its
//! networks, so that these rank the subjects as well as a scenario wants.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use fcdd::analyze::preprocess::{self, InputSpec};
use fcdd::research::archive::Archive;
use fcdd::research::cache::Cache;
use fcdd::research::run::folder::{Epoch, RunFolder, write_table};
use fcdd::research::run::plan::Said;
use fcdd::study::Sequence;
use fcdd::volume::{Volume, nifti};
use ndarray::Array3;

use crate::archive::{anat, head, write_flair, write_participants};
use crate::untrained_run::{self, id};

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
    let said = Said { input: Some(INPUT), spacing_mm: Some(SPACING_MM), ..Said::default() };
    let untrained = untrained_run::begin(&folder.join("run"), Sequence::Flair, SEED, said)?;
    let heads: Vec<[Volume; 2]> = (0..SUBJECTS).map(head_with_lesion).collect();
    let background = untrained.plan.background.value as f32;
    let input = InputSpec { shape: INPUT, spacing_mm: SPACING_MM, background };
    let tensor = |index: usize| preprocess::prepare(&heads[index][0], &input).unwrap().tensor;

    let mut is_patient = [false; SUBJECTS];
    for fold in 0..2 {
        let logits = untrained.logits(fold, (fold..SUBJECTS).step_by(2), tensor);
        assert!(logits.windows(2).all(|pair| pair[0].1 < pair[1].1), "all heads differ: {logits:?}");
        let mut tested = Vec::new();
        for (rank, (index, logit)) in logits.iter().enumerate() {
            is_patient[*index] = rank >= logits.len() / 2;
            tested.push((*index, is_patient[*index], *logit));
        }
        untrained.predict(fold, &tested);
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
        write_table(&untrained.folder.fold(fold).history_path(), &[epoch(1), epoch(2)]).unwrap();
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
    let run = untrained.folder;
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
