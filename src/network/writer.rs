//! A network as an ONNX file (opset 17).
//!
//! Input `volume` `[1, 1, D, H, W]`. Outputs:
//! - `logits` `[1, 2]`: index 1 is FCD, before softmax.
//! - `cam` `[1, 1, d, h, w]`: the signed Grad-CAM map of the FCD logit at the last stage,
//!   `cam = Σ_k (w_1k / Z) A_k` with the last feature map `A`, the classifier's weights `w` and the number
//!   of cells `Z = d·h·w`. It is not rectified, and in logit units: the sum over all cells is
//!   `logits[1]` minus the classifier's bias. Behind global average pooling and a linear head `w_1k / Z`
//!   is exactly Grad-CAM's mean gradient.
//!
//! BatchNorms are folded into their convolutions (evaluation mode, computed in f64). Equal weights give
//! equal bytes: constants are sorted by name and nothing depends on time or machine.

use std::collections::BTreeMap;

use prost::Message;

use super::onnx::*;
use super::spec::{BATCH_NORM_EPSILON, Block, CLASSES, ConvNorm, FCD, NetworkSpec, POOL_KERNEL, POOL_STRIDE, Shortcut};
use super::weights::{Weights, WeightsError};

/// Name of the graph's input.
pub const INPUT: &str = "input";
/// Name of the output with the two logits.
pub const LOGITS: &str = "logits";
/// Name of the output with the signed map.
pub const CAM: &str = "cam";

const OPSET: i64 = 17;
/// The IR version that belongs to opset 17; ONNX Runtime reads it from 1.14 on.
const IR_VERSION: i64 = 8;
/// Raised when the same weights give other bytes. Not the program's version, which must not change a
/// model's digest.
const WRITER_VERSION: &str = "1";

/// The ONNX file of a network for a fixed input shape `[D, H, W]`. `metadata` (e.g. name and version of
/// the model) goes into the file's properties, sorted by key.
///
/// # Errors
/// [`WeightsError`] when the weights belong to another network.
pub fn onnx_model(
    spec: &NetworkSpec,
    weights: &Weights,
    input_shape: [usize; 3],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, WeightsError> {
    weights.check(spec)?;
    let mut graph = GraphBuilder { weights, nodes: Vec::new(), initializers: BTreeMap::new() };
    let features = graph.features(spec)?;
    graph.head(&features, spec, spec.map_shape(input_shape))?;

    let map_shape = spec.map_shape(input_shape);
    let with_batch = |shape: [usize; 3]| [1, 1, shape[0], shape[1], shape[2]];
    let graph = GraphProto {
        node: graph.nodes,
        name: Some(format!("{}-width{}-{}", spec.architecture, spec.width, spec.geometry.name())),
        initializer: graph.initializers.into_values().collect(),
        input: vec![float_value(INPUT, &with_batch(input_shape), "preprocessed volume [1, 1, D, H, W]")],
        output: vec![
            float_value(LOGITS, &[1, CLASSES], "logits before softmax; index 1 is FCD"),
            float_value(CAM, &with_batch(map_shape), "signed Grad-CAM map of the FCD logit, before ReLU, logit units"),
        ],
    };
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("fcdd".into()),
        producer_version: Some(WRITER_VERSION.into()),
        doc_string: Some("3D ResNet for focal cortical dysplasia. Research use only: not a medical device.".into()),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        metadata_props: metadata
            .iter()
            .map(|(key, value)| StringStringEntryProto { key: Some(key.clone()), value: Some(value.clone()) })
            .collect(),
    };
    Ok(model.encode_to_vec())
}

/// Nodes and constants while they are being collected. Every node is named after its only output.
struct GraphBuilder<'w> {
    weights: &'w Weights,
    nodes: Vec<NodeProto>,
    initializers: BTreeMap<String, TensorProto>,
}

