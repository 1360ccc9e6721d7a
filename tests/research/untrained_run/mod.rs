//! A run of two folds without a trainer: random weights, and logits that ONNX Runtime itself made, for a scenario that
//! decides by them who is a patient.

use std::path::Path;

use fcdd::analyze::runtime;
use fcdd::analyze::session::{GraphShapes, ModelSessions};
use fcdd::config::Device;
use fcdd::network::manifest::Precision;
use fcdd::network::{Architecture, onnx_model, random_init};
use fcdd::research::run::folder::{Part, Prediction, RunFolder, write_durably, write_table};
use fcdd::research::run::plan::{Plan, Profile, Said};
use fcdd::research::run::weights_file::{BestNote, to_bytes};
use fcdd::study::Sequence;
use ndarray::Array3;

/// What was begun.
pub struct UntrainedRun {
    pub folder: RunFolder,
    pub plan: Plan,
}

pub fn id(index: usize) -> String {
    format!("sub-{index:05}")
}

/// A run of small networks, with what else is `said`. None where ONNX Runtime is not there.
pub fn begin(folder: &Path, sequence: Sequence, seed: u64, said: Said) -> Option<UntrainedRun> {
    if let Err(error) = runtime::environment(None) {
        crate::support::skip(&error.to_string());
        return None;
    }
    let said = Said { architecture: Some(Architecture::Resnet10), width: Some(4), folds: Some(2), ..said };
    let plan = Plan::new(Profile::Default, sequence, "a".repeat(64), None, seed, &said);
    let folder = RunFolder::new(folder);
    folder.begin(&plan).unwrap();
    Some(UntrainedRun { folder, plan })
}

impl UntrainedRun {
    /// Writes the weights of a fold; its network's logits for these volumes, rising, each with the volume's number.
    pub fn logits(
        &self,
        fold: usize,
        volumes: impl Iterator<Item = usize>,
        volume: impl Fn(usize) -> Array3<f32>,
    ) -> Vec<(usize, f64)> {
        let (spec, input) = (self.plan.spec(), self.plan.input.value);
        let weights = random_init(&spec, self.plan.seed + fold as u64);
        let note = BestNote { plan: self.plan.digest(), fold, epoch: 1 };
        let checkpoint = to_bytes(weights.tensors(), toml::to_string(&note).unwrap()).unwrap();
        write_durably(&self.folder.fold(fold).checkpoint_best(), &checkpoint).unwrap();

        let onnx = onnx_model(&spec, &weights, input, &Default::default()).unwrap();
        let shapes = GraphShapes { input, map: spec.map_shape(input) };
        let files = [("fold.onnx".to_owned(), onnx)];
        let fp32 = [Precision::Fp32].into();
        let environment = runtime::environment(None).unwrap();
        let mut sessions = ModelSessions::open(
            &environment,
            "test",
            &files,
            shapes,
            &fp32,
            &fcdd::analyze::runtime::Provider::candidates(Device::Cpu),
            2,
        )
        .unwrap();
        let mut logits: Vec<(usize, f64)> =
            volumes.map(|index| (index, sessions.run(volume(index).view()).unwrap()[0].logit)).collect();
        logits.sort_by(|a, b| a.1.total_cmp(&b.1));
        logits
    }

    /// Writes whom the fold tests: number, whether a patient, logit.
    pub fn predict(&self, fold: usize, tested: &[(usize, bool, f64)]) {
        let row = |&(index, fcd, logit_fcd): &(usize, bool, f64)| Prediction {
            subject: id(index),
            fold,
            part: Part::Test,
            fcd,
            logit_hc: 0.0,
            logit_fcd,
        };
        let mut rows: Vec<Prediction> = tested.iter().map(row).collect();
        rows.sort_by(|a, b| a.subject.cmp(&b.subject));
        write_table(&self.folder.fold(fold).predictions_path(), &rows).unwrap();
    }
}
