//! Logistic regression with an L2 penalty, by Newton's method (iteratively reweighted least squares).

use serde::Serialize;

use crate::network::logit::sigmoid;

/// Fitted weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Logistic {
    /// Intercept, not penalised.
    pub intercept: f64,
    /// One weight per feature.
    pub weights: Vec<f64>,
}

impl Logistic {
    /// Minimises Σ cross-entropy(target, p) + `penalty`/2 · |weights|² (`penalty` = 1/C of scikit-learn).
    ///
    /// `rows` are feature vectors of one length, `targets` lie in 0..=1. `None` for no rows, ragged rows,
    /// values that are not finite, or a singular problem (`penalty` 0 and separable classes).
    pub fn fit(rows: &[Vec<f64>], targets: &[f64], penalty: f64) -> Option<Self> {
        let features = rows.first()?.len();
        let finite = rows.iter().all(|r| r.len() == features && r.iter().all(|v| v.is_finite()));
        if rows.len() != targets.len() || !finite || targets.iter().any(|t| !(0.0..=1.0).contains(t)) {
            return None;
        }
        let mut w = vec![0.0; features + 1];
        let mut loss = objective(&w, rows, targets, penalty);
        for _ in 0..200 {
            let step = newton_step(&w, rows, targets, penalty)?;
            let mut scale = 1.0;
            loop {
                let tried: Vec<f64> = w.iter().zip(&step).map(|(w, s)| w - scale * s).collect();
                let tried_loss = objective(&tried, rows, targets, penalty);
                if tried_loss <= loss {
                    w = tried;
                    loss = tried_loss;
                    break;
                }
                scale /= 2.0;
                if scale < 1e-10 {
                    break;
                }
            }
            if scale < 1e-10 || step.iter().all(|s| s.abs() < 1e-10) {
                break;
            }
        }
        let weights = w.split_off(1);
        Some(Self { intercept: w[0], weights })
    }

    /// The logit of a feature vector.
    pub fn logit(&self, row: &[f64]) -> f64 {
        self.intercept + self.weights.iter().zip(row).map(|(w, x)| w * x).sum::<f64>()
    }
}

fn linear(w: &[f64], row: &[f64]) -> f64 {
    w[0] + w[1..].iter().zip(row).map(|(w, x)| w * x).sum::<f64>()
}

fn objective(w: &[f64], rows: &[Vec<f64>], targets: &[f64], penalty: f64) -> f64 {
    let ridge: f64 = w[1..].iter().map(|v| v * v).sum::<f64>() * penalty / 2.0;
    rows.iter().zip(targets).fold(ridge, |sum, (row, t)| {
        let z = linear(w, row);
        sum + z.max(0.0) + (-z.abs()).exp().ln_1p() - t * z
    })
}

fn newton_step(w: &[f64], rows: &[Vec<f64>], targets: &[f64], penalty: f64) -> Option<Vec<f64>> {
    let n = w.len();
    let mut hessian = vec![vec![0.0; n]; n];
    let mut gradient = vec![0.0; n];
    for (row, t) in rows.iter().zip(targets) {
        let p = sigmoid(linear(w, row));
        let with_one: Vec<f64> = std::iter::once(1.0).chain(row.iter().copied()).collect();
        for i in 0..n {
            gradient[i] += (p - t) * with_one[i];
            for j in 0..n {
                hessian[i][j] += p * (1.0 - p) * with_one[i] * with_one[j];
            }
        }
    }
    for i in 1..n {
        gradient[i] += penalty * w[i];
        hessian[i][i] += penalty;
    }
    solve(hessian, gradient)
}

/// Gaussian elimination with partial pivoting.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Option<Vec<f64>> {
    let n = b.len();
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| a[i][k].abs().total_cmp(&a[j][k].abs()))?;
        a.swap(k, pivot);
        b.swap(k, pivot);
        if a[k][k].abs() < 1e-300 {
            return None;
        }
        let (above, below) = a.split_at_mut(k + 1);
        for (offset, row) in below.iter_mut().enumerate() {
            let factor = row[k] / above[k][k];
            for (x, y) in row.iter_mut().zip(&above[k]).skip(k) {
                *x -= factor * y;
            }
            b[k + 1 + offset] -= factor * b[k];
        }
    }
    for k in (0..n).rev() {
        let known: f64 = (k + 1..n).map(|j| a[k][j] * b[j]).sum();
        b[k] = (b[k] - known) / a[k][k];
    }
    Some(b)
}
