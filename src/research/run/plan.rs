//! `RUN/plan.toml`: every choice of a training run, resolved, each marked as the paper's or ours.
//!
//! The same plan and the same archive give the same splits, batches and, on CPU at the same number of threads,
//! the same weights. A run folder belongs to one plan: [`Plan::digest`] tells another plan apart.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::network::{Architecture, Geometry, NetworkSpec};
use crate::study::Sequence;

/// Plan format that this program reads and writes.
pub const FORMAT: u32 = 1;

/// Whose choice it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The paper says so.
    Paper,
    /// The paper is silent, or we know better.
    Ours,
    /// The command line said so.
    User,
}

/// A value and whose choice it is; in TOML `{ value = 0.001, from = "paper" }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice<T> {
    /// The value.
    pub value: T,
    /// Whose.
    pub from: Origin,
}

impl<T> Choice<T> {
    /// As the paper has it.
    pub fn paper(value: T) -> Self {
        Choice { value, from: Origin::Paper }
    }

    /// Where the paper is silent, or we differ.
    pub fn ours(value: T) -> Self {
        Choice { value, from: Origin::Ours }
    }

    /// Replaced by the command line, when it says something.
    pub fn or_user(self, said: Option<T>) -> Self {
        match said {
            Some(value) => Choice { value, from: Origin::User },
            None => self,
        }
    }
}

/// The parameters of the paper, or those with what we add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The paper's.
    Paper,
    /// With flips, intensity and protocol variation, brain-only background.
    Default,
}

/// What is trained, besides the classifier.
///
/// The network is a row: stem, blocks in order, classifier. What learns is always the end of that row, so everything
/// before one block is frozen: it runs without a backward pass, keeps no activations, and its BatchNorms stay in
/// evaluation mode. The classifier always learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Trainable {
    /// The fourth stage: the paper's "final block and layer" of a pretrained network.
    Layer4,
    /// The last residual block only.
    LastBlock,
    /// Everything: what a network without pretrained weights needs.
    All,
}

impl Trainable {
    /// Index into [`NetworkSpec::blocks`] of the first block that learns; the stem learns only with
    /// [`Trainable::All`].
    pub fn first_block(self, spec: &NetworkSpec) -> usize {
        let blocks = spec.blocks();
        match self {
            Trainable::All => 0,
            Trainable::Layer4 => {
                blocks.iter().position(|block| block.name.starts_with("layer4.")).unwrap_or(blocks.len())
            }
            Trainable::LastBlock => blocks.len().saturating_sub(1),
        }
    }
}

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// When the validation loss stays; the fold stops when it stays for long.
    Plateau,
    /// Along half a cosine over all epochs, which are all trained.
    Cosine,
}

/// Pretrained weights that a run began with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pretrained {
    /// The `.pth` file, or a `checkpoint_best` of another run.
    pub path: std::path::PathBuf,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}

/// Arithmetic of the forward and backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TrainingPrecision {
    /// Single precision.
    Fp32,
    /// Brain float with single-precision master weights.
    Bf16,
}

/// What may be varied beside the rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Variation {
    /// Left-right flip.
    Flip,
    /// Scale, shift, contrast and noise.
    Intensity,
    /// Point spread, anisotropy and shading of another scanner.
    Protocol,
}

/// Random changes of a training volume; see `augment` for their ranges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentationChoice {
    /// Largest rotation about each axis, degrees.
    pub rotation_deg: Choice<f64>,
    /// Left-right flip, in half of the samples.
    pub flip: Choice<bool>,
    /// Scale, shift, contrast and noise of the z-scored head.
    pub intensity: Choice<bool>,
    /// Point spread, anisotropy and shading of another scanner.
    pub protocol: Choice<bool>,
}

