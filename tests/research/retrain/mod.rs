//! A run folder with a cache of tiny volumes, ready for `fcdd-trainer`: noise, with a bright blob in patients and a mask
//! of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use fcdd::network::Architecture;
use fcdd::research::cache::CachedSubject;
use fcdd::research::cache::file::{CachedScan, Description, encode};
use fcdd::research::run::folder::{FoldFolder, RunFolder};
use fcdd::research::run::plan::{Plan, Profile, Said};
use fcdd::research::run::splits::{Candidate, Splits};
use fcdd::study::{Group, Sequence};
use tempfile::TempDir;

/// Edge of a volume, voxels.
pub const EDGE: usize = 32;

/// A run that nobody has begun to train.
pub struct Run {
    _folder: Option<TempDir>,
    path: PathBuf,
    pub plan: Plan,
}

/// ResNet-10 of width 2, two folds, `epochs` epochs, all of the default augmentation.
pub fn plan(epochs: usize) -> Plan {
    let said = Said {
        architecture: Some(Architecture::Resnet10),
        width: Some(2),
        input: Some([EDGE; 3]),
        spacing_mm: Some(4.0),
        folds: Some(2),
        epochs: Some(epochs),
        batch: Some(3),
        threads: Some(1),
        learning_rate: Some(0.01),
        ..Said::default()
    };
    Plan::new(Profile::Default, Sequence::T1, "0".repeat(64), None, 5, &said)
}

/// `count` subjects, every second one a patient.
pub fn run(plan: Plan, count: usize) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    RunFolder::new(&path).begin(&plan).unwrap();
    let mut subjects = Vec::new();
    for number in 0..count {
        let group = if number % 2 == 0 { Group::Fcd } else { Group::Hc };
        subjects.push(subject(&folder.path().join("cache"), number, group));
    }
    let index = serde_json::json!({
        "format": 1,
        "preprocessing": fcdd::analyze::preprocess::NAME,
        "sequence": plan.sequence,
        "shape": plan.input.value,
        "spacing_mm": plan.spacing_mm.value,
        "background": plan.background.value,
        "subjects": subjects,
        "excluded": [],
    });
    fs::write(path.join("cache.json"), index.to_string()).unwrap();
    let candidate = |subject: &CachedSubject| Candidate {
        id: subject.id.clone(),
        group: subject.group,
        stratum: "one scanner".to_owned(),
    };
    let candidates: Vec<Candidate> = subjects.iter().map(candidate).collect();
    let splits = Splits::new(&candidates, plan.seed, plan.folds.value, plan.validation_share.value).unwrap();
    splits.write(&path.join("splits.json")).unwrap();
    Run { _folder: Some(folder), path, plan }
}

impl Run {
    pub fn folder(&self) -> RunFolder {
        RunFolder::new(&self.path)
    }

    pub fn fold(&self, fold: usize) -> FoldFolder {
        self.folder().fold(fold)
    }

    /// The same run, untrained, in another folder.
    pub fn copy(&self, name: &str) -> Run {
        let path = self.path.with_file_name(name);
        fs::create_dir_all(&path).unwrap();
        for file in ["plan.toml", "splits.json", "cache.json"] {
            fs::copy(self.path.join(file), path.join(file)).unwrap();
        }
        Run { _folder: None, path, plan: self.plan.clone() }
    }

    /// `fcdd-trainer fold` on this run.
    pub fn command(&self, fold: usize, resume: bool) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fcdd-trainer"));
        command.args(["fold", "--run"]).arg(&self.path).args(["--fold", &fold.to_string()]);
        if resume {
            command.arg("--resume");
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
        command
    }

    pub fn train(&self, fold: usize, resume: bool) -> Output {
        self.command(fold, resume).output().unwrap()
    }

    pub fn start(&self, fold: usize, resume: bool) -> Child {
        self.command(fold, resume).spawn().unwrap()
    }
}

/// Fails with the trainer's own words.
#[track_caller]
pub fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// What the trainer said when it failed.
#[track_caller]
pub fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    assert_eq!(said.lines().count(), 1, "one sentence: {said}");
    said
}

/// What must be equal, byte for byte: the kept weights and their predictions.
pub fn results(fold: &FoldFolder) -> [Vec<u8>; 2] {
    [fold.checkpoint_best(), fold.predictions_path()].map(|path| fs::read(path).unwrap())
}

fn subject(cache: &Path, number: usize, group: Group) -> CachedSubject {
    fs::create_dir_all(cache).unwrap();
    let mut state = number as u64 * 7919 + 1;
    let mut noise = || {
        // Knuth's generator: the test needs noise, not good noise.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 24) as f32) - 0.5
    };
    let place = [0, 1, 2].map(|axis| 12.0 + ((number * (axis + 3)) % 8) as f32);
    let (mut tensor, mut roi) = (Vec::with_capacity(EDGE.pow(3)), Vec::with_capacity(EDGE.pow(3)));
    for d in 0..EDGE {
        for h in 0..EDGE {
            for w in 0..EDGE {
                let square = [d, h, w].iter().zip(place).map(|(at, to)| (*at as f32 - to).powi(2)).sum::<f32>();
                let blob = if group == Group::Fcd { 4.0 * (-square / 18.0).exp() } else { 0.0 };
                tensor.push(noise() + blob);
                roi.push(u8::from(square < 18.0));
            }
        }
    }
    let has_roi = group == Group::Fcd;
    let description = Description {
        key: format!("{number}"),
        shape: [EDGE; 3],
        affine: [[0.0, 0.0, -4.0, 62.0], [0.0, -4.0, 0.0, 62.0], [4.0, 0.0, 0.0, -62.0]],
        middle_x_mm: 0.0,
        mean: 100.0,
        standard_deviation: 20.0,
        gates: Vec::new(),
        has_roi,
        roi_problem: None,
    };
    let file = cache.join(format!("{number}.vol"));
    fs::write(&file, encode(&description, &tensor, &vec![1; tensor.len()], has_roi.then_some(&roi))).unwrap();
    CachedSubject {
        id: format!("sub-{number:03}"),
        group,
        sex: None,
        age: None,
        scanner: None,
        acquisition: None,
        source_spacing_mm: [1.0; 3],
        source: PathBuf::from("none.nii.gz"),
        source_sha256: "0".repeat(64),
        gates: Vec::new(),
        has_roi,
        roi_problem: None,
        affine: description.affine,
        middle_x_mm: 0.0,
        file_sha256: CachedScan::open(&file, true).unwrap().digest().to_owned(),
        file,
    }
}
