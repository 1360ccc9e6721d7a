//! The kinds of number that a plan's precision means in libtorch.
//!
//! With bf16 the volume, the activations and a copy of each convolution's kernel are rounded by explicit casts (tch's
//! autocasting does nothing without CUDA); parameters, BatchNorm's statistics, the classifier, the loss and the
//! optimiser stay 32-bit. 64 bits everywhere are no choice of a plan but for the tests: they tell a mistake from
//! rounding.

use fcdd::research::run::plan::TrainingPrecision;
use tch::Kind;

/// What convolutions compute in, and what everything else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precision {
    activations: Kind,
    parameters: Kind,
}

impl Precision {
    /// 32-bit floating point.
    pub const FP32: Precision = Precision { activations: Kind::Float, parameters: Kind::Float };
    /// bfloat16 activations and kernels, 32-bit everything else.
    pub const BF16: Precision = Precision { activations: Kind::BFloat16, parameters: Kind::Float };
    /// 64-bit everything: slow, exact.
    #[cfg(test)]
    pub const FP64: Precision = Precision { activations: Kind::Double, parameters: Kind::Double };

    /// Kind of the activations.
    pub fn kind(self) -> Kind {
        self.activations
    }

    /// Kind of the parameters, the logits and the loss.
    pub fn parameter_kind(self) -> Kind {
        self.parameters
    }
}

impl From<TrainingPrecision> for Precision {
    fn from(precision: TrainingPrecision) -> Self {
        match precision {
            TrainingPrecision::Fp32 => Precision::FP32,
            TrainingPrecision::Bf16 => Precision::BF16,
        }
    }
}
