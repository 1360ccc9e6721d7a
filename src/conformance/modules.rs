//! The modules of PS3.3 that our attributes belong to, and what a reader of their table should know about them.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use crate::study::ObjectKind;

/// The kinds of objects that have the same attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Iod {
    Heatmap,
    Card,
    Report,
}

impl Iod {
    pub(super) const ALL: [Iod; 3] = [Iod::Heatmap, Iod::Card, Iod::Report];

    /// As the statement calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Iod::Heatmap => "Heatmap",
            Iod::Card => "Card",
            Iod::Report => "Structured report",
        }
    }

    /// The one that an object is of.
    pub(super) fn of(kind: ObjectKind) -> Iod {
        match kind {
            ObjectKind::HeatmapT1 | ObjectKind::HeatmapFlair => Iod::Heatmap,
            ObjectKind::Card => Iod::Card,
            ObjectKind::Report => Iod::Report,
        }
    }
}

/// Modules in the order of the information entities, with their section in PS3.3.
pub(super) const MODULES: [(Module, &str, &str); 16] = [
    (Module::Patient, "Patient", "C.7.1.1"),
    (Module::ClinicalTrialSubject, "Clinical Trial Subject", "C.7.1.3"),
    (Module::GeneralStudy, "General Study", "C.7.2.1"),
    (Module::PatientStudy, "Patient Study", "C.7.2.2"),
    (Module::GeneralSeries, "General Series", "C.7.3.1"),
    (Module::SrDocumentSeries, "SR Document Series", "C.17.1"),
    (Module::FrameOfReference, "Frame of Reference", "C.7.4.1"),
    (Module::GeneralEquipment, "General Equipment", "C.7.5.1"),
    (Module::ScEquipment, "SC Equipment", "C.8.6.1"),
    (Module::GeneralImage, "General Image", "C.7.6.1"),
    (Module::GeneralReference, "General Reference", "C.12.4"),
    (Module::ImagePlane, "Image Plane", "C.7.6.2"),
    (Module::ImagePixel, "Image Pixel", "C.7.6.3"),
    (Module::SrDocumentGeneral, "SR Document General", "C.17.2"),
    (Module::SrDocumentContent, "SR Document Content", "C.17.3"),
    (Module::SopCommon, "SOP Common", "C.12.1"),
];

/// A module of one of our objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Module {
    Patient,
    ClinicalTrialSubject,
    GeneralStudy,
    PatientStudy,
    GeneralSeries,
    SrDocumentSeries,
    FrameOfReference,
    GeneralEquipment,
    ScEquipment,
    GeneralImage,
    GeneralReference,
    ImagePlane,
    ImagePixel,
    SrDocumentGeneral,
    SrDocumentContent,
    SopCommon,
}

/// The module of a top-level attribute; `None`: this table must learn it.
pub(super) fn module_of(tag: Tag, iod: Iod) -> Option<Module> {
    let in_image_or_report = |image, report| if iod == Iod::Report { report } else { image };
    let module = match tag {
        tags::PATIENT_AGE | tags::PATIENT_SIZE | tags::PATIENT_WEIGHT => Module::PatientStudy,
        tags::REFERENCED_PATIENT_SEQUENCE
        | tags::PATIENT_IDENTITY_REMOVED
        | tags::DEIDENTIFICATION_METHOD
        | tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE => Module::Patient,
        Tag(0x0010, _) => Module::Patient,
        Tag(0x0012, _) => Module::ClinicalTrialSubject,
        tags::STUDY_INSTANCE_UID
        | tags::STUDY_DATE
        | tags::STUDY_TIME
        | tags::STUDY_ID
        | tags::STUDY_DESCRIPTION
        | tags::ACCESSION_NUMBER
        | tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE
        | tags::REFERRING_PHYSICIAN_NAME
        | tags::PHYSICIANS_OF_RECORD
        | tags::NAME_OF_PHYSICIANS_READING_STUDY
        | tags::REFERENCED_STUDY_SEQUENCE
        | tags::PROCEDURE_CODE_SEQUENCE => Module::GeneralStudy,
        tags::MODALITY
        | tags::SERIES_INSTANCE_UID
        | tags::SERIES_NUMBER
        | tags::SERIES_DESCRIPTION
        | tags::SERIES_DATE
        | tags::SERIES_TIME
        | tags::LATERALITY => in_image_or_report(Module::GeneralSeries, Module::SrDocumentSeries),
        tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE => Module::SrDocumentSeries,
        tags::FRAME_OF_REFERENCE_UID | tags::POSITION_REFERENCE_INDICATOR => Module::FrameOfReference,
        tags::MANUFACTURER
        | tags::MANUFACTURER_MODEL_NAME
        | tags::SOFTWARE_VERSIONS
        | tags::DEVICE_SERIAL_NUMBER
        | tags::STATION_NAME => Module::GeneralEquipment,
        tags::CONVERSION_TYPE => Module::ScEquipment,
        tags::INSTANCE_NUMBER | tags::CONTENT_DATE | tags::CONTENT_TIME => {
            in_image_or_report(Module::GeneralImage, Module::SrDocumentGeneral)
        }
        tags::IMAGE_TYPE
        | tags::PATIENT_ORIENTATION
        | tags::BURNED_IN_ANNOTATION
        | tags::RECOGNIZABLE_VISUAL_FEATURES
        | tags::IMAGE_COMMENTS
        | tags::DERIVATION_DESCRIPTION
        | tags::LOSSY_IMAGE_COMPRESSION
        | tags::LOSSY_IMAGE_COMPRESSION_RATIO
        | tags::LOSSY_IMAGE_COMPRESSION_METHOD => Module::GeneralImage,
        tags::SOURCE_IMAGE_SEQUENCE | tags::DERIVATION_CODE_SEQUENCE => Module::GeneralReference,
        tags::IMAGE_POSITION_PATIENT
        | tags::IMAGE_ORIENTATION_PATIENT
        | tags::PIXEL_SPACING
        | tags::SLICE_THICKNESS => Module::ImagePlane,
        Tag(0x0028, _) | tags::PIXEL_DATA => Module::ImagePixel,
        tags::COMPLETION_FLAG
        | tags::VERIFICATION_FLAG
        | tags::PRELIMINARY_FLAG
        | tags::PERFORMED_PROCEDURE_CODE_SEQUENCE
        | tags::PREDECESSOR_DOCUMENTS_SEQUENCE
        | tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE => Module::SrDocumentGeneral,
        tags::VALUE_TYPE
        | tags::CONCEPT_NAME_CODE_SEQUENCE
        | tags::CONTINUITY_OF_CONTENT
        | tags::CONTENT_TEMPLATE_SEQUENCE
        | tags::CONTENT_SEQUENCE => Module::SrDocumentContent,
        tags::SPECIFIC_CHARACTER_SET
        | tags::SOP_CLASS_UID
        | tags::SOP_INSTANCE_UID
        | tags::INSTANCE_CREATION_DATE
        | tags::INSTANCE_CREATION_TIME
        | tags::CONTENT_QUALIFICATION
        | tags::CODING_SCHEME_IDENTIFICATION_SEQUENCE
        | tags::CONTRIBUTING_EQUIPMENT_SEQUENCE => Module::SopCommon,
        _ => return None,
    };
    Some(module)
}

