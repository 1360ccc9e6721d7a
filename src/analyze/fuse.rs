//! From logits to the study's probability and verdict.
//!
//! One model: mean logit over its folds, then its calibration `p = sigmoid(scale · logit + offset)`. Two models: the mean
//! of their calibrated logits, with a calibration and a threshold of its own (two that agree say more than either, which
//! a mean does not know). One modality alone keeps its model's own threshold.
//! All of this happens at the prevalence of training; a site's own prevalence only moves what is shown ([`super::prior`]).
//! A verdict other than "unassessable" needs the absence of every reason against one; it is never forced.

use super::prior;
use crate::network::logit::{mean, sigmoid};
use crate::study::{Decision, Fused, ModelOutcome, Prior, Reason, Verdict};

/// How the calibrated logits of several models become one decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Scale and offset of their mean.
    pub calibration: [f64; 2],
    /// On the fused probability, at the prevalence of training.
    pub threshold: f64,
}

impl Rule {
    /// `scale · mean + offset` of calibrated logits.
    pub fn logit(&self, calibrated: impl ExactSizeIterator<Item = f64>) -> f64 {
        let [scale, offset] = self.calibration;
        scale * mean(calibrated) + offset
    }
}

/// The combined result of the models that ran; `None` when none did.
pub fn fuse(outcomes: &[ModelOutcome], of_several: Rule) -> Option<Fused> {
    let rule = match outcomes {
        [] => return None,
        [only] => Rule { calibration: [1.0, 0.0], threshold: only.decision.threshold },
        _ => of_several,
    };
    let (logit, threshold) = (rule.logit(outcomes.iter().map(|o| o.logit)), rule.threshold);
    let priors: Vec<Prior> = outcomes.iter().map(|o| o.prior).collect();
    let (prior, decision) = (prior::of_fusion(&priors), Decision { probability: sigmoid(logit), threshold });
    Some(Fused {
        probability: prior::probability(logit, prior),
        threshold: prior::threshold(&decision, prior),
        prior,
        logit,
        calibration: rule.calibration,
        decision,
        sequences: outcomes.iter().map(|o| o.sequence).collect(),
    })
}

/// The verdict: withheld if there is any reason to, otherwise the fused decision, which no site's prevalence moves.
pub fn verdict(fused: Option<&Fused>, mut reasons: Vec<Reason>) -> Verdict {
    match fused {
        Some(fused) if reasons.is_empty() => {
            if fused.decision.is_suspected() {
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
    use std::sync::Arc;

    use super::*;
    use crate::study::{Heatmap, ModelIdentity, Sequence};

    fn outcome(sequence: Sequence, logit: f64, threshold: f64, prior: Prior) -> ModelOutcome {
        let decision = Decision { probability: sigmoid(logit), threshold };
        ModelOutcome {
            sequence,
            model: ModelIdentity {
                name: "m".into(),
                version: "1.0.0".into(),
                digest: String::new(),
                trained: true,
                synthetic: false,
                data_source: String::new(),
                architecture: String::new(),
                folds: 1,
                provider: String::new(),
                precision: String::new(),
                cell_mm: [1.0; 3],
            },
            probability: prior::probability(logit, prior),
            fold_probabilities: Vec::new(),
            threshold: prior::threshold(&decision, prior),
            prior,
            logit,
            decision,
            heatmap: Heatmap { display: Arc::default(), range_logit: [0.0; 2], constant: true },
            regions: Vec::new(),
        }
    }

    fn plain(threshold: f64) -> Rule {
        Rule { calibration: [1.0, 0.0], threshold }
    }

    fn fused(logit: f64, threshold: f64) -> Fused {
        let of_two = Rule { calibration: [9.0, 9.0], threshold: 0.9 };
        fuse(&[outcome(Sequence::T1, logit, threshold, Prior::Unstated)], of_two).unwrap()
    }

    #[test]
    fn two_models_have_a_calibration_of_their_own() {
        let models =
            [outcome(Sequence::T1, 0.5, 0.5, Prior::Unstated), outcome(Sequence::Flair, 1.5, 0.5, Prior::Unstated)];
        let fused = fuse(&models, Rule { calibration: [2.0, -0.5], threshold: 0.8 }).unwrap();
        assert_eq!((fused.logit, fused.probability, fused.calibration), (1.5, sigmoid(1.5), [2.0, -0.5]));
        assert!(fused.decision.is_suspected());
        assert_eq!(self::fused(0.0, 0.5).logit, 0.0, "one model keeps its own");
    }

    #[test]
    fn a_sites_prevalence_moves_what_is_shown_and_no_verdict() {
        // Half of the training were patients, one in ten of the site is: odds 1 : 1 and 3 : 1 of the two models are
        // sqrt(3) : 1 together, and sqrt(3) : 9 at the site.
        let models =
            |prior| [outcome(Sequence::T1, 0.0, 0.7, prior), outcome(Sequence::Flair, 3.0_f64.ln(), 0.7, prior)];
        let site = Prior::Site { prevalence: 0.1, training_prevalence: 0.5 };
        let plain = fuse(&models(Prior::Training { prevalence: 0.5 }), self::plain(0.6)).unwrap();
        let moved = fuse(&models(site), self::plain(0.6)).unwrap();
        let odds = 3.0_f64.sqrt();
        assert!((plain.probability - odds / (odds + 1.0)).abs() < 1e-12);
        assert!((moved.probability - odds / (odds + 9.0)).abs() < 1e-12);
        assert_eq!((moved.prior, moved.logit, moved.decision), (site, plain.logit, plain.decision));
        assert!(moved.probability < 0.6 && moved.probability >= moved.threshold);
        assert_eq!(verdict(Some(&plain), vec![]), Verdict::Suspected);
        assert_eq!(verdict(Some(&moved), vec![]), Verdict::Suspected);
        // Far below the manifest's threshold by number, above it by evidence; and the other way round.
        let alone = |logit, prior| {
            verdict(fuse(&[outcome(Sequence::T1, logit, 0.7, prior)], self::plain(0.0)).as_ref(), vec![])
        };
        assert_eq!(alone(1.0, site), Verdict::Suspected);
        let many = Prior::Site { prevalence: 0.9, training_prevalence: 0.5 };
        assert_eq!(alone(0.5, many), Verdict::NotSuspected);
    }

    #[test]
    fn one_model_without_a_prior_leaves_the_fused_probability_where_it_is() {
        let site = Prior::Site { prevalence: 0.1, training_prevalence: 0.5 };
        let models = [outcome(Sequence::T1, 0.4, 0.5, site), outcome(Sequence::Flair, -0.4, 0.5, Prior::Unstated)];
        let fused = fuse(&models, plain(0.5)).unwrap();
        assert_eq!((fused.probability, fused.threshold, fused.prior), (0.5, 0.5, Prior::Unstated));
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
}
