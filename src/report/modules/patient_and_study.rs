//! Patient, Patient Study, Clinical Trial Subject and General Study modules (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2):
//! copied from the source, byte for byte.
//!
//! Names are the reason for the care: a decoder that knows only the first value of Specific Character Set, or that
//! splits GB18030 text at a byte that happens to be a backslash, loses characters for ever. So the values are taken
//! raw from the source file where it is at hand, and from the parsed header only where it is not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use dicom_core::header::Header;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_encoding::transfer_syntax::{Codec, TransferSyntaxIndex};
use dicom_object::FileMetaTable;
use dicom_parser::dataset::DataToken;
use dicom_parser::dataset::read::{DataSetReader, DataSetReaderOptions, ValueReadStrategy};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use crate::dicom::Dataset;
use crate::study::AssembledStudy;

/// Attributes that must be there even when the source lacks them (type 2).
pub const TYPE_2: [(Tag, VR); 9] = [
    (tags::STUDY_DATE, VR::DA),
    (tags::STUDY_TIME, VR::TM),
    (tags::ACCESSION_NUMBER, VR::SH),
    (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
    (tags::PATIENT_NAME, VR::PN),
    (tags::PATIENT_ID, VR::LO),
    (tags::PATIENT_BIRTH_DATE, VR::DA),
    (tags::PATIENT_SEX, VR::CS),
    (tags::STUDY_ID, VR::SH),
];

/// Attributes copied when the source has them.
pub const COPIED: [(Tag, VR); 42] = [
    (tags::PHYSICIANS_OF_RECORD, VR::PN),
    (tags::NAME_OF_PHYSICIANS_READING_STUDY, VR::PN),
    (tags::STUDY_DESCRIPTION, VR::LO),
    (tags::PROCEDURE_CODE_SEQUENCE, VR::SQ),
    (tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE, VR::SQ),
    (tags::REFERENCED_STUDY_SEQUENCE, VR::SQ),
    (tags::REFERENCED_PATIENT_SEQUENCE, VR::SQ),
    (tags::ISSUER_OF_PATIENT_ID, VR::LO),
    (tags::TYPE_OF_PATIENT_ID, VR::CS),
    (tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE, VR::SQ),
    (tags::SOURCE_PATIENT_GROUP_IDENTIFICATION_SEQUENCE, VR::SQ),
    (tags::PATIENT_BIRTH_TIME, VR::TM),
    (tags::PATIENT_BIRTH_DATE_IN_ALTERNATIVE_CALENDAR, VR::LO),
    (tags::PATIENT_DEATH_DATE_IN_ALTERNATIVE_CALENDAR, VR::LO),
    (tags::PATIENT_ALTERNATIVE_CALENDAR, VR::CS),
    (tags::OTHER_PATIENT_NAMES, VR::PN),
    (tags::OTHER_PATIENT_I_DS_SEQUENCE, VR::SQ),
    (tags::QUALITY_CONTROL_SUBJECT, VR::CS),
    (tags::STRAIN_DESCRIPTION, VR::UC),
    (tags::PATIENT_SPECIES_DESCRIPTION, VR::LO),
    (tags::PATIENT_SPECIES_CODE_SEQUENCE, VR::SQ),
    (tags::PATIENT_BREED_DESCRIPTION, VR::LO),
    (tags::PATIENT_BREED_CODE_SEQUENCE, VR::SQ),
    (tags::BREED_REGISTRATION_SEQUENCE, VR::SQ),
    (tags::RESPONSIBLE_PERSON, VR::PN),
    (tags::RESPONSIBLE_PERSON_ROLE, VR::CS),
    (tags::RESPONSIBLE_ORGANIZATION, VR::LO),
    // Ethnic Group: retired from the dictionary, not from scanners.
    (Tag(0x0010, 0x2160), VR::SH),
    (tags::PATIENT_COMMENTS, VR::LT),
    (tags::PATIENT_IDENTITY_REMOVED, VR::CS),
    (tags::DEIDENTIFICATION_METHOD, VR::LO),
    (tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE, VR::SQ),
    (tags::PATIENT_AGE, VR::AS),
    (tags::PATIENT_SIZE, VR::DS),
    (tags::PATIENT_WEIGHT, VR::DS),
    (tags::CLINICAL_TRIAL_SPONSOR_NAME, VR::LO),
    (tags::CLINICAL_TRIAL_PROTOCOL_ID, VR::LO),
    (tags::CLINICAL_TRIAL_PROTOCOL_NAME, VR::LO),
    (tags::CLINICAL_TRIAL_SITE_ID, VR::LO),
    (tags::CLINICAL_TRIAL_SITE_NAME, VR::LO),
    (tags::CLINICAL_TRIAL_SUBJECT_ID, VR::LO),
    (tags::CLINICAL_TRIAL_SUBJECT_READING_ID, VR::LO),
];

/// A dataset with the source's character set, patient and study.
pub fn patient_and_study(study: &AssembledStudy) -> Dataset {
    let raw = source_file(study).and_then(raw_values).unwrap_or_default();
    let mut dataset = Dataset::new_empty();
    if let Some(element) = study.header.get(tags::SPECIFIC_CHARACTER_SET) {
        dataset.put(element.clone());
    }
    for (tag, vr) in TYPE_2.into_iter().chain(COPIED) {
        match (raw.get(&tag), study.header.get(tag)) {
            (Some(bytes), _) if bytes.is_empty() => {
                dataset.put(DataElement::new(tag, vr, PrimitiveValue::Empty));
            }
            // The encoder would write the bytes of a decimal string as numbers of their own: these go as text.
            (Some(bytes), _) if vr == VR::DS => {
                dataset.put(DataElement::new(tag, vr, String::from_utf8_lossy(bytes).into_owned()));
            }
            (Some(bytes), _) => {
                dataset.put(DataElement::new(tag, vr, PrimitiveValue::U8(bytes.as_slice().into())));
            }
            (None, Some(element)) => {
                dataset.put(element.clone());
            }
            (None, None) if TYPE_2.iter().any(|(required, _)| *required == tag) => {
                dataset.put(DataElement::new(tag, vr, PrimitiveValue::Empty));
            }
            (None, None) => {}
        }
    }
    drop_malformed_measures(&mut dataset);
    super::elements::put_text(&mut dataset, tags::STUDY_INSTANCE_UID, VR::UI, study.study_uid.as_str());
    dataset
}

/// Age, size and weight are optional, belong to the study more than to the patient, and anonymisers and forms break
/// them ("0Y", four weights in one value). A malformed one (PS3.5 section 6.2) is left out, so that it does not
/// spoil our object in a validator.
fn drop_malformed_measures(dataset: &mut Dataset) {
    for tag in [tags::PATIENT_AGE, tags::PATIENT_SIZE, tags::PATIENT_WEIGHT] {
        let Some(element) = dataset.get(tag) else { continue };
        let is_well_formed = match element.to_bytes() {
            Ok(bytes) if tag == tags::PATIENT_AGE => is_age(&bytes),
            Ok(bytes) => is_number(&bytes),
            Err(_) => false,
        };
        if !is_well_formed {
            dataset.remove_element(tag);
        }
    }
}

/// An AS value: three digits and a unit, or nothing.
fn is_age(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [digits @ .., unit] => digits.len() == 3 && digits.iter().all(u8::is_ascii_digit) && b"DWMY".contains(unit),
    }
}

