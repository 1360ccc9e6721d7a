//! Counters behind the events, and their text form for a Prometheus textfile collector.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug)]
pub struct Counter {
    name: &'static str,
    help: &'static str,
    value: AtomicU64,
}

impl Counter {
    /// A counter at zero. The name follows Prometheus: `fcdd_…_total`.
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Counter { name, help, value: AtomicU64::new(0) }
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.value.fetch_add(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// All counters in Prometheus' text format.
pub fn render(counters: &[&Counter]) -> String {
    let mut text = String::new();
    for c in counters {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {0} {1}\n# TYPE {0} counter\n{0} {2}", c.name, c.help, c.value());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_the_text_format() {
        static C: Counter = Counter::new("fcdd_test_total", "A test.");
        C.add(3);
        assert_eq!(
            render(&[&C]),
            "# HELP fcdd_test_total A test.\n# TYPE fcdd_test_total counter\nfcdd_test_total 3\n"
        );
    }
}
