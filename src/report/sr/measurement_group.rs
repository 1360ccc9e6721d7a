//! The groups of a report: TID 1501 about the whole study, TID 1410 about a region that is a point on a slice.

use super::algorithm_identification::Algorithm;
use super::content_item::{ContentItem, ItemValue, Relationship};
use super::image_library::Reference;
use crate::dicom::codes::{self, Concept};
use crate::dicom::templates::Concepts;
use crate::dicom::{Templates, Uid};
use crate::report::Results;
use crate::study::{Decision, Hemisphere, Prior, Region, SliceSource};

/// Decimals of a probability in percent: what is written is what highdicom and every viewer reads back.
pub const PERCENT_DECIMALS: usize = 4;

/// What a group about the whole study says.
#[derive(Debug, Clone)]
pub struct WholeStudy<'a> {
    /// Tracking Identifier.
    pub tracking: String,
    /// The Tracking Identifier of the region that this group is about as well, if there is one: both then share a
    /// Tracking Unique Identifier. They do speak of one finding, and a viewer that knows only groups with a place
    /// (OHIF 3.13 shows nothing at all of a report with a group that has none) joins them into one that has it.
    pub same_as_region: Option<String>,
    /// Who says it.
    pub algorithm: Algorithm,
    /// 0..1, with the prior that it assumes; none when no model ran.
    pub probability: Option<(f64, Prior)>,
    /// Present, absent or undetermined.
    pub presence: &'a Concept,
    /// Sentences: reasons, remarks, "untrained".
    pub comments: Vec<String>,
    /// Images that it is about.
    pub images: &'a [Reference],
}

impl WholeStudy<'_> {
    /// TID 1501.
    pub fn item(&self, results: &Results<'_>) -> ContentItem {
        let concepts = &results.templates.concepts;
        let mut children = head(&self.tracking, self.same_as_region.as_ref().unwrap_or(&self.tracking), results, None);
        children.extend(self.algorithm.items());
        if let Some((number, prior)) = self.probability {
            children.push(probability(number, false));
            children.extend(prevalence(prior, concepts));
        }
        children.push(ContentItem::code(Relationship::Contains, &concepts.finding, self.presence));
        children.extend(self.comments.iter().map(|c| ContentItem::text(Relationship::Contains, &codes::COMMENT, c)));
        let sources = self.images.iter();
        children.extend(
            sources.map(|i| ContentItem::new(Relationship::Contains, &codes::SOURCE_OF_MEASUREMENT, i.value())),
        );
        ContentItem::container(&codes::MEASUREMENT_GROUP, Some("1501")).with(children)
    }
}

/// What a group about one region says.
#[derive(Debug, Clone)]
pub struct PlanarRegion<'a> {
    /// Tracking Identifier, also the seed of its UID.
    pub tracking: String,
    /// Who says it.
    pub algorithm: Algorithm,
    /// The study's probability, 0..1.
    pub probability: f64,
    /// The prior that it assumes.
    pub prior: Prior,
    /// The region.
    pub region: &'a Region,
    /// The slice that its peak lies on.
    pub slice: &'a SliceSource,
}

impl PlanarRegion<'_> {
    /// TID 1410 with a POINT at the region's peak: the centre of pixel `i` is `i + 0.5`.
    pub fn item(&self, results: &Results<'_>) -> ContentItem {
        let [_, row, column] = self.region.peak_source_index;
        let concepts = &results.templates.concepts;
        let mut children = head(&self.tracking, &self.tracking, results, side(self.region.hemisphere));
        children.extend(self.algorithm.items());
        let image = ItemValue::Image {
            sop_class: self.slice.sop_class_uid.clone(),
            sop_instance: self.slice.sop_instance_uid.clone(),
            frame: self.slice.frame_number,
        };
        let selected_from =
            ContentItem { relationship: Relationship::SelectedFrom, concept: None, value: image, children: Vec::new() };
        let point = ItemValue::Point { column: column as f32 + 0.5, row: row as f32 + 0.5 };
        children.push(ContentItem::new(Relationship::Contains, &codes::IMAGE_REGION, point).with(vec![selected_from]));
        children.push(probability(self.probability, true));
        children.extend(prevalence(self.prior, concepts));
        children.push(ContentItem::number(
            &codes::VOLUME,
            self.region.volume_mm3 / 1000.0,
            3,
            &codes::CUBIC_CENTIMETRE,
        ));
        children.push(ContentItem::code(Relationship::Contains, &concepts.finding, &concepts.present));
        ContentItem::container(&codes::MEASUREMENT_GROUP, Some("1410")).with(children)
    }
}

/// Tracking, finding and site: the rows that both templates begin with. `tracked` is the seed of the tracking UID.
fn head(tracking: &str, tracked: &str, results: &Results<'_>, side: Option<&Concept>) -> Vec<ContentItem> {
    let Templates { concepts, .. } = results.templates;
    let uid: Uid = results.uids.tracking(tracked);
    let context = Relationship::HasObservationContext;
    let laterality = side.map(|s| ContentItem::code(Relationship::HasConceptModifier, &codes::LATERALITY, s));
    vec![
        ContentItem::text(context, &codes::TRACKING_IDENTIFIER, tracking),
        ContentItem::new(context, &codes::TRACKING_UNIQUE_IDENTIFIER, ItemValue::UidReference(uid)),
        ContentItem::code(Relationship::Contains, &codes::FINDING, &concepts.finding),
        ContentItem::code(Relationship::HasConceptModifier, &codes::FINDING_SITE, &concepts.finding_site)
            .with(laterality.into_iter().collect()),
    ]
}

fn probability(probability: f64, by_grad_cam: bool) -> ContentItem {
    let number = ContentItem::number(&codes::PROBABILITY, probability * 100.0, PERCENT_DECIMALS, &codes::PERCENT);
    if by_grad_cam {
        let method = ContentItem::code(Relationship::HasConceptModifier, &codes::MEASUREMENT_METHOD, &codes::GRAD_CAM);
        number.with(vec![method])
    } else {
        number
    }
}

/// The prior as a number of the group; an unstated one has none, the algorithm's parameters say so.
fn prevalence(prior: Prior, concepts: &Concepts) -> Option<ContentItem> {
    let percent = prior.prevalence()? * 100.0;
    Some(ContentItem::number(&concepts.prevalence, percent, PERCENT_DECIMALS, &codes::PERCENT))
}

/// Side of the region; nothing where the map cannot tell.
fn side(hemisphere: Hemisphere) -> Option<&'static Concept> {
    static LEFT: Concept = codes::LEFT;
    static RIGHT: Concept = codes::RIGHT;
    match hemisphere {
        Hemisphere::Left => Some(&LEFT),
        Hemisphere::Right => Some(&RIGHT),
        Hemisphere::Midline => None,
    }
}

/// Present from the threshold on, absent below; decided at the prevalence of training.
pub fn presence<'a>(decision: &Decision, concepts: &'a Concepts) -> &'a Concept {
    if decision.is_suspected() { &concepts.present } else { &concepts.absent }
}
