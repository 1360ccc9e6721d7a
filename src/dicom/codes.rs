//! Coded concepts: a value in a scheme, with its meaning (PS3.3 section 8, Code Sequence Macro).
//!
//! The fixed ones here are the grammar of our objects (template row names, units, purposes); those that a site
//! may want to change come from [`super::templates`].

use std::borrow::Cow;

/// One coded concept. All three parts are ASCII, so that they can stand in any character set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concept {
    /// Code Value (0008,0100), at most 16 characters.
    pub value: Cow<'static, str>,
    /// Coding Scheme Designator (0008,0102), at most 16 characters.
    pub scheme: Cow<'static, str>,
    /// Code Meaning (0008,0104), at most 64 characters.
    pub meaning: Cow<'static, str>,
}

impl Concept {
    /// A concept known at compile time.
    pub const fn fixed(value: &'static str, scheme: &'static str, meaning: &'static str) -> Concept {
        Concept { value: Cow::Borrowed(value), scheme: Cow::Borrowed(scheme), meaning: Cow::Borrowed(meaning) }
    }
}

const fn dcm(value: &'static str, meaning: &'static str) -> Concept {
    Concept::fixed(value, "DCM", meaning)
}

const fn sct(value: &'static str, meaning: &'static str) -> Concept {
    Concept::fixed(value, "SCT", meaning)
}

// Purposes and derivations (CID 7202, 7203, 7005).
/// Purpose of Reference: the image that was the source of this one.
pub const SOURCE_IMAGE_FOR_PROCESSING: Concept = dcm("121322", "Source image for image processing operation");
/// Derivation: Grad-CAM.
pub const GRAD_CAM: Concept = dcm("130403", "Gradient-weighted class activation");
/// Purpose of Reference of contributing equipment.
pub const PROCESSING_EQUIPMENT: Concept = dcm("109102", "Processing Equipment");

// TID 1500 and the templates that it includes.
/// Root of TID 1500.
pub const IMAGING_MEASUREMENT_REPORT: Concept = dcm("126000", "Imaging Measurement Report");
/// TID 1204.
pub const LANGUAGE: Concept = dcm("121049", "Language of Content Item and Descendants");
/// TID 1002.
pub const OBSERVER_TYPE: Concept = dcm("121005", "Observer Type");
/// TID 1002: the observer is a device.
pub const DEVICE: Concept = dcm("121007", "Device");
/// TID 1004.
pub const DEVICE_OBSERVER_UID: Concept = dcm("121012", "Device Observer UID");
/// TID 1004.
pub const DEVICE_OBSERVER_NAME: Concept = dcm("121013", "Device Observer Name");
/// TID 1004.
pub const DEVICE_OBSERVER_MANUFACTURER: Concept = dcm("121014", "Device Observer Manufacturer");
/// TID 1004.
pub const DEVICE_OBSERVER_MODEL_NAME: Concept = dcm("121015", "Device Observer Model Name");
/// TID 1004.
pub const DEVICE_OBSERVER_SERIAL_NUMBER: Concept = dcm("121016", "Device Observer Serial Number");
/// TID 1500.
pub const PROCEDURE_REPORTED: Concept = dcm("121058", "Procedure reported");
/// TID 1600.
pub const IMAGE_LIBRARY: Concept = dcm("111028", "Image Library");
/// TID 1600.
pub const IMAGE_LIBRARY_GROUP: Concept = dcm("126200", "Image Library Group");
/// TID 1602.
pub const MODALITY: Concept = dcm("121139", "Modality");
/// CID 29.
pub const MAGNETIC_RESONANCE: Concept = dcm("MR", "Magnetic Resonance");
/// TID 1500.
pub const IMAGING_MEASUREMENTS: Concept = dcm("126010", "Imaging Measurements");
/// TID 1501 and 1410.
pub const MEASUREMENT_GROUP: Concept = dcm("125007", "Measurement Group");
/// TID 1501 and 1410.
pub const TRACKING_IDENTIFIER: Concept = dcm("112039", "Tracking Identifier");
/// TID 1501 and 1410.
pub const TRACKING_UNIQUE_IDENTIFIER: Concept = dcm("112040", "Tracking Unique Identifier");
/// TID 1501 and 1410.
pub const FINDING: Concept = dcm("121071", "Finding");
/// TID 1501 and 1410.
pub const FINDING_SITE: Concept = sct("363698007", "Finding Site");
/// Modifier of the finding site.
pub const LATERALITY: Concept = sct("272741003", "Laterality");
/// TID 300.
pub const MEASUREMENT_METHOD: Concept = sct("370129005", "Measurement Method");
/// TID 1501: images that the group speaks about.
pub const SOURCE_OF_MEASUREMENT: Concept = dcm("121112", "Source of Measurement");
/// TID 1410.
pub const IMAGE_REGION: Concept = dcm("111030", "Image Region");
/// TID 1501: a remark in words.
pub const COMMENT: Concept = dcm("121106", "Comment");

// TID 4019.
/// Algorithm Family (CID 7162).
pub const ALGORITHM_FAMILY: Concept = dcm("111000", "Algorithm Family");
/// The only family of ours.
pub const ARTIFICIAL_INTELLIGENCE: Concept = dcm("123110", "Artificial Intelligence");
/// Algorithm Name.
pub const ALGORITHM_NAME: Concept = dcm("111001", "Algorithm Name");
/// Algorithm Version.
pub const ALGORITHM_VERSION: Concept = dcm("111003", "Algorithm Version");
/// Algorithm Parameters.
pub const ALGORITHM_PARAMETERS: Concept = dcm("111002", "Algorithm Parameters");
/// Algorithm Manufacturer.
pub const ALGORITHM_MANUFACTURER: Concept = dcm("122405", "Algorithm Manufacturer");

// Measurements and their units.
/// Probability; never 111047, which is a probability of cancer.
pub const PROBABILITY: Concept = dcm("122157", "Probability");
/// Volume.
pub const VOLUME: Concept = sct("118565006", "Volume");
/// Percent.
pub const PERCENT: Concept = Concept::fixed("%", "UCUM", "Percent");
/// Cubic centimetre.
pub const CUBIC_CENTIMETRE: Concept = Concept::fixed("cm3", "UCUM", "Cubic centimeter");

// Sides.
/// Left.
pub const LEFT: Concept = sct("7771000", "Left");
/// Right.
pub const RIGHT: Concept = sct("24028007", "Right");
