//! Who we are inside DICOM objects, and how we recognise our own.

use dicom_dictionary_std::tags;

use super::Dataset;

/// Manufacturer (0008,0070) of everything we write.
pub const MANUFACTURER: &str = "fcdd project";
/// Manufacturer's Model Name (0008,1090) of everything we write.
pub const MODEL_NAME: &str = "fcdd";
/// Implementation Class UID: derived from a UUID (PS3.5 annex B.2), fixed for ever.
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.266713178364094871630459861353187207213";
/// Implementation Version Name, at most 16 characters.
pub const IMPLEMENTATION_VERSION_NAME: &str = concat!("FCDD_", env!("CARGO_PKG_VERSION"));

/// True for an object that fcdd rendered, also after a PACS changed its file meta group or demographics.
/// Such an object must never cause an analysis: that would be a loop.
pub fn is_own_result(dataset: &Dataset) -> bool {
    let text = |tag| dataset.get(tag).and_then(|e| e.to_str().ok()).unwrap_or_default();
    text(tags::MANUFACTURER).trim() == MANUFACTURER && text(tags::MANUFACTURER_MODEL_NAME).trim() == MODEL_NAME
}
