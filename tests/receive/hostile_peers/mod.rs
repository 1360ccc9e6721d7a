//! Hostile peers: what each sends, byte for byte, what it must be told, and what its receipt and its log line must say.
//!
//! Every conversation comes from a loopback address of its own, so that its receipt and its lines are found again.

mod association_requests;
mod changed_bytes;
mod commands;
mod cuts;
mod good_peer;
mod objects;
mod play;
mod slow;
mod strangers;
mod uids;
mod witness;

pub use good_peer::GoodPeer;
pub use play::{Played, play};
pub use witness::{Memory, Witness, complaints, daemon_of_short_waits, objects_in, receipts_of, refusals_of};

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A conversation.
#[derive(Debug, Clone)]
pub struct Family {
    pub name: String,
    /// An association is made first; otherwise it begins with a bare connection.
    pub associates: bool,
    pub steps: Vec<Step>,
    pub ending: Ending,
    /// Answers to come before it releases.
    pub answers: usize,
    /// What lies in the spool if it is answered with success: SOP instance and data set.
    pub object: Option<(String, Vec<u8>)>,
    pub expected: Expected,
}

/// What the peer does.
#[derive(Debug, Clone)]
pub enum Step {
    /// Sends bytes at once.
    Send(Vec<u8>),
    /// Sends bytes in pieces, with pauses; goes on listening, and stops when the receiver hangs up.
    Trickle { bytes: Vec<u8>, piece: usize, every: Duration },
}

/// What it does when it has sent everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Listens; releases once it was answered with a response or an A-ASSOCIATE-AC.
    Listens,
    /// Releases without waiting for an answer.
    Releases,
    /// Says that it will send no more (FIN), and listens.
    HalfCloses,
    /// Closes.
    Closes,
    /// Resets the connection (RST).
    Resets,
}

/// What must come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// An A-ABORT with this source and reason, for a reason in these words.
    Abort((u8, u8), &'static str),
    /// An A-ASSOCIATE-RJ with this result, source and reason, for a reason in these words.
    Rejected((u8, u8, u8), &'static str),
    /// An A-ASSOCIATE-AC, and no complaint.
    Accepted,
    /// A response with this status, for a reason in these words.
    Refused(u16, &'static str),
    /// The object is stored whole.
    Stored,
    /// No answer to anything, and a release without complaint.
    Unanswered(&'static str),
    /// Nobody is there any more to be told; the receipt has these words.
    Gone(&'static str),
    /// Nobody ever said anything: no receipt and no line.
    Unseen,
    /// Whatever the judge of all conversations lets pass.
    Judged,
}

impl Family {
    /// Bytes on a bare connection.
    pub fn stranger(name: impl Into<String>, bytes: impl Into<Vec<u8>>, expected: Expected) -> Family {
        let steps = vec![Step::Send(bytes.into())];
        Family {
            name: name.into(),
            associates: false,
            steps,
            ending: Ending::Listens,
            answers: 1,
            object: None,
            expected,
        }
    }

    /// Bytes within an association with the contexts of `scripted_peer::STANDARD_CONTEXTS`.
    pub fn associated(name: impl Into<String>, bytes: impl Into<Vec<u8>>, expected: Expected) -> Family {
        Family { associates: true, ..Family::stranger(name, bytes, expected) }
    }

    /// Bytes that are a whole C-STORE of this object.
    pub fn of_object(name: impl Into<String>, bytes: Vec<u8>, object: (String, Vec<u8>), expected: Expected) -> Family {
        Family { object: Some(object), ..Family::associated(name, bytes, expected) }
    }

    /// The same, ended otherwise.
    pub fn ending(self, ending: Ending) -> Family {
        Family { ending, ..self }
    }
}

/// A SOP Instance UID that no other conversation uses.
pub fn fresh_uid() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("2.25.7000.{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The study of all their objects.
pub const STUDY: &str = "2.25.666";

/// All of them but the slow ones.
pub fn quick_families() -> Vec<Family> {
    let mut families = strangers::families();
    families.extend(association_requests::families());
    families.extend(commands::families());
    families.extend(objects::families());
    families.extend(uids::families());
    families.extend(cuts::families());
    families.extend(changed_bytes::families());
    families
}

pub use slow::families as slow_families;
