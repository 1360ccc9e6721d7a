//! General Series and SOP Common (PS3.3 C.7.3.1, C.12.1), and the moment that an object claims as its own.

use dicom_core::VR;
use dicom_dictionary_std::tags;
use jiff::tz::TimeZone;

use super::elements::{put_text, put_u16};
use crate::dicom::templates::SeriesText;
use crate::dicom::{Dataset, Uid};
use crate::study::Revision;

/// Content date and time: when the newest input reached this machine, in the machine's time zone.
///
/// Not the moment of rendering: an object that is rendered again after a crash must have the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentTime {
    /// `YYYYMMDD`.
    pub date: String,
    /// `HHMMSS.ffffff`.
    pub time: String,
    /// `YYYYMMDDHHMMSS.ffffff&ZZXX`.
    pub date_time: String,
}

impl ContentTime {
    /// The moment in this machine's time zone.
    pub fn local(moment: jiff::Timestamp) -> ContentTime {
        ContentTime::in_zone(moment, TimeZone::system())
    }

    /// The moment in a time zone.
    pub fn in_zone(moment: jiff::Timestamp, zone: TimeZone) -> ContentTime {
        let local = moment.to_zoned(zone);
        ContentTime {
            date: local.strftime("%Y%m%d").to_string(),
            time: local.strftime("%H%M%S%.6f").to_string(),
            date_time: local.strftime("%Y%m%d%H%M%S%.6f%z").to_string(),
        }
    }
}

/// Adds the series, its number, description (of what replaces a result with its revision) and modality.
pub fn put_series(
    dataset: &mut Dataset,
    modality: &str,
    series: &Uid,
    text: &SeriesText,
    content: &ContentTime,
    revision: &Revision,
) {
    put_text(dataset, tags::MODALITY, VR::CS, modality);
    put_text(dataset, tags::SERIES_INSTANCE_UID, VR::UI, series.as_str());
    put_text(dataset, tags::SERIES_NUMBER, VR::IS, &text.number.to_string());
    put_text(dataset, tags::SERIES_DESCRIPTION, VR::LO, &text.description_of(revision.label().as_deref()));
    put_text(dataset, tags::SERIES_DATE, VR::DA, &content.date);
    put_text(dataset, tags::SERIES_TIME, VR::TM, &content.time);
    // A head has no side; validators want the attribute all the same (type 2C).
    if modality != "SR" {
        put_text(dataset, tags::LATERALITY, VR::CS, "");
    }
}

/// Adds SOP class and instance, instance number, content and creation time.
pub fn put_instance(dataset: &mut Dataset, sop_class: &str, sop_instance: &Uid, number: i64, content: &ContentTime) {
    put_text(dataset, tags::SOP_CLASS_UID, VR::UI, sop_class);
    put_text(dataset, tags::SOP_INSTANCE_UID, VR::UI, sop_instance.as_str());
    put_text(dataset, tags::INSTANCE_NUMBER, VR::IS, &number.to_string());
    put_text(dataset, tags::CONTENT_DATE, VR::DA, &content.date);
    put_text(dataset, tags::CONTENT_TIME, VR::TM, &content.time);
    put_text(dataset, tags::INSTANCE_CREATION_DATE, VR::DA, &content.date);
    put_text(dataset, tags::INSTANCE_CREATION_TIME, VR::TM, &content.time);
    put_text(dataset, tags::CONTENT_QUALIFICATION, VR::CS, "RESEARCH");
}

/// Adds what makes 8-bit RGB pixels (PS3.3 C.7.6.3) and a Secondary Capture of them (C.8.6.1).
pub fn put_rgb_secondary_capture(dataset: &mut Dataset, rows: u16, columns: u16) {
    put_text(dataset, tags::CONVERSION_TYPE, VR::CS, "WSD");
    // Type 2C: empty says that the plane says it all, or that there is none.
    put_text(dataset, tags::PATIENT_ORIENTATION, VR::CS, "");
    put_u16(dataset, tags::SAMPLES_PER_PIXEL, 3);
    put_text(dataset, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB");
    put_u16(dataset, tags::PLANAR_CONFIGURATION, 0);
    put_u16(dataset, tags::ROWS, rows);
    put_u16(dataset, tags::COLUMNS, columns);
    put_u16(dataset, tags::BITS_ALLOCATED, 8);
    put_u16(dataset, tags::BITS_STORED, 8);
    put_u16(dataset, tags::HIGH_BIT, 7);
    put_u16(dataset, tags::PIXEL_REPRESENTATION, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_is_told_in_local_time_with_its_offset() {
        let moment: jiff::Timestamp = "2026-07-01T22:30:05.25Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let content = ContentTime::in_zone(moment, zone);
        assert_eq!(content.date, "20260702");
        assert_eq!(content.time, "003005.250000");
        assert_eq!(content.date_time, "20260702003005.250000+0200");
    }
}
