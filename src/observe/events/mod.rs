//! One type per event; `emit` writes the log line and moves the counter. One file per stage.

pub mod analyze;
pub mod assemble;
pub mod daemon;
pub mod deliver;
pub mod receive;
pub mod report;
pub mod spool;

use super::metrics::Counter;

/// Every counter of every stage, for the metrics file.
pub fn counters() -> Vec<&'static Counter> {
    [
        receive::COUNTERS,
        spool::COUNTERS,
        assemble::COUNTERS,
        analyze::COUNTERS,
        report::COUNTERS,
        deliver::COUNTERS,
        daemon::COUNTERS,
    ]
    .concat()
}
