//! What both pages say: fixed sentences, and figures in words.

use super::{Alone, Contents, Fusion};
use crate::research::evaluate::map_category::CategoryCounts;
use crate::research::evaluate::{IntensityComparison, Measure, Metrics, Mirroring, Withheld};
use crate::research::statistics::{Interval, MeanSd};

/// The sentence that stands above every figure of a synthetic cohort.
pub(in crate::research) const SYNTHETIC: &str =
    "Synthetic subjects: these figures come from computed heads, nobody was scanned. They say nothing about patients.";

/// What every page says.
pub(in crate::research) const RESEARCH_ONLY: &str = "Research use only; not a medical device.";

/// The verdict on confounds in one sentence.
pub(super) fn confound_verdict(contents: &Contents) -> String {
    match &contents.confounds {
        Some(report) if report.passed => {
            "Passed: the images tell more than scanner, protocol, sex and age do.".to_owned()
        }
        Some(report) => {
            let failed: Vec<&str> = report.checks.iter().filter(|c| !c.passed).map(|c| c.sentence.as_str()).collect();
            format!("FAILED: {}", failed.join(" "))
        }
        None => "NOT ASSESSED: nothing is known of scanner, protocol, sex and age. That is no pass.".to_owned(),
    }
}

/// The measures in the order of the pages, with their names.
pub(super) fn measures(metrics: &Metrics) -> [(&'static str, &Measure); 9] {
    [
        ("Accuracy", &metrics.accuracy),
        ("Balanced accuracy", &metrics.balanced_accuracy),
        ("AUC", &metrics.auc),
        ("Sensitivity", &metrics.sensitivity),
        ("Specificity", &metrics.specificity),
        ("F1", &metrics.f1),
        ("Brier score", &metrics.brier),
        ("Calibration error", &metrics.calibration_error),
        ("Accuracy, uncalibrated at 0.5 (the paper's)", &metrics.accuracy_uncalibrated),
    ]
}

pub(super) fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "undefined".to_owned(), |v| format!("{v:.3}"))
}

pub(super) fn mean_and_sd(value: Option<&MeanSd>) -> String {
    value.map_or_else(
        || "undefined".to_owned(),
        |m| m.sd.map_or_else(|| format!("{:.3}", m.mean), |sd| format!("{:.3} ± {sd:.3}", m.mean)),
    )
}

pub(super) fn interval(value: Option<&Interval>) -> String {
    value.map_or_else(String::new, |i| format!("{:.3} to {:.3}", i.lower, i.upper))
}

/// An estimate with its interval.
pub(super) fn with_interval(value: Option<&Interval>) -> String {
    value.map_or_else(
        || "undefined".to_owned(),
        |i| format!("{:.3} (95 % interval {:.3} to {:.3})", i.estimate, i.lower, i.upper),
    )
}

/// What stands beside the model's own figures, a sentence or two each.
pub(super) fn beside_the_model(contents: &Contents) -> Vec<String> {
    let parts = parts(contents);
    let mut said = vec![operating_point(contents)];
    said.extend(contents.fusion.iter().flat_map(fusion));
    said.extend(contents.intensity.as_ref().map(|comparison| intensity(comparison, parts)));
    said.extend(contents.mirroring.as_ref().map(mirroring));
    said.push(abstention(contents));
    said.extend(contents.withheld.as_ref().map(withheld));
    said
}

/// Both sequences beside each alone.
fn fusion(fusion: &Fusion) -> Vec<String> {
    let mut said = Vec::new();
    for Alone { sequence, auc, difference, only: [patients, controls] } in &fusion.alone {
        let mut text = format!(
            "{} alone has an AUC within folds of {} on the same subjects; both minus {} alone: {}.",
            sequence.label(),
            with_interval(auc.as_ref()),
            sequence.label(),
            with_interval(difference.as_ref())
        );
        if patients + controls > 0 {
            text += &format!(
                " {patients} patients and {controls} controls have {} only and are not counted here.",
                sequence.label()
            );
        }
        said.push(text);
    }
    if let Some(threshold) = fusion.threshold {
        let [scale, offset] = fusion.calibration;
        said.push(format!(
            "To serve both models of this run as they are scored here, set analyze.fused_calibration = \
             [{scale:.4}, {offset:.4}] and analyze.fused_threshold = {threshold:.4} (fitted on all of these scores)."
        ));
    }
    said
}

/// The model beside the baseline that sees no shapes.
fn intensity(comparison: &IntensityComparison, parts: &str) -> String {
    let IntensityComparison { baseline_auc, model_auc, difference, left_out } = comparison;
    let mut text = format!(
        "A baseline that sees only the smoothed maximum, mean, standard deviation and percentiles of intensity, fitted \
         on the other {parts}, has an AUC within {parts} of {}; the model {}. Model minus baseline: {}.",
        with_interval(baseline_auc.as_ref()),
        with_interval(model_auc.as_ref()),
        with_interval(difference.as_ref()),
    );
    if baseline_auc.is_some_and(|auc| auc.estimate < 0.5) {
        text +=
            " An AUC below 0.5 is that of a baseline whose fits do not carry over from part to part: read it as 0.5.";
    }
    if *left_out > 0 {
        text += &format!(" {left_out} subjects gave no features and are left out of this comparison.");
    }
    text
}

