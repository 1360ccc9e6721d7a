//! When the learning rate falls, which epoch is kept, and when a fold stops.
//!
//! - The learning rate follows `torch.optim.lr_scheduler.ReduceLROnPlateau` (mode `min`, threshold 1e-4 relative, no
//!   cooldown): an epoch counts as better only when it beats the best by more than the threshold.
//! - With [`Decay::Cosine`] it does not ask how training goes: it rises over the first tenth of the epochs, then falls along
//!   half a cosine, and every epoch is trained. Guided training needs that: for many epochs it learns where lesions are,
//!   and the classes' loss does not fall meanwhile.
//! - The kept epoch is the one with the lowest validation loss, however small the difference. The fold stops after so
//!   many epochs without a lower one.
//!
//! All of it is in [`Schedule`], which goes into the checkpoint.

use std::f64::consts::PI;

use fcdd::research::run::plan::{Decay, Plan};
use serde::{Deserialize, Serialize};

/// A loss is better for the learning rate when it is below `best · (1 − THRESHOLD)` (PyTorch's default).
const THRESHOLD: f64 = 1e-4;
/// Smaller changes of the learning rate are not made (PyTorch's default).
const SMALLEST_CHANGE: f64 = 1e-8;

/// Share of the epochs over which a cosine's learning rate rises first.
const RISE: f64 = 0.1;

/// State of the plateau rule and of early stopping, or of a cosine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    factor: f64,
    plateau_patience: usize,
    stopping_patience: usize,
    learning_rate: f64,
    /// Best loss by the threshold; none before the first epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plateau_best: Option<f64>,
    plateau_waited: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lowest: Option<f64>,
    best_epoch: usize,
    epochs: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cosine: Option<Cosine>,
}

/// A learning rate that is known beforehand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cosine {
    highest: f64,
    epochs: usize,
}

impl Cosine {
    /// Of the epoch that follows `done` ones.
    fn learning_rate(&self, done: usize) -> f64 {
        let (done, all) = (done as f64, self.epochs as f64);
        let rise = (RISE * all).floor();
        if done < rise {
            return self.highest * (done + 1.0) / (rise + 1.0);
        }
        let share = ((done - rise) / (all - rise).max(1.0)).min(1.0);
        self.highest * 0.5 * (1.0 + (PI * share).cos())
    }
}

impl Schedule {
    /// Before the first epoch.
    pub fn new(plan: &Plan) -> Self {
        Schedule {
            factor: plan.plateau_factor.value,
            plateau_patience: plan.plateau_patience.value,
            stopping_patience: plan.early_stopping_patience.value,
            learning_rate: plan.learning_rate.value,
            plateau_best: None,
            plateau_waited: 0,
            lowest: None,
            best_epoch: 0,
            epochs: 0,
            cosine: plan
                .decay
                .as_ref()
                .filter(|decay| decay.value == Decay::Cosine)
                .map(|_| Cosine { highest: plan.learning_rate.value, epochs: plan.epochs.value }),
        }
    }

    /// Takes the validation loss of the next epoch.
    pub fn epoch_done(&mut self, validation_loss: f64) {
        self.epochs += 1;
        if self.lowest.is_none_or(|lowest| validation_loss < lowest) {
            self.lowest = Some(validation_loss);
            self.best_epoch = self.epochs;
        }
        if self.plateau_best.is_none_or(|best| validation_loss < best * (1.0 - THRESHOLD)) {
            self.plateau_best = Some(validation_loss);
            self.plateau_waited = 0;
        } else {
            self.plateau_waited += 1;
        }
        if self.plateau_waited > self.plateau_patience {
            let lower = self.learning_rate * self.factor;
            if self.learning_rate - lower > SMALLEST_CHANGE {
                self.learning_rate = lower;
            }
            self.plateau_waited = 0;
        }
    }

    /// Learning rate of the next epoch.
    pub fn learning_rate(&self) -> f64 {
        self.cosine.as_ref().map_or(self.learning_rate, |cosine| cosine.learning_rate(self.epochs))
    }

    /// The epoch (from 1) with the lowest validation loss so far; 0 before the first.
    pub fn best_epoch(&self) -> usize {
        self.best_epoch
    }

