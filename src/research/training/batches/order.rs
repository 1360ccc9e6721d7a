//! Which samples come together, and in which order.

use std::ops::Range;

use rand_chacha::rand_core::RngCore;

use super::{BatchOptions, Sample};
use crate::research::training::augment::DrawKey;

/// Fisher–Yates; the modulo's bias is below 2⁻⁵⁰ for any set that fits in memory.
pub(super) fn shuffle(samples: &mut [Sample], options: &BatchOptions) {
    let key = DrawKey { seed: options.seed, fold: options.fold, epoch: options.epoch, subject: "" };
    let mut random = key.stream("order");
    for last in (1..samples.len()).rev() {
        samples.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
    }
}

/// Ranges of samples, a batch each.
pub(super) fn cut(samples: usize, size: usize, training: bool) -> Vec<Range<usize>> {
    let mut batches: Vec<Range<usize>> =
        (0..samples).step_by(size).map(|first| first..(first + size).min(samples)).collect();
    if training && batches.len() > 1 && batches.last().is_some_and(|last| last.len() == 1) {
        batches.pop();
        if let Some(last) = batches.last_mut() {
            last.end = samples;
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_training_batch_holds_one_sample() {
        let sizes = |n, training| cut(n, 4, training).iter().map(|b| b.len()).collect::<Vec<_>>();
        assert_eq!(sizes(9, true), [4, 5]);
        assert_eq!(sizes(9, false), [4, 4, 1]);
        assert_eq!(sizes(10, true), [4, 4, 2]);
        assert_eq!(sizes(0, false), [0usize; 0]);
    }
}
