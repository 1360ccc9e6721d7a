//! Where log lines go: standard error, as text for a journal or as JSON for a collector.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config;

/// Begins logging for the rest of the process. A second call changes nothing.
///
/// Under systemd the journal adds time and unit by itself, so text lines carry no time there.
pub fn init(config: &config::Observe) {
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(true);
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    // An error here means that a subscriber is already there, which is as good.
    let _ = match (config.json, journal) {
        (true, _) => builder.json().try_init(),
        (false, true) => builder.without_time().try_init(),
        (false, false) => builder.try_init(),
    };
}
