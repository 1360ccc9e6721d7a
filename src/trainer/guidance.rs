//! Guidance by lesion masks: while it learns, the network is also told *where* the lesions are.
//!
//! A class is one bit for a volume of a million voxels; from some hundred volumes a network without pretrained weights
//! learns little from it. Where the archive has masks, two more losses are added to the cross-entropy, times the plan's
//! weight:
//!
//! - **early**: behind each of the first two stages, where it learns, a linear classifier of every cell (1×1×1 convolution)
//!   must say how much of the cell belongs to the lesion;
//! - **late**: of every cell of the class activation map, `(w_FCD − w_HC) · A` plus an offset, whether the lesion reaches
//!   into it. The map that this makes point at lesions is the one that Grad-CAM shows.
//!
//! Both are binary cross-entropies, in which a lesion weighs more than the rest because it is small. The classifiers and
//! the offset exist while training only; they are no part of the network that is exported. Cell `i` is centred at input
//! index `stride · i`, as everywhere.
//!
//! A control teaches that there is no lesion anywhere. A patient without a mask, or with one that could not be used,
//! has a lesion all the same, in cells that nobody named: it has no part in these losses, which are the means over the
//! cells of the others. The cross-entropy is that of all.
//!
//! None of this is the paper's. Heat-Scores of a guided network say how well it learned what it was shown; beside those
//! of an unguided one the plan must be read.

use std::collections::BTreeMap;

use fcdd::network::spec::FCD;
use fcdd::network::{NetworkSpec, Tensor as WeightTensor};
use fcdd::research::run::plan::Plan;
use tch::{Device, Kind, Reduction, TchError, Tensor};

use super::network::{Network, Output, from_tensor, to_tensor};

/// How much more the share of a lesion in a cell weighs than the rest of it.
const EARLY_WEIGHT: f64 = 20.0;
/// How much more a cell of the map with a lesion weighs than one without.
const LATE_WEIGHT: f64 = 15.0;
/// Where the classifiers begin: lesions are rare.
const FIRST_BIAS: f64 = -4.0;
/// Stages with a classifier of their own, if they learn.
const STAGES: [usize; 2] = [1, 2];

/// Where the lesions of a batch are.
#[derive(Debug)]
pub struct Lesions {
    /// `[batch, 1, D, H, W]`, on the network's device: how much of each voxel is lesion, 0 to 1.
    pub shares: Tensor,
    /// Of each subject, whether that is known.
    pub known: Vec<bool>,
}

/// The classifiers that learn beside a network.
#[derive(Debug)]
pub struct Guidance {
    weight: f64,
    heads: Vec<Head>,
    /// Added to the map's values: not the classifier's bias, which says how often there is a lesion, not where.
    offset: Tensor,
}

/// Says of each cell of a stage's output how much of it is lesion.
#[derive(Debug)]
struct Head {
    /// From 1.
    stage: usize,
    /// Of its output, in voxels of the input.
    stride: [i64; 3],
    kernel: Tensor,
    bias: Tensor,
}

impl Guidance {
    /// What a plan wants beside its network; none where it wants no guidance.
    ///
    /// # Errors
    /// As [`Guidance::new`].
    pub fn of_plan(plan: &Plan, network: &Network) -> Result<Option<Self>, TchError> {
        let Some(weight) = &plan.lesion_guidance else { return Ok(None) };
        let kind = network.classifier_weight().kind();
        Guidance::new(network.spec(), weight.value, network.first_stage(), kind, network.device()).map(Some)
    }

