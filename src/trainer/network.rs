//! The 3D ResNet in libtorch, built from the same specification as the ONNX file that serves.
//!
//! Parameters are plain tensors under MedicalNet's names; [`Network::from_weights`] and [`Network::to_weights`] are the
//! only ways in and out, so what is trained is what is exported. A forward pass runs the frozen part without autograd
//! ([`Trainable`]): no activation of it is kept, and the backward pass ends where learning ends.
//!
//! Works in place where autograd allows it (ReLU, the sum with the shortcut), as PyTorch's own ResNets do: at
//! 160×192×160 an activation of the first stage weighs 300 MB.

use std::collections::BTreeMap;

use fcdd::network::spec::{BATCH_NORM_EPSILON, Block, ConvNorm, POOL_KERNEL, POOL_STRIDE, STAGES, Shortcut};
use fcdd::network::{NetworkSpec, Tensor as WeightTensor, Weights, WeightsError};
use fcdd::research::run::plan::Trainable;
use tch::{Device, Kind, TchError, Tensor};

use super::precision::Precision;

/// Weight of a new batch in BatchNorm's running statistics (PyTorch's default).
const BATCH_NORM_MOMENTUM: f64 = 0.1;

/// The network cannot be made or run.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The weights are another network's.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// libtorch refused; running out of memory is such an error.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// How a forward pass treats BatchNorm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The blocks that learn normalise by the batch and update their running statistics; the frozen ones evaluate.
    Train,
    /// Every BatchNorm normalises by its running statistics.
    Evaluate,
}

/// Choices that are no part of the exported network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// What learns.
    pub trainable: Trainable,
    /// What convolutions compute in.
    pub precision: Precision,
    /// Whether type-A shortcuts cut the gradient, as MedicalNet's original code does (`out.data`). Off by default.
    pub detach_shortcut: bool,
}

impl Options {
    /// 32-bit, gradients through every shortcut.
    pub fn new(trainable: Trainable) -> Self {
        Options { trainable, precision: Precision::FP32, detach_shortcut: false }
    }
}

/// What a forward pass gives.
#[derive(Debug)]
pub struct Output {
    /// `[batch, 2]`, in the kind of the parameters (32-bit): "no FCD", FCD.
    pub logits: Tensor,
    /// The last feature map `[batch, channels, d, h, w]`, in the precision's kind.
    pub features: Tensor,
}

/// A network with its weights on a device.
#[derive(Debug)]
pub struct Network {
    spec: NetworkSpec,
    options: Options,
    device: Device,
    /// Every parameter and buffer, in the order of [`NetworkSpec::parameters`]. The layers hold the same storages.
    tensors: Vec<(String, Tensor)>,
    stem: Layer,
    blocks: Vec<ResidualBlock>,
    /// The first of `blocks` that learns.
    first_trained: usize,
    classifier: [Tensor; 2],
}

/// A convolution without bias, and its BatchNorm.
#[derive(Debug)]
struct Layer {
    kernel: Tensor,
    scale: Tensor,
    shift: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    stride: [i64; 3],
    padding: [i64; 3],
    dilation: [i64; 3],
}

#[derive(Debug)]
struct ResidualBlock {
    stage: usize,
    layers: Vec<Layer>,
    shortcut: Path,
}

/// [`Shortcut`] with its tensors.
#[derive(Debug)]
enum Path {
    Identity,
    Subsample { stride: [i64; 3], zero_channels: i64, detach: bool },
    Projection(Layer),
}

impl Network {
    /// Puts weights onto a device.
    ///
    /// # Errors
    /// When the weights are another network's, or the device has no room for them.
    pub fn from_weights(
        spec: NetworkSpec,
        weights: &Weights,
        device: Device,
        options: Options,
    ) -> Result<Self, NetworkError> {
        weights.check(&spec)?;
        let first_trained = options.trainable.first_block(&spec);
        let blocks = spec.blocks();
        let trains = |name: &str| {
            let block = blocks.iter().position(|block| name.starts_with(&format!("{}.", block.name)));
            match block {
                Some(index) => index >= first_trained,
                None => name.starts_with("fc.") || options.trainable == Trainable::All,
            }
        };

        let mut tensors = Vec::new();
        for parameter in spec.parameters() {
            let tensor = to_tensor(weights.get(&parameter.name)?)?.f_to_device(device)?;
            let tensor = tensor.f_to_kind(options.precision.parameter_kind())?;
            let learns = parameter.trainable && trains(&parameter.name);
            tensors.push((parameter.name, tensor.f_set_requires_grad(learns)?));
        }

        let by_name: BTreeMap<&str, &Tensor> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let stem = Layer::new(&spec.stem(), &by_name)?;
        let blocks = blocks
            .iter()
            .map(|block| ResidualBlock::new(block, &by_name, options.detach_shortcut))
            .collect::<Result<Vec<_>, _>>()?;
        let classifier = [named(&by_name, "fc.weight")?, named(&by_name, "fc.bias")?];
        Ok(Network { spec, options, device, tensors, stem, blocks, first_trained, classifier })
    }

