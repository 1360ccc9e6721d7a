//! A daemon that is killed again and again: cheap studies to send, a sender and a PACS that keep their own books,
//! what the ledger says a kill hit, and the comparison of all books at the end.

// Each group is a crate of its own that uses only a part of this module.
#![allow(dead_code, unused_imports)]

mod cheap;
mod evidence;
mod oracle;
mod sender;
mod sink;

pub use cheap::{Object, Study, cheap_configuration};
pub use evidence::{Evidence, Stage, with_copy};
pub use oracle::{Findings, compare};
pub use sender::{Sending, SentLog, send, store};
pub use sink::{Kept, Mood, Sink};
