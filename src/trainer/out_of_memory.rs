//! When memory runs out: which batch would have fitted.
//!
//! Nothing is estimated: smaller steps are tried (each a forward and backward pass on volumes of the plan's size, half
//! as many each time, then between the last two) until one fits. A fold that failed so is over, so
//! these tries may change its network.

use fcdd::research::plan::Plan;

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

/// Whether an error means that memory ran out.
pub fn is_out_of_memory(error: &dyn std::error::Error) -> bool {
    let text = error.to_string();
    SAYINGS.iter().any(|saying| text.contains(saying))
}

/// Memory ran out.
#[derive(Debug, thiserror::Error)]
pub enum OutOfMemory {
    /// A smaller batch fits.
    #[error(
        "{device} ran out of memory with a batch of {batch} at {input}. A batch of {fits} fits (tried with a forward \
         and backward pass): begin a new run with --batch {fits}"
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
    /// Finds the batch that fits where a step of `batch` volumes did not; `fits` tries a step of so many.
    pub fn find(
        plan: &Plan,
        batch: usize,
        device: String,
        error: &dyn std::error::Error,
        fits: impl FnMut(usize) -> bool,
    ) -> Self {
        let [d, h, w] = plan.input.value;
        let input = format!("{d}×{h}×{w}");
        match largest_that_fits(batch, fits) {
            Some(fits) => OutOfMemory::Smaller { device, batch, input, fits },
            None => {
                let said = error.to_string().lines().next().unwrap_or_default().to_owned();
                OutOfMemory::NotEvenTwo { device, batch, input, said }
            }
        }
    }
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

    /// The real message of the CPU's allocator: nobody has room for 4 EB.
    #[test]
    fn libtorchs_own_message_is_understood() {
        let error = tch::Tensor::f_zeros([1_i64 << 60], (tch::Kind::Float, tch::Device::Cpu)).unwrap_err();
        assert!(is_out_of_memory(&error), "{error}");
        let other = tch::Tensor::from_slice(&[1.0_f32]).f_view([7_i64]).unwrap_err();
        assert!(!is_out_of_memory(&other), "{other}");
    }
}
