//! How good probabilities are: Brier score, calibration error, reliability bins.

use serde::Serialize;

fn usable(labels: &[bool], probabilities: &[f64]) -> bool {
    !labels.is_empty() && labels.len() == probabilities.len() && probabilities.iter().all(|p| (0.0..=1.0).contains(p))
}

/// Mean squared distance of the probability of FCD from the truth (0 or 1).
pub fn brier(labels: &[bool], probabilities: &[f64]) -> Option<f64> {
    usable(labels, probabilities).then(|| {
        let sum: f64 = labels.iter().zip(probabilities).map(|(&l, p)| (p - f64::from(u8::from(l))).powi(2)).sum();
        sum / labels.len() as f64
    })
}

/// One bin of the reliability diagram.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// Lower edge; the bin is `[lower, upper)`, the last one closed.
    pub lower: f64,
    /// Upper edge.
    pub upper: f64,
    /// Subjects in it.
    pub n: usize,
    /// Mean probability of FCD; `None` when empty.
    pub mean_probability: Option<f64>,
    /// Share of patients; `None` when empty.
    pub share_fcd: Option<f64>,
}

/// Expected calibration error of the probability of FCD and its bins.
///
/// Rule: `bins` equal-width bins over 0..1; error = Σ n_b/N · |share of patients − mean probability|; empty
/// bins count nothing. Ten bins unless told.
pub fn calibration_error(labels: &[bool], probabilities: &[f64], bins: usize) -> Option<(f64, Vec<ReliabilityBin>)> {
    if bins == 0 || !usable(labels, probabilities) {
        return None;
    }
    let mut sums = vec![(0usize, 0.0, 0usize); bins];
    for (&label, &p) in labels.iter().zip(probabilities) {
        let bin = &mut sums[((p * bins as f64) as usize).min(bins - 1)];
        bin.0 += 1;
        bin.1 += p;
        bin.2 += usize::from(label);
    }
    let mut error = 0.0;
    let mut table = Vec::with_capacity(bins);
    for (i, (n, probability, patients)) in sums.into_iter().enumerate() {
        error += (patients as f64 - probability).abs() / labels.len() as f64;
        table.push(ReliabilityBin {
            lower: i as f64 / bins as f64,
            upper: (i + 1) as f64 / bins as f64,
            n,
            mean_probability: (n > 0).then(|| probability / n as f64),
            share_fcd: (n > 0).then(|| patients as f64 / n as f64),
        });
    }
    Some((error, table))
}
