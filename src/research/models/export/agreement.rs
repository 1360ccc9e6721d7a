//! Whether ONNX Runtime says what the trainer said, and what the same runs tell: the maps' maxima inside the heads of
//! controls, and how far bf16 moves a probability.

use ndarray::Array3;

use super::{ExportError, Fold, Request, Subjects};
use crate::analyze::gradcam;
use crate::analyze::preprocess::FieldOfView;
use crate::analyze::runtime::{self, Provider};
use crate::analyze::session::{GraphShapes, ModelSessions, SessionError};
use crate::config::Device;
use crate::network::manifest::{Calibration, Precision};
use crate::research::run::folder::Prediction;
use crate::research::run::plan::{Plan, TrainingPrecision};
use crate::research::statistics::sigmoid;
use crate::volume::SingularAffine;

/// How far ONNX Runtime's logit may be from the trainer's (fp32).
pub const LOGIT_TOLERANCE: f64 = 1e-4;
/// How far a probability may move by bf16, in validation and where the trainer itself computed in bf16.
pub const BF16_TOLERANCE: f64 = 0.01;

/// How far ONNX Runtime's logit is from the trainer's.
///
/// # Errors
/// [`ExportError::Disagreement`] where that is more than rounding.
pub(in crate::research) fn difference(
    row: &Prediction,
    onnx: f64,
    trained_in: TrainingPrecision,
) -> Result<f64, ExportError> {
    let trainer = row.logit();
    // A trainer that computed in bf16 cannot agree to 1e-4; its probabilities must.
    let (difference, allowed) = match trained_in {
        TrainingPrecision::Fp32 => ((onnx - trainer).abs(), LOGIT_TOLERANCE),
        TrainingPrecision::Bf16 => ((sigmoid(onnx) - sigmoid(trainer)).abs(), BF16_TOLERANCE),
    };
    if difference > allowed {
        let (fold, subject) = (row.fold, row.subject.clone());
        return Err(ExportError::Disagreement { fold, subject, trainer, onnx, difference, allowed });
    }
    Ok((onnx - trainer).abs())
}

/// Runs the serving session on what each fold's network never saw.
pub(super) struct Checked<'a> {
    environment: ort::environment::Environment,
    plan: &'a Plan,
    subjects: &'a dyn Subjects,
    name: &'a str,
    threads: usize,
    pub largest_difference: f64,
    pub largest_bf16_change: Option<f64>,
    pub control_maxima: Vec<f64>,
}

impl<'a> Checked<'a> {
    pub(super) fn new(plan: &'a Plan, subjects: &'a dyn Subjects, request: &'a Request) -> Result<Self, ExportError> {
        Ok(Checked {
            environment: runtime::environment(request.onnxruntime.as_deref())?,
            plan,
            subjects,
            name: &request.name,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            largest_difference: 0.0,
            largest_bf16_change: None,
            control_maxima: Vec::new(),
        })
    }

    fn sessions(&self, fold: &Fold, validated: &[Precision]) -> Result<ModelSessions, SessionError> {
        let input = self.plan.input.value;
        let shapes = GraphShapes { input, map: self.plan.spec().map_shape(input) };
        let files = [(format!("fold_{}.onnx", fold.number), fold.onnx.clone())];
        let validated = validated.iter().copied().collect();
        let providers = Provider::candidates(Device::Cpu);
        ModelSessions::open(&self.environment, self.name, &files, shapes, &validated, &providers, self.threads)
    }

    /// Runs a fold's network on the subjects that it was tested on. `tick` hears of each.
    pub(super) fn fold(
        &mut self,
        fold: &Fold,
        calibration: &Calibration,
        tick: &mut dyn FnMut(),
    ) -> Result<(), ExportError> {
        let mut exact = self.sessions(fold, &[Precision::Fp32])?;
        // Where the machine has no bf16, the session runs in fp32, or does not open at all: nothing is validated.
        let mut short = self.sessions(fold, &[Precision::Fp32, Precision::Bf16]).ok();
        short = short.filter(|sessions| sessions.precision == Precision::Bf16);
        for row in &fold.tests {
            let wrong = |message: String| ExportError::Subject { subject: row.subject.clone(), message };
            let (volume, view) = self.subjects.volume(&row.subject).map_err(wrong)?;
            let [d, h, w] = self.plan.input.value;
            if volume.dim() != (d, h, w) {
                let found = volume.dim();
                return Err(wrong(format!("its cached volume has shape {found:?}, the plan's is {:?}", (d, h, w))));
            }
            let outputs = exact.run(volume.view())?;
            let Some(output) = outputs.first() else { continue };
            let difference = difference(row, output.logit, self.plan.precision.value)?;
            self.largest_difference = self.largest_difference.max(difference);
            if !row.fcd {
                let maximum = self.map_maximum(&output.cam, &view).map_err(|e| wrong(e.to_string()))?;
                self.control_maxima.push(maximum);
            }
            if let Some(short) = &mut short
                && let Some(rounded) = short.run(volume.view())?.first()
            {
                let change = (calibration.probability(rounded.logit) - calibration.probability(output.logit)).abs();
                self.largest_bf16_change = Some(self.largest_bf16_change.map_or(change, |most| most.max(change)));
            }
            tick();
        }
        Ok(())
    }

    /// The largest value of the map inside the head, as serving finds regions on it.
    fn map_maximum(&self, cam: &Array3<f32>, view: &FieldOfView) -> Result<f64, SingularAffine> {
        let placed = gradcam::place([cam], self.plan.spec().total_stride(), &view.grid);
        let map = gradcam::on_input_grid(&placed, view)?;
        Ok(f64::from(map.iter().copied().fold(0.0_f32, f32::max)))
    }
}
