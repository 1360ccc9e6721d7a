//! Reference sets, what may be done to their files, and what must come of it.

mod element;
mod judge;
mod set;
mod variant;

pub use judge::{Outcome, judge};
pub use set::{Set, limits, rules, sets};
pub use variant::{Variant, variants};
