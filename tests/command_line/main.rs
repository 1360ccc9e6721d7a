//! The commands and the configuration file as a user meets them.

mod check_config_names_every_mistake;
mod every_command_explains_itself;
mod example_configuration;
