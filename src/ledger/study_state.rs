//! The life of a study as one table of allowed moves. A move that is not in the table is refused.

use std::fmt;

/// Where a study stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StudyState {
    /// Images are arriving, or it has not been quiet for long enough.
    Receiving,
    /// Complete and waiting for its turn.
    Complete,
    /// Being assembled and analyzed.
    Analyzing,
    /// Result objects are on disk with their outbox rows.
    Reported,
    /// Every destination has what it wants, or refused it for good.
    Delivered,
    /// The admission rules say that this study is not for us; it is kept and expires.
    NotForAnalysis,
    /// A stage failed; an operator may retry.
    Failed,
}

impl StudyState {
    /// Every state, in the order of a study's life.
    pub const ALL: [StudyState; 7] = [
        StudyState::Receiving,
        StudyState::Complete,
        StudyState::Analyzing,
        StudyState::Reported,
        StudyState::Delivered,
        StudyState::NotForAnalysis,
        StudyState::Failed,
    ];

    /// The moves that are allowed.
    ///
    /// `Analyzing → Complete` is the restart after a kill; `… → Complete` from an end state is an operator's retry.
    pub const MOVES: [(StudyState, StudyState); 12] = {
        use StudyState::*;
        [
            (Receiving, Complete),
            (Receiving, NotForAnalysis),
            (Complete, Analyzing),
            (Analyzing, Complete),
            (Analyzing, NotForAnalysis),
            (Analyzing, Reported),
            (Analyzing, Failed),
            (Reported, Delivered),
            (Reported, Complete),
            (Delivered, Complete),
            (NotForAnalysis, Complete),
            (Failed, Complete),
        ]
    };

    /// Whether a study may move from `self` to `next`.
    pub fn may_become(self, next: StudyState) -> bool {
        Self::MOVES.contains(&(self, next))
    }

    /// The name in the ledger and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            StudyState::Receiving => "receiving",
            StudyState::Complete => "complete",
            StudyState::Analyzing => "analyzing",
            StudyState::Reported => "reported",
            StudyState::Delivered => "delivered",
            StudyState::NotForAnalysis => "not_for_analysis",
            StudyState::Failed => "failed",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<StudyState> {
        StudyState::ALL.into_iter().find(|s| s.name() == name)
    }
}

impl fmt::Display for StudyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::StudyState::*;
    use super::*;

    #[test]
    fn nothing_flows_backwards_but_by_retry_or_restart() {
        for from in StudyState::ALL {
            for to in StudyState::ALL {
                let order = |s: StudyState| StudyState::ALL.iter().position(|x| *x == s);
                if from.may_become(to) && order(to) < order(from) {
                    assert_eq!(to, Complete, "{from} -> {to}");
                }
            }
        }
        assert!(!Receiving.may_become(Reported));
        assert!(!Delivered.may_become(Analyzing));
    }
}
