//! How single elements are put into a dataset, and how a dataset becomes the bytes of a file.

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::meta::FileMetaTableBuilder;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;

use crate::dicom::codes::Concept;
use crate::dicom::{Dataset, Uid, identity};
use crate::report::ReportError;

/// Puts a text of any textual VR; an empty text becomes an element without value (type 2).
pub fn put_text(dataset: &mut Dataset, tag: Tag, vr: VR, text: &str) {
    let value = if text.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(text) };
    dataset.put(DataElement::new(tag, vr, value));
}

/// Puts several values of a textual VR.
pub fn put_texts(dataset: &mut Dataset, tag: Tag, vr: VR, texts: &[String]) {
    dataset.put(DataElement::new(tag, vr, PrimitiveValue::Strs(texts.iter().cloned().collect())));
}

/// Puts an unsigned short.
pub fn put_u16(dataset: &mut Dataset, tag: Tag, number: u16) {
    dataset.put(DataElement::new(tag, VR::US, PrimitiveValue::from(number)));
}

/// Puts a sequence; no items make an empty sequence (type 2).
pub fn put_sequence(dataset: &mut Dataset, tag: Tag, items: Vec<Dataset>) {
    dataset.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// Puts a code sequence with one item.
pub fn put_code(dataset: &mut Dataset, tag: Tag, concept: &Concept) {
    put_sequence(dataset, tag, vec![code_item(concept)]);
}

/// One item of a code sequence (PS3.3 table 8.8-1).
pub fn code_item(concept: &Concept) -> Dataset {
    let mut item = Dataset::new_empty();
    put_text(&mut item, tags::CODE_VALUE, VR::SH, &concept.value);
    put_text(&mut item, tags::CODING_SCHEME_DESIGNATOR, VR::SH, &concept.scheme);
    put_text(&mut item, tags::CODE_MEANING, VR::LO, &concept.meaning);
    item
}

/// One item that names a SOP instance (PS3.3 table 10-11), with its frame where it has several.
pub fn reference_item(sop_class: &Uid, sop_instance: &Uid, frame: Option<u32>) -> Dataset {
    let mut item = Dataset::new_empty();
    put_text(&mut item, tags::REFERENCED_SOP_CLASS_UID, VR::UI, sop_class.as_str());
    put_text(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, sop_instance.as_str());
    if let Some(frame) = frame {
        put_text(&mut item, tags::REFERENCED_FRAME_NUMBER, VR::IS, &frame.to_string());
    }
    item
}

/// A number as a Decimal String: at most 16 characters, as near to the number as they allow.
pub fn decimal_string(number: f64) -> String {
    let plain = format!("{number}");
    if plain.len() <= 16 {
        return plain;
    }
    let mut best = String::from("0");
    for digits in 0..16 {
        for text in [format!("{number:.digits$}"), format!("{number:.digits$e}")] {
            let error = |t: &str| t.parse::<f64>().map_or(f64::INFINITY, |v| (v - number).abs());
            if text.len() <= 16 && error(&text) < error(&best) {
                best = text;
            }
        }
    }
    best
}

/// Several numbers as one Decimal String element.
pub fn put_numbers(dataset: &mut Dataset, tag: Tag, numbers: &[f64]) {
    let texts: Vec<String> = numbers.iter().map(|n| decimal_string(*n)).collect();
    put_texts(dataset, tag, VR::DS, &texts);
}

/// A text that came from outside (a manifest, a series description) with every character that is not printable
/// ASCII replaced: our own texts stand in objects whose character set is the patient's.
pub fn ascii(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).filter(|c| *c != '\\').collect()
}

/// At most `longest` characters of an ASCII text.
pub fn shortened(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

/// A complete file (preamble, file meta, dataset in Explicit VR Little Endian); `rgb` becomes Pixel Data.
///
/// The pixels are appended as they are instead of passing through the object model: they are nearly all of the
/// file, and this way they are copied once.
pub fn encode_file(
    dataset: &Dataset,
    sop_class: &str,
    sop_instance: &Uid,
    rgb: Option<&[u8]>,
) -> Result<Vec<u8>, ReportError> {
    let failed = |reason: String| ReportError::Encode { sop_instance_uid: sop_instance.clone(), reason };
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(sop_class)
        .media_storage_sop_instance_uid(sop_instance.as_str())
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .implementation_class_uid(identity::IMPLEMENTATION_CLASS_UID)
        .implementation_version_name(identity::IMPLEMENTATION_VERSION_NAME)
        .build()
        .map_err(|e| failed(e.to_string()))?;
    let mut file = Vec::with_capacity(8192 + rgb.map_or(0, <[u8]>::len));
    file.resize(128, 0);
    file.extend_from_slice(b"DICM");
    meta.write(&mut file).map_err(|e| failed(e.to_string()))?;
    dataset
        .write_dataset_with_ts(&mut file, &EXPLICIT_VR_LITTLE_ENDIAN.erased())
        .map_err(|e| failed(error_chain(&e)))?;
    if let Some(rgb) = rgb {
        let padding = rgb.len() % 2;
        let length = u32::try_from(rgb.len() + padding).map_err(|_| failed("the picture exceeds 4 GiB".into()))?;
        // (7FE0,0010) OB, two reserved bytes, 32-bit length (PS3.5 section 7.1.2).
        file.extend_from_slice(&[0xE0, 0x7F, 0x10, 0x00, b'O', b'B', 0, 0]);
        file.extend_from_slice(&length.to_le_bytes());
        file.extend_from_slice(rgb);
        file.resize(file.len() + padding, 0);
    }
    Ok(file)
}

/// An error with its causes in one line.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_strings_keep_what_sixteen_characters_can() {
        for text in ["-112.5", "0.9765625", "1", "-0.0123456789012"] {
            assert_eq!(decimal_string(text.parse().unwrap()), text);
        }
        for number in [1.0 / 3.0, -1.0 / 3.0, 1.234_567_890_123e-5, -123_456.789_012_345_6, 1e-20, -6.123e-17] {
            let text = decimal_string(number);
            assert!(text.len() <= 16, "{text}");
            let back: f64 = text.parse().unwrap();
            assert!((back - number).abs() <= number.abs() * 1e-9, "{number} became {text}");
        }
    }

    #[test]
    fn text_from_outside_becomes_ascii() {
        assert_eq!(ascii("K\u{f6}ln\\A\u{1b}$B"), "K?lnA?$B");
    }
}