    /// Classifiers that know nothing yet, beside a network whose stages learn from `first_stage` on.
    ///
    /// # Errors
    /// libtorch's: no memory.
    pub fn new(
        spec: &NetworkSpec,
        weight: f64,
        first_stage: usize,
        kind: Kind,
        device: Device,
    ) -> Result<Self, TchError> {
        let learning = |tensor: Tensor| tensor.f_set_requires_grad(true);
        let mut heads = Vec::new();
        for stage in STAGES.into_iter().filter(|stage| *stage >= first_stage) {
            let channels = spec.stage_channels(stage) as i64;
            heads.push(Head {
                stage,
                stride: spec.stage_stride(stage).map(|stride| stride as i64),
                kernel: learning(Tensor::f_zeros([1, channels, 1, 1, 1], (kind, device))?)?,
                bias: learning(Tensor::f_full([1], FIRST_BIAS, (kind, device))?)?,
            });
        }
        let offset = learning(Tensor::f_full([1], FIRST_BIAS, (kind, device))?)?;
        Ok(Guidance { weight, heads, offset })
    }

    /// What learns, by name, as the optimiser wants it.
    pub fn learning(&self) -> Vec<(String, Tensor)> {
        let mut all = Vec::new();
        for head in &self.heads {
            all.push((format!("stage{}.weight", head.stage), head.kernel.shallow_clone()));
            all.push((format!("stage{}.bias", head.stage), head.bias.shallow_clone()));
        }
        all.push(("map.offset".to_owned(), self.offset.shallow_clone()));
        all
    }

    /// A copy of it.
    ///
    /// # Errors
    /// libtorch's.
    pub fn state(&self) -> Result<BTreeMap<String, WeightTensor>, TchError> {
        self.learning().into_iter().map(|(name, tensor)| Ok((name, from_tensor(&tensor)?))).collect()
    }

    /// Goes on from a saved copy; what is not in it stays.
    ///
    /// # Errors
    /// When a tensor has another shape.
    pub fn restore(&mut self, state: &BTreeMap<String, WeightTensor>) -> Result<(), TchError> {
        let _no_grad = tch::no_grad_guard();
        for (name, mut tensor) in self.learning() {
            if let Some(saved) = state.get(&name) {
                tensor.f_copy_(&to_tensor(saved)?)?;
            }
        }
        Ok(())
    }

    /// What is added to the cross-entropy: the mean over the subjects whose lesions are known, 0 where nobody's is.
    /// `stages` are the outputs of the stages, from the first.
    ///
    /// # Errors
    /// libtorch's.
    pub fn loss(
        &self,
        network: &Network,
        output: &Output,
        stages: &[Tensor],
        lesions: &Lesions,
    ) -> Result<Tensor, TchError> {
        let known = weights_of_subjects(&lesions.known, self.offset.kind(), self.offset.device())?;
        let mut sum = self.late(network, &output.features, &lesions.shares, &known)?;
        for head in &self.heads {
            let Some(cells) = stages.get(head.stage - 1) else { continue };
            let cells = cells.f_to_kind(head.kernel.kind())?;
            let said = cells.f_conv3d(&head.kernel, Some(&head.bias), [1; 3], [0; 3], [1; 3], 1)?;
            let share = around_cells(&lesions.shares, head.stride, &said, |padded, edges| {
                padded.f_avg_pool3d(edges, edges, [0; 3], false, true, None::<i64>)
            })?;
            sum = sum.f_add(&weighted(&said, &share, EARLY_WEIGHT, &known)?)?;
        }
        sum.f_mul_scalar(self.weight)
    }

    fn late(&self, network: &Network, features: &Tensor, lesions: &Tensor, known: &Tensor) -> Result<Tensor, TchError> {
        let classifier = network.classifier_weight();
        let (fcd, other) = (FCD as i64, 1 - FCD as i64);
        let difference = classifier.f_get(fcd)?.f_sub(&classifier.f_get(other)?)?.f_view([1, -1, 1, 1, 1])?;
        let features = features.f_to_kind(difference.kind())?;
        let said = features.f_conv3d(&difference, Some(&self.offset), [1; 3], [0; 3], [1; 3], 1)?;
        let stride = network.spec().total_stride().map(|stride| stride as i64);
        let reached = around_cells(lesions, stride, &said, |padded, edges| {
            padded.f_max_pool3d(edges, edges, [0; 3], [1; 3], false)
        })?;
        weighted(&said, &reached, LATE_WEIGHT, known)
    }
}

