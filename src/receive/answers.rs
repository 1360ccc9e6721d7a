//! Every status that is answered to a request (PS3.7 annex C, PS3.4 table B.2-1), and when.
//!
//! The conformance statement prints these tables, so a status that is not in them cannot go out.

use crate::dicom::dimse::Status;

/// What became of an object that is answered with success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is in the spool.
    New,
    /// It was there before, with the same bytes.
    Duplicate,
    /// It came under a UID that has other bytes here.
    Quarantined,
}

impl Stored {
    /// All of them.
    pub const ALL: [Stored; 3] = [Stored::New, Stored::Duplicate, Stored::Quarantined];

    /// The status of the response, whichever it is.
    pub const STATUS: Status = Status::SUCCESS;

    /// When it is answered, in words.
    pub fn when(self) -> &'static str {
        match self {
            Stored::New => "the object is on stable storage",
            Stored::Duplicate => "an object with this SOP Instance UID and the same data set is there already",
            Stored::Quarantined => {
                "an object with this SOP Instance UID and another data set, or in another study, is there already; \
                 this one is kept in quarantine, a warning is logged, and neither replaces the other"
            }
        }
    }
}

/// Why an object is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCause {
    /// The disk or the ledger failed, or the disk is low.
    CannotStoreNow,
    /// The command's SOP class is not the presentation context's.
    NotOfThisContext,
    /// The command's SOP instance is no UID.
    NotAUid,
    /// The dataset is another object than the command says.
    OtherObject,
    /// The dataset does not say where it belongs.
    Unreadable,
}

impl RefusalCause {
    /// All of them.
    pub const ALL: [RefusalCause; 5] = [
        RefusalCause::CannotStoreNow,
        RefusalCause::NotOfThisContext,
        RefusalCause::NotAUid,
        RefusalCause::OtherObject,
        RefusalCause::Unreadable,
    ];

    /// The status of the response.
    pub fn status(self) -> Status {
        match self {
            RefusalCause::CannotStoreNow => Status::OUT_OF_RESOURCES,
            RefusalCause::NotOfThisContext => Status::SOP_CLASS_NOT_SUPPORTED,
            RefusalCause::NotAUid => Status::INVALID_SOP_INSTANCE,
            RefusalCause::OtherObject => Status::DATASET_DOES_NOT_MATCH,
            RefusalCause::Unreadable => Status::CANNOT_UNDERSTAND,
        }
    }

    /// When it is answered, in words.
    pub fn when(self) -> &'static str {
        match self {
            RefusalCause::CannotStoreNow => {
                "less than `spool.reserve_free_mib` is free in the spool, or the disk or the ledger failed; the sender \
                 should try again later"
            }
            RefusalCause::NotOfThisContext => {
                "the Affected SOP Class UID of the command is not the abstract syntax of the presentation context, or that \
                 is Verification"
            }
            RefusalCause::NotAUid => "the Affected SOP Instance UID of the command is not a UID",
            RefusalCause::OtherObject => {
                "SOP Class UID or SOP Instance UID of the data set differ from those of the command"
            }
            RefusalCause::Unreadable => {
                "SOP Class, SOP Instance, Study Instance or Series Instance UID is missing or not a UID, does not come \
                 within the first 4 MiB, or the data set is not encoded as its transfer syntax says"
            }
        }
    }
}

/// How a request that is no C-STORE is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherAnswer {
    /// C-ECHO where it belongs.
    Echo,
    /// C-ECHO on a storage context.
    EchoElsewhere,
    /// Any other operation.
    UnofferedService,
}

impl OtherAnswer {
    /// All of them.
    pub const ALL: [OtherAnswer; 3] = [OtherAnswer::Echo, OtherAnswer::EchoElsewhere, OtherAnswer::UnofferedService];

    /// The status of the response.
    pub fn status(self) -> Status {
        match self {
            OtherAnswer::Echo => Status::SUCCESS,
            OtherAnswer::EchoElsewhere => Status::SOP_CLASS_NOT_SUPPORTED,
            OtherAnswer::UnofferedService => Status::UNRECOGNIZED_OPERATION,
        }
    }

    /// When it is answered, in words.
    pub fn when(self) -> &'static str {
        match self {
            OtherAnswer::Echo => "a C-ECHO comes on a presentation context for Verification",
            OtherAnswer::EchoElsewhere => "a C-ECHO comes on a presentation context for a storage SOP class",
            OtherAnswer::UnofferedService => {
                "a request without a data set comes for a service other than C-STORE and C-ECHO (C-CANCEL: no answer)"
            }
        }
    }
}
