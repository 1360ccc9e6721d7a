//! The network, its gradients, the optimiser and guidance against PyTorch (`tests/golden/training.py`, `guidance.py`),
//! and what no golden value says: resuming, freezing, precision.

use fcdd::network::{Architecture, Geometry, NetworkSpec, Tensor as WeightTensor, Weights, random_init};
use fcdd::research::run::plan::Trainable;
use tch::{Device, Kind, Tensor};

use super::adam::Adam;
use super::golden_network::{GoldenNetwork, formula_volumes, formula_weights, wave};
use super::guidance::{Guidance, Lesions};
use super::network::{Mode, Network, NetworkError, Options};
use super::precision::Precision;
use super::step::{self, StepError};

#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<Case>,
    dilated: Vec<Dilated>,
    adam: AdamSteps,
}

#[derive(serde::Deserialize)]
struct Case {
    #[serde(flatten)]
    network: GoldenNetwork,
    mode: String,
    trainable: Trainable,
    detach_shortcut: bool,
    logits: Vec<f64>,
    loss: f64,
    learning: Vec<String>,
    gradients: Vec<[f64; 3]>,
    moved: Vec<[f64; 3]>,
    running: Vec<[f64; 3]>,
}

#[derive(serde::Deserialize)]
struct Dilated {
    architecture: Architecture,
    width: usize,
    input: [usize; 3],
    shape: Vec<i64>,
    features: Vec<f64>,
}

/// A case of `guidance.json`.
#[derive(serde::Deserialize)]
struct Guided {
    #[serde(flatten)]
    network: GoldenNetwork,
    trainable: Trainable,
    weight: f64,
    classes: Vec<i64>,
    /// Of each subject; none where its lesion is unknown.
    lesions: Vec<Option<Vec<LesionBox>>>,
    loss: f64,
    learning: Vec<String>,
    gradients: Vec<[f64; 3]>,
}

/// Voxels `[D, H, W]` from the first to before the last, and how much of each is lesion.
#[derive(serde::Deserialize)]
struct LesionBox {
    from: [i64; 3],
    to: [i64; 3],
    share: f64,
}

#[derive(serde::Deserialize)]
struct AdamSteps {
    after: Vec<Vec<f64>>,
    first_moment: Vec<f64>,
    second_moment: Vec<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../tests/golden/training.json")).unwrap()
}

/// `batch` of the golden script: two volumes by formula, of classes 0 and 1.
fn batch([d, h, w]: [usize; 3]) -> (Tensor, Tensor) {
    let values = formula_volumes(2, [d, h, w]);
    (Tensor::from_slice(&values).view([2, 1, d as i64, h as i64, w as i64]), Tensor::from_slice(&[0_i64, 1]))
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(&tensor.detach().to_kind(Kind::Double).contiguous().view(-1)).unwrap()
}

/// `sums` of the golden script. Rounding is judged by the tensor's norm; what is zero in exact arithmetic (the shift
/// of a BatchNorm before another one) is only noise, below `floor`.
fn assert_sums(what: &str, tensor: &[f64], golden: &[f64; 3], tolerance: f64, floor: f64) {
    let norm = tensor.iter().map(|value| value * value).sum::<f64>().sqrt();
    for (k, expected) in golden.iter().enumerate() {
        let found: f64 = tensor.iter().zip(wave(tensor.len(), 2000 + k)).map(|(a, b)| a * b).sum();
        let allowed = tolerance * norm.max(expected.abs()) + floor;
        assert!(
            (found - expected).abs() <= allowed,
            "{what}: sum {k} is {found}, PyTorch says {expected} (±{allowed})"
        );
    }
}

fn assert_close(what: &str, found: &[f64], golden: &[f64], tolerance: f64) {
    assert_eq!(found.len(), golden.len(), "{what}");
    for (index, (a, b)) in found.iter().zip(golden).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{what}[{index}]: {a}, PyTorch says {b}");
    }
}

