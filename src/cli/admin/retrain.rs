//! `fcdd admin retrain`: from an archive to trained folds.
//!
//! Archive → cache → plan and splits → `fcdd-trainer`, a fold at a time → joined predictions → report. This program prepares and
//! watches; what computes with libtorch is the child process.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

use super::child::{StartedBy, stop_on_signal};
use super::epoch_bar::EpochBar;
use super::training_choices::TrainingChoices;
use crate::analyze::preprocess::InputSpec;
use crate::cli::progress::Progress;
use crate::network::Architecture;
use crate::research::archive::{Archive, fingerprint};
use crate::research::cache::{self, Cache};
use crate::research::models::pretrained_on;
use crate::research::report::LivePage;
use crate::research::run::collect;
use crate::research::run::folder::RunFolder;
use crate::research::run::plan::{Decay, Plan, Pretrained, Said, Trainable, Variation};
use crate::research::run::splits::{Candidate, Splits};
use crate::research::training::process::{self, FoldRequest, TrainerError};
use crate::study::Sequence;

/// Which networks are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Modality {
    /// T1.
    T1,
    /// FLAIR.
    Flair,
    /// Both, in RUN/t1 and RUN/flair, with the same splits.
    Both,
}

/// Train networks on a local archive, fold by fold (cross-validation).
///
/// Writes RUN/plan.toml with every choice, RUN/splits.json, and for each fold its best weights, history and predictions.
/// RUN/report.html shows the learning curves while training goes on, and the report when all folds are done.
/// Killed at any instant, the same call with --resume goes on. Several machines can do different folds of one RUN with
/// --fold; `fcdd admin collect` joins them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fcdd admin retrain --archive /data/archive --output runs/first --weights resnet_18_23dataset.pth
  fcdd admin retrain --archive /data/archive --output runs/small --modality flair --architecture resnet10 \\
      --width 16 --input 80,96,80 --spacing 2 --epochs 30

Exit status: 0 all asked folds are done; 1 training failed or was stopped; 2 the call is wrong.")]
pub struct Args {
    /// BIDS folder with participants.tsv.
    #[arg(long, value_name = "DIR")]
    archive: PathBuf,
    /// The run's folder.
    #[arg(long, value_name = "RUN")]
    output: PathBuf,
    /// What to train.
    #[arg(long, value_enum, default_value_t = Modality::Both)]
    modality: Modality,
    /// resnet10, resnet18, resnet34 or resnet50 [default: resnet18].
    #[arg(long)]
    architecture: Option<Architecture>,
    /// MedicalNet weights to start from, or the checkpoint_best of another run, or none; none trains everything.
    ///
    /// A scan that the other run has seen may not be in this archive.
    #[arg(long, value_name = "FILE|none", default_value = "none")]
    weights: PathBuf,
    /// What learns when there are pretrained weights [default: layer4].
    #[arg(long, value_enum)]
    trainable: Option<Trainable>,
    #[command(flatten)]
    choices: TrainingChoices,
    /// Train only this fold, counted from 0.
    #[arg(long, value_name = "K")]
    fold: Option<usize>,
    /// Learning rate of Adam [default: 0.001].
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Also teach the network where lesions are, from the archive's masks; the weight of that beside the classes.
    ///
    /// Not the paper's: for archives that are too small to be learned from by their labels alone. 1 weighs places like classes.
    /// A patient without a usable mask teaches its class only.
    #[arg(long, value_name = "WEIGHT")]
    lesion_guidance: Option<f64>,
    /// How the learning rate falls: with the validation loss, or along a cosine over all epochs [default: plateau].
    #[arg(long, value_enum)]
    decay: Option<Decay>,
    /// Largest rotation about each axis that training volumes are turned by, degrees [default: 15].
    #[arg(long, value_name = "DEGREES")]
    rotation: Option<f64>,
    /// What else is varied while training, or none [default: all of it; with --profile paper: none].
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = variation)]
    augment: Option<Vec<Option<Variation>>>,
    /// Go on with a run that was begun.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    started_by: StartedBy,
}

/// `none`, or what is varied.
fn variation(name: &str) -> Result<Option<Variation>, String> {
    let name = name.trim();
    if name == "none" {
        return Ok(None);
    }
    let wrong = |_| format!("{name:?} is none of flip, intensity, protocol and none");
    Variation::from_str(name, false).map(Some).map_err(wrong)
}

/// A run of one modality, ready to be trained.
struct Prepared {
    run: RunFolder,
    plan: Plan,
    cache: Cache,
}

