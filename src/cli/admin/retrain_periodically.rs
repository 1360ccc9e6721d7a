//! `fcdd admin retrain-periodically`: what `fcdd-retrain.service` runs. Trains, exports, tells; never promotes.
//!
//! Training and export are this program's own subcommands, started as child processes: there is one implementation of
//! each, and memory that one of them runs out of is not ours.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;

use super::super::studies::load_config;
use super::child::{self, Ended, Output};
use crate::config::{Config, PeriodicFolders};
use crate::network::ModelFolder;
use crate::research::archive::{Archive, fingerprint};
use crate::research::mail::{self, Promotable};
use crate::research::periodic::{self, Circumstances, Decision, ExportedModel, Finished, PeriodicRun};
use crate::research::run::folder::RunFolder;

/// Retrain on the configured archive if it has changed, export the models, and mail the summary.
///
/// Goes on with an unfinished run: it may be stopped at any instant. A new run gets a folder named by the day, begins at
/// the earliest research.new_run_after_days after the last finished one, and only if the archive or the arguments have
/// changed since. Its models are exported and not served: promoting is a person's decision, and the mail says what to
/// type. Nothing is mailed unless the configuration has [mail].
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd admin retrain-periodically --config /etc/fcdd/fcdd.toml

Exit status: 0 done, nothing to do, or stopped (the next start goes on); 1 it failed, or the mail could not be sent
(nothing is lost, the next start tries again); 2 the call or the configuration is wrong.")]
pub struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = super::super::DEFAULT_CONFIG)]
    config: PathBuf,
    /// Begin a new run whatever there is.
    #[arg(long)]
    new: bool,
}

/// How a start ended when nothing failed.
enum Outcome {
    NothingToDo,
    Stopped,
    Finished(PeriodicRun),
}

/// A step that failed, of which run.
struct Failure {
    run: Option<PathBuf>,
    error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure { run: None, error: error.into() }
    }
}

/// Does what is due and tells of it.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(config) = load_config(&args.config) else { return Ok(ExitCode::from(2)) };
    let Some(folders) = config.research.periodic() else {
        eprintln!(
            "fcdd: {} names no archive to train on; set archive, runs and models of [research]",
            args.config.display()
        );
        return Ok(ExitCode::from(2));
    };
    if let Some((key, what)) = argument_mistakes(&config).first() {
        eprintln!("fcdd: {}: {key} {what}", args.config.display());
        return Ok(ExitCode::from(2));
    }
    fs::create_dir_all(folders.runs).with_context(|| format!("cannot make {}", folders.runs.display()))?;
    let lock = folders.runs.join("lock");
    let lock = File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!("another one is at work in {}", folders.runs.display()),
        Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the runs' folder"),
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(work(&args, &config, folders)) {
        Ok(Outcome::NothingToDo) => Ok(tell_what_is_owed(&args, &config, folders)),
        Ok(Outcome::Stopped) => {
            eprintln!("fcdd: stopped; what is done is kept, and the next start goes on");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Outcome::Finished(run)) => {
            println!("{} is finished", run.path.display());
            Ok(tell(run, &args, &config))
        }
        Err(Failure { run, error }) => {
            eprintln!("fcdd: {error:#}");
            if let Some(mail) = &config.mail {
                match mail::send(mail, &mail::failed(run.as_deref(), &format!("{error:#}")), &mail.to) {
                    Ok(()) => println!("mailed to {}", mail.to.join(", ")),
                    Err(error) => eprintln!("fcdd: {error}"),
                }
            }
            Ok(ExitCode::from(1))
        }
    }
}