/// Pools what lies around the centre of each cell, `stride · i`, half a stride to either side; of `cells`' shape.
fn around_cells(
    lesions: &Tensor,
    stride: [i64; 3],
    cells: &Tensor,
    pool: impl Fn(&Tensor, [i64; 3]) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    let [d, h, w] = stride.map(|stride| stride / 2);
    // From the last axis to the first, before and behind. Behind by a whole stride, so that no cell lacks its window.
    let padding = [w, stride[2], h, stride[1], d, stride[0]];
    let mut pooled = pool(&lesions.f_constant_pad_nd(padding)?, stride)?;
    for (axis, &count) in cells.size().iter().enumerate().skip(2) {
        pooled = pooled.f_narrow(axis as i64, 0, count)?;
    }
    pooled.f_to_kind(cells.kind())
}

/// What a subject's cells weigh in a mean over all cells, `[batch, 1, 1, 1, 1]`: nothing where its lesion is unknown,
/// and elsewhere so much that it becomes the mean over the others.
///
/// Cells are weighed and not left out, because autograd wants every parameter in the loss, also where nobody is known.
fn weights_of_subjects(known: &[bool], kind: Kind, device: Device) -> Result<Tensor, TchError> {
    let count = known.iter().filter(|known| **known).count();
    // Where that is 0, so is every weight.
    let of_known = known.len() as f64 / count.max(1) as f64;
    let weights: Vec<f64> = known.iter().map(|known| if *known { of_known } else { 0.0 }).collect();
    Tensor::f_from_slice(&weights)?.f_view([-1, 1, 1, 1, 1])?.f_to_kind(kind)?.f_to_device(device)
}

/// Mean binary cross-entropy of logits, in which the positive part of each target weighs `weight` times, and each
/// subject's cells `of_subjects`.
fn weighted(logits: &Tensor, targets: &Tensor, weight: f64, of_subjects: &Tensor) -> Result<Tensor, TchError> {
    let weight = Tensor::f_full([1], weight, (logits.kind(), logits.device()))?;
    logits.f_binary_cross_entropy_with_logits(targets, Some(of_subjects), Some(&weight), Reduction::Mean)
}

#[cfg(test)]
mod tests {
    use fcdd::network::{Architecture, Tensor as WeightTensor, random_init};
    use fcdd::research::run::plan::Trainable;

    use super::super::adam::Adam;
    use super::super::network::{Mode, Options};
    use super::super::step;
    use super::*;

    const SHAPE: [i64; 5] = [2, 1, 32, 64, 64];

    fn lesion_at(voxels: &[[i64; 3]]) -> Tensor {
        let lesions = Tensor::zeros(SHAPE, (Kind::Float, Device::Cpu));
        for &[d, h, w] in voxels {
            let _ = lesions.get(0).get(0).get(d).get(h).get(w).fill_(1.0);
        }
        lesions
    }

    /// Of two subjects of whom all is known.
    fn known(shares: &Tensor) -> Lesions {
        Lesions { shares: shares.shallow_clone(), known: vec![true; 2] }
    }

    fn network(weights: impl FnOnce(&mut BTreeMap<String, WeightTensor>)) -> Network {
        let spec = NetworkSpec::paper(Architecture::Resnet10, 2);
        let mut tensors = random_init(&spec, 3).tensors().clone();
        weights(&mut tensors);
        let weights = fcdd::network::Weights::new(&spec, tensors).unwrap();
        Network::from_weights(spec, &weights, Device::Cpu, Options::new(Trainable::All)).unwrap()
    }

    fn guidance(network: &Network) -> Guidance {
        Guidance::new(network.spec(), 1.0, network.first_stage(), Kind::Float, Device::Cpu).unwrap()
    }