/// How far the answers move.
fn mirroring(mirroring: &Mirroring) -> String {
    format!(
        "Shown the head mirrored left to right (test-time augmentation), the uncalibrated probability moves by {:.3} on \
         average and by {:.3} at most. The mean logit of both has an AUC of {}; minus that of the head as it is: {}. \
         Serving does not mirror.",
        mirroring.mean_difference,
        mirroring.largest_difference,
        with_interval(mirroring.auc_of_both.as_ref()),
        with_interval(mirroring.gain.as_ref()),
    )
}

/// What a conformal prediction would abstain on.
fn abstention(contents: &Contents) -> String {
    let parts = parts(contents);
    let Some(a) = &contents.abstention else {
        return format!("Conformal abstention is undefined: it needs {parts} whose others have patients and controls.");
    };
    let mut text = format!(
        "Class-conditional conformal prediction (at most {:.0} % of each class without its own class in the set, \
         cross-fitted) would abstain on {} of {} patients and {} of {} controls. The set holds the true class in \
         {:.1} % of the patients and {:.1} % of the controls.",
        100.0 * a.alpha,
        a.patients[1],
        a.patients[0],
        a.controls[1],
        a.controls[0],
        100.0 * a.coverage_fcd,
        100.0 * a.coverage_hc
    );
    if a.without_quantile > 0 {
        text += &format!(
            " For {} subjects the other {parts} have too few of a class to rule it out: it is always in their set.",
            a.without_quantile
        );
    }
    text
}

/// What serving would withhold.
fn withheld(withheld: &Withheld) -> String {
    let Withheld { scans, withheld, reasons } = withheld;
    let mut text = format!(
        "Serving's input gates would withhold the verdict on {withheld} of {scans} scans; they are scored here."
    );
    for (code, reason) in reasons {
        text += &format!(" {code}: {} (e.g. \"{}\").", reason.scans, reason.example);
    }
    text
}

/// The threshold that serving has, or would have.
fn operating_point(contents: &Contents) -> String {
    let Some(point) = &contents.operating_point else {
        return "There is no threshold: that needs patients and controls.".to_owned();
    };
    let [slope, offset] = point.calibration;
    format!(
        "FCD is suspected from a calibrated probability of {:.3} on ({}). Calibrated logit = {slope:.3} · logit {offset:+.3}: \
         {}.",
        point.threshold, point.rule, point.fitted_on
    )
}

/// The categories in the order of the pages.
pub(super) fn categories(counts: &CategoryCounts) -> [(&'static str, usize); 5] {
    [
        ("right", counts.right),
        ("near", counts.near),
        ("vague", counts.vague),
        ("wrong", counts.wrong),
        ("undefined", counts.undefined),
    ]
}

/// What fits are made without: the folds of a run, or the parts into which an archive's subjects were dealt.
fn parts(contents: &Contents) -> &'static str {
    if contents.model.is_some() { "parts" } else { "folds" }
}

/// Over what the primary figures are means.
pub(super) fn over(contents: &Contents) -> &'static str {
    match (&contents.model, contents.metrics.folds.len()) {
        (None, _) => "mean ± SD over folds",
        (Some(_), 1) => "of the networks together",
        (Some(_), _) => "mean ± SD over networks",
    }
}

/// What the ROC curve is of.
pub(super) fn roc(metrics: &Metrics) -> &'static str {
    if metrics.folds.len() == 1 { "ROC" } else { "ROC (scores of different networks, pooled)" }
}

/// A fold's number, or what stands for all networks of a model.
pub(super) fn fold(fold: Option<usize>) -> String {
    fold.map_or_else(|| "all".to_owned(), |fold| fold.to_string())
}

/// Machines, arithmetic and times, a line each.
pub(super) fn how_it_was_made(contents: &Contents) -> Vec<String> {
    let mut lines = contents.hardware.clone();
    if let Some(seconds) = contents.training_s {
        lines.push(format!("training: {} for the epochs of all folds", duration(seconds)));
    }
    if let Some(pass) = &contents.forward_pass {
        lines.push(format!("a scan: {:.1} ms, median of {} ({})", pass.median_ms, pass.scans, pass.what));
    }
    if let Some(model) = &contents.model {
        let networks = model.networks;
        lines.push(format!("model: {} {}, {networks} networks, digest {}", model.name, model.version, model.digest));
        lines.push(format!("trained on: {}", model.data_source));
    }
    lines
}

/// Seconds as a person reads them.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
