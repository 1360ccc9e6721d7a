//! `result.json`: the result for programs.

use serde_json::{Value, json};

use crate::dicom::Templates;
use crate::study::{Analysis, AssembledStudy, Sequence, Stack, Standing};

/// Version of the JSON's format.
const FORMAT: u32 = 1;

/// The result as JSON: `probability`, `verdict` with `reasons`, `regions`, `models`, `series`, `timings_ms`.
/// Probabilities and thresholds assume the `prior` beside them; `logit` and `decision`, which the verdict rests on, are
/// at the prevalence of training. `range_over_folds` is the lowest and the highest single network's probability. The
/// caller may add timings of stages that analysis does not know (`assemble`, `report`) to `timings_ms`.
pub fn result_json(study: &AssembledStudy, analysis: &Analysis, templates: &Templates) -> Value {
    let probability = |sequence| analysis.outcome(sequence).map(|outcome| outcome.probability);
    let standing = analysis.standing();
    json!({
        "format": FORMAT,
        "note": templates.texts.notice,
        "untrained": (standing == Standing::Untrained).then_some(&templates.texts.untrained),
        "synthetic": (standing == Standing::SyntheticOnly).then_some(&templates.texts.synthetic),
        "fcdd_version": env!("CARGO_PKG_VERSION"),
        "study_uid": study.study_uid,
        "probability": {
            "t1": probability(Sequence::T1),
            "flair": probability(Sequence::Flair),
            "fused": analysis.fused.as_ref().map(|fused| fused.probability),
        },
        "fused_calibration": analysis.fused.as_ref().map(|fused| fused.calibration),
        "threshold": analysis.fused.as_ref().map(|fused| fused.threshold),
        "prior": analysis.fused.as_ref().map(|fused| fused.prior),
        "decision": analysis.fused.as_ref().map(|fused| fused.decision),
        "verdict": analysis.verdict.code(),
        "reasons": analysis.verdict.reasons(),
        "remarks": analysis.remarks,
        "regions": analysis.outcomes.iter().flat_map(|outcome| &outcome.regions).collect::<Vec<_>>(),
        "models": analysis.outcomes.iter().map(|outcome| json!({
            "sequence": outcome.sequence,
            "name": outcome.model.name,
            "version": outcome.model.version,
            "digest": outcome.model.digest,
            "trained": outcome.model.trained,
            "synthetic": outcome.model.synthetic,
            "data_source": outcome.model.data_source,
            "architecture": outcome.model.architecture,
            "folds": outcome.model.folds,
            "provider": outcome.model.provider,
            "precision": outcome.model.precision,
            "probability": outcome.probability,
            "fold_probabilities": outcome.fold_probabilities,
            "range_over_folds": outcome.range_over_folds(),
            "threshold": outcome.threshold,
            "prior": outcome.prior,
            "logit": outcome.logit,
            "decision": outcome.decision,
            "heatmap_range_logit": outcome.heatmap.range_logit,
            "heatmap_constant": outcome.heatmap.constant,
            "cell_mm": outcome.model.cell_mm,
        })).collect::<Vec<_>>(),
        "series": study.stacks.iter().enumerate().map(|(index, stack)| series(study, index, stack)).collect::<Vec<_>>(),
        "problems": study.problems,
        "timings_ms": analysis.timings_ms,
    })
}

fn series(study: &AssembledStudy, index: usize, stack: &Stack) -> Value {
    let mut value = json!({
        "series_uid": stack.series_uid,
        "series_number": stack.series_number,
        "description": stack.description,
        "stack": stack.index_in_series,
        "images": stack.images,
        "sequence": stack.sequence,
        "sequence_because": stack.sequence_because,
        "chosen": study.t1 == Some(index) || study.flair == Some(index),
        "text": stack.verdict.to_string(),
    });
    // The verdict brings its own tag, `verdict`, beside its numbers.
    if let (Some(entry), Ok(Value::Object(verdict))) = (value.as_object_mut(), serde_json::to_value(&stack.verdict)) {
        entry.extend(verdict);
    }
    value
}
