//! fcdd looks for focal cortical dysplasia (FCD) in MR studies, beside a hospital's PACS. **Research use
//! only; not a medical device.** This page is the architecture: a bird's-eye view, the map, and what must
//! always hold.
//!
//! # Bird's-eye view
//!
//! ```text
//!  PACS ──C-STORE──▶ receive ──▶ assemble ──▶ analyze ──▶ report ──▶ deliver ──C-STORE──▶ PACS
//!                      │  spool: the objects, durable    ▲              │
//!                      └──ledger: every hand-over a row──┴──────────────┘
//! ```
//!
//! A study walks through five stages. Each stage is a folder that knows the ground floor and the types of
//! [`study`], never another stage; only [`daemon`] and [`cli`] know them all and connect them. [`research`]
//! and [`conformance`] stand above the stages too: one measures with the code of [`analyze`] and draws with that of
//! [`report`], the other prints the tables by which [`receive`] and [`deliver`] negotiate and what [`report`] writes.
//!
//! # Map
//!
//! | where | what it is for |
//! |---|---|
//! | [`receive`] | C-STORE / C-ECHO SCP: an object that was acknowledged is on stable storage |
//! | [`assemble`] | when is a study complete, is it for us, series → classified volumes with verdicts |
//! | [`analyze`] | preprocessing `fcdd-2`, ONNX Runtime, Grad-CAM, regions, fusion, the verdict |
//! | [`report`] | heatmap series, card, structured report, `result.json`, pictures |
//! | [`deliver`] | the outbox's workers and the C-STORE SCU |
//! | [`study`] | what one stage hands to the next |
//! | [`spool`], [`ledger`] | what makes the stages durable |
//! | [`volume`] | grids, affines, resampling, connected components, NIfTI |
//! | [`dicom`] | UIDs, upper layer, DIMSE, coded concepts, templates |
//! | [`network`] | the 3D ResNet's specification, weights, ONNX writer, model manifest |
//! | [`config`], [`observe`] | configuration; events (log line and metric together) |
//! | [`phantom`] | synthetic subjects, as DICOM or BIDS |
//! | `fuzzing` | what a fuzzer may throw at the others, and what must hold whatever it throws |
//! | [`research`] | archive, splits, statistics, reports, export, promotion; `src/trainer` is the binary that trains |
//! | [`conformance`] | the DICOM conformance statement, printed from the stages' own tables |
//! | [`pipeline`], [`daemon`], [`cli`] | assemble → analyze → report as one call; the supervisor; one file per subcommand |
//!
//! # Invariants
//!
//! 1. **Acknowledged means durable.** No C-STORE is answered 0000H before its object was synced, renamed
//!    into the spool and the directory synced ([`receive`], [`spool`]).
//! 2. **The spool is the truth.** A ledger that was lost is rebuilt from it; no object is ever overwritten;
//!    the same UID with other bytes goes to quarantine.
//! 3. **Every hand-over is a row.** A study's state moves only along [`ledger::StudyState::MOVES`]; a kill at
//!    any instant leaves a state from which the next start goes on.
//! 4. **The same UID means the same bytes.** Result UIDs are derived from everything that shapes the result;
//!    results are rendered once, and only those files are ever sent.
//! 5. **Nothing is deleted before it was delivered**, and nothing of an undelivered study at all.
//! 6. **"Absent" is never "not assessed".** A study that cannot be assessed gets the verdict `unassessable`
//!    with reasons, and a report that says so; no stage fails silently, none falls back silently.
//! 7. **No loops.** An object of our own that comes back causes nothing.
//! 8. **Nothing from outside can panic the daemon.** Codecs run in a child process; a stage that panics
//!    fails its study and the daemon lives on.
//! 9. **One frame.** Inside, positions are LPS millimetres and volumes are C-order arrays with an affine
//!    ([`volume`]); RAS exists at the edges (NIfTI, the network's input grid) and is said where it does.
//! 10. **No patient data in logs** at INFO or above; studies are named by UID.
//!
//! Deliberately absent: a web interface, DICOM query/retrieve, training (a separate binary), `unsafe` code (but
//! for the one memory map of [`research::cache`]), and any network connection that the configuration does not name.
#![deny(unsafe_code)]
#![warn(missing_docs)]
// Invariant 8, as far as a linter sees it.
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::unimplemented
    )
)]

pub mod analyze;
pub mod assemble;
pub mod cli;
pub mod config;
pub mod conformance;
pub mod daemon;
pub mod deliver;
pub mod dicom;
#[doc(hidden)]
#[allow(clippy::panic, reason = "a panic is how a fuzz target says what it found")]
pub mod fuzzing;
pub mod ledger;
pub mod network;
pub mod observe;
pub mod phantom;
pub mod pipeline;
pub mod receive;
pub mod report;
pub mod research;
pub mod spool;
pub mod study;
pub mod volume;
