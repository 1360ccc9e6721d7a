//! Receiving: what peers send, good and bad, and what becomes of it on disk.

mod hostile_peers;
#[path = "../support/kill/mod.rs"]
mod kill;
#[path = "../support/scripted_peer/mod.rs"]
mod scripted_peer;
#[path = "../support/statement/mod.rs"]
mod statement;
#[path = "../support/mod.rs"]
mod support;

mod a_study_of_eight_thousand_slices;
mod conformance_is_what_is_negotiated;
mod fifty_associations_at_once;
mod from_real_senders;
mod hostile_peers_harm_nobody;
mod identifies_reference_data;
mod interleaved_studies_are_not_mixed;
mod keeps_every_byte;
mod leaves_nothing_half;
mod limits_and_rejects;
mod refuses_violations;
mod silent_connections_block_nobody;