    #[test]
    fn a_cell_is_what_lies_around_its_centre() {
        let cells = Tensor::zeros([2, 1, 2, 2, 2], (Kind::Float, Device::Cpu));
        let reached = |voxel: [i64; 3]| {
            let pooled = around_cells(&lesion_at(&[voxel]), [16, 32, 32], &cells, |padded, edges| {
                padded.f_max_pool3d(edges, edges, [0; 3], [1; 3], false)
            });
            let values = Vec::<f32>::try_from(pooled.unwrap().reshape([-1])).unwrap();
            values.iter().enumerate().filter(|(_, v)| **v > 0.0).map(|(at, _)| at).collect::<Vec<_>>()
        };
        assert_eq!(reached([0, 0, 0]), [0]);
        assert_eq!(reached([7, 15, 15]), [0]);
        assert_eq!(reached([8, 15, 15]), [4]);
        assert_eq!(reached([16, 32, 47]), [7]);
        // Beyond the last cell's half stride there is no cell.
        assert_eq!(reached([31, 63, 63]), Vec::<usize>::new());
    }

    /// Nothing is known yet: every logit is the bias, so the loss follows from the masks alone.
    #[test]
    fn the_first_loss_is_that_of_the_hand() {
        let network = network(|tensors| tensors.get_mut("fc.weight").unwrap().data.fill(0.0));
        let lesions = known(&lesion_at(&[[16, 32, 32], [17, 32, 32]]));
        let (output, stages) =
            network.forward_with_stages(&Tensor::randn(SHAPE, (Kind::Float, Device::Cpu)), Mode::Evaluate).unwrap();
        let loss = f64::try_from(guidance(&network).loss(&network, &output, &stages, &lesions).unwrap()).unwrap();
        let (missed, spared) = (4.0_f64.exp().ln_1p(), (-4.0_f64).exp().ln_1p());
        let mean =
            |weight: f64, lesion: f64, cells: f64| (weight * lesion * missed + (cells - lesion) * spared) / cells;
        // One of 2·2·2·2 cells of the map is reached. The cells of stage 1 have 2·4·4 voxels, 16·16·16 to a subject:
        // both voxels are in one (15 to 16 and 17 to 18 are neighbours along D); those of stage 2 have 4·8·8.
        let late = mean(LATE_WEIGHT, 1.0, 16.0);
        let early = mean(EARLY_WEIGHT, 2.0 / 32.0, 8192.0) + mean(EARLY_WEIGHT, 2.0 / 256.0, 1024.0);
        assert!((loss - late - early).abs() < 1e-6, "{loss} {}", late + early);
    }

    #[test]
    fn guided_steps_find_the_place_and_go_on_from_a_saved_state() {
        let network = network(|_| {});
        let mut guidance = guidance(&network);
        let learning: Vec<(String, Tensor)> = network.learning().into_iter().chain(guidance.learning()).collect();
        let mut adam = Adam::new(learning, 1e-2).unwrap();
        let shares = lesion_at(&[[16, 32, 32]]).max_pool3d([9, 9, 9], [1, 1, 1], [4, 4, 4], [1, 1, 1], false);
        let volumes = Tensor::randn(SHAPE, (Kind::Float, Device::Cpu)) + &shares * 3.0;
        let lesions = known(&shares);
        let classes = Tensor::from_slice(&[1_i64, 0]);
        let of_now = |guidance: &Guidance| {
            let (output, stages) = network.forward_with_stages(&volumes, Mode::Train).unwrap();
            f64::try_from(guidance.loss(&network, &output, &stages, &lesions).unwrap()).unwrap()
        };
        let before = of_now(&guidance);
        for _ in 0..25 {
            step::train_guided(&network, &guidance, &mut adam, &volumes, &classes, &lesions).unwrap();
        }
        let after = of_now(&guidance);
        assert!(after < 0.5 * before, "{before} {after}");

        let saved = guidance.state().unwrap();
        let mut other = self::guidance(&network);
        assert_ne!(of_now(&other), after);
        other.restore(&saved).unwrap();
        assert_eq!(of_now(&other), after);
        guidance.restore(&BTreeMap::new()).unwrap();
        assert_eq!(guidance.state().unwrap(), saved);
    }