/// Every choice of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// Which profile the unsaid choices come from.
    pub profile: Profile,
    /// Fingerprint of the archive (hexadecimal SHA-256).
    pub archive: String,
    /// T1 or FLAIR.
    pub sequence: Sequence,
    /// Depth.
    pub architecture: Choice<Architecture>,
    /// Channels of the stem; 64 is the full network.
    pub width: Choice<usize>,
    /// Strides and dilations.
    pub geometry: Choice<Geometry>,
    /// Input `[D, H, W]`, RAS.
    pub input: Choice<[usize; 3]>,
    /// Isotropic voxel size, mm.
    pub spacing_mm: Choice<f64>,
    /// Value outside the head after z-scoring.
    pub background: Choice<f64>,
    /// What it starts from; none: random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Pretrained>,
    /// What is trained.
    pub trainable: Choice<Trainable>,
    /// Whether type-A shortcuts cut the gradient, as the original code does.
    pub detach_shortcut: Choice<bool>,
    /// Weight of what lesion masks add to the loss; none: they add nothing, as in the paper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lesion_guidance: Option<Choice<f64>>,
    /// Number of folds.
    pub folds: Choice<usize>,
    /// Share of the training part that validates.
    pub validation_share: Choice<f64>,
    /// Everything random follows from it.
    pub seed: u64,
    /// At most so many epochs.
    pub epochs: Choice<usize>,
    /// Subjects per step.
    pub batch: Choice<usize>,
    /// Adam's learning rate.
    pub learning_rate: Choice<f64>,
    /// How it falls; none: by the plateau, as in the paper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay: Option<Choice<Decay>>,
    /// Factor of the learning rate on a plateau of the validation loss.
    pub plateau_factor: Choice<f64>,
    /// Epochs without a better validation loss before that.
    pub plateau_patience: Choice<usize>,
    /// Epochs without a better validation loss before the fold stops.
    pub early_stopping_patience: Choice<usize>,
    /// Random changes of training volumes.
    pub augmentation: AugmentationChoice,
    /// Arithmetic.
    pub precision: Choice<TrainingPrecision>,
    /// Threads of the forward and backward pass; part of the plan because sums depend on it.
    pub threads: Choice<usize>,
}

/// What `fcdd admin retrain` was told; everything unsaid comes from the profile.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// `--architecture`
    pub architecture: Option<Architecture>,
    /// `--width`
    pub width: Option<usize>,
    /// `--input`
    pub input: Option<[usize; 3]>,
    /// `--spacing`
    pub spacing_mm: Option<f64>,
    /// `--trainable`
    pub trainable: Option<Trainable>,
    /// `--lesion-guidance`
    pub lesion_guidance: Option<f64>,
    /// `--folds`
    pub folds: Option<usize>,
    /// `--epochs`
    pub epochs: Option<usize>,
    /// `--batch`
    pub batch: Option<usize>,
    /// `--learning-rate`
    pub learning_rate: Option<f64>,
    /// `--decay`
    pub decay: Option<Decay>,
    /// `--rotation`
    pub rotation_deg: Option<f64>,
    /// `--augment`: all that is varied beside the rotation.
    pub augment: Option<Vec<Variation>>,
    /// `--precision`
    pub precision: Option<TrainingPrecision>,
    /// `--threads`
    pub threads: Option<usize>,
}

/// A plan that cannot be carried out, or that is not this run's.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not TOML, or a field is missing, unknown or of another type.
    #[error("{path} is no plan: {message}")]
    Syntax {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A choice outside its range.
    #[error("{field} is {found}, expected {expected}")]
    Field {
        /// The choice.
        field: &'static str,
        /// What would be right.
        expected: String,
        /// What it is.
        found: String,
    },
}

impl Plan {
    /// Resolves every choice.
    pub fn new(
        profile: Profile,
        sequence: Sequence,
        archive: String,
        weights: Option<Pretrained>,
        seed: u64,
        said: &Said,
    ) -> Plan {
        let ours = profile == Profile::Default;
        // Without pretrained weights a frozen layer would be noise (design page, "MedicalNet weights" 5).
        let trainable = match (&weights, said.trainable) {
            (None, _) => Choice::ours(Trainable::All),
            (Some(_), said) => Choice::paper(Trainable::Layer4).or_user(said),
        };
        let varies = |variation| {
            let by_profile = if ours { Choice::ours(true) } else { Choice::paper(false) };
            by_profile.or_user(said.augment.as_ref().map(|said| said.contains(&variation)))
        };
        Plan {
            format: FORMAT,
            profile,
            archive,
            sequence,
            architecture: Choice::paper(Architecture::Resnet18).or_user(said.architecture),
            width: Choice::paper(64).or_user(said.width),
            geometry: Choice::paper(Geometry::Paper),
            input: Choice::paper([160, 192, 160]).or_user(said.input),
            spacing_mm: Choice::ours(1.0).or_user(said.spacing_mm),
            background: Choice::ours(0.0),
            weights,
            trainable,
            detach_shortcut: Choice::ours(false),
            lesion_guidance: said.lesion_guidance.map(|value| Choice { value, from: Origin::User }),
            folds: Choice::paper(5).or_user(said.folds),
            validation_share: Choice::paper(0.2),
            seed,
            epochs: Choice::ours(100).or_user(said.epochs),
            batch: Choice::ours(4).or_user(said.batch),
            learning_rate: Choice::paper(1e-3).or_user(said.learning_rate),
            decay: said.decay.map(|value| Choice { value, from: Origin::User }),
            plateau_factor: Choice::paper(0.1),
            plateau_patience: Choice::paper(5),
            early_stopping_patience: Choice::ours(15),
            augmentation: AugmentationChoice {
                rotation_deg: Choice::paper(15.0).or_user(said.rotation_deg),
                flip: varies(Variation::Flip),
                intensity: varies(Variation::Intensity),
                protocol: varies(Variation::Protocol),
            },
            precision: Choice::ours(TrainingPrecision::Fp32).or_user(said.precision),
            threads: Choice::ours(2).or_user(said.threads),
        }
    }

