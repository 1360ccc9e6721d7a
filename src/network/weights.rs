//! The numbers of a network: named tensors that were checked against the specification.

use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::spec::NetworkSpec;

/// A dense tensor in C order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Edge lengths.
    pub shape: Vec<usize>,
    /// Values; as many as the product of the edge lengths.
    pub data: Vec<f32>,
}

impl Tensor {
    /// A tensor with one value everywhere.
    pub fn filled(shape: &[usize], value: f32) -> Self {
        Tensor { shape: shape.to_vec(), data: vec![value; shape.iter().product()] }
    }
}

/// Named tensors that do not make the network they were meant for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// A parameter is not there.
    #[error("parameter {name:?} of {architecture} (shape {shape:?}) is missing")]
    Missing {
        /// The parameter.
        name: String,
        /// The network.
        architecture: String,
        /// The shape it should have.
        shape: Vec<usize>,
    },
    /// A tensor belongs to no parameter.
    #[error("tensor {name:?} is no parameter of {architecture}: is the architecture right?")]
    Unexpected {
        /// The tensor.
        name: String,
        /// The network.
        architecture: String,
    },
    /// A tensor has another shape than its parameter.
    #[error("parameter {name:?} of {architecture} has shape {found:?}, expected {expected:?}")]
    WrongShape {
        /// The parameter.
        name: String,
        /// The network.
        architecture: String,
        /// Expected shape.
        expected: Vec<usize>,
        /// Shape found.
        found: Vec<usize>,
    },
    /// A tensor's values do not fill its shape, or one of them is not a finite number.
    #[error("parameter {name:?} holds {values} values for shape {shape:?}, or one that is not finite")]
    Damaged {
        /// The parameter.
        name: String,
        /// Number of values.
        values: usize,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A network that cannot hold what it should do.
    #[error("the marker network needs a width of at least {needed}, not {width}")]
    TooNarrow {
        /// Width asked for.
        width: usize,
        /// Smallest width that works.
        needed: usize,
    },
}

/// All tensors of one network, complete and of the right shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    /// Takes tensors under MedicalNet's names.
    ///
    /// # Errors
    /// The first tensor that is missing, unexpected, of another shape, or damaged.
    pub fn new(spec: &NetworkSpec, tensors: BTreeMap<String, Tensor>) -> Result<Self, WeightsError> {
        let weights = Weights { tensors };
        weights.check(spec)?;
        Ok(weights)
    }

    /// Whether these are weights of that network.
    ///
    /// # Errors
    /// The first tensor that is missing, unexpected, of another shape, or damaged.
    pub fn check(&self, spec: &NetworkSpec) -> Result<(), WeightsError> {
        let tensors = &self.tensors;
        let architecture = spec.architecture.name().to_owned();
        let parameters = spec.parameters();
        for parameter in &parameters {
            let Some(tensor) = tensors.get(&parameter.name) else {
                return Err(WeightsError::Missing {
                    name: parameter.name.clone(),
                    architecture,
                    shape: parameter.shape.clone(),
                });
            };
            if tensor.shape != parameter.shape {
                return Err(WeightsError::WrongShape {
                    name: parameter.name.clone(),
                    architecture,
                    expected: parameter.shape.clone(),
                    found: tensor.shape.clone(),
                });
            }
            let filled = tensor.data.len() == tensor.shape.iter().product::<usize>();
            if !filled || tensor.data.iter().any(|value| !value.is_finite()) {
                return Err(WeightsError::Damaged {
                    name: parameter.name.clone(),
                    values: tensor.data.len(),
                    shape: tensor.shape.clone(),
                });
            }
        }
        if let Some(name) = tensors.keys().find(|name| parameters.iter().all(|parameter| &parameter.name != *name)) {
            return Err(WeightsError::Unexpected { name: name.clone(), architecture });
        }
        Ok(())
    }

    /// A tensor by its name.
    ///
    /// # Errors
    /// [`WeightsError::Missing`] when the weights were made for another network.
    pub fn get(&self, name: &str) -> Result<&Tensor, WeightsError> {
        self.tensors.get(name).ok_or_else(|| WeightsError::Missing {
            name: name.to_owned(),
            architecture: "the network".to_owned(),
            shape: Vec::new(),
        })
    }

    /// Every tensor by name, sorted.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }
}