    /// Epochs done.
    pub fn epochs_done(&self) -> usize {
        self.epochs
    }

    /// Whether the epoch that was just done is the best so far.
    pub fn is_best(&self) -> bool {
        self.epochs > 0 && self.best_epoch == self.epochs
    }

    /// Whether there was no better epoch for too long.
    pub fn stops(&self) -> bool {
        self.cosine.is_none() && self.epochs - self.best_epoch >= self.stopping_patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        factor: f64,
        patience: usize,
        learning_rate: f64,
        losses: Vec<f64>,
        /// After each epoch.
        learning_rates: Vec<f64>,
    }

    fn schedule(golden: &Golden) -> Schedule {
        Schedule {
            factor: golden.factor,
            plateau_patience: golden.patience,
            stopping_patience: 3,
            learning_rate: golden.learning_rate,
            plateau_best: None,
            plateau_waited: 0,
            lowest: None,
            best_epoch: 0,
            epochs: 0,
            cosine: None,
        }
    }

    #[test]
    fn a_cosine_rises_falls_and_trains_every_epoch() {
        let golden =
            Golden { factor: 0.1, patience: 1, learning_rate: 1e-3, losses: Vec::new(), learning_rates: Vec::new() };
        let mut schedule = schedule(&golden);
        schedule.cosine = Some(Cosine { highest: 0.002, epochs: 20 });
        let mut rates = Vec::new();
        for _ in 0..20 {
            assert!(!schedule.stops());
            rates.push(schedule.learning_rate());
            schedule.epoch_done(1.0);
            schedule = toml::from_str(&toml::to_string(&schedule).unwrap()).unwrap();
        }
        // Two epochs of rise, a third and two thirds of the way; then 18 epochs along the cosine, half of it after 9.
        let expected = [(0, 0.002 / 3.0), (1, 0.004 / 3.0), (2, 0.002), (11, 0.001)];
        for (epoch, rate) in expected {
            assert!((rates[epoch] - rate).abs() < 1e-12, "{epoch}: {}", rates[epoch]);
        }
        assert!(
            rates[2..].windows(2).all(|pair| pair[1] < pair[0]) && rates[19] > 0.0 && rates[19] < 2e-5,
            "{rates:?}"
        );
    }

    /// Sequences with ties, improvements just above and below the threshold, and a rate that reaches its floor.
    #[test]
    fn the_learning_rate_is_that_of_pytorch() {
        let text = include_str!("../../tests/golden/plateau.json");
        let golden: Vec<Golden> = serde_json::from_str(text).unwrap();
        assert!(golden.len() >= 4);
        for (case, golden) in golden.iter().enumerate() {
            let mut schedule = schedule(golden);
            let mut rates = Vec::new();
            for loss in &golden.losses {
                schedule.epoch_done(*loss);
                // As from a checkpoint: nothing may get lost in between.
                schedule = toml::from_str(&toml::to_string(&schedule).unwrap()).unwrap();
                rates.push(schedule.learning_rate());
            }
            assert!(golden.learning_rates.iter().any(|rate| *rate < golden.learning_rate), "case {case} tests nothing");
            for (epoch, (ours, theirs)) in rates.iter().zip(&golden.learning_rates).enumerate() {
                assert!((ours - theirs).abs() <= 1e-15 * theirs, "case {case} epoch {}: {ours} {theirs}", epoch + 1);
            }
        }
    }

    #[test]
    fn the_lowest_loss_is_kept_and_too_long_without_a_lower_one_stops() {
        let golden =
            Golden { factor: 0.1, patience: 5, learning_rate: 1e-3, losses: Vec::new(), learning_rates: Vec::new() };
        let mut schedule = schedule(&golden);
        let mut seen = Vec::new();
        // 0.899999 is lower than 0.9, though not by the threshold; an equal loss is not lower.
        for loss in [1.0, 0.9, 0.899_999, 0.95, 0.899_999, f64::NAN] {
            schedule.epoch_done(loss);
            seen.push((schedule.best_epoch(), schedule.is_best(), schedule.stops()));
        }
        let expected = [
            (1, true, false),
            (2, true, false),
            (3, true, false),
            (3, false, false),
            (3, false, false),
            (3, false, true),
        ];
        assert_eq!(seen, expected);
    }
}