impl GraphBuilder<'_> {
    /// Everything up to the last feature map, whose name is returned.
    fn features(&mut self, spec: &NetworkSpec) -> Result<String, WeightsError> {
        let stem = self.conv_norm(&spec.stem(), INPUT)?;
        let stem = self.node("Relu", "stem.relu", &[&stem], vec![]);
        let pooling = vec![
            ints("kernel_shape", &[POOL_KERNEL; 3]),
            ints("pads", &[(POOL_KERNEL - 1) / 2; 6]),
            ints("strides", &[POOL_STRIDE; 3]),
        ];
        let mut features = self.node("MaxPool", "stem.pool", &[&stem], pooling);
        for block in spec.blocks() {
            features = self.block(&block, &features)?;
        }
        Ok(features)
    }

    fn block(&mut self, block: &Block, input: &str) -> Result<String, WeightsError> {
        let mut main = input.to_owned();
        for (index, conv) in block.convs.iter().enumerate() {
            main = self.conv_norm(conv, &main)?;
            if index + 1 < block.convs.len() {
                main = self.node("Relu", &format!("{}.relu{}", block.name, index + 1), &[&main], vec![]);
            }
        }
        let shortcut = match &block.shortcut {
            Shortcut::Identity => input.to_owned(),
            Shortcut::Projection(projection) => self.conv_norm(projection, input)?,
            Shortcut::Subsample { stride, zero_channels } => {
                self.subsample(&block.name, input, *stride, *zero_channels)
            }
        };
        let sum = self.node("Add", &format!("{}.sum", block.name), &[&main, &shortcut], vec![]);
        Ok(self.node("Relu", &format!("{}.out", block.name), &[&sum], vec![]))
    }

    /// Type-A shortcut: every `stride`-th sample of each axis, then zero channels behind the others.
    fn subsample(&mut self, block: &str, input: &str, stride: [usize; 3], zero_channels: usize) -> String {
        let mut sampled = input.to_owned();
        if stride != [1; 3] {
            let starts = self.int64s("shortcut.starts", &[0; 3]);
            let ends = self.int64s("shortcut.ends", &[i64::MAX; 3]);
            let axes = self.int64s("shortcut.axes", &[2, 3, 4]);
            let steps = self.int64s(&format!("{block}.shortcut.steps"), &stride.map(|step| step as i64));
            let name = format!("{block}.shortcut.sampled");
            sampled = self.node("Slice", &name, &[&sampled, &starts, &ends, &axes, &steps], vec![]);
        }
        if zero_channels == 0 {
            return sampled;
        }
        // Begin of every axis, then end of every axis: only the channels' end grows.
        let pads = [0, 0, 0, 0, 0, 0, zero_channels as i64, 0, 0, 0];
        let pads = self.int64s(&format!("{block}.shortcut.pads"), &pads);
        self.node("Pad", &format!("{block}.shortcut.padded"), &[&sampled, &pads], vec![])
    }

    /// Global average pooling and classifier, and beside it the map.
    fn head(&mut self, features: &str, spec: &NetworkSpec, map_shape: [usize; 3]) -> Result<(), WeightsError> {
        let channels = spec.feature_channels();
        let classifier = &self.weights.get("fc.weight")?.data;
        let bias = &self.weights.get("fc.bias")?.data;
        let cells = map_shape.iter().product::<usize>() as f64;
        let fcd_row = classifier.iter().skip(FCD * channels).take(channels);
        let cam_weight: Vec<f32> = fcd_row.map(|&w| (f64::from(w) / cells) as f32).collect();

        let weight = self.floats("fc.weight", &[CLASSES, channels], classifier);
        let bias = self.floats("fc.bias", &[CLASSES], bias);
        let cam_weight = self.floats("cam.weight", &[1, channels, 1, 1, 1], &cam_weight);
        let pooled = self.node("GlobalAveragePool", "pooled", &[features], vec![]);
        let flat = self.node("Flatten", "flat", &[&pooled], vec![int("axis", 1)]);
        self.node("Gemm", LOGITS, &[&flat, &weight, &bias], vec![int("transB", 1)]);
        self.node("Conv", CAM, &[features, &cam_weight], vec![ints("kernel_shape", &[1; 3])]);
        Ok(())
    }

    /// A convolution with its BatchNorm folded in:
    /// `γ (w∗x − μ) / √(σ² + ε) + β = (s w)∗x + (β − s μ)` with `s = γ / √(σ² + ε)`.
    fn conv_norm(&mut self, layer: &ConvNorm, input: &str) -> Result<String, WeightsError> {
        let statistic = |suffix: &str| self.weights.get(&format!("{}.{suffix}", layer.norm)).map(|t| &t.data);
        let (gamma, beta) = (statistic("weight")?, statistic("bias")?);
        let (mean, variance) = (statistic("running_mean")?, statistic("running_var")?);
        let weight = &self.weights.get(&format!("{}.weight", layer.conv))?.data;

        let scale: Vec<f64> = gamma
            .iter()
            .zip(variance)
            .map(|(&g, &v)| f64::from(g) / (f64::from(v) + BATCH_NORM_EPSILON).sqrt())
            .collect();
        let weights_per_channel = layer.in_channels * layer.kernel.pow(3);
        let folded: Vec<f32> = weight
            .chunks(weights_per_channel)
            .zip(&scale)
            .flat_map(|(channel, s)| channel.iter().map(move |&w| (f64::from(w) * s) as f32))
            .collect();
        let bias: Vec<f32> =
            beta.iter().zip(mean).zip(&scale).map(|((&b, &m), s)| (f64::from(b) - f64::from(m) * s) as f32).collect();

        let weight = self.floats(&format!("{}.weight", layer.conv), &layer.weight_shape(), &folded);
        let bias = self.floats(&format!("{}.bias", layer.conv), &[layer.out_channels], &bias);
        let attributes = vec![
            ints("dilations", &[layer.dilation; 3]),
            ints("kernel_shape", &[layer.kernel; 3]),
            ints("pads", &[layer.padding(); 6]),
            ints("strides", &layer.stride),
        ];
        Ok(self.node("Conv", &format!("{}.out", layer.conv), &[input, &weight, &bias], attributes))
    }

    fn node(&mut self, op: &str, output: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: Some(output.to_owned()),
            op_type: Some(op.to_owned()),
            attribute: attributes,
        });
        output.to_owned()
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, FLOAT, shape, bytes)
    }

    fn int64s(&mut self, name: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, INT64, &[values.len()], bytes)
    }

    fn constant(&mut self, name: &str, data_type: i32, shape: &[usize], raw_data: Vec<u8>) -> String {
        let tensor = TensorProto {
            dims: shape.iter().map(|&n| n as i64).collect(),
            data_type: Some(data_type),
            name: Some(name.to_owned()),
            raw_data: Some(raw_data),
        };
        self.initializers.insert(name.to_owned(), tensor);
        name.to_owned()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: Some(name.into()), i: Some(value), ints: vec![], attribute_type: Some(ATTRIBUTE_INT) }
}