/// Untrained weights: convolutions Kaiming normal (fan out, ReLU), BatchNorms 1, 0, 0, 1, classifier
/// uniform in ±1/√channels. The same seed gives the same bytes on every machine.
pub fn random_init(spec: &NetworkSpec, seed: u64) -> Weights {
    let mut seed_bytes = [0_u8; 32];
    seed_bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut random = Random { generator: ChaCha20Rng::from_seed(seed_bytes), spare: None };
    let classifier_bound = 1.0 / (spec.feature_channels() as f64).sqrt();
    let mut tensors = BTreeMap::new();
    for parameter in spec.parameters() {
        let count = parameter.shape.iter().product::<usize>();
        let name = parameter.name.as_str();
        let tensor = if name.starts_with("fc.") {
            let uniform = (0..count).map(|_| ((2.0 * random.uniform() - 1.0) * classifier_bound) as f32);
            Tensor { data: uniform.collect(), shape: parameter.shape }
        } else if let [out_channels, _in_channels, kernel @ ..] = parameter.shape.as_slice()
            && !kernel.is_empty()
        {
            let fan_out = out_channels * kernel.iter().product::<usize>();
            let deviation = (2.0 / fan_out as f64).sqrt();
            let normal = (0..count).map(|_| (random.normal() * deviation) as f32);
            Tensor { data: normal.collect(), shape: parameter.shape }
        } else {
            let one = name.ends_with(".weight") || name.ends_with(".running_var");
            Tensor::filled(&parameter.shape, if one { 1.0 } else { 0.0 })
        };
        tensors.insert(parameter.name, tensor);
    }
    Weights { tensors }
}

/// Random numbers made by IEEE basic operations only: the platform's `ln` and `cos` may differ in the last
/// bit, and the demonstration models' digests must not.
struct Random {
    generator: ChaCha20Rng,
    spare: Option<f64>,
}

impl Random {
    /// Uniform in [0, 1), 53 bits.
    fn uniform(&mut self) -> f64 {
        (self.generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal, by Marsaglia's polar method.
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let factor = (-2.0 * portable_ln(square) / square).sqrt();
                self.spare = Some(y * factor);
                return x * factor;
            }
        }
    }
}

/// Natural logarithm of a positive normal number to about 1e-15, the same bits everywhere:
/// ln(m·2^e) = e·ln 2 + 2·artanh((m−1)/(m+1)).
fn portable_ln(value: f64) -> f64 {
    let mut mantissa = value;
    let mut exponent = 0;
    while mantissa < std::f64::consts::FRAC_1_SQRT_2 {
        mantissa *= 2.0;
        exponent -= 1;
    }
    while mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut power = s;
    let mut artanh = 0.0;
    for odd in (1..=25).step_by(2) {
        artanh += power / f64::from(odd);
        power *= square;
    }
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * artanh
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::spec::Architecture;

    fn spec() -> NetworkSpec {
        NetworkSpec::paper(Architecture::Resnet10, 4)
    }

    #[test]
    fn a_missing_an_unexpected_and_a_misshapen_tensor_are_named() {
        let complete = random_init(&spec(), 1).tensors;
        assert!(Weights::new(&spec(), complete.clone()).is_ok());

        let mut missing = complete.clone();
        missing.remove("layer2.0.downsample.0.weight");
        let error = Weights::new(&spec(), missing).unwrap_err();
        assert!(matches!(&error, WeightsError::Missing { name, .. } if name == "layer2.0.downsample.0.weight"));

        let mut unexpected = complete.clone();
        unexpected.insert("conv_seg.0.weight".into(), Tensor::filled(&[1], 0.0));
        let error = Weights::new(&spec(), unexpected).unwrap_err();
        assert!(matches!(&error, WeightsError::Unexpected { name, .. } if name == "conv_seg.0.weight"));

        let mut misshapen = complete.clone();
        misshapen.insert("fc.bias".into(), Tensor::filled(&[3], 0.0));
        let error = Weights::new(&spec(), misshapen).unwrap_err();
        assert!(error.to_string().contains("fc.bias") && error.to_string().contains("[3]"), "{error}");

        let mut damaged = complete;
        damaged.insert("fc.bias".into(), Tensor::filled(&[2], f32::NAN));
        assert!(matches!(Weights::new(&spec(), damaged), Err(WeightsError::Damaged { .. })));
    }

    #[test]
    fn random_weights_follow_the_stated_distributions() {
        let spec = NetworkSpec::paper(Architecture::Resnet18, 8);
        let weights = random_init(&spec, 7);
        assert_eq!(weights, random_init(&spec, 7));
        assert_ne!(weights, random_init(&spec, 8));

        let conv = &weights.get("layer4.1.conv2.weight").unwrap().data;
        let count = conv.len() as f64;
        let mean = conv.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let variance = conv.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
        let expected = 2.0 / (64.0 * 27.0);
        assert!(mean.abs() < 5.0 * (expected / count).sqrt(), "mean {mean}");
        assert!((variance / expected - 1.0).abs() < 0.02, "variance {variance}, expected {expected}");
        let within_one_deviation = conv.iter().filter(|&&v| f64::from(v).powi(2) < expected).count() as f64 / count;
        assert!((within_one_deviation - 0.6827).abs() < 0.01, "{within_one_deviation}");

        let classifier = &weights.get("fc.weight").unwrap().data;
        assert!(classifier.iter().all(|v| v.abs() <= 0.125) && classifier.iter().any(|v| v.abs() > 0.1));
    }

    #[test]
    fn the_portable_logarithm_is_the_logarithm() {
        for value in [1e-17, 1e-9, 0.2, 0.5, 0.7, 0.9999999, 1.0, 1.5, 3.0, 1e6_f64] {
            assert!((portable_ln(value) - value.ln()).abs() <= 1e-14 * value.ln().abs().max(1.0), "{value}");
        }
    }
}
