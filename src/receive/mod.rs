//! Receive: a C-STORE and C-ECHO SCP. What it answered with success survives `kill -9` and power loss.
//!
//! ```text
//! listener     accepts                       one task per connection
//! admission    how many at once: places, and when they are free again
//! waiting_room connections over the limits, until they can be told to come back later
//! refused      lines about connections that are closed without an answer
//! serve        a connection from its first byte to its end
//! negotiation  A-ASSOCIATE-RQ → what is accepted, or why not
//! establish    from the connection to the A-ASSOCIATE-AC
//! rejection, abort, answers   what a peer can be told: every A-ASSOCIATE-RJ, A-ABORT and status, and when
//! association  the message loop: PDVs → commands and objects
//! conversation one association over any transport, without a listener
//! receipt      what an association leaves behind, and every way it can end
//! pace         the deadlines of a message
//! patience     until when a peer is waited for, and what its receipt says once that is over
//! object       one object under way: identifiers, temporary file
//! store        durable place, duplicates, quarantine, ledger row
//! variant      how a quarantined object differs from the first one
//! ```
//!
//! It needs the spool and the ledger and nothing else. Datasets are not parsed beyond their identifiers;
//! for words about a variant that is in quarantine already they are walked over.

mod abort;
mod admission;
mod answers;
mod association;
pub(crate) mod conversation;
mod establish;
mod listener;
mod negotiation;
mod object;
mod pace;
mod patience;
mod receipt;
mod refused;
mod rejection;
mod serve;
mod store;
mod variant;
mod waiting_room;

pub use abort::AbortCause;
pub use answers::{OtherAnswer, RefusalCause, Stored};
pub use establish::TURNED_AWAY_TIMEOUT;
pub use listener::{Intake, ListenError, Listener};
pub use negotiation::{ContextAnswer, TRANSFER_SYNTAXES};
pub use pace::GRACE;
pub use rejection::RejectionCause;
pub use waiting_room::MAX_TURNED_AWAY;