#[test]
fn logits_all_gradients_one_step_of_adam_and_running_statistics_are_pytorchs() {
    let cases = golden().cases;
    assert_eq!(cases.len(), 13);
    for case in cases {
        let GoldenNetwork { architecture, geometry, input, .. } = case.network;
        let spec = case.network.spec();
        let what = format!(
            "{architecture} {} {} {:?}{}",
            geometry.name(),
            case.mode,
            case.trainable,
            if case.detach_shortcut { " detached" } else { "" }
        );
        let weights = formula_weights(&spec);
        let mode = if case.mode == "train" { Mode::Train } else { Mode::Evaluate };
        let (volumes, classes) = batch(input);
        // In 64 bits nothing but a mistake makes a difference. In 32, a ResNet-50 that trains on this little batch
        // amplifies rounding to percents, in PyTorch too.
        let chaotic = architecture == Architecture::Resnet50 && mode == Mode::Train;
        for (precision, tolerance) in [(Precision::FP64, 1e-7), (Precision::FP32, if chaotic { 0.3 } else { 3e-4 })] {
            let what = format!("{what} {precision:?}");
            let options = Options { precision, detach_shortcut: case.detach_shortcut, trainable: case.trainable };
            let network = Network::from_weights(spec, &weights, Device::Cpu, options).unwrap();
            let learning = network.learning();
            if !case.learning.is_empty() {
                let names: Vec<&String> = learning.iter().map(|(name, _)| name).collect();
                assert_eq!(names, case.learning.iter().collect::<Vec<_>>(), "{what}");
            }
            assert_eq!(learning.len(), case.gradients.len(), "{what}");

            let output = network.forward(&volumes, mode).unwrap();
            assert_close(&format!("{what}: logits"), &values(&output.logits), &case.logits, tolerance / 10.0);
            let loss = step::cross_entropy(&output.logits, &classes).unwrap();
            assert_close(&format!("{what}: loss"), &values(&loss), &[case.loss], tolerance / 10.0);
            if chaotic && precision == Precision::FP32 {
                continue;
            }

            let gradients = step::gradients(&loss, &network).unwrap();
            for (((name, _), gradient), golden) in learning.iter().zip(&gradients).zip(&case.gradients) {
                assert_sums(&format!("{what}: gradient of {name}"), &values(gradient), golden, tolerance, 1e-9);
            }

            let mut adam = Adam::new(network.learning(), 1e-3).unwrap();
            adam.step(&gradients).unwrap();
            if precision == Precision::FP64 {
                for ((name, tensor), golden) in learning.iter().zip(&case.moved) {
                    let before = weights.get(name).unwrap().data.iter();
                    let moved: Vec<f64> =
                        values(tensor).iter().zip(before).map(|(a, b)| (a - f64::from(*b)) / 1e-3).collect();
                    assert_sums(&format!("{what}: {name} after a step"), &moved, golden, 1e-6, 1e-3);
                }
            }
            let after = network.to_weights().unwrap();
            let buffers = spec.parameters().into_iter().filter(|parameter| !parameter.trainable);
            for (parameter, golden) in buffers.zip(&case.running) {
                let buffer: Vec<f64> =
                    after.get(&parameter.name).unwrap().data.iter().map(|&value| f64::from(value)).collect();
                assert_sums(&format!("{what}: {}", parameter.name), &buffer, golden, 1e-5, 0.0);
            }
        }
    }
}

#[test]
fn faithful_computes_the_features_of_medicalnets_dilated_network_subsampled() {
    for case in golden().dilated {
        let spec = NetworkSpec { architecture: case.architecture, width: case.width, geometry: Geometry::Faithful };
        let options = Options::new(Trainable::All);
        let network = Network::from_weights(spec, &formula_weights(&spec), Device::Cpu, options).unwrap();
        let (volumes, _) = batch(case.input);
        let features = tch::no_grad(|| network.forward(&volumes, Mode::Evaluate)).unwrap().features;
        assert_eq!(features.size(), case.shape, "{}", case.architecture);
        assert_close(case.architecture.name(), &values(&features), &case.features, 1e-4);
    }
}

