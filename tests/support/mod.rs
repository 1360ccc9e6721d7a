//! What integration tests share: the reference data, the real peers, a running daemon; what fewer of them share lies in
//! folders beside it.
//!
//! `mod support;` of each group of scenarios (`tests/*/main.rs`). A scenario asks for what it needs first and returns when that
//! is not there:
//!
//! ```ignore
//! let Some(orthanc) = Orthanc::start() else { return };
//! let Some(study) = reference_data("study-openms-p12-t1-flair") else { return };
//! ```
//!
//! Each such skip is said on stderr with the test's name and collected for the end of `make test`; where
//! `FCDD_FORBID_SKIPS` is set it fails the test instead.

// Each group is a crate of its own that uses only a part of this module.
#![allow(dead_code, unused_imports)]

mod daemon;
mod dcmtk;
mod http;
mod orthanc;
mod prerequisites;
mod reference;
mod small_disk;
mod studies;
mod unit;
mod validators;
mod waiting;

pub use daemon::{Configuration, Daemon, Exit, Killed, fcdd};
pub use dcmtk::{Sent, echoscu, findscu, storescu, storescu_as};
pub use orthanc::{Orthanc, StoppedOrthanc};
pub use prerequisites::{python, require_file, require_onnxruntime, require_peer, skip};
pub use reference::{files_below, reference_data, reference_expectations, reference_root};
pub use small_disk::{MountedDisk, SmallDisk};
pub use studies::{marker_model, marker_study, phantom_study, rewrite};
pub use validators::{dciodvfy_errors, dsrdump, pixelmed_sr_errors, run_python};
pub use waiting::{free_port, wait_until};
