//! C-STORE and C-ECHO as a service class user (PS3.4 annex B, PS3.7 sections 9.1.1 and 9.1.5), and what a
//! peer's answer means for the object: stored, try again, or give up.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::association::{Association, AssociationError, Call, Failure, MAX_CONTEXTS, Offer};
use super::dicom_file::{DicomFile, FileError};
use super::treatment::{self, Treatment};
use crate::dicom::dimse::{CStoreRq, Command, Status, VERIFICATION};

/// A peer that takes less than this on average is taken for dead.
pub const MIN_BYTES_PER_S: u64 = 1024;

/// What became of an object that was offered to a peer.
#[derive(Debug)]
pub enum StoreOutcome {
    /// Stored: 0000H, or a warning Bxxx.
    Stored {
        /// The status.
        status: Status,
    },
    /// Refused for now (A7xx): try again.
    Passing {
        /// The status.
        status: Status,
        /// The peer's Error Comment; may be empty.
        comment: String,
    },
    /// Refused for good: A9xx, Cxxx, 0122H, and any status that the standard does not call a success.
    Refused {
        /// The status.
        status: Status,
        /// The peer's Error Comment; may be empty.
        comment: String,
    },
    /// The peer accepted no presentation context for this SOP class in a transfer syntax that we can write.
    NotAccepted,
    /// The file cannot be sent; nothing went out.
    Unreadable(FileError),
}

impl StoreOutcome {
    /// What a C-STORE status means.
    fn of(status: Status, comment: String) -> StoreOutcome {
        match treatment::of_status(status) {
            Treatment::Delivered => StoreOutcome::Stored { status },
            Treatment::TriedAgain => StoreOutcome::Passing { status, comment },
            Treatment::GivenUp => StoreOutcome::Refused { status, comment },
        }
    }
}

/// The offers that these files need: each SOP class in each transfer syntax that a file of it can be sent in.
pub fn offers<'f>(files: impl IntoIterator<Item = &'f DicomFile>) -> BTreeSet<Offer> {
    let mut offers = BTreeSet::new();
    for file in files {
        for transfer_syntax in file.transfer_syntaxes() {
            offers.insert(Offer {
                sop_class_uid: file.sop_class_uid.to_string(),
                transfer_syntax: transfer_syntax.to_owned(),
            });
        }
    }
    offers
}

/// Cuts files, in their order, into runs that one association can offer.
pub fn runs(files: &[DicomFile]) -> Vec<&[DicomFile]> {
    let mut runs = Vec::new();
    let (mut start, mut offered) = (0, BTreeSet::new());
    for (i, file) in files.iter().enumerate() {
        offered.append(&mut offers([file]));
        if offered.len() > MAX_CONTEXTS {
            runs.extend(files.get(start..i));
            (start, offered) = (i, offers([file]));
        }
    }
    runs.extend(files.get(start..).filter(|run| !run.is_empty()));
    runs
}

impl Association {
    /// Sends one object and waits for the answer. An error ends the association and leaves open whether the
    /// peer stored the object; sending it again is the same SOP instance, which a peer recognises.
    pub async fn store(&mut self, file: &DicomFile) -> Result<StoreOutcome, AssociationError> {
        let Some((context_id, transfer_syntax)) = self.context(file.sop_class_uid.as_str(), &file.transfer_syntaxes())
        else {
            return Ok(StoreOutcome::NotAccepted);
        };
        let (opened, transfer_syntax) = (file.clone(), transfer_syntax.to_owned());
        let read = tokio::task::spawn_blocking(move || opened.dataset(&transfer_syntax)).await;
        let dataset = match read {
            Ok(Ok(dataset)) => dataset,
            Ok(Err(error)) => return Ok(StoreOutcome::Unreadable(error)),
            // The read was cancelled (shutdown) or panicked; the file is not to be trusted.
            Err(join) => {
                let (path, source) = (file.path.clone(), std::io::Error::other(join));
                return Ok(StoreOutcome::Unreadable(FileError::Io { path, source }));
            }
        };
        let message_id = self.next_message_id();
        let request = Command::CStoreRq(CStoreRq {
            message_id,
            sop_class_uid: file.sop_class_uid.to_string(),
            sop_instance_uid: file.sop_instance_uid.to_string(),
        });
        let whole = Duration::from_secs(dataset.len() as u64 / MIN_BYTES_PER_S) + self.call().timeout;
        let deadline = Instant::now() + whole;
        self.send_command(context_id, &request).await?;
        self.send_dataset(context_id, &dataset, deadline).await?;
        match self.receive_command(context_id, "a C-STORE response").await? {
            Command::CStoreRsp(response) if response.message_id == message_id => {
                Ok(StoreOutcome::of(response.status, response.error_comment))
            }
            other => {
                let expected = format!("the C-STORE response to message {message_id}");
                Err(self.error(Failure::Unexpected { expected, found: format!("{other:?}") }))
            }
        }
    }

    /// Asks the peer whether it answers; `None`: it does not accept Verification.
    pub async fn echo(&mut self) -> Result<Option<Status>, AssociationError> {
        let own = Association::echo_offers();
        let syntaxes: Vec<&str> = own.iter().map(|offer| offer.transfer_syntax.as_str()).collect();
        let Some((context_id, _)) = self.context(VERIFICATION, &syntaxes) else { return Ok(None) };
        let message_id = self.next_message_id();
        self.send_command(context_id, &Command::CEchoRq { message_id }).await?;
        match self.receive_command(context_id, "a C-ECHO response").await? {
            Command::CEchoRsp { message_id: answered, status } if answered == message_id => Ok(Some(status)),
            other => {
                let expected = format!("the C-ECHO response to message {message_id}");
                Err(self.error(Failure::Unexpected { expected, found: format!("{other:?}") }))
            }
        }
    }
}

/// One C-ECHO on an association of its own.
pub async fn echo(call: &Call) -> Result<Option<Status>, AssociationError> {
    let mut association = Association::request(call, &Association::echo_offers()).await?;
    match association.echo().await {
        Ok(status) => {
            association.release().await;
            Ok(status)
        }
        Err(error) => {
            association.abort().await;
            Err(error)
        }
    }
}
