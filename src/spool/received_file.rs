//! The file form of a received object: preamble, our file meta group (PS3.10 section 7.1), then the dataset
//! bytes exactly as they came.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

use dicom_object::FileMetaTable;
use sha2::{Digest, Sha256};

use super::{AtPath, SpoolError};
use crate::dicom::Uid;
use crate::dicom::identifying::{IdentifierReader, Identifiers, IdentifyingError};
use crate::dicom::identity::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};

const PREAMBLE_BYTES: usize = 128;

/// How much of a file is read at once.
const READ_BYTES: usize = 64 << 10;

/// What the file meta group of a received object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedHeader {
    /// Media Storage SOP Class UID, from the command.
    pub sop_class_uid: Uid,
    /// Media Storage SOP Instance UID, from the command.
    pub sop_instance_uid: Uid,
    /// Transfer Syntax UID, as negotiated.
    pub transfer_syntax: String,
    /// Source Application Entity Title: who sent it to us; at most 16 characters.
    pub source_ae: String,
}

impl ReceivedHeader {
    /// Preamble, `DICM` and the file meta group in Explicit VR Little Endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut group = Vec::with_capacity(256);
        // File Meta Information Version: OB, two reserved bytes, 32-bit length.
        group.extend_from_slice(&[0x02, 0x00, 0x01, 0x00, b'O', b'B', 0, 0, 2, 0, 0, 0, 0x00, 0x01]);
        text_element(&mut group, 0x0002, b"UI", self.sop_class_uid.as_str(), 0);
        text_element(&mut group, 0x0003, b"UI", self.sop_instance_uid.as_str(), 0);
        text_element(&mut group, 0x0010, b"UI", &self.transfer_syntax, 0);
        text_element(&mut group, 0x0012, b"UI", IMPLEMENTATION_CLASS_UID, 0);
        text_element(&mut group, 0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b' ');
        if !self.source_ae.is_empty() {
            text_element(&mut group, 0x0016, b"AE", &self.source_ae, b' ');
        }
        let mut bytes = vec![0; PREAMBLE_BYTES];
        bytes.extend_from_slice(b"DICM");
        bytes.extend_from_slice(&[0x02, 0x00, 0x00, 0x00, b'U', b'L', 4, 0]);
        bytes.extend_from_slice(&(group.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&group);
        bytes
    }
}

/// A short text element of group 0002, padded to even length. The texts are UIDs and AE titles: under 64 KiB.
fn text_element(bytes: &mut Vec<u8>, element: u16, vr: &[u8; 2], text: &str, padding: u8) {
    let padded_length = text.len().next_multiple_of(2);
    bytes.extend_from_slice(&[0x02, 0x00]);
    bytes.extend_from_slice(&element.to_le_bytes());
    bytes.extend_from_slice(vr);
    bytes.extend_from_slice(&(padded_length as u16).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(bytes.len() + padded_length - text.len(), padding);
}

/// What a received file says about itself, for rows that the ledger lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedFile {
    /// Its identifiers, from the dataset.
    pub identifiers: Identifiers,
    /// Its transfer syntax.
    pub transfer_syntax: String,
    /// Who sent it; empty where the file does not say.
    pub source_ae: String,
    /// Length of the dataset.
    pub dataset_bytes: u64,
    /// SHA-256 of the dataset.
    pub dataset_sha256: [u8; 32],
    /// When it was written, Unix milliseconds.
    pub written_at_ms: i64,
}

