//! When memory runs out: which batch would have fitted.
//!
//! Nothing is estimated: smaller steps are tried (each a training step of a new network on volumes of the plan's size,
//! half as many each time, then between the last two) until one fits. Where the plan wants guidance, the steps are
//! guided: its classifiers and losses need memory too. A step needs more than anything else that a fold does, so this
//! answers for validation, prediction and the weights too.

use fcdd::network::random_init;
use fcdd::research::run::plan::Plan;
use tch::{Device, Kind, Tensor};

use super::adam::Adam;
use super::device;
use super::guidance::{Guidance, Lesions};
use super::network::{Network, Options};
use super::step::{self, StepError};

/// What libtorch, oneDNN and the C++ library say when there is no memory.
/// The last two also mean other things: the tries show which.
const SAYINGS: [&str; 7] = [
    "can't allocate memory",
    "out of memory",
    "not enough memory",
    "std::bad_alloc",
    "Cannot allocate memory",
    "could not create a memory",
    "could not create a primitive",
];

/// Whether an error of libtorch's means that memory ran out.
pub fn is_said_by(error: &dyn std::error::Error) -> bool {
    let text = error.to_string();
    SAYINGS.iter().any(|saying| text.contains(saying))
}

/// Memory ran out.
#[derive(Debug, thiserror::Error)]
pub enum OutOfMemory {
    /// A smaller batch fits.
    #[error(
        "{device} ran out of memory with a batch of {batch} at {input}. A batch of {fits} fits (tried with a \
         training step): begin a new run with --batch {fits}"
    )]
    Smaller {
        /// `cpu` or `cuda:N`.
        device: String,
        /// The batch that did not fit.
        batch: usize,
        /// `D×H×W`
        input: String,
        /// The batch that fits.
        fits: usize,
    },
    /// Not even two subjects do.
    #[error(
        "{device} ran out of memory with a batch of {batch} at {input}, and even a batch of 2, the smallest, does not \
         fit: begin a new run with a smaller --input, a smaller --width, or --precision bf16 ({said})"
    )]
    NotEvenTwo {
        /// `cpu` or `cuda:N`.
        device: String,
        /// The batch that did not fit.
        batch: usize,
        /// `D×H×W`
        input: String,
        /// libtorch's own words.
        said: String,
    },
}

impl OutOfMemory {
    /// Finds the batch that fits where the plan's does not. `subjects` is the size of the training set; `error` is
    /// libtorch's.
    pub fn find(plan: &Plan, options: Options, device: Device, subjects: usize, error: &dyn std::error::Error) -> Self {
        let batch = plan.batch.value;
        let [d, h, w] = plan.input.value;
        let (name, input) = (device::name(device), format!("{d}×{h}×{w}"));
        // The loader joins a last batch of one to the one before it.
        let largest = |size: usize| if subjects > size && subjects % size == 1 { size + 1 } else { size };
        match largest_that_fits(batch, |size| try_step(plan, options, device, largest(size)).is_ok()) {
            Some(fits) => OutOfMemory::Smaller { device: name, batch, input, fits },
            None => {
                let said = error.to_string().lines().next().unwrap_or_default().to_owned();
                OutOfMemory::NotEvenTwo { device: name, batch, input, said }
            }
        }
    }
}

/// A training step of `size` volumes, guided where the plan's are, by a network of its own.
fn try_step(plan: &Plan, options: Options, device: Device, size: usize) -> Result<(), StepError> {
    let spec = plan.spec();
    let network = Network::from_weights(spec, &random_init(&spec, 0), device, options)?;
    let guidance = Guidance::of_plan(plan, &network)?;
    let of_guidance = guidance.as_ref().map(Guidance::learning).unwrap_or_default();
    let mut adam = Adam::new(network.learning().into_iter().chain(of_guidance).collect(), plan.learning_rate.value)?;
    let [d, h, w] = plan.input.value.map(|edge| edge as i64);
    let volumes = Tensor::f_zeros([size as i64, 1, d, h, w], (Kind::Float, device))?;
    let classes = Tensor::f_zeros([size as i64], (Kind::Int64, device))?;
    match guidance {
        Some(guidance) => {
            let lesions = Lesions { shares: volumes.f_zeros_like()?, known: vec![true; size] };
            step::train_guided(&network, &guidance, &mut adam, &volumes, &classes, &lesions)?;
        }
        None => {
            step::train(&network, &mut adam, &volumes, &classes)?;
        }
    }
    Ok(())
}

