//! Explicit VR Little Endian rewritten as Implicit VR Little Endian (PS3.5 annex A.1 and section 7), for peers
//! that take nothing else.
//!
//! Only headers are rewritten. Values are copied byte by byte and never decoded, so text in any character set,
//! private elements and pixels arrive as they are. Sequences and items get undefined lengths, because their
//! contents shrink; the retired group lengths (gggg,0000) are left out for the same reason.

/// A dataset that cannot be rewritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// The dataset ends inside an element.
    #[error("the dataset ends inside an element at byte {at}")]
    Truncated {
        /// Offset in the dataset.
        at: usize,
    },
    /// Something that Explicit VR Little Endian does not allow here.
    #[error("({group:04X},{element:04X}) at byte {at} is not Explicit VR Little Endian: {what}")]
    Unexpected {
        /// Group of the tag.
        group: u16,
        /// Element of the tag.
        element: u16,
        /// Offset in the dataset.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
}

const ITEM: (u16, u16) = (0xFFFE, 0xE000);
const ITEM_END: (u16, u16) = (0xFFFE, 0xE00D);
const SEQUENCE_END: (u16, u16) = (0xFFFE, 0xE0DD);
const UNDEFINED: u32 = u32::MAX;

/// Deeper nesting than any real object has; a bound for the recursion.
const MAX_DEPTH: usize = 64;

/// Rewrites a dataset (without file meta group).
pub fn from_explicit_vr(dataset: &[u8]) -> Result<Vec<u8>, RewriteError> {
    let mut rewriter = Rewriter { input: dataset, at: 0, output: Vec::with_capacity(dataset.len()) };
    rewriter.elements(Some(dataset.len()), 0)?;
    Ok(rewriter.output)
}

struct Rewriter<'a> {
    input: &'a [u8],
    at: usize,
    output: Vec<u8>,
}

impl<'a> Rewriter<'a> {
    /// The elements of a dataset or item: up to `end`, or up to an item delimiter where the length is undefined.
    fn elements(&mut self, end: Option<usize>, depth: usize) -> Result<(), RewriteError> {
        while end != Some(self.at) {
            let start = self.at;
            let tag = self.tag()?;
            if tag == ITEM_END && end.is_none() {
                self.length()?;
                return Ok(());
            }
            let unexpected = |what| RewriteError::Unexpected { group: tag.0, element: tag.1, at: start, what };
            let [v, r] = self.bytes::<2>()?;
            let long_form = matches!(
                &[v, r],
                b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV"
            );
            if !v.is_ascii_uppercase() || !r.is_ascii_uppercase() {
                return Err(unexpected("it has no value representation"));
            }
            let length = if long_form {
                self.bytes::<2>()?;
                self.length()?
            } else {
                u32::from(u16::from_le_bytes(self.bytes()?))
            };
            if &[v, r] == b"SQ" {
                if depth >= MAX_DEPTH {
                    return Err(unexpected("sequences are nested too deeply"));
                }
                self.header(tag, UNDEFINED);
                self.items(length, depth + 1)?;
                self.header(SEQUENCE_END, 0);
            } else if length == UNDEFINED {
                return Err(unexpected("only sequences may have an undefined length"));
            } else {
                let value = self.take(length as usize)?;
                if tag.1 != 0 {
                    self.header(tag, length);
                    self.output.extend_from_slice(value);
                }
            }
            if end.is_some_and(|end| self.at > end) {
                return Err(unexpected("it reaches beyond the item that it is in"));
            }
        }
        Ok(())
    }

    /// The items of a sequence whose header was read.
    fn items(&mut self, length: u32, depth: usize) -> Result<(), RewriteError> {
        let end = self.end_of(length)?;
        while end != Some(self.at) {
            let start = self.at;
            let tag = self.tag()?;
            let item_length = self.length()?;
            match tag {
                SEQUENCE_END if end.is_none() => return Ok(()),
                ITEM => {
                    let item_end = self.end_of(item_length)?;
                    if matches!((item_end, end), (Some(item), Some(all)) if item > all) {
                        return Err(RewriteError::Truncated { at: start });
                    }
                    self.header(ITEM, UNDEFINED);
                    self.elements(item_end, depth)?;
                    self.header(ITEM_END, 0);
                }
                (group, element) => {
                    let what = "an item was expected";
                    return Err(RewriteError::Unexpected { group, element, at: start, what });
                }
            }
            if end.is_some_and(|end| self.at > end) {
                return Err(RewriteError::Truncated { at: start });
            }
        }
        Ok(())
    }

    /// Where `length` bytes from here end; `None` for an undefined length.
    fn end_of(&self, length: u32) -> Result<Option<usize>, RewriteError> {
        match length {
            UNDEFINED => Ok(None),
            length => match self.at.checked_add(length as usize) {
                Some(end) if end <= self.input.len() => Ok(Some(end)),
                _ => Err(RewriteError::Truncated { at: self.at }),
            },
        }
    }