    /// The network.
    pub fn spec(&self) -> NetworkSpec {
        NetworkSpec { architecture: self.architecture.value, width: self.width.value, geometry: self.geometry.value }
    }

    /// Checks every choice.
    ///
    /// # Errors
    /// The first choice outside its range.
    pub fn check(&self) -> Result<(), PlanError> {
        let wrong = |field, expected: &str, found: &dyn fmt::Debug| {
            Err(PlanError::Field { field, expected: expected.to_owned(), found: format!("{found:?}") })
        };
        if self.format != FORMAT {
            return wrong("format", "1 (this program reads no other)", &self.format);
        }
        if self.sequence == Sequence::Other {
            return wrong("sequence", "t1 or flair", &self.sequence);
        }
        if !(1..=1024).contains(&self.width.value) {
            return wrong("width", "1 to 1024", &self.width.value);
        }
        if !self.input.value.iter().all(|edge| (16..=512).contains(edge)) {
            return wrong("input", "three edge lengths from 16 to 512", &self.input.value);
        }
        if !(self.spacing_mm.value.is_finite() && (0.2..=10.0).contains(&self.spacing_mm.value)) {
            return wrong("spacing_mm", "0.2 to 10 mm", &self.spacing_mm.value);
        }
        if !(2..=50).contains(&self.folds.value) {
            return wrong("folds", "2 to 50", &self.folds.value);
        }
        if !(0.05..=0.5).contains(&self.validation_share.value) {
            return wrong("validation_share", "0.05 to 0.5", &self.validation_share.value);
        }
        if self.epochs.value == 0 {
            return wrong("epochs", "at least 1", &self.epochs.value);
        }
        if self.batch.value < 2 {
            return wrong("batch", "at least 2 (BatchNorm needs two subjects)", &self.batch.value);
        }
        if !(self.learning_rate.value.is_finite() && self.learning_rate.value > 0.0) {
            return wrong("learning_rate", "a number above 0", &self.learning_rate.value);
        }
        if let Some(Choice { value, .. }) = &self.lesion_guidance
            && !(value.is_finite() && *value > 0.0 && *value <= 100.0)
        {
            return wrong("lesion_guidance", "a number above 0, at most 100", value);
        }
        if !(0.0..=45.0).contains(&self.augmentation.rotation_deg.value) {
            return wrong("rotation_deg", "0 to 45 degrees", &self.augmentation.rotation_deg.value);
        }
        if !(1..=256).contains(&self.threads.value) {
            return wrong("threads", "1 to 256", &self.threads.value);
        }
        Ok(())
    }

    /// The plan as TOML, always the same bytes for the same plan.
    pub fn to_toml(&self) -> String {
        // Every field is a table, a number, a string or a boolean: this cannot fail.
        toml::to_string(self).unwrap_or_default()
    }

    /// Reads a plan's text; `path` is for the error.
    ///
    /// # Errors
    /// When it is no plan, or a choice is outside its range.
    pub fn from_toml(text: &str, path: &std::path::Path) -> Result<Plan, PlanError> {
        let plan: Plan =
            toml::from_str(text).map_err(|e| PlanError::Syntax { path: path.to_owned(), message: e.to_string() })?;
        plan.check()?;
        Ok(plan)
    }

    /// SHA-256 of [`Plan::to_toml`], hexadecimal: what checkpoints carry.
    pub fn digest(&self) -> String {
        use sha2::Digest;
        sha2::Sha256::digest(self.to_toml()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer4_begins_with_its_first_block_and_the_last_block_is_one() {
        for (architecture, blocks, layer4) in [
            (Architecture::Resnet10, 4, 3),
            (Architecture::Resnet18, 8, 6),
            (Architecture::Resnet34, 16, 13),
            (Architecture::Resnet50, 16, 13),
        ] {
            let spec = NetworkSpec::paper(architecture, 2);
            assert_eq!(Trainable::Layer4.first_block(&spec), layer4, "{architecture}");
            assert_eq!(Trainable::LastBlock.first_block(&spec), blocks - 1, "{architecture}");
            assert_eq!(Trainable::All.first_block(&spec), 0);
        }
    }
}
