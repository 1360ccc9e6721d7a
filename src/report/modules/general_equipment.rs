//! General, Enhanced General and Contributing Equipment (PS3.3 C.7.5.1, C.7.5.2, C.12.1.5): who made this object.
//!
//! [`crate::dicom::identity::is_own_result`] recognises our objects by what is written here.

use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::ContentTime;
use super::elements::{ascii, put_code, put_sequence, put_text, put_texts, shortened};
use crate::dicom::codes::PROCESSING_EQUIPMENT;
use crate::dicom::{Dataset, Templates, identity};
use crate::study::Analysis;

/// Adds manufacturer, model name, software versions (fcdd and its models) and the contribution to a dataset.
pub fn put_equipment(dataset: &mut Dataset, analysis: &Analysis, templates: &Templates, content: &ContentTime) {
    let mut versions = vec![format!("fcdd {}", env!("CARGO_PKG_VERSION"))];
    for outcome in &analysis.outcomes {
        versions.push(shortened(&ascii(&format!("{} {}", outcome.model.name, outcome.model.version)), 64));
    }
    put_manufacturer(dataset, &versions);
    put_text(dataset, tags::DEVICE_SERIAL_NUMBER, VR::LO, &templates.device.serial_number);
    put_text(dataset, tags::STATION_NAME, VR::SH, &templates.device.name);

    let mut contribution = Dataset::new_empty();
    put_code(&mut contribution, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &PROCESSING_EQUIPMENT);
    put_manufacturer(&mut contribution, &versions);
    put_text(&mut contribution, tags::DEVICE_SERIAL_NUMBER, VR::LO, &templates.device.serial_number);
    put_text(&mut contribution, tags::CONTRIBUTION_DATE_TIME, VR::DT, &content.date_time);
    let description = "Search for focal cortical dysplasia by 3D ResNets with Grad-CAM; research use only";
    put_text(&mut contribution, tags::CONTRIBUTION_DESCRIPTION, VR::ST, description);
    put_sequence(dataset, tags::CONTRIBUTING_EQUIPMENT_SEQUENCE, vec![contribution]);
}

fn put_manufacturer(dataset: &mut Dataset, versions: &[String]) {
    put_text(dataset, tags::MANUFACTURER, VR::LO, identity::MANUFACTURER);
    put_text(dataset, tags::MANUFACTURER_MODEL_NAME, VR::LO, identity::MODEL_NAME);
    put_texts(dataset, tags::SOFTWARE_VERSIONS, VR::LO, versions);
}