pub(super) fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&value| value as i64).collect();
    AttributeProto { name: Some(name.into()), i: None, ints, attribute_type: Some(ATTRIBUTE_INTS) }
}

fn float_value(name: &str, shape: &[usize], doc: &str) -> ValueInfoProto {
    let dim = shape.iter().map(|&n| DimensionProto { dim_value: Some(n as i64) }).collect();
    let tensor = TensorTypeProto { elem_type: Some(FLOAT), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.into()),
        value_type: Some(TypeProto { tensor_type: Some(tensor) }),
        doc_string: Some(doc.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::spec::Architecture;
    use crate::network::weights::random_init;

    #[test]
    fn equal_weights_give_equal_bytes_and_sorted_constants() {
        let spec = NetworkSpec::paper(Architecture::Resnet18, 4);
        let metadata = BTreeMap::from([("name".to_owned(), "x".to_owned())]);
        let bytes = |seed| onnx_model(&spec, &random_init(&spec, seed), [32, 64, 64], &metadata).unwrap();
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));

        let model = ModelProto::decode(bytes(1).as_slice()).unwrap();
        let graph = model.graph.unwrap();
        let names: Vec<_> = graph.initializer.iter().filter_map(|tensor| tensor.name.clone()).collect();
        assert!(names.is_sorted() && names.len() > 40, "{names:?}");
        let padded = graph.node.iter().filter(|node| node.op_type.as_deref() == Some("Pad")).count();
        assert_eq!(padded, 3, "stages 2, 3 and 4 have a type-A shortcut");
    }

    #[test]
    fn weights_of_another_network_are_refused() {
        let narrow = NetworkSpec::paper(Architecture::Resnet10, 4);
        let deeper = NetworkSpec::paper(Architecture::Resnet18, 4);
        let error = onnx_model(&deeper, &random_init(&narrow, 1), [32; 3], &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("layer1.1.conv1.weight"), "{error}");
        let wider = NetworkSpec::paper(Architecture::Resnet10, 8);
        let error = onnx_model(&wider, &random_init(&narrow, 1), [32; 3], &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, WeightsError::WrongShape { .. }), "{error}");
    }
}
