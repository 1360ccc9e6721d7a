//! Statistics of a report: pure functions over plain slices.
//!
//! Labels are `true` for FCD; a score is larger for "more FCD". What cannot be computed (one class only, no
//! subjects, a score that is not finite, slices of different length) is `None`, never NaN.

pub mod bootstrap;
pub mod calibration;
pub mod conformal;
pub mod confusion;
pub mod logistic;
pub mod paired_tests;
pub mod probability_scores;
pub mod roc;
pub mod scale;
pub mod spread;
pub mod threshold;

pub use crate::network::logit::sigmoid;
pub use bootstrap::{Interval, PairedAuc, auc_interval, paired_auc_difference, paired_auc_test};
pub use calibration::{Platt, Temperature, cross_fitted};
pub use conformal::{Conformal, PredictionSet};
pub use confusion::Confusion;
pub use paired_tests::{holm, mcnemar, paired_t_test};
pub use probability_scores::{brier, calibration_error};
pub use roc::{auc, auc_within_folds, roc_curve};
pub use scale::Scale;
pub use spread::{MeanSd, mean_sd, wilson};
pub use threshold::{for_sensitivity, youden};