/// The lesions of a guided case, of volumes of that shape.
fn lesions(case: &Guided, shape: [i64; 5]) -> Lesions {
    let shares = Tensor::zeros(shape, (Kind::Double, Device::Cpu));
    for (subject, boxes) in case.lesions.iter().enumerate() {
        for LesionBox { from, to, share } in boxes.iter().flatten() {
            let mut inside = shares.get(subject as i64).get(0);
            for (axis, (from, to)) in from.iter().zip(to).enumerate() {
                inside = inside.narrow(axis as i64, *from, to - from);
            }
            let _ = inside.fill_(*share);
        }
    }
    Lesions { shares, known: case.lesions.iter().map(Option::is_some).collect() }
}

/// Gives the guidance the script's values: where it begins, with kernels of 0, its classifiers pass no gradient on.
fn fill_guidance(guidance: &mut Guidance) {
    let mut state = guidance.state().unwrap();
    for (index, (name, _)) in guidance.learning().into_iter().enumerate() {
        let data = &mut state.get_mut(&name).unwrap().data;
        *data = wave(data.len(), 4000 + index).into_iter().map(|value| value as f32).collect();
    }
    guidance.restore(&state).unwrap();
}

#[test]
fn the_loss_of_guidance_and_all_gradients_with_it_are_pytorchs() {
    let cases: Vec<Guided> = serde_json::from_str(include_str!("../../tests/golden/guidance.json")).unwrap();
    assert_eq!(cases.len(), 5);
    assert!(cases.iter().any(|case| case.lesions.iter().any(Option::is_none)), "nobody's lesion is unknown");
    for (number, case) in cases.into_iter().enumerate() {
        let spec = case.network.spec();
        let weights = formula_weights(&spec);
        let [d, h, w] = case.network.input.map(|edge| edge as i64);
        let shape = [case.classes.len() as i64, 1, d, h, w];
        let volumes = Tensor::from_slice(&formula_volumes(case.classes.len(), case.network.input)).view(shape);
        let classes = Tensor::from_slice(&case.classes);
        let lesions = lesions(&case, shape);
        for (precision, tolerance) in [(Precision::FP64, 1e-7), (Precision::FP32, 3e-4)] {
            let what = format!("case {number} {precision:?}");
            let options = Options { precision, ..Options::new(case.trainable) };
            let network = Network::from_weights(spec, &weights, Device::Cpu, options).unwrap();
            let (kind, first_stage) = (precision.parameter_kind(), network.first_stage());
            let mut guidance = Guidance::new(&spec, case.weight, first_stage, kind, Device::Cpu).unwrap();
            fill_guidance(&mut guidance);
            let (names, learning): (Vec<String>, Vec<Tensor>) =
                network.learning().into_iter().chain(guidance.learning()).unzip();
            assert_eq!(names, case.learning, "{what}");

            let (output, stages) = network.forward_with_stages(&volumes, Mode::Train).unwrap();
            let loss = guidance.loss(&network, &output, &stages, &lesions).unwrap();
            assert_close(&format!("{what}: loss"), &values(&loss), &[case.loss], tolerance / 10.0);

            let whole = step::cross_entropy(&output.logits, &classes).unwrap() + loss;
            let gradients = Tensor::run_backward(&[whole], &learning, false, false);
            assert_eq!(gradients.len(), case.gradients.len(), "{what}");
            for ((name, gradient), golden) in names.iter().zip(&gradients).zip(&case.gradients) {
                assert_sums(&format!("{what}: gradient of {name}"), &values(gradient), golden, tolerance, 1e-9);
            }
        }
    }
}

#[test]
fn steps_of_adam_are_pytorchs_for_gradients_of_any_size() {
    let golden = golden().adam;
    let start: Vec<f32> = wave(6, 3100).into_iter().map(|value| value as f32).collect();
    let parameter = Tensor::from_slice(&start).set_requires_grad(true);
    let mut adam = Adam::new(vec![("p".to_owned(), parameter.shallow_clone())], 1e-2).unwrap();
    for (index, after) in golden.after.iter().enumerate() {
        if index == 3 {
            adam.set_learning_rate(1e-3);
        }
        let scales = [1e3, 1.0, 1e-3, 1e-6, 1e-9, 0.0];
        let gradient: Vec<f32> = wave(6, 3000 + index).iter().zip(scales).map(|(a, b)| (a * b) as f32).collect();
        adam.step(&[Tensor::from_slice(&gradient)]).unwrap();
        assert_close(&format!("step {index}"), &values(&parameter), after, 2e-7);
    }
    let state = adam.state().unwrap();
    let relative = |name: &str, golden: &[f64]| {
        for (a, b) in state.moments[name].data.iter().zip(golden) {
            assert!((f64::from(*a) - b).abs() <= 1e-6 * b.abs(), "{name}: {a}, PyTorch says {b}");
        }
    };
    relative("p.first_moment", &golden.first_moment);
    relative("p.second_moment", &golden.second_moment);
    assert_eq!(state.steps, 4);
}

