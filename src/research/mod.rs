//! The research side: from a local archive (BIDS) to models that the daemon may serve.
//!
//! ```text
//!  archive ──▶ cache ──▶ plan + splits ──▶ fcdd-trainer (a fold at a time) ──▶ run folder
//!                                                                                  │
//!                      promote ◀── export ◀── report ◀── statistics, confounds ◀───┘
//! ```
//!
//! `periodic` says what a start by the timer has to do, and `mail` tells people of it.
//!
//! Nothing here knows libtorch: the trainer is a binary of its own that reads a run folder and a cache and
//! writes checkpoints and predictions. Preprocessing, network, Grad-CAM and gates are those that serving uses.

pub mod archive;
pub mod archive_add;
pub mod augment;
pub mod batches;
pub mod cache;
pub mod collect;
pub mod confounds;
pub mod evaluate;
pub mod export;
pub mod few_at_once;
pub mod fused_report;
pub mod grid;
pub mod heat_score;
pub mod intensity_baseline;
pub mod mail;
pub mod map_category;
pub mod model_report;
pub mod periodic;
pub mod plan;
pub mod pretrained_on;
pub mod promote;
pub mod report;
pub mod run_folder;
pub mod run_report;
pub mod seen_subjects;
pub mod splits;
pub mod statistics;
pub mod trainer_process;
pub mod weights_file;