/// Prepares and trains.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    args.started_by.end_with_it()?;
    let trainer = process::find()?;
    let is_none = args.weights.as_os_str() == "none";
    if is_none && args.trainable.is_some_and(|trainable| trainable != Trainable::All) {
        eprintln!("fcdd: without pretrained weights everything is trained: leave --trainable out, or give --weights");
        return Ok(ExitCode::from(2));
    }
    let archive = Archive::read(&args.archive)?;
    if !archive.excluded.is_empty() {
        eprintln!("{} studies are excluded by excluded.tsv", archive.excluded.len());
    }
    let weights = if is_none { None } else { Some(pretrained(&args.weights)?) };
    let fingerprint = fingerprint::of(&archive)?;
    let sequences = match args.modality {
        Modality::T1 => vec![Sequence::T1],
        Modality::Flair => vec![Sequence::Flair],
        Modality::Both => vec![Sequence::T1, Sequence::Flair],
    };
    let plans = sequences.iter().map(|sequence| {
        let TrainingChoices { profile, seed, .. } = args.choices;
        let plan = Plan::new(profile, *sequence, fingerprint.clone(), weights.clone(), seed, &args.said());
        plan.check().map(|()| plan)
    });
    let plans = match plans.collect::<Result<Vec<Plan>, _>>() {
        Ok(plans) => plans,
        Err(error) => {
            eprintln!("fcdd: {error}");
            return Ok(ExitCode::from(2));
        }
    };
    if let (Some(fold), Some(plan)) = (args.fold, plans.first())
        && fold >= plan.folds.value
    {
        eprintln!("fcdd: there is no fold {fold}: there are {}, counted from 0", plan.folds.value);
        return Ok(ExitCode::from(2));
    }

    let mut prepared = Vec::new();
    for plan in plans {
        let run = RunFolder::new(match (args.modality, plan.sequence) {
            (Modality::Both, Sequence::T1) => args.output.join("t1"),
            (Modality::Both, _) => args.output.join("flair"),
            _ => args.output.clone(),
        });
        // Before anything that takes long: another plan is refused at once.
        run.refuse_another(&plan)?;
        let cache = args.preprocess(&archive, &plan)?;
        let seen = match &plan.weights {
            Some(Pretrained { path, .. }) => {
                let seen = pretrained_on::of_weights(path)?;
                pretrained_on::refuse_overlap(path, &seen, cache.subjects())?;
                Some(seen)
            }
            None => None,
        };
        if plan.lesion_guidance.is_some() && (0..cache.len()).all(|index| cache.roi(index).is_none()) {
            eprintln!(
                "fcdd: no patient of {} has a {} lesion mask that can be used: --lesion-guidance teaches only that \
                 controls have none",
                args.archive.display(),
                plan.sequence.label()
            );
        }
        run.begin(&plan)?;
        if let Some(seen) = seen {
            pretrained_on::write(&run, &seen)?;
        }
        cache.write_index(&run.cache_index())?;
        prepared.push(Prepared { run, plan, cache });
    }
    split(&prepared)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let trained = runtime.block_on(async {
        let stop = stop_on_signal()?;
        anyhow::Ok(train(&args, &trainer, &prepared, &stop).await)
    })?;
    match trained {
        Ok(()) => {}
        Err(TrainerError::Stopped { fold }) if !args.started_by.is_a_person() => {
            // How to go on is for the one who was called by a person to say.
            eprintln!("fcdd: stopped in fold {fold}");
            return Ok(ExitCode::from(1));
        }
        Err(TrainerError::Stopped { fold }) => {
            eprintln!("fcdd: stopped in fold {fold}; what is done is kept. Go on with:\n  {}", resuming());
            return Ok(ExitCode::from(1));
        }
        Err(error) => return Err(error.into()),
    }
    let mut made = Vec::new();
    for Prepared { run, cache, .. } in &prepared {
        match collect::collect(run) {
            Ok(rows) => {
                println!("{}: {} rows", run.predictions_path().display(), rows.len());
                made.push((run.clone(), super::report::after_training(run, cache)?));
            }
            Err(error @ collect::CollectError::Incomplete { .. }) if args.fold.is_some() => println!("{error}"),
            Err(error) => return Err(error.into()),
        }
    }
    if let Some((contents, page)) = super::report::together(&args.output, &made)? {
        super::report::print(&contents, &page);
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn said(&self) -> Said {
        Said {
            architecture: self.architecture,
            trainable: self.trainable,
            lesion_guidance: self.lesion_guidance,
            learning_rate: self.learning_rate,
            decay: self.decay,
            rotation_deg: self.rotation,
            augment: self.augment.as_ref().map(|list| list.iter().copied().flatten().collect()),
            ..self.choices.said()
        }
    }

    fn preprocess(&self, archive: &Archive, plan: &Plan) -> anyhow::Result<Cache> {
        let folder = self.choices.cache.clone().or_else(cache::default_folder);
        let folder = folder.context("neither XDG_CACHE_HOME nor HOME is set: give --cache DIR")?;
        let label = plan.sequence.label();
        let scans = archive.subjects.iter().filter(|subject| subject.scan(plan.sequence).is_some()).count();
        let progress = Mutex::new(Progress::new(&format!("preprocessing {label}"), scans as u64));
        let advance = || progress.lock().unwrap_or_else(PoisonError::into_inner).advance(1);
        let spec = InputSpec {
            shape: plan.input.value,
            spacing_mm: plan.spacing_mm.value,
            background: plan.background.value as f32,
        };
        let cache = Cache::build(archive, plan.sequence, &spec, &folder, &advance)?;
        drop(progress);
        for left_out in cache.excluded() {
            eprintln!("{label}: {} is left out: {}", left_out.subject, left_out.reason.text);
        }
        if cache.is_empty() {
            bail!("no {label} scan of {} can be used; see fcdd admin archive check", self.archive.display());
        }
        Ok(cache)
    }
}

