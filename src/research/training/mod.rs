//! What training needs on this side of the process boundary: batches with their augmentation, made on other threads, and
//! the trainer's process itself. The learning is in the binary `fcdd-trainer` (`src/trainer`).

pub mod augment;
pub mod batches;
pub mod process;
