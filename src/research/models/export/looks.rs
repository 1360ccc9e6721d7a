//! The distribution of a run's scans, which goes into the model: what serving compares a study with.

use ndarray::Array3;

use super::{ExportError, Subjects};
use crate::analyze::looks;
use crate::network::distribution::{self, Distribution};

/// Below so many subjects a covariance of a dozen measures says nothing: the model then states no distribution.
const FEWEST: usize = 40;
/// Share of the farthest subjects that do not shape the cloud; they count for the limit.
const TRIMMED: f64 = 0.05;
/// Standard deviation that every measure has at least (z-scores): measuring is no finer.
const LEAST_DEVIATION: f64 = 0.02;
/// Quantile of the subjects' own distances, and the room beyond it, that make the limit.
const LIMIT_QUANTILE: f64 = 0.99;
const LIMIT_ROOM: f64 = 1.25;

/// Measures every subject and fits the cloud; none with too few subjects.
///
/// # Errors
/// When a subject's volume cannot be had.
pub(super) fn distribution(subjects: &dyn Subjects) -> Result<Option<Distribution>, ExportError> {
    let mut rows = Vec::new();
    for subject in subjects.all() {
        let unusable = |message| ExportError::Subject { subject: subject.id.clone(), message };
        let (tensor, view): (Array3<f32>, _) = subjects.volume(&subject.id).map_err(unusable)?;
        rows.push(looks::measures(tensor.view(), view.head.view()).to_vec());
    }
    Ok(fit(rows))
}

fn fit(rows: Vec<Vec<f64>>) -> Option<Distribution> {
    let rows: Vec<Vec<f64>> = rows.into_iter().filter(|row| row.iter().all(|value| value.is_finite())).collect();
    if rows.len() < FEWEST {
        return None;
    }
    let mut cloud = cloud(&rows.iter().collect::<Vec<_>>())?;
    // Two rounds: what lies far out stretches the first cloud towards itself.
    for _ in 0..2 {
        let mut by_distance: Vec<&Vec<f64>> = rows.iter().collect();
        by_distance.sort_by(|a, b| cloud.distance(a).total_cmp(&cloud.distance(b)));
        by_distance.truncate(((1.0 - TRIMMED) * rows.len() as f64).ceil() as usize);
        cloud = self::cloud(&by_distance)?;
    }
    let mut distances: Vec<f64> = rows.iter().map(|row| cloud.distance(row)).collect();
    distances.sort_by(f64::total_cmp);
    let rank = (LIMIT_QUANTILE * (distances.len() - 1) as f64).ceil() as usize;
    cloud.limit = LIMIT_ROOM * distances.get(rank)?;
    cloud.rule = format!("{LIMIT_ROOM} times the 99th percentile of the {} subjects' own distances", rows.len());
    Some(cloud)
}

/// Mean and whitening of rows.
fn cloud(rows: &[&Vec<f64>]) -> Option<Distribution> {
    let (count, size) = (rows.len() as f64, rows.first()?.len());
    let mean: Vec<f64> = (0..size).map(|at| rows.iter().map(|row| row[at]).sum::<f64>() / count).collect();
    let covariance = |a: usize, b: usize| {
        let sum: f64 = rows.iter().map(|row| (row[a] - mean[a]) * (row[b] - mean[b])).sum();
        sum / (count - 1.0) + if a == b { LEAST_DEVIATION * LEAST_DEVIATION } else { 0.0 }
    };
    let lower = cholesky(size, covariance)?;
    Some(Distribution {
        measures: distribution::MEASURES.to_owned(),
        mean,
        whitening: inverse(&lower),
        limit: f64::INFINITY,
        rule: String::new(),
    })
}

/// The lower triangular `L` with `L Lᵀ = Σ`; none where `Σ` is not positive definite.
fn cholesky(size: usize, sigma: impl Fn(usize, usize) -> f64) -> Option<Vec<Vec<f64>>> {
    let mut lower: Vec<Vec<f64>> = Vec::with_capacity(size);
    for a in 0..size {
        let mut row = Vec::with_capacity(a + 1);
        for (b, above) in lower.iter().enumerate() {
            let known: f64 = row.iter().zip(above).map(|(left, right)| left * right).sum();
            row.push((sigma(a, b) - known) / above[b]);
        }
        let rest = sigma(a, a) - row.iter().map(|value: &f64| value * value).sum::<f64>();
        if rest.is_nan() || rest <= 0.0 {
            return None;
        }
        row.push(rest.sqrt());
        lower.push(row);
    }
    Some(lower)
}

/// The inverse of a lower triangular matrix, which is one too.
fn inverse(lower: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut inverse: Vec<Vec<f64>> = Vec::with_capacity(lower.len());
    for (a, row) in lower.iter().enumerate() {
        let column = |b: usize| {
            let unit = if a == b { 1.0 } else { 0.0 };
            let known: f64 = (b..a).map(|k| row[k] * inverse[k][b]).sum();
            (unit - known) / row[a]
        };
        let next = (0..=a).map(column).collect();
        inverse.push(next);
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::distribution::COUNT;

    /// `LEAST_DEVIATION` apart, distances must be those of the textbook: for Σ = [[4, 2], [2, 3]] and x − μ = (2, 1)
    /// xᵀ Σ⁻¹ x = (3·4 − 2·2·2 + 4·1) / 8 = 1.
    #[test]
    fn whitening_gives_the_textbooks_distance() {
        let sigma = [[4.0, 2.0], [2.0, 3.0]];
        let whitening = inverse(&cholesky(2, |a, b| sigma[a][b]).unwrap());
        let mean = vec![0.0; 2];
        let cloud = Distribution { measures: String::new(), mean, whitening, limit: 1.0, rule: String::new() };
        assert!((cloud.distance(&[2.0, 1.0]).powi(2) * 2.0 - 1.0).abs() < 1e-12);
        assert!(cholesky(2, |_, _| 1.0).is_none(), "two measures that always agree");
    }

    fn row(at: usize) -> Vec<f64> {
        // Well spread, not correlated: digits of the golden ratio's multiples.
        (0..COUNT).map(|k| ((at * 12 + k) as f64 * 0.618_033_988_75).fract() - 0.5).collect()
    }

    #[test]
    fn the_cloud_holds_its_own_and_not_what_lies_outside() {
        let mut rows: Vec<Vec<f64>> = (0..200).map(row).collect();
        let clean = fit(rows.clone()).unwrap();
        clean.check().unwrap();
        assert!(rows.iter().all(|row| clean.distance(row) <= clean.limit));
        assert!(clean.distance(&[3.0; COUNT]) > clean.limit);

        // A few odd ones shape the cloud little.
        rows.extend((0..8).map(|at| row(at).iter().map(|value| value + 5.0).collect()));
        let soiled = fit(rows).unwrap();
        assert!((soiled.mean[0] - clean.mean[0]).abs() < 0.1);
    }

    #[test]
    fn few_subjects_make_no_cloud() {
        assert!(fit((0..FEWEST - 1).map(row).collect()).is_none());
        assert!(fit(vec![vec![f64::NAN; COUNT]; 100]).is_none());
    }
}
