//! Stage three: from an assembled study to probabilities, a verdict and heatmaps.
//!
//! ```text
//! AssembledStudy → preprocess (head_mask) → gates, looks
//!                → session (model, runtime) → fuse (prior)
//!                → gradcam → regions          → Analysis        all of it driven by engine
//! ```
//!
//! What always holds: the study's own problems are honoured before anything runs; a verdict other than
//! "unassessable" needs the absence of every reason against one; heatmaps are made even when the verdict is withheld,
//! regions only when it is "suspected". What is deliberately absent: any fallback to a device or an arithmetic that
//! nobody asked for.

pub mod engine;
pub mod fuse;
pub mod gates;
pub mod gradcam;
pub mod head_mask;
pub mod looks;
pub mod model;
pub mod preprocess;
pub mod prior;
pub mod regions;
mod running;
pub mod runtime;
pub mod session;

pub use engine::{AnalyzeError, Engine};