    #[test]
    fn a_subject_whose_lesion_is_unknown_has_no_part_in_the_loss() {
        let network = network(|_| {});
        let mut guidance = guidance(&network);
        let kernels = [("stage1.weight", 2), ("stage2.weight", 4)]
            .map(|(name, channels)| (name.to_owned(), WeightTensor::filled(&[1, channels, 1, 1, 1], 0.5)));
        guidance.restore(&BTreeMap::from(kernels)).unwrap();
        // The guidance does not read the classifier's bias.
        let learning: Vec<Tensor> = network
            .learning()
            .into_iter()
            .filter(|(name, _)| name != "fc.bias")
            .chain(guidance.learning())
            .map(|(_, tensor)| tensor)
            .collect();
        let volumes = Tensor::randn([3, 1, 32, 64, 64], (Kind::Float, Device::Cpu));
        let shares = Tensor::rand([3, 1, 32, 64, 64], (Kind::Float, Device::Cpu));
        let _ = shares.get(1).fill_(1.0);
        // Where running statistics normalise, subjects do not see each other.
        let of = |subjects: &[i64], known: &[bool]| {
            let at = Tensor::from_slice(subjects);
            let lesions = Lesions { shares: shares.index_select(0, &at), known: known.to_vec() };
            let (output, stages) = network.forward_with_stages(&volumes.index_select(0, &at), Mode::Evaluate).unwrap();
            let loss = guidance.loss(&network, &output, &stages, &lesions).unwrap();
            let gradients = Tensor::run_backward(&[&loss], &learning, false, false);
            (f64::try_from(loss).unwrap(), gradients)
        };
        let norm = |tensor: &Tensor| f64::try_from(tensor.norm()).unwrap();

        let (with, gradients_with) = of(&[0, 1, 2], &[true, false, true]);
        let (without, gradients_without) = of(&[0, 2], &[true, true]);
        assert!((with - without).abs() < 1e-5 * without, "{with} {without}");
        for (a, b) in gradients_with.iter().zip(&gradients_without) {
            assert!(norm(&(a - b)) <= 1e-4 * norm(b), "{a:?} {b:?}");
        }
        assert!((of(&[0, 1, 2], &[true; 3]).0 - without).abs() > 1e-3 * without);

        let (nothing, gradients) = of(&[0, 1, 2], &[false; 3]);
        assert_eq!(nothing, 0.0);
        assert!(gradients.iter().all(|gradient| norm(gradient) == 0.0));
    }

    #[test]
    fn a_step_in_which_no_lesion_is_known_is_a_step_without_guidance() {
        let (guided, plain) = (network(|_| {}), network(|_| {}));
        let guidance = guidance(&guided);
        let before = guidance.state().unwrap();
        let volumes = Tensor::randn(SHAPE, (Kind::Float, Device::Cpu));
        let classes = Tensor::from_slice(&[1_i64, 1]);
        let lesions = Lesions { known: vec![false; 2], ..known(&lesion_at(&[])) };
        let learning: Vec<(String, Tensor)> = guided.learning().into_iter().chain(guidance.learning()).collect();
        let mut adam = Adam::new(learning, 1e-2).unwrap();
        let done = step::train_guided(&guided, &guidance, &mut adam, &volumes, &classes, &lesions).unwrap();
        let mut adam = Adam::new(plain.learning(), 1e-2).unwrap();
        assert_eq!(step::train(&plain, &mut adam, &volumes, &classes).unwrap().loss, done.loss);
        assert_eq!(guided.to_weights().unwrap(), plain.to_weights().unwrap());
        assert_eq!(guidance.state().unwrap(), before);
    }

    #[test]
    fn what_does_not_learn_is_not_guided() {
        let spec = NetworkSpec::paper(Architecture::Resnet10, 2);
        let names = |first_stage| {
            let guidance = Guidance::new(&spec, 1.0, first_stage, Kind::Float, Device::Cpu).unwrap();
            guidance.learning().into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(4), ["map.offset"]);
        assert_eq!(names(1), ["stage1.weight", "stage1.bias", "stage2.weight", "stage2.bias", "map.offset"]);
    }
}
