//! A result object read back from its bytes by dicom-rs, and held against PS3.5.

use std::io::Read;

use dicom_core::header::{HasLength, Header};
use dicom_core::{Tag, VR};
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_object::{DefaultDicomObject, FileMetaTable};
use dicom_parser::dataset::DataToken;
use dicom_parser::dataset::read::{DataSetReader, DataSetReaderOptions, ValueReadStrategy};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use crate::dicom::{Dataset, Uid};

/// The object, after every element at every depth was found to be even, and what is ours to be as PS3.5 section 6.2
/// says. `is_copied` names the top-level elements that are the source's own bytes: for those nobody here answers.
pub(super) fn read(bytes: &[u8], is_copied: impl Fn(Tag) -> bool) -> DefaultDicomObject {
    lengths_are_even(bytes);
    let object = dicom_object::from_reader(bytes).unwrap_or_else(|e| panic!("what was written cannot be read: {e}"));
    let mut last = Tag(0, 0);
    for element in object.iter() {
        assert!(element.tag() > last, "{} comes after {last}", element.tag());
        last = element.tag();
    }
    check(&object, &is_copied);
    object
}

/// The raw bytes of the top-level elements, in order; sequences are left out.
pub(super) fn raw_values(bytes: &[u8]) -> Vec<(Tag, Vec<u8>)> {
    let mut values = Vec::new();
    let (mut depth, mut current) = (0_usize, Tag(0, 0));
    for token in tokens(bytes) {
        match token {
            DataToken::ElementHeader(header) => current = header.tag(),
            DataToken::SequenceStart { .. } | DataToken::PixelSequenceStart => depth += 1,
            DataToken::SequenceEnd => depth = depth.saturating_sub(1),
            DataToken::PrimitiveValue(value) if depth == 0 => values.push((current, value.to_bytes().into_owned())),
            _ => {}
        }
    }
    values
}

fn tokens(bytes: &[u8]) -> impl Iterator<Item = DataToken> {
    assert_eq!(bytes.get(128..132), Some(&b"DICM"[..]), "no preamble");
    let mut rest = &bytes[128..];
    let meta = FileMetaTable::from_reader(&mut rest).unwrap_or_else(|e| panic!("the file meta group: {e}"));
    let syntax = TransferSyntaxRegistry.get(meta.transfer_syntax()).unwrap_or_else(|| panic!("no transfer syntax"));
    let mut dataset = Vec::new();
    let _ = rest.read_to_end(&mut dataset);
    let options = DataSetReaderOptions::default().value_read(ValueReadStrategy::Raw);
    let reader = DataSetReader::new_with_ts_options(std::io::Cursor::new(dataset), syntax, options);
    let reader = reader.unwrap_or_else(|e| panic!("no reader: {e}"));
    reader.map(|token| token.unwrap_or_else(|e| panic!("what was written cannot be parsed: {e}")))
}

fn lengths_are_even(bytes: &[u8]) {
    assert_eq!(bytes.len() % 2, 0, "a file of odd length");
    for token in tokens(bytes) {
        let length = match token {
            DataToken::ElementHeader(header) => header.length(),
            DataToken::SequenceStart { len, .. } | DataToken::ItemStart { len } => len,
            _ => continue,
        };
        let length = length.get().unwrap_or(0);
        assert_eq!(length % 2, 0, "a length of {length}");
    }
}

fn check(dataset: &Dataset, is_copied: &dyn Fn(Tag) -> bool) {
    for element in dataset.iter().filter(|element| !is_copied(element.tag())) {
        let (tag, vr) = (element.tag(), element.vr());
        if let Some(items) = element.items() {
            assert_eq!(vr, VR::SQ, "{tag}");
            items.iter().for_each(|item| check(item, &|_| false));
            continue;
        }
        let Some((longest, is_allowed)) = rule(vr) else { continue };
        let text = element.to_str().unwrap_or_else(|e| panic!("{tag} {vr}: {e}"));
        // One text may have backslashes of its own; in the others they part values.
        let values: Vec<&str> = match vr {
            VR::ST | VR::LT | VR::UT => vec![text.as_ref()],
            _ => text.split('\\').collect(),
        };
        for value in values {
            let value = value.trim_end_matches(['\0', ' ']);
            assert!(value.chars().count() <= longest, "{tag} {vr} has {} characters", value.chars().count());
            assert!(is_allowed(value), "{tag} {vr} {value:?}");
        }
    }
}

type IsAllowed = fn(&str) -> bool;

/// PS3.5 table 6.2-1: the longest value, characters, and what may be in it.
fn rule(vr: VR) -> Option<(usize, IsAllowed)> {
    let is_text: IsAllowed = |text| text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    let is_code: IsAllowed =
        |text| text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ' || b == b'_');
    let is_decimal: IsAllowed = |text| text.is_empty() || text.trim().parse::<f64>().is_ok_and(f64::is_finite);
    let is_integer: IsAllowed = |text| text.is_empty() || text.trim().parse::<i32>().is_ok();
    let is_date: IsAllowed = |text| text.is_empty() || text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit());
    let is_time: IsAllowed = |text| text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let is_moment: IsAllowed = |text| text.bytes().all(|b| b.is_ascii_digit() || b".+-".contains(&b));
    let is_uid: IsAllowed = |text| text.is_empty() || Uid::parse(text).is_ok();
    match vr {
        VR::LO => Some((64, is_text)),
        VR::SH => Some((16, is_text)),
        VR::CS => Some((16, is_code)),
        VR::ST => Some((1024, is_text)),
        VR::LT => Some((10_240, is_text)),
        VR::UT => Some((usize::MAX, is_text)),
        VR::DS => Some((16, is_decimal)),
        VR::IS => Some((12, is_integer)),
        VR::DA => Some((8, is_date)),
        VR::TM => Some((14, is_time)),
        VR::DT => Some((26, is_moment)),
        VR::UI => Some((64, is_uid)),
        _ => None,
    }
}
