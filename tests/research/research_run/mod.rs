//! A finished run of made-up volumes, without an archive and without a trainer.

use std::path::{Path, PathBuf};

use fcdd::analyze::preprocess::FieldOfView;
use fcdd::research::models::export::{Request, Subject, Subjects};
use fcdd::research::run::folder::{RunFolder, write_durably};
use fcdd::research::run::plan::Said;
use fcdd::study::Sequence;
use fcdd::volume::{Affine, Grid};
use ndarray::Array3;

use crate::untrained_run::{self, id};

pub const SUBJECTS: usize = 40;
const INPUT: [usize; 3] = [16, 32, 32];

/// Made-up subjects, the odd ones patients, with the volumes of one run: which volume a subject has decides how well
/// that run's networks rank the subjects.
pub struct MadeUp {
    volume_of: Vec<usize>,
}

fn volume(index: usize) -> Array3<f32> {
    Array3::from_shape_fn(INPUT, |(i, j, k)| ((i * 7 + j * 3 + k * 5 + index * 11) % 97) as f32 / 48.0 - 1.0)
}

impl Subjects for MadeUp {
    fn all(&self) -> Vec<Subject> {
        (0..SUBJECTS).map(|i| Subject { id: id(i), content: format!("{i:064x}") }).collect()
    }

    fn volume(&self, id: &str) -> Result<(Array3<f32>, FieldOfView), String> {
        let index: usize = id.trim_start_matches("sub-").parse().map_err(|_| "there is none".to_owned())?;
        let affine = Affine::from_axes([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [0.0; 3]);
        let view = FieldOfView { grid: Grid { shape: INPUT, affine }, head: Array3::from_elem(INPUT, true) };
        Ok((volume(self.volume_of[index]), view))
    }
}

/// A run of two folds. In each fold of 10 patients and 10 controls the `wrong` lowest logits are patients' and the
/// `wrong` highest controls'; between these patients are above controls. So the AUC within folds is
/// ((10 - wrong) / 10)².
pub fn run(folder: &Path, seed: u64, wrong: usize) -> Option<(RunFolder, MadeUp)> {
    let said = Said { input: Some(INPUT), ..Said::default() };
    let untrained = untrained_run::begin(folder, Sequence::T1, seed, said)?;
    let mut made_up = MadeUp { volume_of: vec![0; SUBJECTS] };
    for fold in 0..2 {
        let logits = untrained.logits(fold, (0..SUBJECTS).filter(|i| i / (SUBJECTS / 2) == fold), volume);
        let half = logits.len() / 2;
        let members = |fcd: bool| {
            (0..SUBJECTS).filter(move |i| i / (SUBJECTS / 2) == fold && (i % 2 == 1) == fcd).collect::<Vec<_>>()
        };
        let (mut patients, mut controls) = (members(true).into_iter(), members(false).into_iter());
        let mut tested = Vec::new();
        for (rank, (of, logit)) in logits.iter().enumerate() {
            let fcd = rank < wrong || (half..2 * half - wrong).contains(&rank);
            let index = if fcd { patients.next() } else { controls.next() }.unwrap();
            made_up.volume_of[index] = *of;
            tested.push((index, fcd, *logit));
        }
        untrained.predict(fold, &tested);
    }
    Some((untrained.folder, made_up))
}

pub fn with_metrics(run: &RunFolder, passed: bool) {
    let metrics = format!("{{\"confounds\": {{\"passed\": {passed}}}}}");
    write_durably(&run.path().join("metrics.json"), metrics.as_bytes()).unwrap();
}

pub fn request(name: &str, synthetic: bool) -> Request {
    Request {
        name: name.into(),
        version: "1.0.0".into(),
        date: "2026-11-23".into(),
        synthetic,
        folds_present: false,
        onnxruntime: None,
    }
}

/// A model folder `name` in `models`, exported from a run of its own.
pub fn exported(models: &Path, runs: &Path, name: &str, seed: u64, wrong: usize, synthetic: bool) -> Option<PathBuf> {
    let (run, made_up) = run(&runs.join(name), seed, wrong)?;
    with_metrics(&run, true);
    let output = models.join(name);
    fcdd::research::models::export::export(&run, &made_up, &request(name, synthetic), &output, &mut |_, _| {}).unwrap();
    Some(output)
}
