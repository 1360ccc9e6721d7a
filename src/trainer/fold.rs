//! `fcdd-trainer fold`: one fold of a run, from its folder alone.
//!
//! Reads `plan.toml`, `splits.json` and `cache.json` of the run; tells what happens as JSON lines
//! ([`fcdd::research::run::folder::TrainerEvent`]) on standard output.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use fcdd::network::spec::FCD;
use fcdd::research::cache::Cache;
use fcdd::research::run::folder::{Part, RunFolder};
use fcdd::research::run::splits::Splits;
use fcdd::research::training::batches::{Lesion, Sample, VolumeSource};
use fcdd::study::Group;

use super::device;
use super::epochs::{Fold, Subjects};

/// Arguments of `fcdd-trainer fold`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd-trainer fold --run runs/t1 --fold 0 --resume")]
pub struct Args {
    /// The run's folder, made by `fcdd admin retrain`
    #[arg(long)]
    run: PathBuf,
    /// The fold, from 0
    #[arg(long)]
    fold: usize,
    /// The index of the preprocessed scans on this machine [default: cache.json of the run]
    #[arg(long, value_name = "FILE")]
    cache_index: Option<PathBuf>,
    /// Go on with what is there; a finished fold stays as it is
    #[arg(long)]
    resume: bool,
    /// cpu, cuda, cuda:N, or auto for CUDA where it works
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// The cache, as the loader wants it.
struct Volumes(Cache);

impl VolumeSource for Volumes {
    fn shape(&self) -> [usize; 3] {
        self.0.shape()
    }

    fn volume(&self, index: usize) -> &[f32] {
        self.0.volume(index)
    }

    fn lesion(&self, index: usize) -> Lesion<'_> {
        lesion(self.0.roi(index), self.0.subject(index).group)
    }
}

/// What a mask on the input grid, or its absence, says. A patient without one has a lesion all the same: there was no
/// mask, or it could not be used.
fn lesion(mask: Option<&[u8]>, group: Group) -> Lesion<'_> {
    match (mask, group) {
        (Some(inside), _) => Lesion::Inside(inside),
        (None, Group::Hc) => Lesion::Nowhere,
        (None, Group::Fcd) => Lesion::Unknown,
    }
}

/// Trains the fold.
///
/// # Errors
/// When the run's files do not fit together, or training fails; what was written stays whole.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = device::select(&args.device)?;
    let run = RunFolder::new(&args.run);
    let plan = run.plan()?;
    if args.fold >= plan.folds.value {
        bail!("there is no fold {}: the plan has {}, counted from 0", args.fold, plan.folds.value);
    }
    let splits = Splits::read(&run.splits())?;
    if splits.folds != plan.folds.value {
        bail!("{} has {} folds and the plan {}", run.splits().display(), splits.folds, plan.folds.value);
    }
    let index = args.cache_index.clone().unwrap_or_else(|| run.cache_index());
    let cache = Cache::open_index(&index)?;
    if cache.shape() != plan.input.value || cache.sequence() != plan.sequence {
        let (sequence, shape) = (cache.sequence().label(), cache.shape());
        bail!(
            "{} holds {sequence} volumes of {shape:?}, the plan wants {} of {:?}: run fcdd admin retrain --resume",
            index.display(),
            plan.sequence.label(),
            plan.input.value
        );
    }

    let mut subjects = Subjects { train: Vec::new(), validation: Vec::new(), test: Vec::new() };
    for (index, subject) in cache.subjects().iter().enumerate() {
        let part = splits.part(args.fold, &subject.id);
        let part = part.with_context(|| format!("{} is in the cache, but not in splits.json", subject.id))?;
        let label = if subject.group == Group::Fcd { FCD as i64 } else { 0 };
        let sample = Sample { index, label, subject: subject.id.clone() };
        match part {
            Part::Train => subjects.train.push(sample),
            Part::Validation => subjects.validation.push(sample),
            Part::Test => subjects.test.push(sample),
        }
    }

    tch::set_num_threads(i32::try_from(plan.threads.value)?);
    let folder = run.fold(args.fold);
    let fold = Fold { plan, fold: args.fold, folder, source: Arc::new(Volumes(cache)), subjects, device };
    let mut out = std::io::stdout().lock();
    let trained = fold.train(args.resume, &mut |event| {
        let line = serde_json::to_string(event)?;
        writeln!(out, "{line}")?;
        out.flush()
    });
    // One sentence, in which the causes are said already; libtorch adds a stack trace to its own.
    trained.map_err(|error| anyhow!("{}", error.to_string().lines().next().unwrap_or_default().to_owned()))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_mask_only_a_control_is_known_to_have_no_lesion() {
        let inside = [0_u8, 1];
        assert_eq!(lesion(Some(&inside), Group::Fcd), Lesion::Inside(&inside));
        assert_eq!(lesion(None, Group::Fcd), Lesion::Unknown);
        assert_eq!(lesion(None, Group::Hc), Lesion::Nowhere);
    }
}