pub(super) fn pretrained(path: &Path) -> anyhow::Result<Pretrained> {
    let unreadable = || format!("cannot read --weights {}", path.display());
    let path = path.canonicalize().with_context(unreadable)?;
    let sha256 = fingerprint::sha256(&path).with_context(unreadable)?;
    Ok(Pretrained { path, sha256 })
}

/// One splits file for all modalities: who has any usable scan, by what scanned it.
fn split(prepared: &[Prepared]) -> anyhow::Result<()> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for Prepared { cache, .. } in prepared {
        for subject in cache.subjects() {
            let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "n/a".to_owned());
            let scan =
                format!("{} {} {}", cache.sequence().label(), said(&subject.scanner), said(&subject.acquisition));
            match candidates.iter_mut().find(|candidate| candidate.id == subject.id) {
                Some(known) => known.stratum = format!("{}, {scan}", known.stratum),
                None => candidates.push(Candidate { id: subject.id.clone(), group: subject.group, stratum: scan }),
            }
        }
    }
    let Some(Prepared { plan, .. }) = prepared.first() else { return Ok(()) };
    let splits = Splits::new(&candidates, plan.seed, plan.folds.value, plan.validation_share.value)?;
    for Prepared { run, .. } in prepared {
        let path = run.splits();
        if !path.exists() {
            splits.write(&path)?;
        } else if Splits::read(&path)? != splits {
            bail!("{} splits other subjects than the usable ones of this archive: give a new --output", path.display());
        }
    }
    Ok(())
}

async fn train(
    args: &Args,
    trainer: &Path,
    prepared: &[Prepared],
    stop: &CancellationToken,
) -> Result<(), TrainerError> {
    for Prepared { run, plan, cache } in prepared {
        let folds = args.fold.map_or(0..plan.folds.value, |fold| fold..fold + 1);
        for fold in folds {
            // Of this fold: two machines on one RUN have their scans in different places.
            let index = run.fold(fold).path().join("cache.json");
            cache.write_index(&index).map_err(|e| TrainerError::Failed { fold, message: e.to_string() })?;
            let request = FoldRequest {
                run: run.path(),
                cache_index: &index,
                fold,
                resume: args.resume,
                device: &args.choices.device,
            };
            let mut bar = EpochBar::new(plan.sequence, fold);
            let live = LivePage::new(run, cache, fold);
            let hear = |event| {
                bar.hear(&event);
                if let Err(error) = live.hear(&event) {
                    eprintln!("fcdd: {error}");
                }
            };
            process::train_fold(trainer, request, stop, hear).await?;
        }
    }
    Ok(())
}

/// This call again, with `--resume`.
fn resuming() -> String {
    let mut words = this_call();
    if !words.iter().any(|word| word == "--resume") {
        words.push("--resume".to_owned());
    }
    words.join(" ")
}

/// The words of this call, as a shell takes them.
pub(super) fn this_call() -> Vec<String> {
    std::env::args()
        .map(
            |word| {
                if word.contains([' ', '\'', '"', '$']) { format!("'{}'", word.replace('\'', r"'\''")) } else { word }
            },
        )
        .collect()
}
