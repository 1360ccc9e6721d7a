//! How networks are trained, as far as `retrain` and `grid` ask for it alike.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::research::run::plan::{Profile, Said, TrainingPrecision};

/// What may be chosen for one training as well as for all trainings of a grid.
#[derive(Debug, clap::Args)]
pub struct TrainingChoices {
    /// Channels of the stem; pretrained weights must be of that width [default: 64].
    #[arg(long, value_name = "W")]
    pub width: Option<usize>,
    /// Edge lengths of the input, voxels [default: 160,192,160].
    #[arg(long, value_name = "D,H,W", value_parser = edges)]
    pub input: Option<Edges>,
    /// Voxel size of the input, mm [default: 1].
    #[arg(long, value_name = "MM")]
    pub spacing: Option<f64>,
    /// The paper's parameters, or those with our additions.
    #[arg(long, value_enum, default_value_t = Profile::Default)]
    pub profile: Profile,
    /// Number of folds [default: 5].
    #[arg(long)]
    pub folds: Option<usize>,
    /// Everything random follows from it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// At most so many epochs [default: 100].
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Subjects per step [default: 4].
    #[arg(long, value_name = "B")]
    pub batch: Option<usize>,
    /// Threads of the trainer; results on CPU depend on it [default: 2].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// cpu, cuda, cuda:N, or auto: CUDA where it works.
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Arithmetic [default: fp32].
    #[arg(long, value_enum)]
    pub precision: Option<TrainingPrecision>,
    /// Folder for preprocessed scans [default: fcdd in the user's cache folder].
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

/// Three edge lengths, one argument.
type Edges = [usize; 3];

fn edges(text: &str) -> Result<Edges, String> {
    let edges: Vec<usize> = text.split(',').map_while(|edge| edge.trim().parse().ok()).collect();
    let count = text.split(',').count();
    let edges: Edges = edges.try_into().map_err(|_| format!("expected three numbers D,H,W, found {text:?}"))?;
    if count == 3 { Ok(edges) } else { Err(format!("expected three numbers D,H,W, found {count}")) }
}

impl TrainingChoices {
    /// What they say of a plan, beside its profile and seed.
    pub fn said(&self) -> Said {
        Said {
            width: self.width,
            input: self.input,
            spacing_mm: self.spacing,
            folds: self.folds,
            epochs: self.epochs,
            batch: self.batch,
            precision: self.precision,
            threads: self.threads,
            ..Said::default()
        }
    }

    /// The arguments that choose the same for another subcommand; what was not said stays unsaid.
    pub fn arguments(&self) -> Vec<OsString> {
        // Every field by its name: a new one that is not passed on does not compile.
        let TrainingChoices {
            width,
            input,
            spacing,
            profile,
            folds,
            seed,
            epochs,
            batch,
            threads,
            device,
            precision,
            cache,
        } = self;
        let options = [
            ("--width", width.map(|width| width.to_string())),
            ("--input", input.map(|[d, h, w]| format!("{d},{h},{w}"))),
            ("--spacing", spacing.map(|spacing| spacing.to_string())),
            ("--profile", value_name(*profile)),
            ("--folds", folds.map(|folds| folds.to_string())),
            ("--seed", Some(seed.to_string())),
            ("--epochs", epochs.map(|epochs| epochs.to_string())),
            ("--batch", batch.map(|batch| batch.to_string())),
            ("--threads", threads.map(|threads| threads.to_string())),
            ("--device", Some(device.clone())),
            ("--precision", precision.and_then(value_name)),
        ];
        let mut arguments: Vec<OsString> = Vec::new();
        for (option, value) in options {
            if let Some(value) = value {
                arguments.extend([OsString::from(option), OsString::from(value)]);
            }
        }
        if let Some(cache) = cache {
            arguments.extend([OsString::from("--cache"), OsString::from(cache)]);
        }
        arguments
    }
}

/// A value as the command line calls it.
fn value_name<T: ValueEnum>(value: T) -> Option<String> {
    value.to_possible_value().map(|value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(no_binary_name = true)]
    struct Call {
        #[command(flatten)]
        choices: TrainingChoices,
    }

    #[test]
    fn what_is_passed_on_is_what_was_said() {
        let all = [
            ["--width", "2"],
            ["--input", "32,40,32"],
            ["--spacing", "1.5"],
            ["--profile", "paper"],
            ["--folds", "3"],
            ["--seed", "7"],
            ["--epochs", "4"],
            ["--batch", "6"],
            ["--threads", "1"],
            ["--device", "cuda:1"],
            ["--precision", "bf16"],
            ["--cache", "scans"],
        ]
        .concat();
        assert_eq!(Call::parse_from(&all).choices.arguments(), all);
        let little = Call::parse_from(["--seed", "9"]).choices.arguments();
        assert_eq!(little, ["--profile", "default", "--seed", "9", "--device", "auto"]);
    }
}
