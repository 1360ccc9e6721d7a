//! `fcdd admin archive secret`: makes the site secret; it is never made by default.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::research::archive::add::SiteSecret;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: fcdd admin archive secret /etc/fcdd/archive.secret

Pseudonyms and date shifts follow from it. Keep it and keep a copy: without it, a patient who comes again gets
another pseudonym. Whoever has it and a list of patients can find out who is who in the archive.")]
pub struct Args {
    /// New file for the secret, readable by its owner alone; an existing file is never replaced.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    SiteSecret::create(&args.file)?;
    println!(
        "new site secret in {} (mode 0600); keep a copy in a safe place, outside every archive",
        args.file.display()
    );
    Ok(ExitCode::SUCCESS)
}
