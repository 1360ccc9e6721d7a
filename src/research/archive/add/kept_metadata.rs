//! What of a study's headers enters the archive, by an allow-list: everything else stays behind.
//!
//! DICOM PS3.15 annex E, Basic Application Level Confidentiality Profile with the options *Retain Longitudinal
//! Temporal Information with Modified Dates* (the date is shifted, the time of day is dropped), *Retain Device
//! Identity* (the confound report must see the scanner) and *Retain Patient Characteristics* (sex, and the age
//! in bins of five years). Free text (descriptions, protocol names, comments) is not kept at all, and a kept
//! text that contains a name, a number or a place of the same header is dropped: scanners' operators type
//! them anywhere.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use jiff::civil::Date;
use serde_json::{Map, Value, json};

use super::site_secret::{PatientIdentity, SiteSecret};
use crate::dicom::Dataset;
use crate::dicom::attributes::{Attributes, items, text};

/// PS3.16 CID 7050: how the metadata was de-identified.
pub const DEIDENTIFICATION_CODES: [(&str, &str); 4] = [
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
    ("113109", "Retain Device Identity Option"),
];
/// Texts shorter than this are not looked for in other values: they would be found everywhere.
const SHORTEST_IDENTIFYING: usize = 3;
/// Bins of five years end with this one, which holds everybody older.
const OLDEST_BIN: u32 = 18;

/// Texts of the sidecar: BIDS name and attribute.
const TEXTS: [(&str, Tag); 14] = [
    ("Modality", tags::MODALITY),
    ("Manufacturer", tags::MANUFACTURER),
    ("ManufacturersModelName", tags::MANUFACTURER_MODEL_NAME),
    ("DeviceSerialNumber", tags::DEVICE_SERIAL_NUMBER),
    ("SoftwareVersions", tags::SOFTWARE_VERSIONS),
    ("ReceiveCoilName", tags::RECEIVE_COIL_NAME),
    ("MRAcquisitionType", tags::MR_ACQUISITION_TYPE),
    ("ScanningSequence", tags::SCANNING_SEQUENCE),
    ("SequenceVariant", tags::SEQUENCE_VARIANT),
    ("ScanOptions", tags::SCAN_OPTIONS),
    ("SequenceName", tags::SEQUENCE_NAME),
    ("PulseSequenceName", tags::PULSE_SEQUENCE_NAME),
    ("PatientPosition", tags::PATIENT_POSITION),
    ("BodyPartExamined", tags::BODY_PART_EXAMINED),
];
/// Numbers of the sidecar: BIDS name, attribute, factor to BIDS' unit (times are seconds there).
const NUMBERS: [(&str, Tag, f64); 11] = [
    ("MagneticFieldStrength", tags::MAGNETIC_FIELD_STRENGTH, 1.0),
    ("ImagingFrequency", tags::IMAGING_FREQUENCY, 1.0),
    ("RepetitionTime", tags::REPETITION_TIME, 1e-3),
    ("EchoTime", tags::ECHO_TIME, 1e-3),
    ("InversionTime", tags::INVERSION_TIME, 1e-3),
    ("FlipAngle", tags::FLIP_ANGLE, 1.0),
    ("EchoTrainLength", tags::ECHO_TRAIN_LENGTH, 1.0),
    ("PixelBandwidth", tags::PIXEL_BANDWIDTH, 1.0),
    ("NumberOfAverages", tags::NUMBER_OF_AVERAGES, 1.0),
    ("SliceThickness", tags::SLICE_THICKNESS, 1.0),
    ("SpacingBetweenSlices", tags::SPACING_BETWEEN_SLICES, 1.0),
];
/// What says who, where and by whom; no kept text may contain any of it.
const IDENTIFYING: [Tag; 20] = [
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::OTHER_PATIENT_NAMES,
    tags::PATIENT_BIRTH_NAME,
    tags::PATIENT_MOTHER_BIRTH_NAME,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_ADDRESS,
    tags::PATIENT_TELEPHONE_NUMBERS,
    tags::ACCESSION_NUMBER,
    tags::STUDY_ID,
    tags::INSTITUTION_NAME,
    tags::INSTITUTION_ADDRESS,
    tags::INSTITUTIONAL_DEPARTMENT_NAME,
    tags::STATION_NAME,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::PERFORMING_PHYSICIAN_NAME,
    tags::OPERATORS_NAME,
    tags::STUDY_INSTANCE_UID,
    tags::SERIES_INSTANCE_UID,
    tags::SOP_INSTANCE_UID,
];

