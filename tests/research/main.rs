//! The research side: archives, phantoms, training, its reports, and the way of a model into service.

// What only the scenarios of training use.
#![cfg_attr(not(feature = "train"), allow(dead_code))]

mod archive;
mod archive_fixture;
mod calls;
mod finished_run;
mod mail;
mod research_run;
#[cfg(feature = "train")]
mod retrain;
#[path = "../support/mod.rs"]
mod support;
mod untrained_run;

mod archive_add_hides_who_it_is;
mod archive_add_reads_segmentations;
mod archive_cache_is_made_once;
mod archive_cache_survives_a_full_disk;
mod archive_names_what_cannot_be_used;
mod archive_reads_ds004199_without_volumes;
mod evaluate_scores_nobody_whom_it_has_seen;
mod export_makes_a_model_of_a_run;
mod grid_can_be_stopped;
#[cfg(feature = "train")]
mod grid_from_an_archive;
mod grid_makes_its_tables;
mod phantom_cohort_layout;
mod phantom_left_stays_left;
mod phantom_lesion_shows;
mod phantom_same_seed_same_bytes;
mod promote_takes_the_better_model;
#[cfg(feature = "train")]
mod retrain_export_promote_serve;
#[cfg(feature = "train")]
mod retrain_from_an_archive;
#[cfg(feature = "train")]
mod retrain_learns_and_resumes;
mod retrain_mail_arrives_or_says_why_not;
mod retrain_periodically_does_what_is_due;
#[cfg(feature = "train")]
mod retrain_refuses_what_does_not_fit;
#[cfg(feature = "train")]
mod retrain_reports_both_sequences_together;
mod run_report_agrees_with_its_run;
mod statistics_agree_with_scipy;
mod trainer_stays_apart;