/// A single DS value, or nothing.
fn is_number(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let text = text.trim_matches([' ', '\0']);
    text.is_empty() || (text.len() <= 16 && text.parse::<f64>().is_ok_and(f64::is_finite))
}

/// The file that the study's header was read from, if it is one of the slices that became a volume.
fn source_file(study: &AssembledStudy) -> Option<&Path> {
    let uid = study.header.element(tags::SOP_INSTANCE_UID).ok()?.to_str().ok()?;
    let uid = uid.trim_end_matches(['\0', ' ']);
    let volumes = study.stacks.iter().filter_map(|stack| stack.volume.as_ref());
    volumes.flat_map(|v| &v.slices).find(|s| s.sop_instance_uid.as_str() == uid).map(|s| s.path.as_path())
}

/// The undecoded values of the top-level elements up to General Study; `None` when the file cannot be read so.
/// Sequences are not among them: those come from the parsed header.
fn raw_values(path: &Path) -> Option<BTreeMap<Tag, Vec<u8>>> {
    let mut file = BufReader::new(File::open(path).ok()?);
    let mut start = [0_u8; 132];
    file.read_exact(&mut start).ok()?;
    let meta_at = if start.ends_with(b"DICM") { 128 } else { 0 };
    file.seek(SeekFrom::Start(meta_at)).ok()?;
    let meta = FileMetaTable::from_reader(&mut file).ok()?;
    let syntax = TransferSyntaxRegistry.get(meta.transfer_syntax())?;
    let source: Box<dyn Read> = match syntax.codec() {
        Codec::Dataset(Some(adapter)) => adapter.adapt_reader(Box::new(file)),
        Codec::Dataset(None) => return None,
        _ => Box::new(file),
    };
    let options = DataSetReaderOptions::default().value_read(ValueReadStrategy::Raw);
    let reader = DataSetReader::new_with_ts_options(source, syntax, options).ok()?;

    let mut values = BTreeMap::new();
    let mut depth = 0_usize;
    let mut current = None;
    for token in reader {
        match token.ok()? {
            DataToken::ElementHeader(header) if depth == 0 && header.tag() > tags::STUDY_ID => break,
            DataToken::ElementHeader(header) => current = Some(header.tag()),
            DataToken::SequenceStart { tag, .. } if depth == 0 && tag > tags::STUDY_ID => break,
            DataToken::SequenceStart { .. } | DataToken::PixelSequenceStart => depth += 1,
            DataToken::SequenceEnd => depth = depth.saturating_sub(1),
            DataToken::PrimitiveValue(value) => {
                if let (0, Some(tag)) = (depth, current) {
                    values.insert(tag, value.to_bytes().into_owned());
                }
            }
            _ => {}
        }
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_measures_are_left_out_and_good_ones_stay() {
        let with = |size: &str, age: &str| {
            let mut dataset = Dataset::new_empty();
            dataset.put(DataElement::new(tags::PATIENT_SIZE, VR::DS, PrimitiveValue::U8(size.as_bytes().into())));
            dataset.put(DataElement::new(tags::PATIENT_AGE, VR::AS, PrimitiveValue::U8(age.as_bytes().into())));
            drop_malformed_measures(&mut dataset);
            (dataset.element(tags::PATIENT_SIZE).is_ok(), dataset.element(tags::PATIENT_AGE).is_ok())
        };
        assert_eq!(with("1.72", "034Y"), (true, true));
        assert_eq!(with("", ""), (true, true));
        assert_eq!(with("1.0\\1.0\\1.0\\1.0", "0Y"), (false, false));
        assert_eq!(with("tall", "34"), (false, false));
    }
}
