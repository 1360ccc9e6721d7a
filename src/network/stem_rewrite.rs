//! The stem in a shape that processors with bfloat16 units compute faster: the same sums, arranged otherwise.
//!
//! The stem is a 7×7×7 convolution over one channel that strides by two in the plane. bfloat16 units multiply pairs of
//! channels, so over one channel they do half of what they could. Cutting each plane into 2×2 blocks makes four channels
//! of it, of half the height and width,
//!
//! ```text
//! y[2p + q, d, i, j] = x[d, 2i + p, 2j + q]          p, q in {0, 1}
//! ```
//!
//! and the stem becomes a 7×4×4 convolution over these that no longer strides in the plane. Along one of its axes the
//! stem reads `x[2o + b - 3]` with the weight `w[b]`; with `2i + p = 2o + b - 3` that is `y[p][o + t - 2]` with the weight
//! `w[2t + p - 1]`, for `t` from 0 to 3. What would be `w[-1]` is zero, and so is what padding adds to an odd plane.
//!
//! | weight `b` | 0 | 1 | 2 | 3 | 4 | 5 | 6 |
//! |---|---|---|---|---|---|---|---|
//! | tap `t` | 0 | 1 | 1 | 2 | 2 | 3 | 3 |
//! | half `p` | 1 | 0 | 1 | 0 | 1 | 0 | 1 |
//!
//! It is exact: every product of the original occurs once, beside products with zero. Only the order in which they are
//! summed is another, as it is from one processor to the next. It is done when a graph is opened, on the bytes whose
//! digest was checked; the file stays what it is. Where it does not help (fp32) it is left alone: see
//! [`Provider::wants_blocked_stem`](crate::analyze::runtime::Provider::wants_blocked_stem).

use prost::Message;

use super::onnx::*;
use super::writer::{INPUT, ints};

/// Edge length of the stem's kernel.
const KERNEL: usize = 7;
/// Zero padding at both ends of every axis.
const PADDING: usize = 3;
/// Taps of the rewritten kernel along an axis of the plane.
const TAPS: usize = 4;
/// Zero padding before and behind each axis of the plane, once it is cut into blocks.
const BLOCK_PADDING: [usize; 2] = [2, 1];
/// Channels that a plane becomes.
const BLOCK: usize = 4;

/// The same network with its stem rewritten; `None` for a graph that does not begin with that stem, or that holds
/// anything our writer does not write: what is not understood is not touched.
pub fn with_blocked_stem(onnx: &[u8]) -> Option<Vec<u8>> {
    let mut model = ModelProto::decode(onnx).ok()?;
    if model.encode_to_vec() != onnx {
        return None;
    }
    let graph = model.graph.as_mut()?;
    let shape = input_shape(graph)?;
    let stem = graph.node.iter().position(|node| node.input.first().is_some_and(|name| name == INPUT))?;
    let is_only_reader = graph.node.iter().filter(|node| node.input.iter().any(|name| name == INPUT)).count() == 1;
    let stride = stem_stride(&graph.node[stem]).filter(|_| is_only_reader)?;
    let weight = graph.node[stem].input.get(1)?.clone();
    let tensor = graph.initializer.iter_mut().find(|tensor| tensor.name.as_ref() == Some(&weight))?;
    block_weights(tensor)?;

    let blocked = cut_into_blocks(graph, shape);
    let at = stem + blocked.nodes.len();
    graph.node.splice(stem..stem, blocked.nodes);
    let stem = &mut graph.node[at];
    stem.input[0] = blocked.output;
    let [before, behind] = BLOCK_PADDING;
    stem.attribute = vec![
        ints("dilations", &[1; 3]),
        ints("kernel_shape", &[KERNEL, TAPS, TAPS]),
        ints("pads", &[PADDING, before, before, PADDING, behind, behind]),
        ints("strides", &[stride, 1, 1]),
    ];
    Some(model.encode_to_vec())
}

/// `[D, H, W]` of the input `[1, 1, D, H, W]`.
fn input_shape(graph: &GraphProto) -> Option<[usize; 3]> {
    let input = graph.input.iter().find(|value| value.name.as_deref() == Some(INPUT))?;
    let dims = &input.value_type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()?.dim;
    let edges: Vec<usize> = dims.iter().map(|dim| usize::try_from(dim.dim_value?).ok()).collect::<Option<_>>()?;
    match edges[..] {
        [1, 1, d, h, w] if d * h * w > 0 => Some([d, h, w]),
        _ => None,
    }
}

/// The stride along D of a convolution that is the stem in all else.
fn stem_stride(node: &NodeProto) -> Option<usize> {
    let attribute = |name: &str| {
        let found = node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name))?;
        Some(found.ints.as_slice())
    };
    let is = |name: &str, values: &[i64]| attribute(name).is_some_and(|found| found == values);
    let is_stem = node.op_type.as_deref() == Some("Conv")
        && node.attribute.len() == 4
        && is("kernel_shape", &[KERNEL as i64; 3])
        && is("pads", &[PADDING as i64; 6])
        && is("dilations", &[1; 3]);
    match attribute("strides") {
        Some(&[along_d, 2, 2]) if is_stem => usize::try_from(along_d).ok(),
        _ => None,
    }
}