    /// A copy of every parameter and buffer.
    ///
    /// # Errors
    /// When a value is no longer a finite number: the training diverged.
    pub fn to_weights(&self) -> Result<Weights, NetworkError> {
        let mut tensors = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            tensors.insert(name.clone(), from_tensor(tensor)?);
        }
        Ok(Weights::new(&self.spec, tensors)?)
    }

    /// Overwrites every parameter and buffer, in place: the optimiser goes on with the same tensors.
    ///
    /// # Errors
    /// When the weights are another network's.
    pub fn set_weights(&mut self, weights: &Weights) -> Result<(), NetworkError> {
        weights.check(&self.spec)?;
        let _no_grad = tch::no_grad_guard();
        for (name, tensor) in &mut self.tensors {
            tensor.f_copy_(&to_tensor(weights.get(name)?)?)?;
        }
        Ok(())
    }

    /// What it is.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// Weights of the classifier, `[2, channels]`.
    pub fn classifier_weight(&self) -> &Tensor {
        &self.classifier[0]
    }

    /// The first stage that learns, from 1.
    pub fn first_stage(&self) -> usize {
        self.blocks.get(self.first_trained).map_or(STAGES, |block| block.stage)
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The parameters that learn, by name, in the order of [`NetworkSpec::parameters`]. They share their storage with
    /// the network's.
    pub fn learning(&self) -> Vec<(String, Tensor)> {
        let learning = self.tensors.iter().filter(|(_, tensor)| tensor.requires_grad());
        learning.map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
    }

    /// Runs the network over `[batch, 1, D, H, W]` volumes (32-bit, on its device). Call it within `tch::no_grad` when
    /// no backward pass follows.
    ///
    /// # Errors
    /// libtorch's: a wrong shape, no memory.
    pub fn forward(&self, volumes: &Tensor, mode: Mode) -> Result<Output, NetworkError> {
        self.run(volumes, mode, &mut |_, _| {})
    }

    /// [`Network::forward`], and the outputs of the stages from the first to the one before the last.
    ///
    /// # Errors
    /// As there.
    pub fn forward_with_stages(&self, volumes: &Tensor, mode: Mode) -> Result<(Output, Vec<Tensor>), NetworkError> {
        let mut stages: Vec<Tensor> = (1..STAGES).map(|_| Tensor::new()).collect();
        let output = self.run(volumes, mode, &mut |stage, x| {
            if let Some(place) = stages.get_mut(stage - 1) {
                *place = x.shallow_clone();
            }
        })?;
        Ok((output, stages))
    }

    /// `see` is shown what leaves each block, with its stage.
    fn run(&self, volumes: &Tensor, mode: Mode, see: &mut dyn FnMut(usize, &Tensor)) -> Result<Output, NetworkError> {
        let kind = self.options.precision.kind();
        let training = mode == Mode::Train;
        let trains_stem = self.options.trainable == Trainable::All;

        let mut x = {
            let _frozen = (!trains_stem).then(tch::no_grad_guard);
            let stem = self.stem.forward(&volumes.f_to_kind(kind)?, training && trains_stem)?.f_relu_()?;
            pool(&stem)?
        };
        let (frozen, trained) = self.blocks.split_at(self.first_trained);
        {
            let _frozen = tch::no_grad_guard();
            for block in frozen {
                x = block.forward(x, false)?;
                see(block.stage, &x);
            }
        }
        for block in trained {
            x = block.forward(x, training)?;
            see(block.stage, &x);
        }
        let pooled = x.f_mean_dim(&[2_i64, 3, 4][..], false, self.options.precision.parameter_kind())?;
        let [weight, bias] = &self.classifier;
        Ok(Output { logits: pooled.f_linear(weight, Some(bias))?, features: x })
    }
}

impl Layer {
    fn new(layer: &ConvNorm, by_name: &BTreeMap<&str, &Tensor>) -> Result<Self, WeightsError> {
        let of_norm = |suffix: &str| named(by_name, &format!("{}.{suffix}", layer.norm));
        Ok(Layer {
            kernel: named(by_name, &format!("{}.weight", layer.conv))?,
            scale: of_norm("weight")?,
            shift: of_norm("bias")?,
            running_mean: of_norm("running_mean")?,
            running_var: of_norm("running_var")?,
            stride: layer.stride.map(|stride| stride as i64),
            padding: [layer.padding() as i64; 3],
            dilation: [layer.dilation as i64; 3],
        })
    }

