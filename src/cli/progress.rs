//! Progress for a person at a terminal, plain lines for everything else.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Progress of a task with a known number of steps, on standard error.
///
/// At a terminal it is a bar; elsewhere one line at most every five seconds, and none for a task that is
/// over before that.
pub struct Progress {
    bar: Option<ProgressBar>,
    what: String,
    total: u64,
    done: u64,
    last_line: Instant,
}

impl Progress {
    /// Begins `what` (e.g. `sending`), which takes `total` steps.
    pub fn new(what: &str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template("{msg:<24} {bar:32} {pos}/{len}  {eta} left") {
                bar.set_style(style);
            }
            bar.set_message(what.to_owned());
            bar
        });
        Progress { bar, what: what.to_owned(), total, done: 0, last_line: Instant::now() }
    }

    /// There are `steps` more than was thought.
    pub fn add_steps(&mut self, steps: u64) {
        self.total += steps;
        if let Some(bar) = &self.bar {
            bar.set_length(self.total);
        }
    }

    /// Prints something without the bar in between.
    pub fn hide(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Counts `steps` more.
    pub fn advance(&mut self, steps: u64) {
        self.done += steps;
        match &self.bar {
            Some(bar) => bar.inc(steps),
            None if self.last_line.elapsed() >= Duration::from_secs(5) => {
                eprintln!("{}: {} of {}", self.what, self.done, self.total);
                self.last_line = Instant::now();
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
