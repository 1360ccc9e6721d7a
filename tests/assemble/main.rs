//! Assembling: from received files to volumes, or to a named verdict.

#[path = "../support/mod.rs"]
mod support;

mod left_stays_left;
mod reads_pydicoms_own_files;
mod several_patients_are_unassessable;
mod survives_damaged_files;
mod tells_images_apart;
mod volumes_agree_with_reference;
