//! What the 3D ResNets are: layers, strides, shortcuts, parameter names and shapes.
//!
//! The layout of the paper's networks (kenshohara's 3D ResNets with one input channel and two classes),
//! with the parameter names that the MedicalNet weights use. Everything that builds, reads or writes a
//! network takes its structure from here. All kernels are odd and padded symmetrically to "same", so that
//! cell `i` of any feature map is centred at input index `stride · i`.

use std::fmt;
use std::str::FromStr;

/// Number of classes: index 0 is "no FCD", index 1 is FCD.
pub const CLASSES: usize = 2;

/// Index of the FCD logit.
pub const FCD: usize = 1;

/// Number of stages.
pub const STAGES: usize = 4;

/// Epsilon that every BatchNorm adds to its variance.
pub const BATCH_NORM_EPSILON: f64 = 1e-5;

/// Depth of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// One basic block per stage: for tests and the demonstration models.
    Resnet10,
    /// Two basic blocks per stage.
    Resnet18,
    /// 3, 4, 6, 3 basic blocks.
    Resnet34,
    /// 3, 4, 6, 3 bottlenecks.
    Resnet50,
}

impl Architecture {
    /// Every architecture.
    pub const ALL: [Architecture; 4] =
        [Architecture::Resnet10, Architecture::Resnet18, Architecture::Resnet34, Architecture::Resnet50];

    /// The name used in manifests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Resnet10 => "resnet10",
            Architecture::Resnet18 => "resnet18",
            Architecture::Resnet34 => "resnet34",
            Architecture::Resnet50 => "resnet50",
        }
    }

    fn blocks_per_stage(self) -> [usize; 4] {
        match self {
            Architecture::Resnet10 => [1, 1, 1, 1],
            Architecture::Resnet18 => [2, 2, 2, 2],
            Architecture::Resnet34 | Architecture::Resnet50 => [3, 4, 6, 3],
        }
    }

    fn has_bottlenecks(self) -> bool {
        self == Architecture::Resnet50
    }

    /// Output channels of a block divided by its stage's channels.
    pub fn expansion(self) -> usize {
        if self.has_bottlenecks() { 4 } else { 1 }
    }

    /// Type A (subsample, zero channels) or type B (1×1×1 convolution + BatchNorm): what the MedicalNet
    /// weights of this depth were trained with.
    fn projects_shortcuts(self) -> bool {
        matches!(self, Architecture::Resnet10 | Architecture::Resnet50)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no architecture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no architecture; there are resnet10, resnet18, resnet34 and resnet50")]
pub struct UnknownArchitecture(String);

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Architecture::ALL
            .into_iter()
            .find(|architecture| architecture.name() == name)
            .ok_or_else(|| UnknownArchitecture(name.to_owned()))
    }
}

/// Strides and dilations; parameters have the same shapes in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Geometry {
    /// The paper's: stem stride (1, 2, 2), no dilation; total stride (16, 32, 32).
    Paper,
    /// Computes MedicalNet's own features, subsampled: stem stride (2, 2, 2), and the strided 3×3×3
    /// convolutions of stages 3 and 4 have dilation 2 and padding 2; total stride (32, 32, 32).
    Faithful,
}

impl Geometry {
    /// The name used in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Geometry::Paper => "paper",
            Geometry::Faithful => "faithful",
        }
    }
}

/// A cubic convolution without bias, followed by a BatchNorm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvNorm {
    /// Parameter prefix of the convolution, e.g. `layer1.0.conv1`.
    pub conv: String,
    /// Parameter prefix of its BatchNorm, e.g. `layer1.0.bn1`.
    pub norm: String,
    /// Channels read.
    pub in_channels: usize,
    /// Channels written.
    pub out_channels: usize,
    /// Kernel edge length, odd.
    pub kernel: usize,
    /// Stride along `[D, H, W]`.
    pub stride: [usize; 3],
    /// Dilation, the same along every axis.
    pub dilation: usize,
}

impl ConvNorm {
    /// Zero padding at both ends of every axis.
    pub fn padding(&self) -> usize {
        self.dilation * (self.kernel - 1) / 2
    }

    /// `[out, in, k, k, k]`.
    pub fn weight_shape(&self) -> Vec<usize> {
        vec![self.out_channels, self.in_channels, self.kernel, self.kernel, self.kernel]
    }
}

