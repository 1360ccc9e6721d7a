//! Logits, probabilities, and the prior between them: pure functions that serving and research share.
//!
//! A calibrated logit is evidence plus the log-odds of the share of patients that the calibration saw. Where another
//! share of those who are examined are patients, the evidence stays and the log-odds are exchanged:
//! `logit + log_odds(site) - log_odds(training)` (Saerens et al., Neural Computation 14, 2002, for two classes).

/// 1 / (1 + e^-logit), without overflow on either side.
pub fn sigmoid(logit: f64) -> f64 {
    if logit >= 0.0 {
        1.0 / (1.0 + (-logit).exp())
    } else {
        let e = logit.exp();
        e / (1.0 + e)
    }
}

/// ln(p / (1 - p)), the inverse of [`sigmoid`]; `None` unless p lies strictly between 0 and 1.
pub fn log_odds(p: f64) -> Option<f64> {
    (p > 0.0 && p < 1.0).then(|| (p / (1.0 - p)).ln())
}

/// Moves a logit from the prevalence it was trained at to the prevalence of a site, both strictly in 0..1.
pub fn shift_prevalence(logit: f64, training_prevalence: f64, site_prevalence: f64) -> Option<f64> {
    Some(logit + log_odds(site_prevalence)? - log_odds(training_prevalence)?)
}

/// The arithmetic mean; NaN of nothing.
pub fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logistic_function_has_no_overflow() {
        assert_eq!((sigmoid(-1e6), sigmoid(1e6), sigmoid(0.0)), (0.0, 1.0, 0.5));
        assert!((sigmoid(2.0) + sigmoid(-2.0) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn log_odds_are_of_shares_that_are_neither_none_nor_all() {
        assert_eq!(log_odds(0.5), Some(0.0));
        assert!((sigmoid(log_odds(0.07).unwrap()) - 0.07).abs() < 1e-15);
        for no_share in [0.0, 1.0, -0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(log_odds(no_share), None, "{no_share}");
        }
    }

    #[test]
    fn prevalence_moves_the_odds() {
        // Probability 0.5 at prevalence 0.5 is the prevalence itself at any other.
        assert!((sigmoid(shift_prevalence(0.0, 0.5, 0.1).unwrap()) - 0.1).abs() < 1e-12);
        // By Bayes: sensitivity 0.8 and 1 - specificity 0.2 give 0.8 at half patients, and
        // 0.01 * 0.8 / (0.01 * 0.8 + 0.99 * 0.2) = 4 / 103 at one in a hundred.
        let positive = log_odds(0.8).unwrap();
        assert!((sigmoid(shift_prevalence(positive, 0.5, 0.01).unwrap()) - 4.0 / 103.0).abs() < 1e-12);
        assert_eq!(shift_prevalence(0.0, 0.5, 0.0), None);
        assert_eq!(shift_prevalence(0.0, 1.0, 0.5), None);
    }
}
