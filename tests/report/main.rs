//! Reporting: the heatmap series, the Structured Report and what they say.

#[path = "../support/report_fixture/mod.rs"]
mod report_fixture;
#[path = "../support/statement/mod.rs"]
mod statement;
#[path = "../support/mod.rs"]
mod support;

mod conformance_is_what_is_written;
mod draws_card_and_overview;
mod is_deterministic_and_verbatim;
mod objects_pass_validators;
mod says_what_a_probability_assumes;
mod stays_in_place;