/// What is wrong in `research.retrain_arguments` and `research.export_arguments`, as those subcommands see it: key and
/// mistake.
pub fn argument_mistakes(config: &Config) -> Vec<(&'static str, String)> {
    let Some(folders) = config.research.periodic() else { return Vec::new() };
    let run = folders.runs.join("RUN");
    let retrain = ("research.retrain_arguments", retrain_call(config, folders, &run, false));
    let export = ("research.export_arguments", export_call(config, &run, &run, "model"));
    let mistake = |(key, call)| {
        let error: clap::Error = Call::try_parse_from(call).err()?;
        let text = error.to_string();
        let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Some((key, format!("cannot be used: {what}")))
    };
    [retrain, export].into_iter().filter_map(mistake).collect()
}

/// The subcommands that are called, as they understand their arguments.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Call {
    #[command(subcommand)]
    _of: CallOf,
}

#[derive(Debug, clap::Subcommand)]
enum CallOf {
    #[command(subcommand)]
    Admin(super::Command),
}

async fn work(args: &Args, config: &Config, folders: PeriodicFolders<'_>) -> Result<Outcome, Failure> {
    let today = jiff::Zoned::now().date();
    let arguments = &config.research.retrain_arguments;
    let decision = if args.new {
        Decision::Begin { given_up: None }
    } else {
        let now = Circumstances { today, new_run_after_days: config.research.new_run_after_days, arguments };
        let fingerprint = || -> anyhow::Result<String> { Ok(fingerprint::of(&Archive::read(folders.archive)?)?) };
        periodic::decide(&periodic::runs(folders.runs)?, now, fingerprint)?
    };
    let (run, resume) = match decision {
        Decision::NotDue { last, due } => {
            println!("{} is finished, and no new run is due before {due}: nothing is done", last.path.display());
            return Ok(Outcome::NothingToDo);
        }
        Decision::Unchanged { last } => {
            let (archive, last) = (folders.archive.display(), last.path.display());
            println!("{archive} and the arguments have not changed since {last}: nothing is done");
            return Ok(Outcome::NothingToDo);
        }
        Decision::GoOn(run) => {
            println!("going on with {}", run.path.display());
            (run, true)
        }
        Decision::Begin { given_up } => {
            if let Some(old) = given_up {
                println!(
                    "{} is unfinished and stays so: the archive or the arguments have changed since it was begun",
                    old.path.display()
                );
            }
            let run = PeriodicRun::begin(folders.runs, today, arguments)?;
            println!("beginning {}", run.path.display());
            (run, false)
        }
    };
    let path = run.path.clone();
    train_and_export(run, resume, config, folders).await.map_err(|error| Failure { run: Some(path), error })
}

async fn train_and_export(
    mut run: PeriodicRun,
    resume: bool,
    config: &Config,
    folders: PeriodicFolders<'_>,
) -> anyhow::Result<Outcome> {
    let stop = child::stop_on_signal()?;
    let retrain = retrain_call(config, folders, &run.path, resume);
    if child::run(retrain, Output::PassedOn, &stop).await? == Ended::Stopped {
        return Ok(Outcome::Stopped);
    }
    fs::create_dir_all(folders.models).with_context(|| format!("cannot make {}", folders.models.display()))?;
    let mut models = Vec::new();
    for part in RunFolder::of_modalities(&run.path) {
        let plan = part.plan()?;
        let name = run.model_name(plan.sequence);
        let folder = folders.models.join(&name);
        if folder.exists() {
            // The last start got so far, or somebody else has a model of this name.
            let there = ModelFolder::load(&folder)?;
            if there.manifest().training.as_ref().is_none_or(|training| training.plan != plan.digest()) {
                bail!("{} is the model of another run; move it elsewhere", folder.display());
            }
        } else {
            // Under another name until it is whole.
            let new = folders.models.join(format!(".{name}.new"));
            if new.exists() {
                fs::remove_dir_all(&new).with_context(|| format!("cannot remove {}", new.display()))?;
            }
            let export = export_call(config, part.path(), &new, &name);
            if child::run(export, Output::PassedOn, &stop).await? == Ended::Stopped {
                return Ok(Outcome::Stopped);
            }
            fs::rename(&new, &folder).with_context(|| format!("cannot rename {}", new.display()))?;
        }
        models.push(ExportedModel { sequence: plan.sequence, name });
    }
    let owed = config.mail.as_ref().map(|mail| mail.to.clone()).unwrap_or_default();
    run.record.finished = Some(Finished { at: jiff::Timestamp::now(), models, owed });
    run.write()?;
    Ok(Outcome::Finished(run))
}

