//! The research side: from a local archive (BIDS) to models that the daemon may serve.
//!
//! ```text
//!  archive ──▶ cache ──▶ run: plan + splits ──▶ training: fcdd-trainer, a fold at a time ──▶ run: folder
//!                                                                                              │
//!          models: promote ◀── models: export ◀── report ◀── confounds ◀── evaluate ◀──────────┘
//! ```
//!
//! | room | holds |
//! |---|---|
//! | `archive` | a BIDS folder: what is in it, what is usable, adding a study to it |
//! | `cache` | its scans, preprocessed once |
//! | `run` | a cross-validation on disk |
//! | `training` | batches, augmentation, the trainer's process |
//! | `statistics` | figures and intervals of numbers |
//! | `evaluate` | every figure of scores and maps: Heat-Score, categories, baselines, abstention |
//! | `confounds` | whether a model tells more than scanner and age do |
//! | `models` | export, promotion, and who may be scored by what |
//! | `report` | the pages |
//! | `grid` | the paper's eighteen configurations and its tables |
//! | `periodic`, `mail` | what a start by the timer has to do, and telling people of it |
//!
//! Nothing here knows libtorch: the trainer is a binary of its own that reads a run folder and a cache and
//! writes checkpoints and predictions. Preprocessing, network, Grad-CAM and gates are those that serving uses.

pub mod archive;
pub mod cache;
pub mod confounds;
pub mod evaluate;
pub mod few_at_once;
pub mod grid;
pub mod mail;
pub mod models;
pub mod periodic;
pub mod report;
pub mod run;
pub mod statistics;
pub mod training;
