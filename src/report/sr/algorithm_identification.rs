//! TID 4019 Algorithm Identification: which model, or which fusion of models, a group speaks for.

use super::content_item::{ContentItem, Relationship};
use crate::dicom::{codes, identity};
use crate::study::{Analysis, Decision, Fused, ModelOutcome, Standing};

/// Name, version and parameters of an algorithm.
#[derive(Debug, Clone, PartialEq)]
pub struct Algorithm {
    /// Algorithm Name.
    pub name: String,
    /// Algorithm Version.
    pub version: String,
    /// Algorithm Parameters, one text each.
    pub parameters: Vec<String>,
}

impl Algorithm {
    /// One model.
    pub fn of_model(outcome: &ModelOutcome) -> Algorithm {
        let model = &outcome.model;
        let mut parameters = vec![
            format!("sequence={}", outcome.sequence.label()),
            threshold(outcome.threshold, outcome.decision),
            format!("prior={}", outcome.prior),
            format!("architecture={}", model.architecture),
            format!("folds={}", model.folds),
        ];
        if let Some([low, high]) = outcome.range_over_folds() {
            let percents: Vec<String> =
                outcome.fold_probabilities.iter().map(|p| format!("{:.2}", p * 100.0)).collect();
            parameters.push(format!("probability of each fold (%)={}", percents.join(", ")));
            parameters.push(format!(
                "range over folds (%)={:.2} to {:.2} (lowest and highest single network, not a confidence interval)",
                low * 100.0,
                high * 100.0
            ));
        }
        parameters.push(format!("execution provider={} ({})", model.provider, model.precision));
        parameters.push(format!("digest={}", model.digest));
        let trained = match model.standing() {
            Standing::Untrained => "no",
            Standing::SyntheticOnly => "on synthetic data only",
            Standing::Trained => "yes",
        };
        parameters.push(format!("trained={trained}"));
        Algorithm { name: model.name.clone(), version: model.version.clone(), parameters }
    }

    /// The fusion of the models that ran, with what it was fused from.
    pub fn of_fusion(fused: Option<&Fused>, analysis: &Analysis) -> Algorithm {
        let mut parameters = Vec::new();
        if let Some(fused) = fused {
            let sequences: Vec<&str> = fused.sequences.iter().map(|s| s.label()).collect();
            parameters.push(format!("mean calibrated logit of {}", sequences.join(" and ")));
            let [scale, offset] = fused.calibration;
            if [scale, offset] != [1.0, 0.0] {
                parameters.push(format!("fused logit = {scale} * mean + {offset}"));
            }
            parameters.push(threshold(fused.threshold, fused.decision));
            parameters.push(format!("prior={}", fused.prior));
        }
        for outcome in &analysis.outcomes {
            parameters.push(format!("model={} {}", outcome.model.name, outcome.model.version));
        }
        Algorithm { name: "fcdd".into(), version: env!("CARGO_PKG_VERSION").into(), parameters }
    }

    /// The rows of TID 4019.
    pub fn items(&self) -> Vec<ContentItem> {
        let modifier = Relationship::HasConceptModifier;
        let mut items = vec![
            ContentItem::code(modifier, &codes::ALGORITHM_FAMILY, &codes::ARTIFICIAL_INTELLIGENCE),
            ContentItem::text(modifier, &codes::ALGORITHM_NAME, &self.name),
            ContentItem::text(modifier, &codes::ALGORITHM_VERSION, &self.version),
            ContentItem::text(modifier, &codes::ALGORITHM_MANUFACTURER, identity::MANUFACTURER),
        ];
        let parameters = self.parameters.iter();
        items.extend(parameters.map(|p| ContentItem::text(modifier, &codes::ALGORITHM_PARAMETERS, p)));
        items
    }
}

/// The threshold on the probability that is written, and the manifest's where a site's prevalence moved it.
fn threshold(shown: f64, decision: Decision) -> String {
    if shown == decision.threshold {
        format!("threshold={shown}")
    } else {
        format!("threshold={shown} (at the training prevalence, where it is decided, {})", decision.threshold)
    }
}
