//! Does transfer help? The paper's test over the means of the tables, and beside it tests on subjects.
//!
//! The paper pairs the six (network × modality) means of two strategies: six pairs, and each of them a mean over the
//! same subjects. Ours compare two strategies of one network and modality subject by subject: McNemar's test (mid-p) on
//! the calls, a paired bootstrap on the AUC over pairs within folds; both with Holm's correction over all of a grid.

use serde::Serialize;

use super::{Outcome, Table, Transfer};
use crate::network::Architecture;
use crate::research::statistics::paired_tests::{McNemar, PairedT};
use crate::research::statistics::{PairedAuc, holm, mcnemar, paired_auc_test, paired_t_test};
use crate::study::Sequence;

/// Which strategies are compared: the first against the second.
pub const PAIRS: [(Transfer, Transfer); 3] = [
    (Transfer::OneDataset, Transfer::None),
    (Transfer::TwentyThreeDatasets, Transfer::None),
    (Transfer::TwentyThreeDatasets, Transfer::OneDataset),
];

/// p of the paper's test on its own Tables 1 and 2, recomputed from them, by [`PAIRS`]; none: not known here. The
/// paper's text prints other values for three of the four.
pub const PAPERS_P: [[Option<f64>; 3]; 2] = [[Some(0.2754), Some(0.0422), None], [Some(0.0052), Some(0.0075), None]];

/// The paper's test for two strategies.
#[derive(Debug, Clone, Serialize)]
pub struct MeansTest {
    /// The first strategy.
    pub first: Transfer,
    /// What it is compared with.
    pub second: Transfer,
    /// (network × modality) means that both have.
    pub pairs: usize,
    /// The paired t-test; none below two pairs, or when all differences are equal.
    pub test: Option<PairedT>,
    /// p of the same test on the paper's table.
    pub papers_p: Option<f64>,
}

/// The paper's test on a table; `papers` are the p of its own.
pub fn over_means(table: &Table, papers: [Option<f64>; 3]) -> Vec<MeansTest> {
    let test = |((first, second), papers_p)| {
        let (ours, theirs) = table.pairs(first, second);
        MeansTest { first, second, pairs: ours.len(), test: paired_t_test(&ours, &theirs), papers_p }
    };
    PAIRS.into_iter().zip(papers).map(test).collect()
}

/// Two strategies of one network and modality on the same subjects.
#[derive(Debug, Clone, Serialize)]
pub struct SubjectsTest {
    /// The network.
    pub architecture: Architecture,
    /// T1 or FLAIR.
    #[serde(rename = "modality")]
    pub sequence: Sequence,
    /// The first strategy.
    pub first: Transfer,
    /// What it is compared with.
    pub second: Transfer,
    /// Subjects that both scored.
    pub subjects: usize,
    /// On right and wrong calls.
    pub mcnemar: Option<McNemar>,
    /// Its mid-p with Holm's correction.
    pub mcnemar_holm: Option<f64>,
    /// AUC of the first less that of the second; none where no fold has both classes.
    pub auc: Option<PairedAuc>,
    /// Its p with Holm's correction.
    pub auc_holm: Option<f64>,
}

/// Every pair of strategies of every network and modality; `resamples` and `seed` are the bootstrap's.
pub fn on_subjects(outcomes: &[Outcome], resamples: usize, seed: u64) -> Vec<SubjectsTest> {
    let mut tests = Vec::new();
    for second in outcomes {
        for first in outcomes {
            let (a, b) = (first.configuration, second.configuration);
            if (a.architecture, a.sequence) == (b.architecture, b.sequence) && PAIRS.contains(&(a.transfer, b.transfer))
            {
                tests.push(test(first, second, resamples, seed));
            }
        }
    }
    let place = |test: &SubjectsTest| PAIRS.iter().position(|pair| *pair == (test.first, test.second));
    let row = |test: &SubjectsTest| {
        let of = |outcome: &Outcome| (outcome.configuration.architecture, outcome.configuration.sequence);
        outcomes.iter().position(|outcome| of(outcome) == (test.architecture, test.sequence))
    };
    tests.sort_by_key(|test| (row(test), place(test)));

    let mid: Vec<Option<f64>> = tests.iter().map(|test| test.mcnemar.map(|of| of.p_mid)).collect();
    let auc: Vec<Option<f64>> = tests.iter().map(|test| test.auc.map(|of| of.p)).collect();
    for (test, (mid, auc)) in tests.iter_mut().zip(corrected(&mid).into_iter().zip(corrected(&auc))) {
        (test.mcnemar_holm, test.auc_holm) = (mid, auc);
    }
    tests
}

fn test(first: &Outcome, second: &Outcome, resamples: usize, seed: u64) -> SubjectsTest {
    let both: Vec<_> =
        first.scores.iter().filter_map(|(subject, ours)| Some((ours, second.scores.get(subject)?))).collect();
    let labels: Vec<bool> = both.iter().map(|(ours, _)| ours.fcd).collect();
    let folds: Vec<usize> = both.iter().map(|(ours, _)| ours.fold).collect();
    let (ours, theirs): (Vec<f64>, Vec<f64>) = both.iter().map(|(ours, theirs)| (ours.logit, theirs.logit)).unzip();
    let (we_right, they_right): (Vec<bool>, Vec<bool>) =
        both.iter().map(|(ours, theirs)| (ours.is_right(), theirs.is_right())).unzip();
    SubjectsTest {
        architecture: first.configuration.architecture,
        sequence: first.configuration.sequence,
        first: first.configuration.transfer,
        second: second.configuration.transfer,
        subjects: both.len(),
        mcnemar: mcnemar(&we_right, &they_right).filter(|_| !both.is_empty()),
        mcnemar_holm: None,
        auc: paired_auc_test(&labels, &ours, &theirs, &folds, resamples, seed),
        auc_holm: None,
    }
}

