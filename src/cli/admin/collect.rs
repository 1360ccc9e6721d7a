//! `fcdd admin collect`: which folds of a run are there, and, when all are, their predictions in one table and the report.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::research::cache::Cache;
use crate::research::report::of_run::Request;
use crate::research::run::collect::{self, FoldState};
use crate::research::run::folder::RunFolder;

/// Say which folds of a run are done, join their predictions into RUN/predictions.csv and make the report.
///
/// The report needs the preprocessed scans on this machine, where RUN/cache.json says that they are.
/// A run of both modalities is looked at in RUN/t1 and RUN/flair; when both are done, RUN gets a report of both together.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd admin collect runs/first

Exit status: 0 all folds are done and the report is made; 1 some are missing, a file is damaged, or there is no report;
2 the call is wrong.")]
pub struct Args {
    /// The run's folder.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Says what is there and joins it.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut all_done = true;
    let (mut said, mut made) = (Vec::new(), Vec::new());
    for run in RunFolder::of_modalities(&args.run) {
        let folds = collect::status(&run)?;
        let joined = collect::collect(&run);
        let report = joined.is_ok().then(|| {
            let cache = Cache::open_index(&run.cache_index())?;
            super::report::write(&run, &cache, &Request::default())
        });
        if args.json {
            let (rows, mut problem) = match &joined {
                Ok(rows) => (Some(rows.len()), None),
                Err(e) => (None, Some(e.to_string())),
            };
            let page = match &report {
                Some(Ok(_)) => Some(run.report_path()),
                Some(Err(e)) => {
                    problem = Some(format!("{e:#}"));
                    None
                }
                None => None,
            };
            said.push(
                json!({ "run": run.path(), "folds": folds, "predictions": rows, "report": page, "problem": problem }),
            );
        } else {
            for fold in &folds {
                let (fold, epochs) = (fold.fold, fold.epochs);
                match folds.get(fold).map(|fold| fold.state) {
                    Some(FoldState::Done) => println!("{} fold {fold}: done, {epochs} epochs", run.path().display()),
                    Some(FoldState::Begun) => println!("{} fold {fold}: {epochs} epochs so far", run.path().display()),
                    _ => println!("{} fold {fold}: missing", run.path().display()),
                }
            }
            if let Ok(rows) = &joined {
                println!("{}: {} rows", run.predictions_path().display(), rows.len());
            }
            if let Some(Ok(contents)) = &report {
                super::report::print(contents, &run.report_path());
            }
        }
        match report {
            Some(Ok(contents)) => made.push((run, contents)),
            Some(Err(error)) => {
                all_done = false;
                if !args.json {
                    eprintln!("fcdd: there is no report: {error:#}");
                }
            }
            None => {}
        }
        if let Err(error) = joined {
            all_done = false;
            if !args.json {
                eprintln!("fcdd: {error}");
            }
        }
    }
    if let Some((contents, page)) = super::report::together(&args.run, &made)? {
        if args.json {
            said.push(json!({ "run": args.run, "report": page }));
        } else {
            super::report::print(&contents, &page);
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&said)?);
    }
    Ok(if all_done { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
