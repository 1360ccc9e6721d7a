//! A digest of each element of a dataset, so that two datasets can be compared without being held or parsed.
//!
//! Bytes come from outside: nothing that they claim is allocated, and memory is bounded by the number of elements, which has a limit.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use sha2::{Digest, Sha256};

use super::element_walk::{ElementWalk, Encoding, Fault, Sight, Tag};
use super::identifying::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN;

/// A dataset of more elements than this is not compared: no scanner writes so many outside of sequences.
const MAX_ELEMENTS: usize = 10_000;

/// Group and element number → SHA-256 of the element as it is encoded, header and value, sequences with all they hold.
pub type ElementDigests = BTreeMap<(u16, u16), [u8; 32]>;

/// Why a dataset's elements cannot be told apart.
#[derive(Debug, thiserror::Error)]
pub enum ElementDigestError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// It is deflated as a whole.
    #[error("it is deflated")]
    Deflated,
    /// The bytes are not encoded as the transfer syntax says, or nest too deep.
    #[error("it is not encoded as its transfer syntax says")]
    NotEncodedSo,
    /// Far too many elements.
    #[error("it has more than {MAX_ELEMENTS} elements")]
    TooMany,
}

impl From<Fault> for ElementDigestError {
    fn from(_: Fault) -> ElementDigestError {
        ElementDigestError::NotEncodedSo
    }
}

/// The digests of a dataset that begins where `dataset` stands and goes to its end.
pub fn element_digests(
    mut dataset: impl Read + Seek,
    transfer_syntax: &str,
) -> Result<ElementDigests, ElementDigestError> {
    if transfer_syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
        return Err(ElementDigestError::Deflated);
    }
    let start = dataset.stream_position()?;
    let begins = element_begins(&mut dataset, transfer_syntax)?;
    dataset.seek(SeekFrom::Start(start))?;
    let mut digests = ElementDigests::new();
    for (index, (tag, begin)) in begins.iter().enumerate() {
        let end = begins.get(index + 1).map_or(u64::MAX, |(_, next)| *next as u64);
        let mut hasher = Sha256::new();
        // A tag that comes twice is one entry over both.
        if let Some(before) = digests.get(&(tag.0, tag.1)) {
            hasher.update(before);
        }
        std::io::copy(&mut dataset.by_ref().take(end - *begin as u64), &mut hasher)?;
        digests.insert((tag.0, tag.1), hasher.finalize().into());
    }
    Ok(digests)
}

/// The elements in the order in which they come, with the byte of the dataset at which each begins.
fn element_begins(dataset: &mut impl Read, transfer_syntax: &str) -> Result<Vec<(Tag, usize)>, ElementDigestError> {
    let mut walk = ElementWalk::new(Encoding::of(transfer_syntax));
    let mut begins = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = match dataset.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let mut rest = buffer.get(..read).unwrap_or_default();
        if rest.is_empty() {
            return Ok(begins);
        }
        while let Some(sight) = walk.next(&mut rest)? {
            if let Sight::Element { tag, .. } = sight {
                if begins.len() == MAX_ELEMENTS {
                    return Err(ElementDigestError::TooMany);
                }
                begins.push((tag, walk.header_begin()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::dicom::identifying::EXPLICIT_VR_LITTLE_ENDIAN;

    fn short(group: u16, element: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut bytes = [group.to_le_bytes(), element.to_le_bytes(), *vr].concat();
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend(value);
        bytes
    }

    fn digests(bytes: &[u8]) -> Result<ElementDigests, ElementDigestError> {
        element_digests(Cursor::new(bytes), EXPLICIT_VR_LITTLE_ENDIAN)
    }

    #[test]
    fn an_element_that_differs_is_the_only_one_that_differs() {
        // A sequence of undefined length with one empty item stands between the two.
        let mut sequence = vec![0x08, 0, 0x40, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
        sequence.extend([0xFE, 0xFF, 0x00, 0xE0, 0, 0, 0, 0, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        let dataset = |name: &[u8]| {
            let large = vec![7; 60_000];
            [
                short(8, 5, b"CS", b"ISO_IR 100"),
                sequence.clone(),
                short(0x10, 0x10, b"PN", name),
                short(0x20, 0x10, b"SH", &large),
            ]
            .concat()
        };
        let (one, other) = (digests(&dataset(b"Doe^")).unwrap(), digests(&dataset(b"Roe^Jane")).unwrap());
        assert_eq!(one.keys().collect::<Vec<_>>(), [&(8, 5), &(8, 0x1140), &(0x10, 0x10), &(0x20, 0x10)]);
        let differing: Vec<_> = one.iter().filter(|(tag, digest)| other.get(*tag) != Some(digest)).collect();
        assert_eq!(differing.len(), 1);
        assert_eq!(differing[0].0, &(0x10, 0x10));
    }

    #[test]
    fn what_a_dataset_claims_is_not_allocated() {
        let mut claims = short(8, 5, b"CS", b"ISO_IR 100");
        claims.extend([0x29, 0, 0x10, 0x10, b'O', b'B', 0, 0, 0xFE, 0xFF, 0xFF, 0xF0]);
        assert_eq!(digests(&claims).unwrap().len(), 2, "a value of four gigabytes that is not there");
        let many: Vec<u8> = (0..MAX_ELEMENTS as u16 + 1).flat_map(|n| short(0x29, n, b"CS", b"")).collect();
        assert!(matches!(digests(&many), Err(ElementDigestError::TooMany)));
        assert!(matches!(digests(&[0xA5; 40]), Err(ElementDigestError::NotEncodedSo)));
    }
}