/// What is kept of the patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPatient {
    /// `M`, `F`, `O` or `n/a`.
    pub sex: String,
    /// Bin of five years (1: up to 5 years, 2: 6 to 10, ..., 18: 86 and more) or `n/a`.
    pub age_bin: String,
    /// Manufacturer, model and serial number in one text, or `n/a`.
    pub scanner: String,
    /// `yes`, `no`, `withdrawn` or `unknown`.
    pub consent: String,
}

/// Who the patient is; `None` without a Patient ID.
pub fn patient_identity(header: &Dataset) -> Option<PatientIdentity> {
    let id = text(header, tags::PATIENT_ID);
    (!id.is_empty()).then(|| PatientIdentity { id, issuer: text(header, tags::ISSUER_OF_PATIENT_ID) })
}

/// What the archive's table says of the patient.
pub fn patient(header: &Dataset) -> KeptPatient {
    let forbidden = identifying_texts(header);
    let sex = text(header, tags::PATIENT_SEX);
    let parts = [tags::MANUFACTURER, tags::MANUFACTURER_MODEL_NAME, tags::DEVICE_SERIAL_NUMBER]
        .map(|tag| text(header, tag))
        .into_iter()
        .filter(|part| !part.is_empty() && is_clean(part, &forbidden))
        .collect::<Vec<_>>();
    let or_not_available = |text: String| if text.is_empty() { "n/a".to_owned() } else { text };
    KeptPatient {
        sex: if ["M", "F", "O"].contains(&sex.as_str()) { sex } else { "n/a".to_owned() },
        age_bin: age_years(header).map_or_else(|| "n/a".to_owned(), |years| age_bin(years).to_string()),
        scanner: or_not_available(parts.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")),
        consent: consent(header),
    }
}

/// The sidecar of one image.
pub fn sidecar(header: &Dataset, identity: &PatientIdentity, secret: &SiteSecret) -> Value {
    let forbidden = identifying_texts(header);
    let attributes = Attributes::of_frame(header, 0);
    let mut kept = Map::new();
    for (name, tag) in TEXTS {
        let value = attributes.text(tag);
        if !value.is_empty() && is_clean(&value, &forbidden) {
            kept.insert(name.to_owned(), value.into());
        }
    }
    let image_type: Vec<String> = attributes.text(tags::IMAGE_TYPE).split('\\').map(|v| v.trim().to_owned()).collect();
    if image_type.iter().any(|v| !v.is_empty()) && image_type.iter().all(|v| is_clean(v, &forbidden)) {
        kept.insert("ImageType".to_owned(), json!(image_type));
    }
    for (name, tag, factor) in NUMBERS {
        let number = match tag {
            tags::ECHO_TIME => attributes.number(tags::EFFECTIVE_ECHO_TIME).or_else(|| attributes.number(tag)),
            tags::INVERSION_TIME => attributes.number(tags::INVERSION_TIMES).or_else(|| attributes.number(tag)),
            tag => attributes.number(tag),
        };
        if let Some(number) = number {
            // Milliseconds become seconds without a tail of digits.
            kept.insert(name.to_owned(), json!((number * factor * 1e9).round() / 1e9));
        }
    }
    for (name, tag) in
        [("PixelSpacing", tags::PIXEL_SPACING), ("ImageOrientationPatientDICOM", tags::IMAGE_ORIENTATION_PATIENT)]
    {
        let numbers = attributes.numbers(tag);
        if !numbers.is_empty() {
            kept.insert(name.to_owned(), json!(numbers));
        }
    }
    if let Some(date) = acquisition_date(header)
        && let Ok(shifted) = date.checked_add(jiff::Span::new().days(-secret.shift_days(identity)))
    {
        kept.insert("AcquisitionDateShifted".to_owned(), shifted.to_string().into());
    }
    let distribution = consent_items(header);
    if !distribution.is_empty() {
        kept.insert("ConsentForClinicalTrialUse".to_owned(), json!(distribution));
    }
    kept.insert("DeidentificationMethodCodeSequence".to_owned(), deidentification_codes());
    Value::Object(kept)
}

/// [`DEIDENTIFICATION_CODES`] in the form of a sidecar.
pub fn deidentification_codes() -> Value {
    DEIDENTIFICATION_CODES
        .map(|(value, meaning)| json!({"CodeValue": value, "CodingSchemeDesignator": "DCM", "CodeMeaning": meaning}))
        .to_vec()
        .into()
}

/// Whether the pixels may carry text about the patient: Burned In Annotation (0028,0301).
pub fn says_burned_in(header: &Dataset) -> bool {
    text(header, tags::BURNED_IN_ANNOTATION) == "YES"
}

/// PS3.3 C.7.2.3.1.1: the strictest word on consent for distribution; `unknown` where the header is silent.
fn consent(header: &Dataset) -> String {
    let flags: Vec<String> = items(header, tags::CONSENT_FOR_CLINICAL_TRIAL_USE_SEQUENCE)
        .iter()
        .map(|item| text(item, tags::CONSENT_FOR_DISTRIBUTION_FLAG))
        .collect();
    for (flag, word) in [("WITHDRAWN", "withdrawn"), ("NO", "no"), ("YES", "yes")] {
        if flags.iter().any(|f| f == flag) {
            return word.to_owned();
        }
    }
    "unknown".to_owned()
}

fn consent_items(header: &Dataset) -> Vec<Value> {
    // Both are coded strings with defined terms; anything else is not passed on.
    let defined = |text: String, terms: &[&str]| if terms.contains(&text.as_str()) { text } else { "n/a".to_owned() };
    items(header, tags::CONSENT_FOR_CLINICAL_TRIAL_USE_SEQUENCE)
        .iter()
        .map(|item| {
            let flag = defined(text(item, tags::CONSENT_FOR_DISTRIBUTION_FLAG), &["YES", "NO", "WITHDRAWN"]);
            let kinds = ["NAMED_PROTOCOL", "RESTRICTED_REUSE", "PUBLIC_RELEASE"];
            json!({"ConsentForDistributionFlag": flag, "DistributionType": defined(text(item, tags::DISTRIBUTION_TYPE), &kinds)})
        })
        .collect()
}

fn acquisition_date(header: &Dataset) -> Option<Date> {
    [tags::ACQUISITION_DATE, tags::ACQUISITION_DATE_TIME, tags::SERIES_DATE, tags::STUDY_DATE]
        .iter()
        .find_map(|tag| dicom_date(&text(header, *tag)))
}

/// `YYYYMMDD`, also the beginning of a DT.
fn dicom_date(text: &str) -> Option<Date> {
    let digits = text.get(..8).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    Date::new(digits.get(..4)?.parse().ok()?, digits.get(4..6)?.parse().ok()?, digits.get(6..)?.parse().ok()?).ok()
}

/// Patient's Age where it is stated in a known unit, else the whole years from birth to acquisition.
fn age_years(header: &Dataset) -> Option<u32> {
    let age = text(header, tags::PATIENT_AGE);
    if let Some((number, unit)) = age.split_at_checked(3)
        && let Ok(number) = number.parse::<u32>()
    {
        match unit {
            "Y" => return Some(number),
            "M" => return Some(number / 12),
            "W" => return Some(number / 52),
            "D" => return Some(number / 365),
            _ => {}
        }
    }
    let born = dicom_date(&text(header, tags::PATIENT_BIRTH_DATE))?;
    let scanned = acquisition_date(header)?;
    let had_birthday = (scanned.month(), scanned.day()) >= (born.month(), born.day());
    let years = i32::from(scanned.year()) - i32::from(born.year()) - i32::from(!had_birthday);
    u32::try_from(years).ok()
}

fn age_bin(years: u32) -> u32 {
    years.max(1).div_ceil(5).min(OLDEST_BIN)
}

/// The values of the identifying attributes and the parts of names among them, in lower case.
fn identifying_texts(header: &Dataset) -> Vec<String> {
    let mut texts = Vec::new();
    for tag in IDENTIFYING {
        let value = text(header, tag).to_lowercase();
        texts.extend(value.split(['^', '=', '\\', ' ', ',']).map(str::to_owned));
        texts.push(value);
    }
    texts.retain(|t| t.chars().count() >= SHORTEST_IDENTIFYING);
    texts
}

fn is_clean(value: &str, forbidden: &[String]) -> bool {
    let lower = value.to_lowercase();
    forbidden.iter().all(|text| !lower.contains(text.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, PrimitiveValue, VR};

    fn header(values: &[(Tag, VR, &str)]) -> Dataset {
        Dataset::from_element_iter(values.iter().map(|(t, vr, v)| DataElement::new(*t, *vr, PrimitiveValue::from(*v))))
    }

    #[test]
    fn ages_come_in_bins_of_five_years() {
        let of = |age: &str| patient(&header(&[(tags::PATIENT_AGE, VR::AS, age)])).age_bin;
        assert_eq!(
            ["000D", "006M", "005Y", "006Y", "045Y", "046Y", "099Y"].map(of),
            ["1", "1", "1", "2", "9", "10", "18"]
        );
        let dates = [(tags::PATIENT_BIRTH_DATE, VR::DA, "19800203"), (tags::STUDY_DATE, VR::DA, "20200202")];
        assert_eq!(patient(&header(&dates)).age_bin, "8", "39 years: the birthday was a day later");
        assert_eq!(patient(&header(&[])).age_bin, "n/a");
    }

    #[test]
    fn a_name_typed_into_a_kept_field_is_dropped() {
        let header = header(&[
            (tags::PATIENT_NAME, VR::PN, "Mustermann^Erika"),
            (tags::PATIENT_ID, VR::LO, "4711-08"),
            (tags::SEQUENCE_NAME, VR::SH, "*tfl mustermann"),
            (tags::SOFTWARE_VERSIONS, VR::LO, "VE11"),
            (tags::PROTOCOL_NAME, VR::LO, "T1 for Dr. X"),
            (tags::ECHO_TIME, VR::DS, "2.98"),
            (tags::STUDY_DATE, VR::DA, "20240301"),
        ]);
        let identity = patient_identity(&header).unwrap();
        let secret = SiteSecret::from_key([1; 32]);
        let kept = sidecar(&header, &identity, &secret);
        assert_eq!(kept.get("SequenceName"), None);
        assert_eq!(kept.get("ProtocolName"), None);
        assert_eq!(kept["SoftwareVersions"], "VE11");
        assert_eq!(kept["EchoTime"], 0.00298);
        let shifted: Date = kept["AcquisitionDateShifted"].as_str().unwrap().parse().unwrap();
        assert!(shifted.year() < 1925);
        let back = shifted.checked_add(jiff::Span::new().days(secret.shift_days(&identity))).unwrap();
        assert_eq!(back, Date::constant(2024, 3, 1));
    }

    #[test]
    fn the_strictest_word_on_consent_counts() {
        let with = |flags: &[&str]| {
            let items: Vec<Dataset> =
                flags.iter().map(|f| header(&[(tags::CONSENT_FOR_DISTRIBUTION_FLAG, VR::CS, f)])).collect();
            let mut dataset = Dataset::new_empty();
            dataset.put(DataElement::new(
                tags::CONSENT_FOR_CLINICAL_TRIAL_USE_SEQUENCE,
                VR::SQ,
                DataSetSequence::from(items),
            ));
            patient(&dataset).consent
        };
        assert_eq!(with(&["YES", "WITHDRAWN", "NO"]), "withdrawn");
        assert_eq!(with(&["YES", "NO"]), "no");
        assert_eq!(with(&["YES"]), "yes");
        assert_eq!(with(&[]), "unknown");
    }
}