    fn header(&mut self, tag: (u16, u16), length: u32) {
        self.output.extend_from_slice(&tag.0.to_le_bytes());
        self.output.extend_from_slice(&tag.1.to_le_bytes());
        self.output.extend_from_slice(&length.to_le_bytes());
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], RewriteError> {
        let end = self.at.checked_add(length);
        let bytes = end.and_then(|end| self.input.get(self.at..end)).ok_or(RewriteError::Truncated { at: self.at })?;
        self.at += length;
        Ok(bytes)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], RewriteError> {
        let at = self.at;
        <[u8; N]>::try_from(self.take(N)?).map_err(|_| RewriteError::Truncated { at })
    }

    fn tag(&mut self) -> Result<(u16, u16), RewriteError> {
        let [g0, g1, e0, e1] = self.bytes()?;
        Ok((u16::from_le_bytes([g0, g1]), u16::from_le_bytes([e0, e1])))
    }

    fn length(&mut self) -> Result<u32, RewriteError> {
        self.bytes().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, PrimitiveValue, VR, value::DataSetSequence};
    use dicom_dictionary_std::tags;
    use dicom_transfer_syntax_registry::entries;

    use super::*;
    use crate::dicom::Dataset;

    fn sample() -> Dataset {
        let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
        let inner = Dataset::from_element_iter([
            text(tags::CODE_VALUE, VR::SH, "113014"),
            text(tags::TEXT_VALUE, VR::UT, "a long text"),
        ]);
        let item = Dataset::from_element_iter([
            text(tags::VALUE_TYPE, VR::CS, "CODE"),
            DataElement::new(
                tags::CONCEPT_NAME_CODE_SEQUENCE,
                VR::SQ,
                DataSetSequence::from(vec![inner.clone(), inner]),
            ),
        ]);
        Dataset::from_element_iter([
            text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
            text(tags::PATIENT_NAME, VR::PN, "M\u{fc}ller^J\u{f6}rg"),
            DataElement::new(tags::ROWS, VR::US, PrimitiveValue::from(2_u16)),
            DataElement::new(tags::CONTENT_SEQUENCE, VR::SQ, DataSetSequence::from(vec![item])),
            DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(vec![1_u8, 2, 3, 4])),
        ])
    }

    fn explicit(dataset: &Dataset) -> Vec<u8> {
        let mut bytes = Vec::new();
        dataset.write_dataset_with_ts(&mut bytes, &entries::EXPLICIT_VR_LITTLE_ENDIAN.erased()).unwrap();
        bytes
    }

    #[test]
    fn every_value_comes_back() {
        let dataset = sample();
        let implicit = from_explicit_vr(&explicit(&dataset)).unwrap();
        let read = Dataset::read_dataset_with_ts(&implicit[..], &entries::IMPLICIT_VR_LITTLE_ENDIAN.erased()).unwrap();
        assert_eq!(explicit_without_lengths(&read), explicit_without_lengths(&dataset));
        assert!(implicit.windows(6).any(|w| w == b"M\xFCller"), "text is copied, not decoded");
    }

    /// Pixel Data is OW in Implicit VR; everything else must be the same.
    fn explicit_without_lengths(dataset: &Dataset) -> Vec<u8> {
        let mut dataset = dataset.clone();
        let pixels = dataset.take_element(tags::PIXEL_DATA).unwrap();
        let mut bytes = explicit(&dataset);
        bytes.extend_from_slice(&pixels.to_bytes().unwrap());
        bytes
    }

    #[test]
    fn defined_lengths_and_group_lengths_are_handled() {
        #[rustfmt::skip]
        let dataset = [
            0x08, 0x00, 0x00, 0x00, b'U', b'L', 4, 0, 9, 9, 9, 9,           // (0008,0000) group length: left out
            0x40, 0x00, 0x30, 0xA7, b'S', b'Q', 0, 0, 18, 0, 0, 0,          // (0040,A730) 18 bytes
            0xFE, 0xFF, 0x00, 0xE0, 10, 0, 0, 0,                            // item, 10 bytes
            0x40, 0x00, 0x40, 0xA0, b'C', b'S', 2, 0, b'O', b'K',           // (0040,A040)
        ];
        #[rustfmt::skip]
        let wanted = [
            0x40, 0x00, 0x30, 0xA7, 0xFF, 0xFF, 0xFF, 0xFF,
            0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF,
            0x40, 0x00, 0x40, 0xA0, 2, 0, 0, 0, b'O', b'K',
            0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0,
            0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0,
        ];
        assert_eq!(from_explicit_vr(&dataset).unwrap(), wanted);
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let bytes = explicit(&sample());
        let whole = from_explicit_vr(&bytes).unwrap();
        for length in 1..bytes.len() {
            // A cut between two top-level elements is a dataset of its own.
            if let Ok(part) = from_explicit_vr(&bytes[..length]) {
                assert!(part.len() < whole.len());
            }
        }
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] = 0xFF;
            let _ = from_explicit_vr(&damaged);
        }
    }
}
