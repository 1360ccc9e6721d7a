//! TID 1001, 1002 and 1004: the observer is a device, and this is its name.

use super::content_item::{ContentItem, ItemValue, Relationship};
use crate::dicom::{Templates, codes, identity};
use crate::report::uids::device_uid;

/// The rows of the observer context.
pub fn items(templates: &Templates) -> Vec<ContentItem> {
    let context = Relationship::HasObservationContext;
    let uid = ItemValue::UidReference(device_uid(templates));
    vec![
        ContentItem::code(context, &codes::OBSERVER_TYPE, &codes::DEVICE),
        ContentItem::new(context, &codes::DEVICE_OBSERVER_UID, uid),
        ContentItem::text(context, &codes::DEVICE_OBSERVER_NAME, &templates.device.name),
        ContentItem::text(context, &codes::DEVICE_OBSERVER_MANUFACTURER, identity::MANUFACTURER),
        ContentItem::text(context, &codes::DEVICE_OBSERVER_MODEL_NAME, identity::MODEL_NAME),
        ContentItem::text(context, &codes::DEVICE_OBSERVER_SERIAL_NUMBER, &templates.device.serial_number),
    ]
}
