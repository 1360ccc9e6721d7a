//! From the prevalence of training to the one that a site states (`analyze.site_prevalence`).
//!
//! The *calibrated* logit is moved, since only a calibrated one is evidence plus the prior's log-odds. Verdicts are
//! taken before the move ([`Decision`]): sensitivity and specificity do not depend on the prior, so a setting about the
//! site must not change which studies are suspected. The threshold is moved along for showing only, so that a reader
//! sees probability and threshold in one scale and on the same sides of each other as in the decision.

use crate::network::logit::{log_odds, mean, shift_prevalence, sigmoid};
use crate::study::{Decision, ModelIdentity, Prior, Reason, Sequence};

/// The prior of a model's shown probabilities. `training_prevalence` is the manifest's, `site_prevalence` the
/// configuration's.
pub fn of_model(training_prevalence: Option<f64>, site_prevalence: Option<f64>) -> Prior {
    match (training_prevalence.filter(|p| log_odds(*p).is_some()), site_prevalence) {
        (Some(prevalence), None) => Prior::Training { prevalence },
        (Some(training_prevalence), Some(prevalence)) => Prior::Site { prevalence, training_prevalence },
        (None, _) => Prior::Unstated,
    }
}

/// The prior of the mean of calibrated logits. Each is evidence plus log-odds, so the mean's log-odds are the mean of
/// theirs, and moving the mean is taking the mean of the moved. Without one of them the mean's prior is unknown, and
/// it cannot be moved. All models of a study were given the same site's prevalence.
pub fn of_fusion(priors: &[Prior]) -> Prior {
    let training = |prior: &Prior| match *prior {
        Prior::Training { prevalence: p } | Prior::Site { training_prevalence: p, .. } => Some(p),
        Prior::Unstated => None,
    };
    let site = priors.iter().find_map(|prior| match *prior {
        Prior::Site { prevalence, .. } => Some(prevalence),
        _ => None,
    });
    let Some(trainings) = priors.iter().map(training).collect::<Option<Vec<f64>>>() else { return Prior::Unstated };
    let together = match trainings.as_slice() {
        // Exactly their own, without the way there and back.
        [first, others @ ..] if others.iter().all(|p| p == first) => Some(*first),
        several => {
            let odds: Option<Vec<f64>> = several.iter().map(|p| log_odds(*p)).collect();
            odds.map(|odds| sigmoid(mean(odds.into_iter())))
        }
    };
    of_model(together, site)
}

/// A calibrated logit of training as the probability at a prior.
pub fn probability(logit: f64, prior: Prior) -> f64 {
    let moved = match prior {
        Prior::Site { prevalence, training_prevalence } => shift_prevalence(logit, training_prevalence, prevalence),
        Prior::Training { .. } | Prior::Unstated => None,
    };
    sigmoid(moved.unwrap_or(logit))
}

/// The threshold of a decision at a prior. The thresholds 0 (everyone) and 1 (only the certain) are the same at all.
pub fn threshold(decision: &Decision, prior: Prior) -> f64 {
    match (prior, log_odds(decision.threshold)) {
        (Prior::Site { .. }, Some(logit)) => probability(logit, prior),
        _ => decision.threshold,
    }
}

/// What is said of a study where the site's prevalence does nothing.
pub fn ignored(sequence: Sequence, model: &ModelIdentity, site_prevalence: f64) -> Reason {
    let (label, ModelIdentity { name, version, .. }) = (sequence.label(), model);
    Reason {
        code: format!("site_prevalence_ignored_{}", label.to_lowercase()),
        text: format!(
            "the site prevalence {site_prevalence} is ignored for {label}: {name} {version} states no training prevalence \
             between 0 and 1 to move from; its probability, and any that is fused from it, assumes the unknown one of its training"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Prior = Prior::Site { prevalence: 0.1, training_prevalence: 0.5 };

    #[test]
    fn an_even_probability_at_half_patients_becomes_the_sites_prevalence() {
        assert!((probability(0.0, HALF) - 0.1).abs() < 1e-12);
        assert_eq!(probability(0.0, Prior::Training { prevalence: 0.2 }), 0.5);
        assert_eq!(probability(0.0, Prior::Unstated), 0.5);
    }

    #[test]
    fn the_threshold_moves_along_and_keeps_its_side() {
        let at = |probability, threshold| Decision { probability, threshold };
        // Odds 3 : 2 become 3 : 18 at one patient in ten instead of one in two.
        assert!((threshold(&at(0.0, 0.6), HALF) - 1.0 / 7.0).abs() < 1e-12);
        assert_eq!((threshold(&at(0.0, 0.0), HALF), threshold(&at(0.0, 1.0), HALF)), (0.0, 1.0));
        assert_eq!(threshold(&at(0.0, 0.6), Prior::Training { prevalence: 0.3 }), 0.6);
        for logit in [-3.0, -0.1, 0.1, 3.0] {
            let decision = at(sigmoid(logit), 0.5);
            assert_eq!(probability(logit, HALF) >= threshold(&decision, HALF), decision.is_suspected(), "{logit}");
        }
    }

    #[test]
    fn a_prior_needs_a_training_prevalence_that_is_one() {
        assert_eq!(of_model(Some(0.25), None), Prior::Training { prevalence: 0.25 });
        assert_eq!(of_model(Some(0.25), Some(0.1)), Prior::Site { prevalence: 0.1, training_prevalence: 0.25 });
        for none in [None, Some(0.0), Some(1.0)] {
            assert_eq!(of_model(none, Some(0.1)), Prior::Unstated);
        }
    }

    #[test]
    fn the_fused_prior_is_that_of_the_mean_logit() {
        let (t1, flair) = (of_model(Some(0.5), Some(0.1)), of_model(Some(0.8), Some(0.1)));
        let fused = of_fusion(&[t1, flair]);
        // The odds 1 and 4 have the geometric mean 2.
        let Prior::Site { prevalence: 0.1, training_prevalence } = fused else { panic!("{fused:?}") };
        assert!((training_prevalence - 2.0 / 3.0).abs() < 1e-12);
        // Moving the mean is the mean of the moved.
        let moved = [(0.7, t1), (-0.3, flair)].map(|(logit, prior)| log_odds(probability(logit, prior)).unwrap());
        let of_moved = sigmoid((moved[0] + moved[1]) / 2.0);
        assert!((probability(0.2, fused) - of_moved).abs() < 1e-12);

        assert_eq!(of_fusion(&[t1, t1]), t1);
        assert_eq!(of_fusion(&[t1, Prior::Unstated]), Prior::Unstated);
        assert_eq!(of_fusion(&[of_model(Some(0.3), None)]), Prior::Training { prevalence: 0.3 });
    }
}
