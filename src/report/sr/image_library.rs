//! The images that the report speaks about: TID 1600 Image Library, and the evidence that names every one of them
//! (PS3.3 C.17.2, Current Requested Procedure Evidence Sequence).

use std::collections::{BTreeMap, BTreeSet};

use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::content_item::{ContentItem, ItemValue, Relationship};
use crate::dicom::{Dataset, Uid, codes};
use crate::report::modules::elements::{put_sequence, put_text, reference_item};
use crate::study::{AssembledStudy, Stack};

/// An image that can be referenced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Series Instance UID.
    pub series_uid: Uid,
    /// SOP Class UID.
    pub sop_class: Uid,
    /// SOP Instance UID.
    pub sop_instance: Uid,
}

impl Reference {
    /// The image as a content item's value, all frames of it.
    pub fn value(&self) -> ItemValue {
        ItemValue::Image { sop_class: self.sop_class.clone(), sop_instance: self.sop_instance.clone(), frame: None }
    }
}

/// The images of one stack, each named once, in the order of its slices.
pub fn images_of_stack(stack: &Stack) -> Vec<Reference> {
    let mut seen = BTreeSet::new();
    let slices = stack.volume.iter().flat_map(|volume| &volume.slices);
    slices
        .filter(|slice| seen.insert(slice.sop_instance_uid.clone()))
        .map(|slice| Reference {
            series_uid: stack.series_uid.clone(),
            sop_class: slice.sop_class_uid.clone(),
            sop_instance: slice.sop_instance_uid.clone(),
        })
        .collect()
}

/// What the report is about: the slices of the chosen volumes; when none was chosen, the first image of every
/// stack that holds images at all.
pub fn images_of_study(study: &AssembledStudy) -> Vec<Reference> {
    let chosen: Vec<Reference> = [study.t1, study.flair]
        .into_iter()
        .flatten()
        .filter_map(|index| study.stacks.get(index))
        .flat_map(images_of_stack)
        .collect();
    if !chosen.is_empty() {
        return chosen;
    }
    let mut seen = BTreeSet::new();
    let first_images = study.stacks.iter().filter_map(first_image);
    first_images.filter(|image| seen.insert(image.sop_instance.clone())).collect()
}

fn first_image(stack: &Stack) -> Option<Reference> {
    let header = &stack.header;
    // Only what has a matrix is an image that an IMAGE item may name.
    header.element(tags::ROWS).ok()?;
    let uid = |tag| Uid::parse(header.element(tag).ok()?.to_str().ok()?.as_ref()).ok();
    Some(Reference {
        series_uid: stack.series_uid.clone(),
        sop_class: uid(tags::SOP_CLASS_UID)?,
        sop_instance: uid(tags::SOP_INSTANCE_UID)?,
    })
}

/// TID 1600 with one group of MR images; nothing when there are no images.
pub fn library(images: &[Reference]) -> Option<ContentItem> {
    if images.is_empty() {
        return None;
    }
    let modality = ContentItem::code(Relationship::HasAcquisitionContext, &codes::MODALITY, &codes::MAGNETIC_RESONANCE);
    let entries = images.iter().map(|image| ContentItem {
        relationship: Relationship::Contains,
        concept: None,
        value: image.value(),
        children: Vec::new(),
    });
    let group = ContentItem::container(&codes::IMAGE_LIBRARY_GROUP, None)
        .with(std::iter::once(modality).chain(entries).collect());
    Some(ContentItem::container(&codes::IMAGE_LIBRARY, None).with(vec![group]))
}

/// Adds the evidence: study, series, instances; left out when nothing is referenced.
pub fn put_evidence(dataset: &mut Dataset, study_uid: &Uid, images: &[Reference]) {
    if images.is_empty() {
        return;
    }
    let mut series: BTreeMap<&Uid, BTreeSet<&Reference>> = BTreeMap::new();
    for image in images {
        series.entry(&image.series_uid).or_default().insert(image);
    }
    let series_items = series.into_iter().map(|(series_uid, images)| {
        let mut item = Dataset::new_empty();
        put_text(&mut item, tags::SERIES_INSTANCE_UID, VR::UI, series_uid.as_str());
        let references = images.into_iter().map(|i| reference_item(&i.sop_class, &i.sop_instance, None)).collect();
        put_sequence(&mut item, tags::REFERENCED_SOP_SEQUENCE, references);
        item
    });
    let mut study = Dataset::new_empty();
    put_text(&mut study, tags::STUDY_INSTANCE_UID, VR::UI, study_uid.as_str());
    put_sequence(&mut study, tags::REFERENCED_SERIES_SEQUENCE, series_items.collect());
    put_sequence(dataset, tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, vec![study]);
}