/// What is added to a block's main path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shortcut {
    /// The block's input as it is.
    Identity,
    /// Type A: every `stride`-th sample, and zero channels behind the input's own. No parameters.
    Subsample {
        /// Stride along `[D, H, W]`.
        stride: [usize; 3],
        /// Number of zero channels appended.
        zero_channels: usize,
    },
    /// Type B: 1×1×1 convolution and BatchNorm.
    Projection(ConvNorm),
}

/// A residual block: ReLU between its convolutions, and after the sum with the shortcut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// e.g. `layer1.0`.
    pub name: String,
    /// Two (basic block) or three (bottleneck) convolutions.
    pub convs: Vec<ConvNorm>,
    /// What is added.
    pub shortcut: Shortcut,
}

impl Block {
    /// The stage that it belongs to, from 1: `layer3.0` is of the third.
    pub fn stage(&self) -> usize {
        let number = self.name.strip_prefix("layer").and_then(|rest| rest.split('.').next());
        number.and_then(|number| number.parse().ok()).unwrap_or(STAGES)
    }

    /// Channels read.
    pub fn in_channels(&self) -> usize {
        self.convs.first().map_or(0, |conv| conv.in_channels)
    }

    /// Channels written.
    pub fn out_channels(&self) -> usize {
        self.convs.last().map_or(0, |conv| conv.out_channels)
    }
}

/// A parameter or buffer of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// MedicalNet's key, e.g. `layer2.0.downsample.0.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// False for BatchNorm's running statistics.
    pub trainable: bool,
}

/// A network without its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetworkSpec {
    /// Depth.
    pub architecture: Architecture,
    /// Channels of the stem and the first stage; 64 is the full network.
    pub width: usize,
    /// Strides and dilations.
    pub geometry: Geometry,
}

impl NetworkSpec {
    /// The paper's geometry at a width (at least 1; 64 is the full network).
    pub fn paper(architecture: Architecture, width: usize) -> Self {
        NetworkSpec { architecture, width: width.max(1), geometry: Geometry::Paper }
    }

    /// The stem's convolution: 7×7×7 over one channel.
    pub fn stem(&self) -> ConvNorm {
        let stride = match self.geometry {
            Geometry::Paper => [1, 2, 2],
            Geometry::Faithful => [2, 2, 2],
        };
        ConvNorm {
            conv: "conv1".into(),
            norm: "bn1".into(),
            in_channels: 1,
            out_channels: self.width,
            kernel: 7,
            stride,
            dilation: 1,
        }
    }

    /// The blocks of the four stages in order. Between the stem and the first lies a maximum pooling
    /// ([`POOL_KERNEL`], [`POOL_STRIDE`]).
    pub fn blocks(&self) -> Vec<Block> {
        let expansion = self.architecture.expansion();
        let mut blocks = Vec::new();
        let mut in_channels = self.width;
        for (stage, &count) in self.architecture.blocks_per_stage().iter().enumerate() {
            let planes = self.width << stage;
            for index in 0..count {
                let strided = stage > 0 && index == 0;
                let name = format!("layer{}.{index}", stage + 1);
                blocks.push(self.block(name, in_channels, planes, stage, strided));
                in_channels = planes * expansion;
            }
        }
        blocks
    }

    fn block(&self, name: String, in_channels: usize, planes: usize, stage: usize, strided: bool) -> Block {
        let stride = if strided { [2; 3] } else { [1; 3] };
        // MedicalNet dilates all of stages 3 and 4 and never strides there. After subsampling by two only
        // the first convolution of each still needs a dilation, of 2.
        let dilation = if strided && stage >= 2 && self.geometry == Geometry::Faithful { 2 } else { 1 };
        let out_channels = planes * self.architecture.expansion();
        let conv = |number: usize, from: usize, to: usize, kernel: usize, carries_stride: bool| ConvNorm {
            conv: format!("{name}.conv{number}"),
            norm: format!("{name}.bn{number}"),
            in_channels: from,
            out_channels: to,
            kernel,
            stride: if carries_stride { stride } else { [1; 3] },
            dilation: if carries_stride { dilation } else { 1 },
        };
        let convs = if self.architecture.has_bottlenecks() {
            vec![
                conv(1, in_channels, planes, 1, false),
                conv(2, planes, planes, 3, true),
                conv(3, planes, out_channels, 1, false),
            ]
        } else {
            vec![conv(1, in_channels, planes, 3, true), conv(2, planes, planes, 3, false)]
        };
        let shortcut = if !strided && in_channels == out_channels {
            Shortcut::Identity
        } else if self.architecture.projects_shortcuts() {
            Shortcut::Projection(ConvNorm {
                conv: format!("{name}.downsample.0"),
                norm: format!("{name}.downsample.1"),
                in_channels,
                out_channels,
                kernel: 1,
                stride,
                dilation: 1,
            })
        } else {
            Shortcut::Subsample { stride, zero_channels: out_channels - in_channels }
        };
        Block { name, convs, shortcut }
    }