impl ReceivedFile {
    /// Reads and hashes a file of the spool.
    pub fn read(path: &Path) -> Result<ReceivedFile, SpoolError> {
        let not_ours =
            |error: IdentifyingError| SpoolError::NotOurs { path: path.to_owned(), reason: error.to_string() };
        let mut opened = open_dataset(path)?;
        let mut reader = IdentifierReader::new(&opened.transfer_syntax);
        let mut identifiers = None;
        let (mut hasher, mut dataset_bytes) = (Sha256::new(), 0);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = match opened.dataset.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.at("read", path)?,
            };
            let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
            if identifiers.is_none() {
                identifiers = reader.read(part).map_err(not_ours)?;
            }
            hasher.update(part);
            dataset_bytes += read as u64;
        }
        let identifiers = identifiers.ok_or_else(|| not_ours(reader.at_the_end()))?;
        let written = opened.dataset.get_ref().metadata().and_then(|m| m.modified()).at("ask for the age of", path)?;
        let age = written.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(ReceivedFile {
            identifiers,
            transfer_syntax: opened.transfer_syntax,
            source_ae: opened.source_ae,
            dataset_bytes,
            dataset_sha256: hasher.finalize().into(),
            written_at_ms: i64::try_from(age.as_millis()).unwrap_or(i64::MAX),
        })
    }
}

/// A file of the spool, standing at the first byte of its dataset.
#[derive(Debug)]
pub struct OpenedDataset {
    /// The rest of the file.
    pub dataset: BufReader<File>,
    /// Its transfer syntax.
    pub transfer_syntax: String,
    source_ae: String,
}

/// Opens a file and reads past its file meta group.
pub fn open_dataset(path: &Path) -> Result<OpenedDataset, SpoolError> {
    let not_ours = |reason: String| SpoolError::NotOurs { path: path.to_owned(), reason };
    let mut file = BufReader::new(File::open(path).at("open", path)?);
    file.seek(SeekFrom::Start(PREAMBLE_BYTES as u64)).at("read", path)?;
    let meta = FileMetaTable::from_reader(&mut file).map_err(|error| not_ours(error.to_string()))?;
    // What the codec has read is not what it was told to read when elements are odd; the group length decides.
    let dataset_start = PREAMBLE_BYTES as u64 + 4 + 12 + u64::from(meta.information_group_length);
    file.seek(SeekFrom::Start(dataset_start)).at("read", path)?;
    Ok(OpenedDataset {
        dataset: file,
        transfer_syntax: meta.transfer_syntax().to_owned(),
        source_ae: meta.source_application_entity_title.as_deref().unwrap_or_default().trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_back_as_it_was_received() {
        let uid = |text: &str| Uid::parse(text).unwrap();
        let header = ReceivedHeader {
            sop_class_uid: uid("1.2.840.10008.5.1.4.1.1.4"),
            sop_instance_uid: uid("1.2.3.4"),
            transfer_syntax: "1.2.840.10008.1.2.1".into(),
            source_ae: "MR1".into(),
        };
        #[rustfmt::skip]
        let dataset: &[u8] = &[
            0x08, 0x00, 0x16, 0x00, b'U', b'I', 6, 0, b'1', b'.', b'2', b'.', b'3', 0, // SOP Class UID
            0x08, 0x00, 0x18, 0x00, b'U', b'I', 8, 0, b'1', b'.', b'2', b'.', b'3', b'.', b'4', 0, // SOP Instance UID
            0x20, 0x00, 0x0D, 0x00, b'U', b'I', 4, 0, b'1', b'.', b'5', 0, // Study Instance UID
            0x20, 0x00, 0x0E, 0x00, b'U', b'I', 4, 0, b'1', b'.', b'6', 0, // Series Instance UID
        ];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.dcm");
        std::fs::write(&path, [header.encode().as_slice(), dataset].concat()).unwrap();
        let file = ReceivedFile::read(&path).unwrap();
        assert_eq!(file.identifiers.study_uid, uid("1.5"));
        assert_eq!(file.transfer_syntax, "1.2.840.10008.1.2.1");
        assert_eq!(file.source_ae, "MR1");
        assert_eq!(file.dataset_bytes, dataset.len() as u64);
        assert_eq!(file.dataset_sha256, <[u8; 32]>::from(Sha256::digest(dataset)));
        std::fs::write(&path, b"no DICOM at all").unwrap();
        assert!(matches!(ReceivedFile::read(&path), Err(SpoolError::NotOurs { .. })));
    }
}
