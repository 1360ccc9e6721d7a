//! What a BIDS sidecar (dcm2niix) states of a series, as far as tables and gates want to know.

use std::path::Path;

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use serde::Serialize;
use serde_json::Value;

use crate::dicom::Dataset;

/// The fields of a sidecar that are used here; what it does not state is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sidecar {
    /// `DeviceSerialNumber`
    pub scanner: Option<String>,
    /// `MRAcquisitionType`: `3D` or `2D`.
    pub acquisition_type: Option<String>,
    /// `SliceThickness`, mm.
    pub slice_thickness_mm: Option<f64>,
    /// `RepetitionTime`, s.
    pub repetition_time_s: Option<f64>,
    /// `InversionTime`, s.
    pub inversion_time_s: Option<f64>,
    /// `ContrastBolusIngredient`, or the `ce-` label of the file's name.
    pub contrast_agent: Option<String>,
}

impl Sidecar {
    /// Reads a sidecar.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence without the path.
    pub fn read(path: &Path) -> Result<Sidecar, String> {
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        let value: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|e| e.to_string())?;
        let text = |key: &str| match value.get(key) {
            Some(Value::String(text)) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let number = |key: &str| value.get(key).and_then(Value::as_f64);
        Ok(Sidecar {
            scanner: text("DeviceSerialNumber"),
            acquisition_type: text("MRAcquisitionType").map(|t| t.to_uppercase()),
            slice_thickness_mm: number("SliceThickness"),
            repetition_time_s: number("RepetitionTime"),
            inversion_time_s: number("InversionTime"),
            contrast_agent: text("ContrastBolusIngredient"),
        })
    }

    /// Whether it was acquired in 3D.
    pub fn is_3d(&self) -> Option<bool> {
        self.acquisition_type.as_deref().and_then(|kind| match kind {
            "3D" => Some(true),
            "2D" => Some(false),
            _ => None,
        })
    }

    /// The same facts as the DICOM header that the gates of serving read (times in ms there).
    pub fn header(&self) -> Dataset {
        let milliseconds = |seconds: Option<f64>| seconds.map(|s| format!("{}", s * 1000.0));
        let elements = [
            (tags::MR_ACQUISITION_TYPE, VR::CS, self.acquisition_type.clone()),
            (tags::REPETITION_TIME, VR::DS, milliseconds(self.repetition_time_s)),
            (tags::INVERSION_TIME, VR::DS, milliseconds(self.inversion_time_s)),
            (tags::CONTRAST_BOLUS_AGENT, VR::LO, self.contrast_agent.clone()),
        ];
        Dataset::from_element_iter(
            elements
                .into_iter()
                .filter_map(|(tag, vr, text)| text.map(|t| DataElement::new(tag, vr, PrimitiveValue::from(t)))),
        )
    }
}