    /// Every convolution with its BatchNorm, in the order of the parameters.
    pub fn conv_norms(&self) -> Vec<ConvNorm> {
        let mut all = vec![self.stem()];
        for block in self.blocks() {
            all.extend(block.convs);
            if let Shortcut::Projection(projection) = block.shortcut {
                all.push(projection);
            }
        }
        all
    }

    /// Channels of the last feature map, which the classifier reads.
    pub fn feature_channels(&self) -> usize {
        self.stage_channels(STAGES)
    }

    /// Every parameter and buffer, in the order of PyTorch's `state_dict` (without `num_batches_tracked`).
    pub fn parameters(&self) -> Vec<Parameter> {
        let parameter = |name: String, shape: Vec<usize>, trainable: bool| Parameter { name, shape, trainable };
        let mut all = Vec::new();
        for layer in self.conv_norms() {
            all.push(parameter(format!("{}.weight", layer.conv), layer.weight_shape(), true));
            for (suffix, trainable) in
                [("weight", true), ("bias", true), ("running_mean", false), ("running_var", false)]
            {
                all.push(parameter(format!("{}.{suffix}", layer.norm), vec![layer.out_channels], trainable));
            }
        }
        all.push(parameter("fc.weight".into(), vec![CLASSES, self.feature_channels()], true));
        all.push(parameter("fc.bias".into(), vec![CLASSES], true));
        all
    }

    /// Number of trainable parameters.
    pub fn parameter_count(&self) -> usize {
        let trainable = self.parameters().into_iter().filter(|parameter| parameter.trainable);
        trainable.map(|parameter| parameter.shape.iter().product::<usize>()).sum()
    }

    /// Input samples per cell of the last map, along `[D, H, W]`.
    pub fn total_stride(&self) -> [usize; 3] {
        self.stage_stride(STAGES)
    }

    /// Input voxels per cell along `[D, H, W]` at the end of a stage, counted from 1.
    pub fn stage_stride(&self, stage: usize) -> [usize; 3] {
        let stem = self.stem().stride;
        let blocks = self.blocks();
        let so_far = blocks.iter().filter(|block| block.stage() <= stage);
        let after_stem: usize = so_far.map(|block| block_stride(block)[0]).product();
        stem.map(|stride| stride * POOL_STRIDE * after_stem)
    }

    /// Channels at the end of a stage, counted from 1.
    pub fn stage_channels(&self, stage: usize) -> usize {
        (self.width << stage.saturating_sub(1)) * self.architecture.expansion()
    }

    /// Shape of the last feature map, and of `cam`, for an input `[D, H, W]` with no axis of 0.
    pub fn map_shape(&self, input: [usize; 3]) -> [usize; 3] {
        let mut shape = strided_shape(strided_shape(input, self.stem().stride), [POOL_STRIDE; 3]);
        for block in self.blocks() {
            shape = strided_shape(shape, block_stride(&block));
        }
        shape
    }

    /// Multiply-adds of all convolutions and the classifier for an input `[D, H, W]`.
    pub fn multiply_adds(&self, input: [usize; 3]) -> u64 {
        let cost = |layer: &ConvNorm, output: [usize; 3]| -> u64 {
            let per_sample: usize = layer.weight_shape().iter().product();
            per_sample as u64 * output.iter().map(|&n| n as u64).product::<u64>()
        };
        let stem = self.stem();
        let mut shape = strided_shape(input, stem.stride);
        let mut total = cost(&stem, shape);
        shape = strided_shape(shape, [POOL_STRIDE; 3]);
        for block in self.blocks() {
            for layer in &block.convs {
                shape = strided_shape(shape, layer.stride);
                total += cost(layer, shape);
            }
            if let Shortcut::Projection(projection) = &block.shortcut {
                total += cost(projection, shape);
            }
        }
        total + (CLASSES * self.feature_channels()) as u64
    }
}

/// Kernel edge length of the maximum pooling behind the stem; its padding is 1.
pub const POOL_KERNEL: usize = 3;

/// Stride of the maximum pooling along every axis.
pub const POOL_STRIDE: usize = 2;

