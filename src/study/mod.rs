//! What one stage hands to the next. Stages know these types and the ground floor, never each other.
//!
//! ```text
//! receive → (spool + ledger) → assemble → AssembledStudy → analyze → Analysis → report → RenderedObject → deliver
//! ```

pub mod analysis;
pub mod assembled;
pub mod group;
pub mod in_flight;
pub mod objects;
pub mod prior;
pub mod revision;
pub mod selection;
pub mod series_verdict;

pub use analysis::{
    Analysis, Decision, Fused, Heatmap, Hemisphere, ModelIdentity, ModelOutcome, Reason, Region, Standing, Verdict,
};
pub use assembled::{AssembledStudy, ImagePlane, InputDigest, Sequence, SliceSource, SourceVolume, Stack};
pub use group::{Group, UnknownGroup};
pub use in_flight::InFlight;
pub use objects::{ObjectKind, RenderedObject};
pub use prior::Prior;
pub use revision::{ReportReference, Revision};
pub use selection::{Change, SelectedVolume, Selection};
pub use series_verdict::SeriesVerdict;
