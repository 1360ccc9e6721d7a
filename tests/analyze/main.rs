//! Analyzing: preprocessing, networks and Grad-CAM, from a volume to a finding or to the reason why there is none.

mod analysis;
#[path = "../golden/network.rs"]
mod golden_network;
#[path = "../support/mod.rs"]
mod support;

mod a_provider_that_fails_in_mid_run;
mod demo_models_say_what_they_are;
mod finds_real_heads;
mod gradcam_agrees_with_captum;
mod marker_comes_back;
mod marker_comes_back_where_it_was_put;
mod moves_to_the_sites_prevalence;
mod network_agrees_with_pytorch;
mod network_marker_finds_the_place;
mod random_networks_reproduce;
mod real_heads_are_not_called_fcd;
mod refuses_a_wrong_model;
mod stem_rewrite_changes_nothing;
mod withholds_the_verdict;