fn small(trainable: Trainable, precision: Precision) -> Network {
    let spec = NetworkSpec::paper(Architecture::Resnet10, 4);
    let options = Options { precision, ..Options::new(trainable) };
    Network::from_weights(spec, &random_init(&spec, 3), Device::Cpu, options).unwrap()
}

#[test]
fn a_resumed_training_is_the_uninterrupted_one_bit_for_bit() {
    let (volumes, classes) = batch([17, 33, 34]);
    let whole = small(Trainable::All, Precision::FP32);
    let mut adam = Adam::new(whole.learning(), 1e-3).unwrap();
    let mut saved = None;
    for index in 0..4 {
        if index == 2 {
            saved = Some((whole.to_weights().unwrap(), adam.state().unwrap()));
            adam.set_learning_rate(1e-4);
        }
        step::train(&whole, &mut adam, &volumes, &classes).unwrap();
    }

    let (weights, state) = saved.unwrap();
    let mut resumed = small(Trainable::All, Precision::FP32);
    let mut adam_resumed = Adam::new(resumed.learning(), 0.5).unwrap();
    resumed.set_weights(&weights).unwrap();
    adam_resumed.restore(&state).unwrap();
    assert_eq!(adam_resumed.learning_rate(), 1e-3);
    adam_resumed.set_learning_rate(1e-4);
    for _ in 2..4 {
        step::train(&resumed, &mut adam_resumed, &volumes, &classes).unwrap();
    }
    assert_eq!(whole.to_weights().unwrap(), resumed.to_weights().unwrap());
    assert_eq!(adam.state().unwrap(), adam_resumed.state().unwrap());

    let mut other = Adam::new(small(Trainable::Layer4, Precision::FP32).learning(), 1e-3).unwrap();
    assert!(other.restore(&state).unwrap_err().to_string().contains("bn1.bias.first_moment"));
}

#[test]
fn frozen_layers_neither_move_nor_keep_a_graph() {
    for (trainable, prefix) in [(Trainable::Layer4, "layer4."), (Trainable::LastBlock, "layer4.0.")] {
        let network = small(trainable, Precision::FP32);
        let before = network.to_weights().unwrap();
        let (volumes, classes) = batch([17, 33, 34]);
        // Autograd reaches the volumes only through layers that learn.
        let volumes = volumes.set_requires_grad(true);
        let output = network.forward(&volumes, Mode::Train).unwrap();
        step::cross_entropy(&output.logits, &classes).unwrap().backward();
        assert!(!volumes.grad().defined(), "the backward pass went through frozen layers");

        let mut adam = Adam::new(network.learning(), 1e-3).unwrap();
        step::train(&network, &mut adam, &volumes.detach(), &classes).unwrap();
        let after = network.to_weights().unwrap();
        for (name, tensor) in before.tensors() {
            let moved = tensor != after.get(name).unwrap();
            assert_eq!(moved, name.starts_with(prefix) || name.starts_with("fc."), "{name}");
        }
    }
}