    /// Convolution and BatchNorm, the latter by the batch's statistics when `training`.
    fn forward(&self, x: &Tensor, training: bool) -> Result<Tensor, TchError> {
        let kind = if bf16_goes_wrong(x) { Kind::Float } else { x.kind() };
        let kernel = self.kernel.f_to_kind(kind)?;
        let y = x.f_to_kind(kind)?.f_conv3d(&kernel, None::<&Tensor>, self.stride, self.padding, self.dilation, 1)?;
        let y = y.f_to_kind(x.kind())?;
        y.f_batch_norm(
            Some(&self.scale),
            Some(&self.shift),
            Some(&self.running_mean),
            Some(&self.running_var),
            training,
            BATCH_NORM_MOMENTUM,
            BATCH_NORM_EPSILON,
            true,
        )
    }
}

impl ResidualBlock {
    fn new(block: &Block, by_name: &BTreeMap<&str, &Tensor>, detach: bool) -> Result<Self, WeightsError> {
        let layers = block.convs.iter().map(|layer| Layer::new(layer, by_name)).collect::<Result<_, _>>()?;
        let shortcut = match &block.shortcut {
            Shortcut::Identity => Path::Identity,
            Shortcut::Subsample { stride, zero_channels } => Path::Subsample {
                stride: stride.map(|stride| stride as i64),
                zero_channels: *zero_channels as i64,
                detach,
            },
            Shortcut::Projection(layer) => Path::Projection(Layer::new(layer, by_name)?),
        };
        Ok(ResidualBlock { stage: block.stage(), layers, shortcut })
    }

    /// Takes its input, so that it is freed as soon as neither the block nor autograd needs it.
    fn forward(&self, x: Tensor, training: bool) -> Result<Tensor, TchError> {
        let mut y = x.shallow_clone();
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                y = y.f_relu_()?;
            }
            y = layer.forward(&y, training)?;
        }
        let shortcut = match &self.shortcut {
            Path::Identity => x,
            Path::Subsample { stride, zero_channels, detach } => subsample(x, *stride, *zero_channels, *detach)?,
            Path::Projection(layer) => {
                let projected = layer.forward(&x, training)?;
                drop(x);
                projected
            }
        };
        y.f_add_(&shortcut)?.f_relu_()
    }
}

/// Whether a convolution of this input must not compute in bf16.
///
/// On processors with bf16, oneDNN (as in libtorch 2.13.0) returns weight gradients from memory that nobody wrote where
/// a map is thinner than the kernel of 3: found with 16 channels and more at a depth of 2, and at planes of one cell
/// with stride 2. Such maps are so small that 32-bit costs nothing.
fn bf16_goes_wrong(x: &Tensor) -> bool {
    x.kind() == Kind::BFloat16 && x.device() == Device::Cpu && x.size().iter().skip(2).any(|edge| *edge < 3)
}

/// Type A: every `stride`-th sample, and channels of zeros behind the input's own.
fn subsample(x: Tensor, stride: [i64; 3], zero_channels: i64, detach: bool) -> Result<Tensor, TchError> {
    let mut x = if detach { x.f_detach()? } else { x };
    for (axis, stride) in stride.into_iter().enumerate() {
        x = x.f_slice(axis as i64 + 2, 0, None, stride)?;
    }
    // From the last axis to the channels: [W, W, H, H, D, D, C, C].
    x.f_constant_pad_nd([0, 0, 0, 0, 0, 0, 0, zero_channels])
}

fn pool(x: &Tensor) -> Result<Tensor, TchError> {
    let [kernel, stride] = [POOL_KERNEL, POOL_STRIDE].map(|n| n as i64);
    x.f_max_pool3d([kernel; 3], [stride; 3], [kernel / 2; 3], [1; 3], false)
}

fn named(by_name: &BTreeMap<&str, &Tensor>, name: &str) -> Result<Tensor, WeightsError> {
    by_name.get(name).map(|tensor| tensor.shallow_clone()).ok_or_else(|| WeightsError::Missing {
        name: name.to_owned(),
        architecture: "the network".to_owned(),
        shape: Vec::new(),
    })
}

/// A copy on the CPU, of the same shape.
pub fn to_tensor(tensor: &WeightTensor) -> Result<Tensor, TchError> {
    let shape: Vec<i64> = tensor.shape.iter().map(|&n| n as i64).collect();
    Tensor::f_from_slice(&tensor.data)?.f_reshape(&shape)
}

/// A copy of a tensor's values in C order, as 32-bit numbers.
pub fn from_tensor(tensor: &Tensor) -> Result<WeightTensor, TchError> {
    let shape = tensor.size().iter().map(|&n| n as usize).collect();
    let flat = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?.f_view(-1)?;
    Ok(WeightTensor { shape, data: Vec::<f32>::try_from(&flat)? })
}