/// Holm's correction over those that are defined.
fn corrected(p: &[Option<f64>]) -> Vec<Option<f64>> {
    let defined: Vec<f64> = p.iter().flatten().copied().collect();
    let mut adjusted = holm(&defined).unwrap_or_default().into_iter();
    p.iter().map(|p| p.and_then(|_| adjusted.next())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::research::grid::outcome::{SubjectScore, made_up};
    use crate::research::grid::{ARCHITECTURES, Training};

    fn outcomes(accuracies: impl Iterator<Item = f64>) -> Vec<Outcome> {
        let configurations = Training::all(&ARCHITECTURES).into_iter().flat_map(Training::configurations);
        configurations.zip(accuracies).map(|(configuration, accuracy)| made_up(configuration, Some(accuracy))).collect()
    }

    #[test]
    fn the_papers_test_pairs_six_means() {
        // Each strategy's six means in the order of training; 1 − none is 1, 2, 3, 1, 2, 3 points; 23 − none always 4.
        let more = [[0.0, 0.01, 0.04], [0.0, 0.02, 0.04], [0.0, 0.03, 0.04]];
        let accuracies = more.into_iter().flat_map(|of| of.into_iter().flat_map(|more| [0.5 + more, 0.6 + more]));
        let table = Table::new(&outcomes(accuracies), |outcome| outcome.accuracy);
        let tests = over_means(&table, PAPERS_P[0]);
        // Mean 2, SD √0.8, t = 2 / √(0.8 / 6) = √30. For 5 degrees of freedom, with θ = atan(t / √5):
        // p = 1 − 2/π (θ + sin θ (cos θ + 2/3 cos³ θ)) = 0.002765…
        let first = tests[0].test.unwrap();
        assert!((first.t - 30.0_f64.sqrt()).abs() < 1e-9 && first.degrees_of_freedom == 5, "{first:?}");
        let angle = 6.0_f64.sqrt().atan();
        let p =
            1.0 - 2.0 / std::f64::consts::PI * (angle + angle.sin() * (angle.cos() + 2.0 / 3.0 * angle.cos().powi(3)));
        assert!((first.p - p).abs() < 1e-9 && (p - 0.00277).abs() < 1e-5, "{first:?} {p}");
        assert!((first.mean_difference - 0.02).abs() < 1e-12);
        assert_eq!((tests[0].papers_p, tests[1].papers_p, tests[2].papers_p), (Some(0.2754), Some(0.0422), None));
        assert_eq!(tests[0].pairs, 6);
        assert!(tests[1].test.is_none(), "differences that do not vary: {:?}", tests[1].test);
    }

    #[test]
    fn subjects_are_matched_by_name_and_holm_spans_the_grid() {
        let mut outcomes = outcomes([0.5; 18].into_iter());
        // Eight subjects; ResNet-18 on T1 without transfer is wrong in the first six, with 23 datasets in none.
        for (index, outcome) in outcomes.iter_mut().enumerate() {
            let wrong = if index == 0 { 6 } else { 0 };
            outcome.scores = (0..8)
                .map(|subject| {
                    let fcd = subject % 2 == 0;
                    let logit = if fcd == (subject >= wrong) { 1.0 } else { -1.0 };
                    (format!("sub-{subject}"), SubjectScore { fold: 0, fcd, logit })
                })
                .collect();
        }
        outcomes[4].scores.remove("sub-7");
        let tests = on_subjects(&outcomes, 200, 1);
        assert_eq!(tests.len(), 18);
        let order: Vec<_> = tests.iter().take(4).map(|t| (t.sequence, t.first, t.second)).collect();
        let [one, twenty_three, last] = PAIRS;
        let of = |sequence, pair: (Transfer, Transfer)| (sequence, pair.0, pair.1);
        let (t1, flair) = (Sequence::T1, Sequence::Flair);
        assert_eq!(order, [of(t1, one), of(t1, twenty_three), of(t1, last), of(flair, one)]);
        // Six against none: 2 / 2⁶, less the half of it.
        let test = &tests[1];
        assert_eq!((test.subjects, test.mcnemar.unwrap().only_first_right), (7, 6));
        assert!((test.mcnemar.unwrap().p_mid - 1.0 / 64.0).abs() < 1e-12);
        // Two of 18 are as small: 18/64 for both; the others are 1.
        assert!((test.mcnemar_holm.unwrap() - 18.0 / 64.0).abs() < 1e-12);
        assert_eq!((tests[2].mcnemar_holm, tests[2].auc.unwrap().p), (Some(1.0), 1.0));
        // Patients −1 −1 −1 1, controls 1 1 1 −1: of 16 pairs 1 is won and 6 are ties, AUC 4/16; the other's is 1.
        assert!((tests[0].auc.unwrap().difference.estimate - 0.75).abs() < 1e-12);
    }

    #[test]
    fn what_is_undefined_takes_no_part_in_the_correction() {
        assert_eq!(corrected(&[None, Some(0.01), Some(0.04)]), [None, Some(0.02), Some(0.04)]);
        assert_eq!(corrected(&[None, None]), [None, None]);
    }
}