/// The largest batch from 2 to `batch − 1` that fits, where smaller ones than one that fits do too.
fn largest_that_fits(batch: usize, mut fits: impl FnMut(usize) -> bool) -> Option<usize> {
    let mut too_large = batch;
    let mut size = batch / 2;
    while size > 2 && !fits(size) {
        too_large = size;
        size /= 2;
    }
    size = size.max(2);
    if size >= batch || (size == 2 && !fits(2)) {
        return None;
    }
    while too_large - size > 1 {
        let between = size + (too_large - size) / 2;
        if fits(between) { size = between } else { too_large = between }
    }
    Some(size)
}

#[cfg(test)]
mod tests {
    use fcdd::research::run::plan::{Choice, Profile, Said, Trainable};
    use fcdd::study::Sequence;
    use tch::TchError;

    use super::super::adam::AdamError;
    use super::super::epochs::FoldError;
    use super::super::network::NetworkError;
    use super::super::predict::PredictError;
    use super::*;

    #[test]
    fn the_largest_batch_is_found() {
        for batch in 2..40 {
            for limit in 0..batch {
                let mut tries = 0;
                let found = largest_that_fits(batch, |size| {
                    assert!((2..batch).contains(&size), "tried {size} of {batch}");
                    tries += 1;
                    size <= limit
                });
                assert_eq!(found, (limit >= 2).then_some(limit), "batch {batch}, limit {limit}");
                assert!(tries <= 10, "{tries} tries for {batch}");
            }
        }
    }

    #[test]
    fn libtorchs_own_message_is_understood() {
        let error = no_memory();
        assert!(is_said_by(&error), "{error}");
        let other = Tensor::from_slice(&[1.0_f32]).f_view([7_i64]).unwrap_err();
        assert!(!is_said_by(&other), "{other}");
    }

    /// The real message of the CPU's allocator: nobody has room for 4 EB.
    fn no_memory() -> TchError {
        Tensor::f_zeros([1_i64 << 60], (Kind::Float, Device::Cpu)).unwrap_err()
    }

    #[test]
    fn it_is_recognised_wherever_in_a_fold_it_happens() {
        for error in [
            FoldError::from(NetworkError::from(no_memory())),
            FoldError::from(PredictError::from(no_memory())),
            FoldError::from(PredictError::from(NetworkError::from(no_memory()))),
            FoldError::from(StepError::from(no_memory())),
            FoldError::from(AdamError::from(no_memory())),
            FoldError::from(no_memory()),
        ] {
            assert!(error.is_out_of_memory(), "{error:?}");
        }
        // The system's own words, but not about a batch.
        let source = std::io::Error::other("Cannot allocate memory");
        assert!(!FoldError::Io { what: "history.csv".to_owned(), source }.is_out_of_memory());
    }

    #[test]
    fn the_sentence_names_a_batch_that_was_tried() {
        let said = Said { batch: Some(6), width: Some(1), input: Some([16, 16, 16]), ..Said::default() };
        let plan = Plan::new(Profile::Paper, Sequence::T1, String::new(), None, 1, &said);
        let options = Options::new(Trainable::All);
        let error = OutOfMemory::find(&plan, options, Device::Cpu, 20, &no_memory());
        assert!(matches!(error, OutOfMemory::Smaller { batch: 6, fits: 5, .. }), "{error}");
        assert!(error.to_string().contains("--batch 5"), "{error}");
        // Volumes that nobody has room for.
        let huge = Plan { input: Choice::ours([1 << 20; 3]), ..plan };
        let error = OutOfMemory::find(&huge, options, Device::Cpu, 20, &no_memory());
        assert!(matches!(error, OutOfMemory::NotEvenTwo { batch: 6, .. }), "{error}");
    }

    #[test]
    fn a_guided_plan_is_tried_with_guided_steps() {
        let said = Said { width: Some(1), input: Some([16, 16, 16]), ..Said::default() };
        let plan = Plan::new(Profile::Paper, Sequence::T1, String::new(), None, 1, &said);
        let tried = |weight: Option<f64>| {
            let plan = Plan { lesion_guidance: weight.map(Choice::ours), ..plan.clone() };
            try_step(&plan, Options::new(Trainable::All), Device::Cpu, 3)
        };
        tried(None).unwrap();
        tried(Some(1.0)).unwrap();
        // A weight that no plan may have shows that the step had the guidance's loss.
        let error = tried(Some(f64::INFINITY)).unwrap_err();
        assert!(matches!(error, StepError::Diverged(_)), "{error}");
    }
}
