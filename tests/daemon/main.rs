//! The daemon as a whole: studies from PACS to PACS, and what may happen to it meanwhile.

#[path = "../support/kill/mod.rs"]
mod kill;
#[path = "../support/scripted_peer/mod.rs"]
mod scripted_peer;
#[path = "../support/mod.rs"]
mod support;
mod system_calls;

mod a_clock_that_jumps;
mod a_full_disk_fails_no_study;
mod a_locked_ledger_loses_nothing;
mod a_lost_ledger_is_rebuilt;
mod demo_shows_the_main_job;
mod late_images_open_a_revision;
mod models_that_do_not_load_stop_no_intake;
mod our_results_cause_nothing;
mod study_goes_from_pacs_to_pacs;
mod survives_kill;
mod syncs_come_before_answers;
