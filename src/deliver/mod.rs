//! Delivery of result objects: an outbox in the ledger, one task per destination, our own C-STORE SCU.
//!
//! 1. A delivery is `delivered` only after the destination answered that it stored the object.
//! 2. Only the file that was rendered is ever sent: same bytes, same SOP instance. Sending it again after a
//!    lost answer is harmless, and nothing goes out under a second UID.
//! 3. What passes by itself (no connection, rejects, A7xx, aborts, silence) is tried again with growing waits;
//!    what does not (A9xx, Cxxx, 0122H, no presentation context, a file that is gone) is an ERROR for an operator.
//! 4. Destinations know nothing of each other.
//!
//! ```text
//! rules      which object goes where           → outbox rows, written with the analysis in one transaction
//! outbox     one worker per destination        ← ledger rows, notifications, time
//! scu        C-STORE, C-ECHO
//! treatment  what each answer means for the object
//! association  request, contexts, release, abort
//! dicom_file, implicit_vr                      a file's head; its dataset as the peer accepts it
//! ```
//!
//! Deliberately absent: an association that is kept open between studies, and N objects under way at once in
//! one association (asynchronous operations): a study's results are a few hundred small objects.

pub mod association;
pub mod dicom_file;
pub mod implicit_vr;
pub mod outbox;
pub mod rules;
pub mod scu;
pub mod treatment;

pub use association::{Association, AssociationError, Call};
pub use outbox::{Deliveries, InvalidDestination};
pub use rules::{Rules, StudyFacts};