/// What the other columns of the table cannot say; `is_nested`: of an attribute in an item of a sequence.
pub(super) fn remark(tag: Tag, iod: Iod, is_nested: bool) -> &'static str {
    match tag {
        tags::STUDY_INSTANCE_UID if is_nested => "the study's own",
        tags::SERIES_INSTANCE_UID if is_nested => "of the source series",
        tags::REFERENCED_SOP_CLASS_UID | tags::REFERENCED_SOP_INSTANCE_UID => "of the source image",
        tags::SOP_INSTANCE_UID | tags::SERIES_INSTANCE_UID => {
            "`2.25.` and a UUID that follows from everything that shapes the result: the same result has the same UID"
        }
        tags::CONTENT_DATE
        | tags::CONTENT_TIME
        | tags::SERIES_DATE
        | tags::SERIES_TIME
        | tags::INSTANCE_CREATION_DATE
        | tags::INSTANCE_CREATION_TIME
        | tags::CONTRIBUTION_DATE_TIME => "when the newest image of the study was received, in local time",
        tags::SOFTWARE_VERSIONS => "of fcdd; then name and version of every model that ran",
        tags::INSTANCE_NUMBER if iod == Iod::Heatmap => {
            "the source's instance or frame number where every slice has one of its own; its order otherwise"
        }
        tags::FRAME_OF_REFERENCE_UID
        | tags::LOSSY_IMAGE_COMPRESSION
        | tags::LOSSY_IMAGE_COMPRESSION_RATIO
        | tags::LOSSY_IMAGE_COMPRESSION_METHOD => "where the source has it",
        tags::POSITION_REFERENCE_INDICATOR => "with Frame of Reference UID; empty where the source has none",
        tags::SLICE_THICKNESS => "empty where the source states none",
        tags::RECOGNIZABLE_VISUAL_FEATURES => "NO where the source says NO, otherwise YES",
        tags::IMAGE_COMMENTS => "the research notice, then name, version and standing of the models",
        tags::DERIVATION_DESCRIPTION => "method, model, range of values, colour map, opacity, threshold",
        tags::PIXEL_DATA => "RGB by pixel, 8 bits, uncompressed",
        tags::REFERENCED_FRAME_NUMBER => "where the source is a multi-frame object",
        tags::PATIENT_AGE | tags::PATIENT_SIZE | tags::PATIENT_WEIGHT => {
            "where the source has it, well formed (PS3.5 section 6.2)"
        }
        tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE => {
            "every image that the report names; left out where the study holds none"
        }
        tags::CODING_SCHEME_IDENTIFICATION_SEQUENCE => "where a concept has a private coding scheme",
        tags::PREDECESSOR_DOCUMENTS_SEQUENCE => "the report that this one replaces",
        tags::CONTENT_SEQUENCE => "the content tree, see section 8.3.2",
        _ => "",
    }
}
