//! What a preprocessed scan looks like, in a few numbers; and whether a model has seen such.
//!
//! The measures are of the z-scored head and so do not depend on the scanner's units: how its intensities are distributed
//! (contrast between tissues, fat, fluid) and how much neighbours differ (sharpness, noise, how finely it is folded). Where
//! the model's manifest says how they were distributed in its training ([`Distribution`]), a scan beyond the limit gets the
//! reason `out_of_distribution`: the verdict is withheld, the heatmap is not.

use ndarray::{ArrayView3, Axis};

use crate::network::distribution::{COUNT, Distribution};
use crate::study::{Reason, Sequence};

/// Of the head's z-scores; with the three mean differences, these are [`distribution::MEASURES`].
const QUANTILES: [f64; COUNT - 3] = [0.02, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.98];

/// The measures of a z-scored volume `[D, H, W]` and its head: nine quantiles, then the mean difference of neighbours along
/// D, H and W. Not finite where the head is empty.
///
/// # Panics
/// When the two have different shapes.
pub fn measures(tensor: ArrayView3<'_, f32>, head: ArrayView3<'_, bool>) -> [f64; COUNT] {
    assert_eq!(tensor.shape(), head.shape(), "a head is as large as its volume");
    let mut found = [f64::NAN; COUNT];
    let mut values: Vec<f32> =
        tensor.iter().zip(head).filter(|(_, inside)| **inside).map(|(value, _)| *value).collect();
    if values.is_empty() {
        return found;
    }
    let last = values.len() - 1;
    // What lies below one quantile need not be looked at for the next.
    let (mut rest, mut below) = (values.as_mut_slice(), 0);
    for (found, share) in found.iter_mut().zip(QUANTILES) {
        let rank = (share * last as f64).round() as usize;
        *found = f64::from(*rest.select_nth_unstable_by(rank - below, f32::total_cmp).1);
        rest = &mut rest[rank - below..];
        below = rank;
    }
    for axis in 0..3 {
        found[QUANTILES.len() + axis] = mean_difference(tensor, head, Axis(axis));
    }
    found
}

/// Mean absolute difference of neighbours along an axis, both in the head.
fn mean_difference(tensor: ArrayView3<'_, f32>, head: ArrayView3<'_, bool>, axis: Axis) -> f64 {
    let (mut sum, mut pairs) = (0.0, 0u64);
    for (line, inside) in tensor.lanes(axis).into_iter().zip(head.lanes(axis)) {
        let mut before: Option<f32> = None;
        for (&value, &inside) in line.iter().zip(inside) {
            if let Some(before) = before.filter(|_| inside) {
                sum += f64::from((value - before).abs());
                pairs += 1;
            }
            before = inside.then_some(value);
        }
    }
    sum / pairs as f64
}

/// The reason against a verdict, when a scan looks unlike those of a model's training.
pub fn check(distribution: &Distribution, measures: &[f64], sequence: Sequence, model: &str) -> Option<Reason> {
    let distance = distribution.distance(measures);
    // What cannot be measured is unlike everything.
    let is_like = distance <= distribution.limit;
    (!is_like).then(|| {
        Reason::new(
            "out_of_distribution",
            format!(
                "{} looks unlike the scans that {model} was trained on (distance {distance:.1}; at most {:.1} can be assessed)",
                sequence.label(),
                distribution.limit
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::network::distribution;

    /// 101 values 0 to 100 along W in the head, and loud nonsense outside.
    fn ramp() -> (Array3<f32>, Array3<bool>) {
        let head = Array3::from_shape_fn((3, 3, 103), |(d, h, w)| d == 1 && h == 1 && (1..=101).contains(&w));
        let tensor = Array3::from_shape_fn((3, 3, 103), |p| if head[p] { p.2 as f32 - 1.0 } else { 1e6 });
        (tensor, head)
    }

    #[test]
    fn only_the_head_counts() {
        let (tensor, head) = ramp();
        let found = measures(tensor.view(), head.view());
        assert_eq!(found[..9], [2.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0]);
        assert_eq!(found[11], 1.0);
        assert!(found[9].is_nan() && found[10].is_nan(), "no neighbours along D and H: {found:?}");
        assert!(measures(tensor.view(), Array3::from_elem((3, 3, 103), false).view()).iter().all(|v| v.is_nan()));
    }

    #[test]
    fn beyond_the_limit_or_beyond_measure_there_is_a_reason() {
        let mut whitening: Vec<Vec<f64>> = (0..COUNT).map(|at| vec![0.0; at + 1]).collect();
        whitening.iter_mut().for_each(|row| *row.last_mut().unwrap() = 1.0);
        let (mean, rule) = (vec![0.0; COUNT], String::new());
        let cloud = Distribution { measures: distribution::MEASURES.into(), mean, whitening, limit: 2.0, rule };
        cloud.check().unwrap();
        let reason = |value: f64| check(&cloud, &[value; COUNT], Sequence::T1, "demo-t1");
        assert_eq!(reason(2.0), None);
        let far = reason(2.5).unwrap();
        assert_eq!(far.code, "out_of_distribution");
        assert!(far.text.contains("T1") && far.text.contains("demo-t1") && far.text.contains("2.5"), "{}", far.text);
        assert!(reason(f64::NAN).is_some());
    }
}