#[test]
fn bf16_is_near_fp32_and_keeps_32_bit_parameters() {
    let (volumes, classes) = batch([17, 33, 34]);
    let [exact, rounded] = [Precision::FP32, Precision::BF16].map(|precision| {
        let network = small(Trainable::All, precision);
        let output = network.forward(&volumes, Mode::Train).unwrap();
        let loss = step::cross_entropy(&output.logits, &classes).unwrap();
        let gradients = step::gradients(&loss, &network).unwrap();
        assert!(gradients.iter().all(|gradient| gradient.kind() == Kind::Float));
        assert_eq!(output.features.kind(), precision.kind());
        assert_eq!(output.logits.kind(), Kind::Float);
        (values(&output.logits), gradients.iter().flat_map(values).collect::<Vec<f64>>())
    });
    assert_ne!(exact.0, rounded.0, "nothing was rounded");
    assert_close("logits", &rounded.0, &exact.0, 0.05);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(&exact.1, &rounded.1) / (dot(&exact.1, &exact.1) * dot(&rounded.1, &rounded.1)).sqrt();
    assert!(cosine > 0.9, "{cosine}");
}

#[test]
fn what_libtorch_refuses_is_an_error_and_a_diverged_loss_changes_nothing() {
    let network = small(Trainable::All, Precision::FP32);
    let wrong = Tensor::zeros([1, 3, 8, 8, 8], (Kind::Float, Device::Cpu));
    assert!(matches!(network.forward(&wrong, Mode::Train), Err(NetworkError::Torch(_))));

    let before = network.learning().into_iter().map(|(_, tensor)| values(&tensor)).collect::<Vec<_>>();
    let mut adam = Adam::new(network.learning(), 1e-3).unwrap();
    let (volumes, classes) = batch([17, 33, 34]);
    let error = step::train(&network, &mut adam, &(volumes * f64::NAN), &classes).unwrap_err();
    assert!(matches!(error, StepError::Diverged(_)), "{error}");
    assert_eq!(before, network.learning().into_iter().map(|(_, tensor)| values(&tensor)).collect::<Vec<_>>());

    // Far more than any machine has.
    let huge = Tensor::zeros([1, 1, 1, 1, 1], (Kind::Float, Device::Cpu)).expand([64, 1, 4096, 4096, 4096], false);
    let error = StepError::from(network.forward(&huge, Mode::Train).unwrap_err());
    assert!(super::out_of_memory::is_said_by(&error), "{error}");
}

/// The claim that places heatmaps: cell `i` of the last map is centred at input index `stride · i`, not between.
#[test]
fn a_cell_of_the_last_map_looks_at_stride_times_its_index() {
    let spec = NetworkSpec::paper(Architecture::Resnet10, 1);
    let flat = |name: &str, shape: &[usize]| {
        let value = if name.ends_with("running_mean") || name.ends_with("bias") { 0.0 } else { 1.0 };
        WeightTensor::filled(shape, value)
    };
    let tensors = spec.parameters().into_iter().map(|p| (p.name.clone(), flat(&p.name, &p.shape))).collect();
    let weights = Weights::new(&spec, tensors).unwrap();
    let network = Network::from_weights(spec, &weights, Device::Cpu, Options::new(Trainable::All)).unwrap();
    let shape = [112_usize, 208, 208];
    // Noise, so that the maximum pooling prefers no side.
    tch::manual_seed(1);
    let volume = Tensor::rand([1, 1, 112, 208, 208], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let features = network.forward(&volume, Mode::Evaluate).unwrap().features;
    let cell = [3_i64, 3, 3];
    let looked_at = features.sum_dim_intlist([0_i64, 1].as_slice(), false, Kind::Float);
    looked_at.narrow(0, cell[0], 1).narrow(1, cell[1], 1).narrow(2, cell[2], 1).sum(Kind::Float).backward();
    let weight = volume.grad().view(shape.map(|n| n as i64)).to_kind(Kind::Double).abs();
    let total = weight.sum(Kind::Double);
    for (axis, stride) in spec.total_stride().into_iter().enumerate() {
        let others: Vec<i64> = (0..3).filter(|other| *other != axis as i64).collect();
        let profile = weight.sum_dim_intlist(others.as_slice(), false, Kind::Double);
        let index = Tensor::arange(shape[axis] as i64, (Kind::Double, Device::Cpu));
        let centroid = f64::try_from((profile * index).sum(Kind::Double) / &total).unwrap();
        let expected = stride as f64 * 3.0;
        assert!((centroid - expected).abs() < 0.75, "axis {axis}: {centroid}, expected {expected}");
    }
}
