//! The kind of number that convolutions compute in.
//!
//! With bf16 the volume, the activations and a copy of each convolution's kernel are rounded by explicit casts (tch's
//! autocasting does nothing without CUDA); parameters, BatchNorm's statistics, the classifier, the loss and the
//! optimiser stay 32-bit. 64 bits everywhere are for checking: they tell a mistake from rounding.

use std::fmt;
use std::str::FromStr;

use tch::Kind;

/// What convolutions compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floating point.
    Fp32,
    /// bfloat16 activations and kernels, 32-bit everything else.
    Bf16,
    /// 64-bit everything: slow, exact.
    Fp64,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 3] = [Precision::Fp32, Precision::Bf16, Precision::Fp64];

    /// The name on the command line and in plans.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Bf16 => "bf16",
            Precision::Fp64 => "fp64",
        }
    }

    /// Kind of the activations.
    pub fn kind(self) -> Kind {
        match self {
            Precision::Fp32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
            Precision::Fp64 => Kind::Double,
        }
    }

    /// Kind of the parameters, the logits and the loss.
    pub fn parameter_kind(self) -> Kind {
        match self {
            Precision::Fp32 | Precision::Bf16 => Kind::Float,
            Precision::Fp64 => Kind::Double,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no precision; there are fp32, bf16 and fp64")]
pub struct UnknownPrecision(String);

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Precision::ALL
            .into_iter()
            .find(|precision| precision.name() == name)
            .ok_or_else(|| UnknownPrecision(name.to_owned()))
    }
}
