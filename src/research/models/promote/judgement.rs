//! Whether a challenger is good enough: what speaks against it, and the figures.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::PromoteError;
use crate::network::ModelFolder;
use crate::research::models::export::{OUT_OF_FOLD, OutOfFold};
use crate::research::statistics::bootstrap::RESAMPLES;
use crate::research::statistics::{auc_interval, paired_auc_difference};

/// Fewest subjects on which two models are compared.
pub const FEWEST_IN_COMMON: usize = 20;
/// Fewest patients, and fewest controls, among them.
pub const FEWEST_OF_A_CLASS: usize = 5;
/// Seed of the bootstrap: the same models give the same decision.
const SEED: u64 = 1;

/// What speaks against the challenger, and the figures.
pub(super) fn judge(
    champion: Option<&ModelFolder>,
    challenger: &ModelFolder,
    metrics: Option<&[u8]>,
) -> Result<(Vec<String>, Value), PromoteError> {
    let mut reasons = Vec::new();
    let mut figures = json!({ "confounds_passed": confounds_passed(metrics) });
    match confounds_passed(metrics) {
        Some(true) => {}
        Some(false) => reasons.push("the confound report of its run failed".to_owned()),
        None => reasons.push(
            "its run has no confound report (no `confounds.passed` in metrics.json): make the report, then export \
             again or name the run with --run"
                .to_owned(),
        ),
    }
    let ours = out_of_fold(challenger)?;
    if !challenger.manifest().trained || ours.is_empty() {
        reasons.push("it has no out-of-fold logits to be judged by: it is not from `fcdd admin export`".to_owned());
        return Ok((reasons, figures));
    }
    let synthetic = challenger.manifest().is_synthetic();
    let rival = champion.filter(|model| model.manifest().trained);
    if synthetic && rival.is_some_and(|model| !model.manifest().is_synthetic()) {
        reasons.push("it was trained on synthetic data only, and what is served on scans of people".to_owned());
    }
    match rival.filter(|model| synthetic || !model.manifest().is_synthetic()) {
        Some(champion) => compare(&out_of_fold(champion)?, &ours, &mut reasons, &mut figures),
        None => alone(&ours, &mut reasons, &mut figures),
    }
    Ok((reasons, figures))
}

fn confounds_passed(metrics: Option<&[u8]>) -> Option<bool> {
    let metrics: Value = serde_json::from_slice(metrics?).ok()?;
    metrics.get("confounds")?.get("passed")?.as_bool()
}

fn out_of_fold(model: &ModelFolder) -> Result<BTreeMap<String, OutOfFold>, PromoteError> {
    let Some(bytes) = model.record(OUT_OF_FOLD)? else { return Ok(BTreeMap::new()) };
    csv::Reader::from_reader(bytes.as_slice())
        .deserialize::<OutOfFold>()
        .map(|row| row.map(|row| (row.subject.clone(), row)))
        .collect::<Result<_, _>>()
        .map_err(|e| PromoteError::Record { path: model.path().join(OUT_OF_FOLD), message: e.to_string() })
}

fn compare(
    champion: &BTreeMap<String, OutOfFold>,
    challenger: &BTreeMap<String, OutOfFold>,
    reasons: &mut Vec<String>,
    figures: &mut Value,
) {
    let both: Vec<(&OutOfFold, &OutOfFold)> =
        challenger.values().filter_map(|new| Some((new, champion.get(&new.subject)?))).collect();
    let labels: Vec<bool> = both.iter().map(|(new, _)| new.fcd).collect();
    let patients = labels.iter().filter(|fcd| **fcd).count();
    let controls = labels.len() - patients;
    figures["compared_on"] = json!({ "patients": patients, "controls": controls });
    if both.len() < FEWEST_IN_COMMON || patients.min(controls) < FEWEST_OF_A_CLASS {
        reasons.push(format!(
            "it is not comparable with what is served: {patients} patients and {controls} controls have an \
             out-of-fold logit of both; {FEWEST_IN_COMMON} subjects, {FEWEST_OF_A_CLASS} of each class, are needed"
        ));
        return;
    }
    let logits = |pick: fn(&(&OutOfFold, &OutOfFold)) -> f64| both.iter().map(pick).collect::<Vec<f64>>();
    let (new, old) = (logits(|(new, _)| new.logit), logits(|(_, old)| old.logit));
    // Scores of different networks are not ranked against each other: pairs are within a fold of both models.
    let folds: Vec<usize> = both.iter().map(|(new, old)| new.fold * 1000 + old.fold).collect();
    let difference = paired_auc_difference(&labels, &new, &old, &folds, RESAMPLES, SEED);
    figures["auc_difference"] = json!(difference);
    figures["auc_challenger"] = json!(auc_interval(&labels, &new, &folds, RESAMPLES, SEED));
    figures["auc_champion"] = json!(auc_interval(&labels, &old, &folds, RESAMPLES, SEED));
    match difference {
        Some(difference) if difference.lower > 0.0 => {}
        Some(difference) => reasons.push(format!(
            "it is not better: AUC(challenger) - AUC(champion) is {:+.3}, 95 % interval {:+.3} to {:+.3}, whose lower \
             bound must be above 0",
            difference.estimate, difference.lower, difference.upper
        )),
        None => reasons.push("it is not comparable: no fold holds patients and controls of both".to_owned()),
    }
}

/// Nobody worth comparing with is served.
fn alone(challenger: &BTreeMap<String, OutOfFold>, reasons: &mut Vec<String>, figures: &mut Value) {
    let labels: Vec<bool> = challenger.values().map(|row| row.fcd).collect();
    let logits: Vec<f64> = challenger.values().map(|row| row.logit).collect();
    let folds: Vec<usize> = challenger.values().map(|row| row.fold).collect();
    let auc = auc_interval(&labels, &logits, &folds, RESAMPLES, SEED);
    figures["auc_challenger"] = json!(auc);
    match auc {
        Some(auc) if auc.lower > 0.5 => {}
        Some(auc) => reasons.push(format!(
            "it is not better than chance: AUC {:.3}, 95 % interval {:.3} to {:.3}, whose lower bound must be above 0.5",
            auc.estimate, auc.lower, auc.upper
        )),
        None => reasons.push("its AUC is undefined: no fold tested patients and controls".to_owned()),
    }
}
