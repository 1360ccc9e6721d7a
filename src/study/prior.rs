//! The prior that a probability assumes.

use std::fmt;

use serde::Serialize;

/// Which share of those who are examined a probability takes to be patients.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Prior {
    /// The share of patients in training, as the manifest states it; strictly between 0 and 1.
    Training {
        /// That share.
        prevalence: f64,
    },
    /// The site's own (`analyze.site_prevalence`): the logit was moved there.
    Site {
        /// The site's share of patients, strictly between 0 and 1.
        prevalence: f64,
        /// The share in training, from which the logit was moved.
        training_prevalence: f64,
    },
    /// Nobody knows: the manifest states none, or one that is no prior (nobody or everybody was a patient).
    Unstated,
}

impl Prior {
    /// The share that the probability assumes.
    pub fn prevalence(self) -> Option<f64> {
        match self {
            Prior::Training { prevalence } | Prior::Site { prevalence, .. } => Some(prevalence),
            Prior::Unstated => None,
        }
    }
}

/// ASCII, for the structured report, the command line and sentences.
impl fmt::Display for Prior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Prior::Training { prevalence } => write!(f, "training prevalence {prevalence}"),
            Prior::Site { prevalence, training_prevalence } => {
                write!(f, "site prevalence {prevalence} (training prevalence {training_prevalence})")
            }
            Prior::Unstated => f.write_str("training prevalence (not stated)"),
        }
    }
}
