//! TID 1500 Measurement Report: the whole content tree.
//!
//! One whole-study group for the fused result and one per model, always; one group per region only when the
//! verdict is "suspected". A study without any result has the fused group alone, undetermined, with its reasons.

use super::algorithm_identification::Algorithm;
use super::content_item::{ContentItem, Relationship};
use super::image_library::{self, Reference};
use super::measurement_group::{PlanarRegion, WholeStudy, presence};
use super::observer_context;
use crate::dicom::codes;
use crate::report::{Results, caveat};
use crate::study::{Fused, ModelOutcome, Verdict};

/// The tree's root.
pub fn root(results: &Results<'_>, images: &[Reference]) -> ContentItem {
    let concepts = &results.templates.concepts;
    let modifier = Relationship::HasConceptModifier;
    let mut children = vec![ContentItem::code(modifier, &codes::LANGUAGE, &concepts.language)];
    children.extend(observer_context::items(results.templates));
    children.push(ContentItem::code(modifier, &codes::PROCEDURE_REPORTED, &concepts.procedure));
    children.extend(image_library::library(images));
    children.push(ContentItem::container(&codes::IMAGING_MEASUREMENTS, None).with(groups(results, images)));
    ContentItem::container(&codes::IMAGING_MEASUREMENT_REPORT, Some("1500")).with(children)
}

fn groups(results: &Results<'_>, images: &[Reference]) -> Vec<ContentItem> {
    let mut groups = vec![fused_group(results, images)];
    for outcome in &results.analysis.outcomes {
        groups.push(model_group(results, outcome));
    }
    if let (Verdict::Suspected, Some(fused)) = (&results.analysis.verdict, &results.analysis.fused) {
        for outcome in &results.analysis.outcomes {
            groups.extend(region_groups(results, outcome, fused));
        }
    }
    groups
}

fn fused_group(results: &Results<'_>, images: &[Reference]) -> ContentItem {
    let analysis = results.analysis;
    let concepts = &results.templates.concepts;
    let mut comments = vec![results.templates.texts.notice.clone()];
    comments.extend(caveat(&results.templates.texts, analysis.standing()).cloned());
    let sentences = analysis.verdict.reasons().iter().chain(&analysis.remarks);
    comments.extend(sentences.map(|reason| format!("{} [{}]", reason.text, reason.code)));
    WholeStudy {
        tracking: "whole study, all sequences".into(),
        same_as_region: first_region(results, None),
        algorithm: Algorithm::of_fusion(analysis.fused.as_ref(), analysis),
        probability: analysis.fused.as_ref().map(|fused| (fused.probability, fused.prior)),
        presence: match analysis.verdict {
            Verdict::Suspected => &concepts.present,
            Verdict::NotSuspected => &concepts.absent,
            Verdict::Unassessable { .. } => &concepts.undetermined,
        },
        comments,
        images,
    }
    .item(results)
}

fn model_group(results: &Results<'_>, outcome: &ModelOutcome) -> ContentItem {
    let concepts = &results.templates.concepts;
    let texts = &results.templates.texts;
    let stack = results.study.chosen(outcome.sequence);
    let images = stack.map(image_library::images_of_stack).unwrap_or_default();
    let mut comments = Vec::new();
    comments.extend(caveat(texts, outcome.model.standing()).cloned());
    if outcome.heatmap.constant {
        comments.push(texts.constant_heatmap.clone());
    }
    // A model's own yes or no counts for nothing where the study as a whole allows no statement.
    let presence = match results.analysis.verdict {
        Verdict::Unassessable { .. } => &concepts.undetermined,
        _ => presence(&outcome.decision, concepts),
    };
    WholeStudy {
        tracking: format!("whole study, {}", outcome.sequence.label()),
        same_as_region: first_region(results, Some(outcome)),
        algorithm: Algorithm::of_model(outcome),
        probability: Some((outcome.probability, outcome.prior)),
        presence,
        comments,
        images: &images,
    }
    .item(results)
}

/// The Tracking Identifier of a model's region.
fn region_name(outcome: &ModelOutcome, index: usize) -> String {
    format!("{} region {}", outcome.sequence.label(), index + 1)
}

/// The strongest region of a model's map; where it has none (or no model is asked for), that of the first that has.
fn first_region(results: &Results<'_>, own: Option<&ModelOutcome>) -> Option<String> {
    let suspected = results.analysis.verdict == Verdict::Suspected;
    let mut outcomes = own.into_iter().chain(&results.analysis.outcomes);
    outcomes.find(|outcome| suspected && !outcome.regions.is_empty()).map(|outcome| region_name(outcome, 0))
}

/// One group per region of one model's map. The number at the point is the study's probability, the one that the
/// verdict rests on; the parameters say whose map the region was found on.
fn region_groups(results: &Results<'_>, outcome: &ModelOutcome, fused: &Fused) -> Vec<ContentItem> {
    let volume = results.study.chosen(outcome.sequence).and_then(|stack| stack.volume.as_ref());
    let Some(volume) = volume else { return Vec::new() };
    let mut algorithm = Algorithm::of_fusion(Some(fused), results.analysis);
    let model = &outcome.model;
    algorithm.parameters.push(format!("region from the Grad-CAM of {} {}", model.name, model.version));
    let numbered = outcome.regions.iter().enumerate();
    numbered
        .filter_map(|(index, region)| {
            let [slice, row, column] = region.peak_source_index;
            let slice = volume.slices.get(slice)?;
            // A point outside its image would be a wrong statement; none is better.
            (row < slice.plane.rows && column < slice.plane.columns).then_some(())?;
            let tracking = region_name(outcome, index);
            let (algorithm, probability) = (algorithm.clone(), fused.probability);
            let group = PlanarRegion { tracking, algorithm, probability, prior: fused.prior, region, slice };
            Some(group.item(results))
        })
        .collect()
}
