//! What the outside can see: events, each one log line and one metric at once, so that they cannot drift.
//!
//! Levels: ERROR means that data was lost or an operator must act; WARN means that something is wrong and
//! nothing is lost; INFO tells a study's way. No patient name or patient ID is logged at INFO or above;
//! studies are named by their UID.

pub mod events;
pub mod log;
pub mod metrics;
