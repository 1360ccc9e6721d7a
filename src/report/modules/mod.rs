//! The modules that every result object has, one file per module or group of modules (PS3.3 annex A, C.7).

pub mod elements;
pub mod general_equipment;
pub mod patient_and_study;
pub mod series_and_sop;

pub use series_and_sop::ContentTime;
