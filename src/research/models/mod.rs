//! From a finished run to a model that is served.
//!
//! | file | holds |
//! |---|---|
//! | `export` | the model folder with its rules and records |
//! | `pretrained_on` | whose scans the network that a run began with has seen |
//! | `seen_subjects` | which networks of a model may score a subject |
//! | `promote` | champion against challenger, and the record of every decision |

pub mod export;
pub mod pretrained_on;
pub mod promote;
pub mod seen_subjects;
