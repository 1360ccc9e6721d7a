//! Shared DICOM ground: identifiers, the upper layer, DIMSE messages, reading attributes, coded concepts and templates.

pub mod attributes;
pub mod codes;
pub mod dimse;
pub mod element_digests;
mod element_walk;
pub mod identifying;
pub mod identity;
pub mod pdu_fault;
mod pdu_reader;
pub mod peer;
pub mod peer_text;
pub mod templates;
pub mod transport;
pub mod uid;
pub mod upper_layer;

pub use peer::{AeTitle, InvalidPeer, Peer};
pub use templates::{TemplateError, Templates};
pub use uid::{InvalidUid, Uid};

use dicom_object::InMemDicomObject;

/// A dataset held in memory, with the standard dictionary.
pub type Dataset = InMemDicomObject;
