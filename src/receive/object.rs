//! One object under way: collected in memory while it is small, streamed to its temporary file once it is not.
//!
//! Blocking work is handed to the blocking pool about once per MiB, and once at the end; a small object takes a
//! single hop for writing, syncing and naming.

use tokio::task::{JoinError, spawn_blocking};

use super::answers::RefusalCause;
use crate::dicom::Uid;
use crate::dicom::dimse::Status;
use crate::dicom::identifying::{Identifiers, IdentifyingError, MAX_PREFIX_BYTES, read_identifiers};
use crate::spool::received_file::ReceivedHeader;
use crate::spool::{Committed, IncomingFile, Spool, SpoolError};

/// An object is written out whenever this much of it has been collected.
const CHUNK_BYTES: usize = 1 << 20;

/// Why an object is not stored; becomes the C-STORE response.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: Status,
    pub(super) why: String,
    /// The disk or the ledger failed: an operator must look.
    pub(super) is_our_fault: bool,
}

impl Refusal {
    /// The sender's object is wrong.
    pub(super) fn theirs(cause: RefusalCause, why: impl ToString) -> Refusal {
        Refusal { status: cause.status(), why: why.to_string(), is_our_fault: false }
    }

    /// We cannot store right now.
    pub(super) fn ours(why: impl ToString) -> Refusal {
        Refusal { status: RefusalCause::CannotStoreNow.status(), why: why.to_string(), is_our_fault: true }
    }

    /// The short form for the Error Comment: paths and system errors stay here.
    pub(super) fn comment(&self) -> String {
        if self.is_our_fault { "cannot store now, try again later".into() } else { self.why.clone() }
    }
}

impl From<SpoolError> for Refusal {
    fn from(error: SpoolError) -> Refusal {
        Refusal::ours(error)
    }
}

impl From<JoinError> for Refusal {
    fn from(error: JoinError) -> Refusal {
        Refusal::ours(format_args!("a writing task ended early: {error}"))
    }
}

/// An object whose dataset is arriving.
#[derive(Debug)]
pub(super) struct ReceivingObject {
    header: ReceivedHeader,
    spool: Spool,
    /// Dataset bytes that are not in the file yet.
    buffer: Vec<u8>,
    file: Option<IncomingFile>,
    identifiers: Option<Identifiers>,
}

/// An object that arrived whole and is durable; or its name was taken, and then the temporary file is durable.
#[derive(Debug)]
pub(super) struct FinishedObject {
    pub(super) header: ReceivedHeader,
    pub(super) identifiers: Identifiers,
    pub(super) file: IncomingFile,
    pub(super) committed: Committed,
}

impl ReceivingObject {
    /// Begins an object; `buffer` is memory of an earlier one.
    pub(super) fn new(header: ReceivedHeader, spool: Spool, mut buffer: Vec<u8>) -> ReceivingObject {
        buffer.clear();
        ReceivingObject { header, spool, buffer, file: None, identifiers: None }
    }

    /// Takes a fragment of the dataset.
    pub(super) async fn append(&mut self, fragment: &[u8]) -> Result<(), Refusal> {
        self.buffer.extend_from_slice(fragment);
        if self.buffer.len() < CHUNK_BYTES {
            return Ok(());
        }
        if self.identifiers.is_none() {
            match self.identify() {
                // Nothing goes to the disk before it is known where it belongs.
                Ok(None) if self.buffer.len() < MAX_PREFIX_BYTES => return Ok(()),
                Ok(None) => {
                    let why = format!("no Series Instance UID within the first {MAX_PREFIX_BYTES} bytes");
                    return Err(Refusal::theirs(RefusalCause::Unreadable, why));
                }
                Ok(identifiers) => self.identifiers = identifiers,
                Err(refusal) => return Err(refusal),
            }
        }
        let (file, buffer) = (self.file.take(), std::mem::take(&mut self.buffer));
        let (header, spool) = (self.header.clone(), self.spool.clone());
        let (file, buffer) = spawn_blocking(move || -> Result<_, SpoolError> {
            let mut file = match file {
                Some(file) => file,
                None => spool.begin(&header)?,
            };
            file.append(&buffer)?;
            Ok((file, buffer))
        })
        .await??;
        self.file = Some(file);
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    /// The dataset is complete: makes the object durable. The buffer comes back to be used again.
    pub(super) async fn finish(mut self) -> Result<(FinishedObject, Vec<u8>), Refusal> {
        let identifiers = match self.identifiers.take() {
            Some(identifiers) => identifiers,
            None => read_matching_identifiers(&self.buffer, &self.header)?,
        };
        spawn_blocking(move || -> Result<_, Refusal> {
            let mut file = match self.file {
                Some(file) => file,
                None => self.spool.begin(&self.header)?,
            };
            file.append(&self.buffer)?;
            let committed = file.commit_instance(&identifiers.study_uid, &identifiers.sop_instance_uid)?;
            Ok((FinishedObject { header: self.header, identifiers, file, committed }, self.buffer))
        })
        .await?
    }

    /// `None`: more of the dataset is needed.
    fn identify(&self) -> Result<Option<Identifiers>, Refusal> {
        match read_identifiers(&self.buffer, &self.header.transfer_syntax) {
            Err(IdentifyingError::EndsTooEarly { .. }) => Ok(None),
            _ => read_matching_identifiers(&self.buffer, &self.header).map(Some),
        }
    }
}

/// The identifiers, if they are there and are the command's.
fn read_matching_identifiers(prefix: &[u8], header: &ReceivedHeader) -> Result<Identifiers, Refusal> {
    let identifiers = read_identifiers(prefix, &header.transfer_syntax)
        .map_err(|error| Refusal::theirs(RefusalCause::Unreadable, error))?;
    let mismatch = |what: &str, in_dataset: &Uid, in_command: &Uid| {
        let why = format!("{what} differs: data set {in_dataset}, command {in_command}");
        Err(Refusal::theirs(RefusalCause::OtherObject, why))
    };
    if identifiers.sop_class_uid != header.sop_class_uid {
        return mismatch("SOP class", &identifiers.sop_class_uid, &header.sop_class_uid);
    }
    if identifiers.sop_instance_uid != header.sop_instance_uid {
        return mismatch("SOP instance", &identifiers.sop_instance_uid, &header.sop_instance_uid);
    }
    Ok(identifiers)
}