/// `[C, 1, 7, 7, 7]` becomes `[C, 4, 7, 4, 4]`.
fn block_weights(tensor: &mut TensorProto) -> Option<()> {
    let &[channels, 1, 7, 7, 7] = tensor.dims.as_slice() else { return None };
    let channels = usize::try_from(channels).ok()?;
    let raw = tensor.raw_data.as_ref().filter(|raw| raw.len() == channels * KERNEL.pow(3) * size_of::<f32>())?;
    if tensor.data_type != Some(FLOAT) {
        return None;
    }
    let old: Vec<[u8; 4]> = raw.as_chunks().0.to_vec();
    let mut new = vec![[0; 4]; channels * BLOCK * KERNEL * TAPS * TAPS];
    for (at, value) in old.into_iter().enumerate() {
        let (e, b, a, c) = (at % KERNEL, at / KERNEL % KERNEL, at / KERNEL.pow(2) % KERNEL, at / KERNEL.pow(3));
        // The table above: b = 2t + p - 1.
        let [(t, p), (u, q)] = [b, e].map(|weight| (weight.div_ceil(2), (weight + 1) % 2));
        new[(((c * BLOCK + 2 * p + q) * KERNEL + a) * TAPS + t) * TAPS + u] = value;
    }
    tensor.dims = vec![channels as i64, BLOCK as i64, KERNEL as i64, TAPS as i64, TAPS as i64];
    tensor.raw_data = Some(new.concat());
    Some(())
}

/// Nodes that turn the input into `[1, 4, D, ⌈H/2⌉, ⌈W/2⌉]`.
struct Blocked {
    nodes: Vec<NodeProto>,
    output: String,
}

fn cut_into_blocks(graph: &mut GraphProto, [d, h, w]: [usize; 3]) -> Blocked {
    let mut nodes = Vec::new();
    let mut add = |op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>| {
        nodes.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: Some(output.to_owned()),
            op_type: Some(op.to_owned()),
            attribute,
        });
        output.to_owned()
    };
    let mut constant = |name: &str, values: &[usize]| {
        graph.initializer.push(TensorProto {
            dims: vec![values.len() as i64],
            data_type: Some(INT64),
            name: Some(name.to_owned()),
            raw_data: Some(values.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect()),
        });
    };
    let mut input = INPUT.to_owned();
    if h % 2 + w % 2 > 0 {
        // Begin of every axis, then end of every axis.
        constant("stem.pads", &[0, 0, 0, 0, 0, 0, 0, 0, h % 2, w % 2]);
        input = add("Pad", &[&input, "stem.pads"], "stem.padded", vec![]);
    }
    let (rows, columns) = (h.div_ceil(2), w.div_ceil(2));
    constant("stem.blocks.shape", &[d, rows, 2, columns, 2]);
    let blocks = add("Reshape", &[&input, "stem.blocks.shape"], "stem.blocks", vec![]);
    let halves_first = add("Transpose", &[&blocks], "stem.halves", vec![ints("perm", &[2, 4, 0, 1, 3])]);
    constant("stem.channels.shape", &[1, BLOCK, d, rows, columns]);
    let output = add("Reshape", &[&halves_first, "stem.channels.shape"], "stem.channels", vec![]);
    Blocked { nodes, output }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::network::spec::{Architecture, NetworkSpec};
    use crate::network::weights::random_init;
    use crate::network::writer::onnx_model;

    fn written() -> Vec<u8> {
        let spec = NetworkSpec::paper(Architecture::Resnet10, 4);
        onnx_model(&spec, &random_init(&spec, 1), [32, 64, 63], &BTreeMap::new()).unwrap()
    }

    #[test]
    fn every_weight_stays_and_the_rest_is_zero() {
        let stem = |onnx: &[u8]| {
            let graph = ModelProto::decode(onnx).unwrap().graph.unwrap();
            let tensor = graph.initializer.into_iter().find(|t| t.name.as_deref() == Some("conv1.weight")).unwrap();
            let values: Vec<f32> =
                tensor.raw_data.unwrap().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            (tensor.dims, values)
        };
        let onnx = written();
        let (mut before, mut after) = (stem(&onnx), stem(&with_blocked_stem(&onnx).unwrap()));
        assert_eq!((before.0, after.0), (vec![4, 1, 7, 7, 7], vec![4, 4, 7, 4, 4]));
        before.1.retain(|value| *value != 0.0);
        after.1.retain(|value| *value != 0.0);
        before.1.sort_by(f32::total_cmp);
        after.1.sort_by(f32::total_cmp);
        assert_eq!(before.1, after.1);
    }

    #[test]
    fn what_is_not_understood_is_not_touched() {
        let onnx = written();
        assert_eq!(with_blocked_stem(b"no model"), None);
        // Once is enough: the stem of the rewritten graph is another one.
        assert_eq!(with_blocked_stem(&with_blocked_stem(&onnx).unwrap()), None);
        // A field that the writer does not write (`model_version`, 5) would be lost.
        let mut foreign = onnx.clone();
        foreign.extend([5 << 3, 1]);
        assert_eq!(with_blocked_stem(&foreign), None);
        let change = |change: &dyn Fn(&mut NodeProto)| {
            let mut model = ModelProto::decode(onnx.as_slice()).unwrap();
            change(&mut model.graph.as_mut().unwrap().node[0]);
            model.encode_to_vec()
        };
        assert_eq!(with_blocked_stem(&change(&|stem| stem.attribute[3].ints = vec![1, 1, 1])), None, "no stride");
        assert_eq!(with_blocked_stem(&change(&|stem| stem.op_type = Some("ConvTranspose".into()))), None);
        assert!(with_blocked_stem(&change(&|_| {})).is_some());
    }
}
