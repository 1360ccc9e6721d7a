//! From logits to the study's probability and verdict.
//!
//! One model: mean logit over its folds, then its calibration `p = sigmoid(scale · logit + offset)`. Two models: the mean
//! of their calibrated logits, with a threshold of its own. One modality alone keeps its model's own threshold.
//! A verdict other than "unassessable" needs the absence of every reason against one; it is never forced.

use crate::study::{Fused, ModelOutcome, Reason, Verdict};

/// The logistic function, without overflow on either side.
pub fn sigmoid(logit: f64) -> f64 {
    if logit >= 0.0 {
        1.0 / (1.0 + (-logit).exp())
    } else {
        let e = logit.exp();
        e / (1.0 + e)
    }
}

/// The arithmetic mean; NaN of nothing.
pub fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// The combined result of the models that ran; `None` when none did.
pub fn fuse(outcomes: &[ModelOutcome], fused_threshold: f64) -> Option<Fused> {
    let threshold = match outcomes {
        [] => return None,
        [only] => only.threshold,
        _ => fused_threshold,
    };
    let logit = mean(outcomes.iter().map(|o| o.logit));
    let sequences = outcomes.iter().map(|o| o.sequence).collect();
    Some(Fused { probability: sigmoid(logit), logit, threshold, sequences })
}

/// The verdict: withheld if there is any reason to, otherwise decided by the fused threshold.
pub fn verdict(fused: Option<&Fused>, mut reasons: Vec<Reason>) -> Verdict {
    match fused {
        Some(fused) if reasons.is_empty() => {
            if fused.probability >= fused.threshold {
                Verdict::Suspected
            } else {
                Verdict::NotSuspected
            }
        }
        Some(_) => Verdict::Unassessable { reasons },
        None => {
            if reasons.is_empty() {
                reasons.push(Reason::new("no_model_ran", "no model ran on this study"));
            }
            Verdict::Unassessable { reasons }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::Sequence;

    fn fused(logit: f64, threshold: f64) -> Fused {
        Fused { probability: sigmoid(logit), logit, threshold, sequences: vec![Sequence::T1] }
    }

    #[test]
    fn the_threshold_itself_is_suspected() {
        assert_eq!(verdict(Some(&fused(0.0, 0.5)), vec![]), Verdict::Suspected);
        assert_eq!(verdict(Some(&fused(-1e-9, 0.5)), vec![]), Verdict::NotSuspected);
    }

    #[test]
    fn one_reason_is_enough_to_withhold_the_verdict() {
        let reasons = vec![Reason::new("untrained_model", "text")];
        assert_eq!(verdict(Some(&fused(9.0, 0.5)), reasons.clone()), Verdict::Unassessable { reasons });
        assert_eq!(verdict(None, vec![]).reasons()[0].code, "no_model_ran");
    }

    #[test]
    fn the_logistic_function_has_no_overflow() {
        assert_eq!((sigmoid(-1e6), sigmoid(1e6), sigmoid(0.0)), (0.0, 1.0, 0.5));
        assert!((sigmoid(2.0) + sigmoid(-2.0) - 1.0).abs() < 1e-15);
    }
}
