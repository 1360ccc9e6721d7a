//! One object under way: collected in memory while it is small, streamed to its temporary file once it is not.
//!
//! Blocking work is handed to the blocking pool once per chunk, and once at the end; an object that is smaller than a
//! chunk takes a single hop for writing, syncing and naming. While the disk works the bytes are hashed. A chunk and a PDU
//! are all the memory that an object takes, however long it is and however deep in it its identifiers lie.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::task::{JoinError, spawn_blocking};

use super::answers::RefusalCause;
use crate::dicom::Uid;
use crate::dicom::dimse::Status;
use crate::dicom::identifying::{IdentifierReader, Identifiers, IdentifyingError};
use crate::spool::received_file::ReceivedHeader;
use crate::spool::{Committed, IncomingFile, Spool, SpoolError};

/// An object is written out whenever this much of it has been collected. An MR slice of 256 × 256 stays below it; all
/// associations together (`receive.max_associations`) must not collect more than a small machine can spare.
const CHUNK_BYTES: usize = 256 << 10;

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

impl From<IdentifyingError> for Refusal {
    fn from(error: IdentifyingError) -> Refusal {
        Refusal::theirs(RefusalCause::Unreadable, error)
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
    /// Dataset bytes that are neither in the file nor hashed yet.
    buffer: Vec<u8>,
    file: Option<IncomingFile>,
    hasher: Sha256,
    dataset_bytes: u64,
    reader: IdentifierReader,
    identifiers: Option<Identifiers>,
}

/// An object that arrived whole and is durable; or its name was taken, and then the temporary file is durable.
#[derive(Debug)]
pub(super) struct FinishedObject {
    pub(super) header: ReceivedHeader,
    pub(super) identifiers: Identifiers,
    pub(super) file: IncomingFile,
    pub(super) dataset_bytes: u64,
    /// Of the dataset bytes, without the file meta group.
    pub(super) dataset_sha256: [u8; 32],
    pub(super) committed: Committed,
}

impl ReceivingObject {
    /// Begins an object; `buffer` is memory of an earlier one.
    pub(super) fn new(header: ReceivedHeader, spool: Spool, mut buffer: Vec<u8>) -> ReceivingObject {
        buffer.clear();
        let reader = IdentifierReader::new(&header.transfer_syntax);
        let hasher = Sha256::new();
        ReceivingObject { header, spool, buffer, file: None, hasher, dataset_bytes: 0, reader, identifiers: None }
    }

    /// Takes a fragment of the dataset.
    pub(super) async fn append(&mut self, fragment: &[u8]) -> Result<(), Refusal> {
        self.identify(fragment)?;
        self.buffer.extend_from_slice(fragment);
        if self.buffer.len() < CHUNK_BYTES {
            return Ok(());
        }
        let file = self.write_out(|_| Ok(())).await?.0;
        self.file = Some(file);
        Ok(())
    }

    /// The dataset is complete: makes the object durable. The buffer comes back to be used again.
    pub(super) async fn finish(mut self) -> Result<(FinishedObject, Vec<u8>), Refusal> {
        let identifiers = self.identifiers.take().ok_or_else(|| self.reader.at_the_end())?;
        let (study_uid, sop_instance_uid) = (identifiers.study_uid.clone(), identifiers.sop_instance_uid.clone());
        let commit = move |file: &mut IncomingFile| file.commit_instance(&study_uid, &sop_instance_uid);
        let (file, committed) = self.write_out(commit).await?;
        let finished = FinishedObject {
            header: self.header,
            identifiers,
            file,
            dataset_bytes: self.dataset_bytes,
            dataset_sha256: self.hasher.finalize().into(),
            committed,
        };
        Ok((finished, self.buffer))
    }

    /// Appends what was collected to the file and does one thing more with it; the buffer is empty then.
    async fn write_out<T: Send + 'static>(
        &mut self,
        then: impl FnOnce(&mut IncomingFile) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<(IncomingFile, T), Refusal> {
        let collected = Arc::new(std::mem::take(&mut self.buffer));
        let (file, header, spool, bytes) =
            (self.file.take(), self.header.clone(), self.spool.clone(), collected.clone());
        let writing = spawn_blocking(move || -> Result<_, SpoolError> {
            let mut file = match file {
                Some(file) => file,
                None => spool.begin(&header)?,
            };
            file.append(&bytes)?;
            let outcome = then(&mut file)?;
            Ok((file, outcome))
        });
        // Here and now: at most a chunk, and the disk takes many times as long.
        self.hasher.update(collected.as_slice());
        self.dataset_bytes += collected.len() as u64;
        let written = writing.await??;
        // The writer is done and holds it no more.
        self.buffer = Arc::try_unwrap(collected).unwrap_or_default();
        self.buffer.clear();
        Ok(written)
    }

    /// Looks for the identifiers in the next bytes, until they are known; they must be the command's.
    fn identify(&mut self, fragment: &[u8]) -> Result<(), Refusal> {
        if self.identifiers.is_some() {
            return Ok(());
        }
        let Some(identifiers) = self.reader.read(fragment)? else { return Ok(()) };
        let mismatch = |what: &str, in_dataset: &Uid, in_command: &Uid| {
            let why = format!("{what} differs: data set {in_dataset}, command {in_command}");
            Err(Refusal::theirs(RefusalCause::OtherObject, why))
        };
        if identifiers.sop_class_uid != self.header.sop_class_uid {
            return mismatch("SOP class", &identifiers.sop_class_uid, &self.header.sop_class_uid);
        }
        if identifiers.sop_instance_uid != self.header.sop_instance_uid {
            return mismatch("SOP instance", &identifiers.sop_instance_uid, &self.header.sop_instance_uid);
        }
        self.identifiers = Some(identifiers);
        Ok(())
    }
}
