//! Which attributes of received objects are read, and what for.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// What attributes are read for, with the attributes. Multi-frame objects state them in their functional groups.
pub(super) const USES: [(&str, &[Tag]); 6] = [
    (
        "storing an object, and finding its study and series; without them it is refused",
        &[tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID, tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID],
    ),
    (
        "whose study it is, whether it is for us (admission rules), and recognising our own results",
        &[
            tags::PATIENT_ID,
            tags::STUDY_DESCRIPTION,
            tags::PROTOCOL_NAME,
            tags::SERIES_DESCRIPTION,
            tags::MANUFACTURER,
            tags::MANUFACTURER_MODEL_NAME,
        ],
    ),
    (
        "telling T1, FLAIR and other series apart (`config/sequences.toml`)",
        &[
            tags::MODALITY,
            tags::IMAGE_TYPE,
            tags::FRAME_TYPE,
            tags::SEQUENCE_NAME,
            tags::PULSE_SEQUENCE_NAME,
            tags::SCANNING_SEQUENCE,
            tags::ECHO_PULSE_SEQUENCE,
            tags::ECHO_PLANAR_PULSE_SEQUENCE,
            tags::INVERSION_RECOVERY,
            tags::SPOILING,
            tags::RF_ECHO_TRAIN_LENGTH,
            tags::GRADIENT_ECHO_TRAIN_LENGTH,
            tags::MR_ACQUISITION_TYPE,
            tags::REPETITION_TIME,
            tags::ECHO_TIME,
            tags::EFFECTIVE_ECHO_TIME,
            tags::INVERSION_TIME,
            tags::INVERSION_TIMES,
            tags::FLIP_ANGLE,
            tags::CONTRAST_BOLUS_AGENT,
            tags::CONTRAST_BOLUS_AGENT_SEQUENCE,
            tags::CONTRAST_BOLUS_AGENT_ADMINISTERED,
        ],
    ),
    (
        "which images make one volume, and in which order",
        &[
            tags::SERIES_NUMBER,
            tags::SERIES_DATE,
            tags::SERIES_TIME,
            tags::ACQUISITION_DATE,
            tags::ACQUISITION_TIME,
            tags::ACQUISITION_DATE_TIME,
            tags::ACQUISITION_NUMBER,
            tags::FRAME_ACQUISITION_NUMBER,
            tags::ECHO_NUMBERS,
            tags::STACK_ID,
            tags::TEMPORAL_POSITION_INDEX,
            tags::TEMPORAL_POSITION_IDENTIFIER,
            tags::TRIGGER_TIME,
            tags::NOMINAL_CARDIAC_TRIGGER_DELAY_TIME,
            tags::DIFFUSION_B_VALUE,
            tags::INSTANCE_NUMBER,
        ],
    ),
    (
        "geometry",
        &[
            tags::IMAGE_POSITION_PATIENT,
            tags::IMAGE_ORIENTATION_PATIENT,
            tags::PIXEL_SPACING,
            tags::SLICE_THICKNESS,
            tags::NUMBER_OF_FRAMES,
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
        ],
    ),
    (
        "pixels",
        &[
            tags::TRANSFER_SYNTAX_UID,
            tags::ROWS,
            tags::COLUMNS,
            tags::SAMPLES_PER_PIXEL,
            tags::PHOTOMETRIC_INTERPRETATION,
            tags::BITS_ALLOCATED,
            tags::BITS_STORED,
            tags::HIGH_BIT,
            tags::PIXEL_REPRESENTATION,
            tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE,
            tags::RESCALE_SLOPE,
            tags::RESCALE_INTERCEPT,
            tags::LOSSY_IMAGE_COMPRESSION,
            tags::PIXEL_DATA,
            tags::FLOAT_PIXEL_DATA,
            tags::DOUBLE_FLOAT_PIXEL_DATA,
        ],
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Reading happens all over assembly: its source text is the only list of what is read.
    #[test]
    fn every_attribute_that_assembly_names_is_in_the_table() {
        let names_in = |text: &str| -> BTreeSet<String> {
            regex::Regex::new(r"tags::([A-Z0-9_]+)").unwrap().captures_iter(text).map(|c| c[1].to_owned()).collect()
        };
        let table = names_in(include_str!("received.rs"));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/assemble");
        let mut read = BTreeSet::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            read.append(&mut names_in(&std::fs::read_to_string(entry.unwrap().path()).unwrap()));
        }
        assert!(read.len() > 40, "{read:?}");
        let missing: Vec<&String> = read.difference(&table).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