fn block_stride(block: &Block) -> [usize; 3] {
    block.convs.iter().fold([1; 3], |stride, conv| [0, 1, 2].map(|axis| stride[axis] * conv.stride[axis]))
}

/// Output shape of a "same"-padded odd kernel with a stride.
fn strided_shape(shape: [usize; 3], stride: [usize; 3]) -> [usize; 3] {
    [0, 1, 2].map(|axis| shape[axis].div_ceil(stride[axis]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL_INPUT: [usize; 3] = [160, 192, 160];

    #[test]
    fn the_last_map_of_the_default_input_is_10_by_6_by_5() {
        for architecture in Architecture::ALL {
            let spec = NetworkSpec::paper(architecture, 64);
            assert_eq!(spec.map_shape(FULL_INPUT), [10, 6, 5]);
            assert_eq!(spec.total_stride(), [16, 32, 32]);
            assert_eq!([1, 2, 3].map(|stage| spec.stage_stride(stage)), [[2, 4, 4], [4, 8, 8], [8, 16, 16]]);
            assert_eq!(spec.map_shape([80, 96, 80]), [5, 3, 3]);
        }
        let faithful = NetworkSpec { architecture: Architecture::Resnet18, width: 64, geometry: Geometry::Faithful };
        assert_eq!(faithful.total_stride(), [32, 32, 32]);
        assert_eq!(faithful.map_shape(FULL_INPUT), [5, 6, 5]);
    }

    #[test]
    fn multiply_adds_are_those_of_the_design_page() {
        let giga = |architecture| NetworkSpec::paper(architecture, 64).multiply_adds(FULL_INPUT) as f64 / 1e9;
        assert_eq!(giga(Architecture::Resnet18).round(), 147.0);
        assert_eq!(giga(Architecture::Resnet34).round(), 253.0);
        assert_eq!(giga(Architecture::Resnet50).round(), 190.0);
    }

    #[test]
    fn names_and_shapes_are_those_of_medicalnet() {
        let shape = |architecture, name: &str| {
            let all = NetworkSpec::paper(architecture, 64).parameters();
            all.into_iter().find(|parameter| parameter.name == name).map(|parameter| parameter.shape)
        };
        assert_eq!(shape(Architecture::Resnet18, "conv1.weight"), Some(vec![64, 1, 7, 7, 7]));
        assert_eq!(shape(Architecture::Resnet18, "layer4.1.conv2.weight"), Some(vec![512, 512, 3, 3, 3]));
        assert_eq!(shape(Architecture::Resnet18, "layer2.0.downsample.0.weight"), None, "type A has no parameters");
        assert_eq!(shape(Architecture::Resnet10, "layer1.0.downsample.0.weight"), None);
        assert_eq!(shape(Architecture::Resnet10, "layer2.0.downsample.0.weight"), Some(vec![128, 64, 1, 1, 1]));
        assert_eq!(shape(Architecture::Resnet50, "layer1.0.downsample.0.weight"), Some(vec![256, 64, 1, 1, 1]));
        assert_eq!(shape(Architecture::Resnet50, "layer2.0.downsample.1.running_var"), Some(vec![512]));
        assert_eq!(shape(Architecture::Resnet50, "layer3.5.conv3.weight"), Some(vec![1024, 256, 1, 1, 1]));
        assert_eq!(shape(Architecture::Resnet34, "layer3.6.conv1.weight"), None);
        assert_eq!(shape(Architecture::Resnet50, "fc.weight"), Some(vec![2, 2048]));
        assert_eq!(shape(Architecture::Resnet34, "fc.weight"), Some(vec![2, 512]));
    }

    #[test]
    fn shortcuts_are_type_a_in_18_and_34_and_type_b_in_10_and_50() {
        for (architecture, projections, subsamplings) in [
            (Architecture::Resnet10, 3, 0),
            (Architecture::Resnet18, 0, 3),
            (Architecture::Resnet34, 0, 3),
            (Architecture::Resnet50, 4, 0),
        ] {
            let blocks = NetworkSpec::paper(architecture, 8).blocks();
            let count = |test: fn(&Shortcut) -> bool| blocks.iter().filter(|block| test(&block.shortcut)).count();
            assert_eq!(count(|shortcut| matches!(shortcut, Shortcut::Projection(_))), projections, "{architecture}");
            assert_eq!(
                count(|shortcut| matches!(shortcut, Shortcut::Subsample { .. })),
                subsamplings,
                "{architecture}"
            );
        }
    }
}
