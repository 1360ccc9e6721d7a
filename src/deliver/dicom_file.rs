//! A DICOM file (PS3.10) as something to be sent: who it is, how it is encoded, and its dataset's bytes.
//!
//! Nothing of the dataset is parsed. It is sent as it lies on the disk, or rewritten header by header where
//! the peer takes Implicit VR only ([`super::implicit_vr`]).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use dicom_dictionary_std::uids;

use super::implicit_vr::{self, RewriteError};
use crate::dicom::{InvalidUid, Uid};

/// Preamble and `DICM`.
const PREAMBLE_BYTES: usize = 132;

/// File meta groups are a few hundred bytes long; one that is longer than this is not looked at.
const MAX_META_BYTES: u64 = 1 << 16;

/// The head of a DICOM file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DicomFile {
    /// The file.
    pub path: PathBuf,
    /// Media Storage SOP Class UID (0002,0002).
    pub sop_class_uid: Uid,
    /// Media Storage SOP Instance UID (0002,0003).
    pub sop_instance_uid: Uid,
    /// Transfer Syntax UID (0002,0010).
    pub transfer_syntax: Uid,
    /// Where the dataset begins.
    dataset_offset: u64,
}

/// A file that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It does not begin like a DICOM file.
    #[error("{path} is not a DICOM file")]
    NotDicom {
        /// The file.
        path: PathBuf,
    },
    /// Its file meta group is damaged.
    #[error("the file meta group of {path} is damaged: {what}")]
    Meta {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A UID of its file meta group is not one.
    #[error("the file meta group of {path} is damaged: {source}")]
    Uid {
        /// The file.
        path: PathBuf,
        /// The offending text.
        source: InvalidUid,
    },
    /// Its dataset cannot be rewritten as Implicit VR.
    #[error("{path} cannot be rewritten as Implicit VR Little Endian: {source}")]
    Rewrite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: RewriteError,
    },
    /// It holds another object than the ledger says; sending it would put a second UID into the world.
    #[error("{path} holds SOP instance {found}, the ledger says {expected}")]
    OtherObject {
        /// The file.
        path: PathBuf,
        /// SOP Instance UID by the ledger.
        expected: Uid,
        /// SOP Instance UID in the file.
        found: Uid,
    },
}

impl DicomFile {
    /// Reads the head of a file.
    pub fn open(path: &Path) -> Result<DicomFile, FileError> {
        let io_error = |source| FileError::Io { path: path.to_owned(), source };
        let mut head = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_META_BYTES).read_to_end(&mut head)).map_err(io_error)?;
        if head.get(PREAMBLE_BYTES - 4..PREAMBLE_BYTES) != Some(b"DICM") {
            return Err(FileError::NotDicom { path: path.to_owned() });
        }
        let meta_error = |what: String| FileError::Meta { path: path.to_owned(), what };
        let meta = Meta::parse(&head).map_err(|what| meta_error(what.to_owned()))?;
        let uid = |value: Option<&[u8]>, name: &str| {
            let value = value.ok_or_else(|| meta_error(format!("{name} is missing")))?;
            Uid::parse(&String::from_utf8_lossy(value))
                .map_err(|source| FileError::Uid { path: path.to_owned(), source })
        };
        Ok(DicomFile {
            path: path.to_owned(),
            sop_class_uid: uid(meta.sop_class, "Media Storage SOP Class UID")?,
            sop_instance_uid: uid(meta.sop_instance, "Media Storage SOP Instance UID")?,
            transfer_syntax: uid(meta.transfer_syntax, "Transfer Syntax UID")?,
            dataset_offset: meta.end as u64,
        })
    }

    /// The transfer syntaxes in which this object can be sent, the best first: its own, and Implicit VR Little
    /// Endian for an Explicit VR Little Endian file. Nothing is compressed, decompressed or turned round here;
    /// every AE must take Implicit VR (PS3.5 section 10.1), so an implicit file needs no second offer.
    pub fn transfer_syntaxes(&self) -> Vec<&str> {
        let own = self.transfer_syntax.as_str();
        match own {
            uids::EXPLICIT_VR_LITTLE_ENDIAN => vec![own, uids::IMPLICIT_VR_LITTLE_ENDIAN],
            _ => vec![own],
        }
    }

    /// The dataset's bytes in one of [`DicomFile::transfer_syntaxes`].
    pub fn dataset(&self, transfer_syntax: &str) -> Result<Vec<u8>, FileError> {
        let io_error = |source| FileError::Io { path: self.path.clone(), source };
        let mut file = File::open(&self.path).map_err(io_error)?;
        file.seek(SeekFrom::Start(self.dataset_offset)).map_err(io_error)?;
        let mut dataset = Vec::new();
        file.read_to_end(&mut dataset).map_err(io_error)?;
        if transfer_syntax == self.transfer_syntax.as_str() {
            return Ok(dataset);
        }
        implicit_vr::from_explicit_vr(&dataset).map_err(|source| FileError::Rewrite { path: self.path.clone(), source })
    }
}

