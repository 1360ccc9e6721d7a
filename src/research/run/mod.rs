//! A run on disk: what was planned, who is tested by which fold, what the folds left behind.
//!
//! | file | holds |
//! |---|---|
//! | `plan` | every choice of a run, resolved, with where it comes from: `plan.toml` |
//! | `folder` | the files of a run and how they are written |
//! | `splits` | who tests, validates and trains in which fold: `splits.json` |
//! | `weights_file` | a fold's best weights |
//! | `collect` | how far each fold is, and their predictions in one table |

pub mod collect;
pub mod folder;
pub mod plan;
pub mod splits;
pub mod weights_file;
