//! Delivering: results and their destinations, good and bad.

mod bench;
#[path = "../support/kill/mod.rs"]
mod kill;
#[path = "../support/report_fixture/mod.rs"]
mod report_fixture;
#[path = "../support/scripted_peer/mod.rs"]
mod scripted_peer;
#[path = "../support/scripted_scp/mod.rs"]
mod scripted_scp;
#[path = "../support/statement/mod.rs"]
mod statement;
#[path = "../support/mod.rs"]
mod support;

mod a_pacs_that_misbehaves;
mod after_crash;
mod command_line;
mod conformance_is_what_is_delivered;
mod peers_answer;
mod slow_beside_fast;
mod to_awkward_peers;
mod to_dcmtk;
