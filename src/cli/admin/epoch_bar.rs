//! A fold's progress: at a terminal a bar per epoch, and everywhere a line per epoch.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::research::run::folder::{Epoch, TrainerEvent};
use crate::study::Sequence;

/// Shows what a trainer tells of one fold, on standard error.
pub struct EpochBar {
    title: String,
    bar: Option<ProgressBar>,
    is_terminal: bool,
    epochs: usize,
    done: usize,
    /// Of the epochs that this process saw, s.
    seconds: Vec<f64>,
}

impl EpochBar {
    /// Before the fold's first event.
    pub fn new(sequence: Sequence, fold: usize) -> Self {
        EpochBar {
            title: format!("{} fold {fold}", sequence.label()),
            bar: None,
            is_terminal: std::io::stderr().is_terminal(),
            epochs: 0,
            done: 0,
            seconds: Vec::new(),
        }
    }

    /// Shows an event.
    pub fn hear(&mut self, event: &TrainerEvent) {
        match event {
            TrainerEvent::FoldStarted { epochs_done, epochs, subjects: [train, validation, test], device, .. } => {
                (self.epochs, self.done) = (*epochs, *epochs_done);
                let so_far = if self.done > 0 { format!(", {epochs_done} epochs are done") } else { String::new() };
                eprintln!(
                    "{}: {train} subjects train, {validation} validate, {test} test, on {device}{so_far}",
                    self.title
                );
            }
            TrainerEvent::Step { step, steps, loss } if self.is_terminal => self.step(*step, *steps, *loss),
            TrainerEvent::Step { .. } => {}
            TrainerEvent::Epoch(row) => self.epoch(row),
            TrainerEvent::FoldDone { best_epoch, seconds, .. } => {
                let took = HumanDuration(duration(*seconds));
                eprintln!("{}: done, the weights of epoch {best_epoch} are kept, {took}", self.title);
            }
        }
    }

    fn step(&mut self, step: usize, steps: usize, loss: f64) {
        let (title, epoch, epochs) = (&self.title, self.done + 1, self.epochs);
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(steps as u64);
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {msg} {eta} left") {
                bar.set_style(style);
            }
            bar.set_prefix(format!("{title} epoch {epoch}/{epochs}"));
            bar
        });
        bar.set_message(format!("loss {loss:.4}"));
        bar.set_position(step as u64);
    }

    fn epoch(&mut self, row: &Epoch) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.done = row.epoch;
        self.seconds.push(row.seconds);
        eprintln!("{}", self.line(row));
    }

    fn line(&self, row: &Epoch) -> String {
        let mean = self.seconds.iter().sum::<f64>() / self.seconds.len().max(1) as f64;
        let left = mean * self.epochs.saturating_sub(row.epoch) as f64;
        let auc = row.validation_auc.map_or_else(|| "n/a".to_owned(), |auc| format!("{auc:.3}"));
        format!(
            "{} epoch {}/{}: loss {:.4}, accuracy {:.3}; validation loss {:.4}, accuracy {:.3}, AUC {auc}; learning rate \
             {:.0e}; {:.1} s, at most {} left",
            self.title,
            row.epoch,
            self.epochs,
            row.train_loss,
            row.train_accuracy,
            row.validation_loss,
            row.validation_accuracy,
            row.learning_rate,
            row.seconds,
            HumanDuration(duration(left)),
        )
    }
}

impl Drop for EpochBar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_figures_and_time_left() {
        let row = Epoch {
            epoch: 3,
            train_loss: 0.51234,
            train_accuracy: 0.75,
            validation_loss: 0.6,
            validation_accuracy: 0.5,
            validation_auc: None,
            learning_rate: 1e-4,
            seconds: 10.0,
            waited_s: 0.0,
        };
        let mut bar = EpochBar::new(Sequence::Flair, 2);
        bar.epochs = 10;
        bar.seconds = vec![10.0, 20.0];
        let line = bar.line(&row);
        for part in ["FLAIR fold 2 epoch 3/10", "loss 0.5123", "AUC n/a", "learning rate 1e-4", "2 minutes left"] {
            assert!(line.contains(part), "{line}");
        }
    }
}