fn retrain_call(config: &Config, folders: PeriodicFolders<'_>, run: &Path, resume: bool) -> Vec<OsString> {
    let mut call: Vec<OsString> = ["admin", "retrain", "--archive"].map(OsString::from).into();
    call.extend([folders.archive.into(), "--output".into(), run.into()]);
    if let Some(cache) = &config.research.cache {
        call.extend(["--cache".into(), cache.into()]);
    }
    if resume {
        call.push("--resume".into());
    }
    call.extend(config.research.retrain_arguments.iter().map(OsString::from));
    call
}

fn export_call(config: &Config, run: &Path, output: &Path, name: &str) -> Vec<OsString> {
    let mut call: Vec<OsString> = ["admin", "export"].map(OsString::from).into();
    call.extend([run.into(), "--output".into(), output.into(), "--name".into(), name.into()]);
    if let Some(library) = &config.analyze.onnxruntime {
        call.extend(["--onnxruntime".into(), library.into()]);
    }
    call.extend(config.research.export_arguments.iter().map(OsString::from));
    call
}

/// Tells of a finished run and remembers who could not be told.
fn tell(mut run: PeriodicRun, args: &Args, config: &Config) -> ExitCode {
    let Some(finished) = &mut run.record.finished else { return ExitCode::SUCCESS };
    let Some(mail) = &config.mail else {
        println!("nobody is told: the configuration has no [mail]");
        return ExitCode::SUCCESS;
    };
    // Somebody who is no recipient any more is owed nothing.
    let to: Vec<String> = finished.owed.iter().filter(|to| mail.to.contains(to)).cloned().collect();
    let told = mail::of_run(&run.path, &promotable(&finished.models, config, &args.config), mail.attach_report)
        .map_err(anyhow::Error::from)
        .and_then(|letter| {
            let sent = mail::send(mail, &letter, &to);
            finished.owed = sent.as_ref().err().map(|error| error.owed(&to)).unwrap_or_default();
            Ok(sent?)
        });
    if told.is_ok() && !to.is_empty() {
        println!("mailed to {}", to.join(", "));
    }
    let written = run.write();
    if let Err(error) = told.and(written.map_err(anyhow::Error::from)) {
        eprintln!("fcdd: {error:#}; the run is finished and kept, the next start tells of it again");
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}

/// Tells of the last finished run, where that could not be done when it was finished.
fn tell_what_is_owed(args: &Args, config: &Config, folders: PeriodicFolders<'_>) -> ExitCode {
    let runs = periodic::runs(folders.runs).unwrap_or_default();
    let last = runs.into_iter().rfind(|run| run.record.finished.is_some());
    match last {
        Some(run) if run.record.finished.as_ref().is_some_and(|finished| !finished.owed.is_empty()) => {
            println!("telling of {}, which could not be done before", run.path.display());
            tell(run, args, config)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// What to type to promote the models of a run.
pub fn promotable(models: &[ExportedModel], config: &Config, config_path: &Path) -> Vec<Promotable> {
    let Some(folder) = &config.research.models else { return Vec::new() };
    let (folder, config_path) = (quoted(folder), quoted(config_path));
    let command =
        |model: &ExportedModel| format!("fcdd admin promote {} --models {folder} --config {config_path}", model.name);
    let promotable = |model: &ExportedModel| Promotable {
        sequence: model.sequence,
        model: model.name.clone(),
        command: command(model),
    };
    models.iter().map(promotable).collect()
}

/// A path as a shell takes it, wherever it is typed.
fn quoted(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
