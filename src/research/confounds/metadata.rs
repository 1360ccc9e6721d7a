//! The baseline that sees only metadata: logistic regression on scanner, protocol, voxel size, sex, age and its square.

use std::collections::BTreeSet;

use crate::research::evaluate::{Scored, SubjectRow};
use crate::research::statistics::cross_fitted;
use crate::research::statistics::logistic::Logistic;

/// Penalty of the weights: scikit-learn's default, C = 1.
const PENALTY: f64 = 1.0;

/// How rows become numbers: learned on the training part only.
struct Encoding {
    scanners: Vec<String>,
    protocols: Vec<String>,
    sexes: Vec<String>,
    voxel_mm: Standard,
    age: Standard,
}

/// Mean and deviation of a number that may be missing.
struct Standard {
    mean: f64,
    deviation: f64,
}

impl Standard {
    fn of(values: impl Iterator<Item = f64>) -> Standard {
        let values: Vec<f64> = values.filter(|v| v.is_finite()).collect();
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
        Standard { mean, deviation: if deviation > 1e-9 { deviation } else { 1.0 } }
    }

    /// The number and whether it is missing; a missing one is the mean.
    fn columns(&self, value: Option<f64>) -> [f64; 2] {
        match value.filter(|v| v.is_finite()) {
            Some(value) => [(value - self.mean) / self.deviation, 0.0],
            None => [0.0, 1.0],
        }
    }
}

impl Encoding {
    fn of(rows: &[&SubjectRow]) -> Encoding {
        let names = |field: fn(&SubjectRow) -> Option<&String>| -> Vec<String> {
            let distinct: BTreeSet<&String> = rows.iter().filter_map(|row| field(row)).collect();
            distinct.into_iter().cloned().collect()
        };
        Encoding {
            scanners: names(|row| row.scanner.as_ref()),
            protocols: names(|row| row.protocol.as_ref()),
            sexes: names(|row| row.sex.as_ref()),
            voxel_mm: Standard::of(rows.iter().filter_map(|row| row.voxel_mm)),
            age: Standard::of(rows.iter().filter_map(|row| row.age)),
        }
    }

    /// One column per name that was seen, and one for "missing or never seen".
    fn encode(&self, row: &SubjectRow) -> Vec<f64> {
        let mut columns = Vec::new();
        let fields = [(&self.scanners, &row.scanner), (&self.protocols, &row.protocol), (&self.sexes, &row.sex)];
        for (names, value) in fields {
            let known = |name: &String| value.as_ref() == Some(name);
            columns.extend(names.iter().map(|name| f64::from(u8::from(known(name)))));
            columns.push(f64::from(u8::from(!names.iter().any(known))));
        }
        columns.extend(self.voxel_mm.columns(row.voxel_mm));
        // Patients of both ends of life and controls between them: no line in age tells these apart, a parabola does.
        let [age, age_is_missing] = self.age.columns(row.age);
        columns.extend([age, age * age, age_is_missing]);
        columns
    }
}

/// Out-of-fold logits of the baseline, in the order of `scored`; none where some fold's others cannot be fitted.
pub fn baseline_logits(scored: &[Scored]) -> Option<Vec<f64>> {
    let folds: Vec<usize> = scored.iter().map(Scored::network).collect();
    cross_fitted(
        &folds,
        |others| {
            let others: Vec<&Scored> = others.iter().filter_map(|&i| scored.get(i)).collect();
            if others.iter().all(|s| s.row.fcd) || others.iter().all(|s| !s.row.fcd) {
                return None;
            }
            let encoding = Encoding::of(&others.iter().map(|s| &s.row).collect::<Vec<_>>());
            let features: Vec<Vec<f64>> = others.iter().map(|s| encoding.encode(&s.row)).collect();
            let targets: Vec<f64> = others.iter().map(|s| f64::from(u8::from(s.row.fcd))).collect();
            Some((Logistic::fit(&features, &targets, PENALTY)?, encoding))
        },
        |(fitted, encoding), i| scored.get(i).map_or(0.0, |s| fitted.logit(&encoding.encode(&s.row))),
    )
}