/// What is needed of a file meta group (PS3.10 section 7.1).
#[derive(Default)]
struct Meta<'a> {
    sop_class: Option<&'a [u8]>,
    sop_instance: Option<&'a [u8]>,
    transfer_syntax: Option<&'a [u8]>,
    /// Offset of the first byte after the group.
    end: usize,
}

impl<'a> Meta<'a> {
    /// Walks the elements of group 0002, which is always Explicit VR Little Endian. The group length is not
    /// believed: some writers count wrongly.
    fn parse(file: &'a [u8]) -> Result<Meta<'a>, &'static str> {
        const TRUNCATED: &str = "it ends inside an element";
        let mut meta = Meta { end: PREAMBLE_BYTES, ..Meta::default() };
        while let Some([0x02, 0x00, e0, e1, v, r, l0, l1]) = file.get(meta.end..).and_then(|b| b.first_chunk::<8>()) {
            let (header, length) = match &[*v, *r] {
                b"OB" | b"OW" | b"UN" | b"UT" | b"SQ" => {
                    let length = file.get(meta.end + 8..).and_then(|b| b.first_chunk::<4>()).ok_or(TRUNCATED)?;
                    (12, u32::from_le_bytes(*length) as usize)
                }
                _ => (8, usize::from(u16::from_le_bytes([*l0, *l1]))),
            };
            let start = meta.end + header;
            let end = start.checked_add(length).ok_or(TRUNCATED)?;
            let value = file.get(start..end).ok_or(TRUNCATED)?;
            match u16::from_le_bytes([*e0, *e1]) {
                0x0002 => meta.sop_class = Some(value),
                0x0003 => meta.sop_instance = Some(value),
                0x0010 => meta.transfer_syntax = Some(value),
                _ => {}
            }
            meta.end = end;
        }
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, meta: &[u8], dataset: &[u8]) -> PathBuf {
        let path = folder.join("a.dcm");
        std::fs::write(&path, [&[0; 128], b"DICM".as_slice(), meta, dataset].concat()).unwrap();
        path
    }

    fn element(number: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![2, 0];
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(vr);
        bytes.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(value);
        bytes
    }

    #[test]
    fn the_head_is_read_and_a_wrong_group_length_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let meta = [
            element(0x0000, b"UL", &[1, 2, 3, 4]),
            vec![2, 0, 1, 0, b'O', b'B', 0, 0, 2, 0, 0, 0, 0, 1],
            element(0x0002, b"UI", b"1.2.840.10008.5.1.4.1.1.4\0"),
            element(0x0003, b"UI", b"1.2.3\0"),
            element(0x0010, b"UI", b"1.2.840.10008.1.2.1\0"),
        ]
        .concat();
        let dataset = [8, 0, 5, 0, b'C', b'S', 2, 0, b'O', b'K'];
        let head = DicomFile::open(&file(folder.path(), &meta, &dataset)).unwrap();
        assert_eq!(head.sop_instance_uid.as_str(), "1.2.3");
        assert_eq!(head.transfer_syntaxes(), [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN]);
        assert_eq!(head.dataset(uids::EXPLICIT_VR_LITTLE_ENDIAN).unwrap(), dataset);
        assert_eq!(head.dataset(uids::IMPLICIT_VR_LITTLE_ENDIAN).unwrap(), [8, 0, 5, 0, 2, 0, 0, 0, b'O', b'K']);
    }

    #[test]
    fn other_files_and_damaged_ones_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("notes.txt");
        std::fs::write(&text, "not an image").unwrap();
        assert!(matches!(DicomFile::open(&text), Err(FileError::NotDicom { .. })));
        assert!(matches!(DicomFile::open(&folder.path().join("gone")), Err(FileError::Io { .. })));
        let cut = file(folder.path(), &element(0x0002, b"UI", b"1.2")[..9], &[]);
        assert!(matches!(DicomFile::open(&cut), Err(FileError::Meta { .. })));
        let nothing = file(folder.path(), &[], &[]);
        let error = DicomFile::open(&nothing).unwrap_err();
        assert!(error.to_string().contains("SOP Class UID is missing"), "{error}");
        let escape = file(folder.path(), &element(0x0002, b"UI", b"../../x\0"), &[]);
        assert!(matches!(DicomFile::open(&escape), Err(FileError::Uid { .. })));
    }
}
