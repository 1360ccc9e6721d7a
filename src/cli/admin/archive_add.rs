//! `fcdd admin archive add`: takes a study out of the daemon's ledger and spool into the research archive.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use super::super::studies::{LEDGER_FILE, load_config};
use crate::assemble::{self, DecodeLimits, VolumesWanted};
use crate::config::Config;
use crate::config::sequences::SequenceRules;
use crate::dicom::Uid;
use crate::ledger::{Ledger, StudyState};
use crate::research::archive::add::{self, Added, Label, Request, SiteSecret};
use crate::study::AssembledStudy;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fcdd admin archive add 1.2.840.113619.2.1.5 --label fcd --roi lesion.nii.gz --archive /data/archive
  fcdd admin archive add 1.2.840.113619.2.1.6 --label exclude --why 'motion' --archive /data/archive

Patient ID and its issuer become a pseudonym by the site secret (fcdd admin archive secret FILE makes one). Faces are
not removed. The same study with the same label again changes nothing.
Exit status: 0 done or there already; 1 refused or failed; 2 the call or the configuration is wrong.")]
pub struct Args {
    /// Study Instance UID, as `fcdd studies list` shows it.
    #[arg(value_name = "STUDY", value_parser = Uid::parse)]
    study: Uid,
    /// What is known of the patient: fcd (focal cortical dysplasia), hc (control), exclude (must not be used). There is
    /// no default: a wrong label is worse than none.
    #[arg(long, value_enum)]
    label: LabelName,
    /// The lesion's mask: NIfTI, or a DICOM segmentation; on the FLAIR (without one: on the T1).
    #[arg(long, value_name = "FILE.nii.gz|SEG.dcm")]
    roi: Option<PathBuf>,
    /// Which label or segment of the mask is the lesion, where it has several.
    #[arg(long, value_name = "N", requires = "roi")]
    segment: Option<u32>,
    /// Why the study is excluded; it enters the archive as it is, so name nobody.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    why: String,
    /// Folder of the archive; made if it is not there.
    #[arg(long, value_name = "DIR")]
    archive: PathBuf,
    /// The site secret [default: research.secret_file of the configuration].
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
    /// Configuration of the daemon whose ledger and spool hold the study.
    #[arg(long, value_name = "FILE", default_value = "/etc/fcdd/fcdd.toml")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LabelName {
    Fcd,
    Hc,
    Exclude,
}

impl LabelName {
    fn label(self) -> Label {
        match self {
            LabelName::Fcd => Label::Fcd,
            LabelName::Hc => Label::Hc,
            LabelName::Exclude => Label::Exclude,
        }
    }
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(config) = load_config(&args.config) else { return Ok(ExitCode::from(2)) };
    let Some(secret_file) = args.secret.as_ref().or(config.research.secret_file.as_ref()) else {
        eprintln!(
            "fcdd: no site secret is named, and none is made by default; make one with `fcdd admin archive secret FILE`, \
             then give --secret FILE or set research.secret_file in {}",
            args.config.display()
        );
        return Ok(ExitCode::from(2));
    };
    let secret = SiteSecret::load(secret_file, &args.archive)?;
    let files = files_of(&config, &args.study)?;
    let study = assemble(&config, &args.study, &files)?;
    let request = Request {
        study: &study,
        label: args.label.label(),
        roi: args.roi.as_deref(),
        segment: args.segment,
        why: &args.why,
        archive: &args.archive,
    };
    let added = add::add(&request, &secret)?;
    print(&added, &args)?;
    Ok(ExitCode::SUCCESS)
}

/// The study's files in the spool, as the ledger knows them.
fn files_of(config: &Config, study: &Uid) -> anyhow::Result<Vec<PathBuf>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ledger = Ledger::open_existing(&config.spool.directory.join(LEDGER_FILE)).await?;
        let row = ledger.study(study).await?;
        let files = ledger.instance_files(study).await?;
        ledger.close().await;
        if row.state == StudyState::Receiving {
            bail!("study {study} is still being received; try again when it is complete");
        }
        if files.is_empty() && row.files_removed_at.is_some() {
            bail!("the files of study {study} left the spool; let the PACS send it again");
        }
        Ok(files.iter().map(|file| config.spool.directory.join(&file.path)).collect())
    })
}

fn assemble(config: &Config, study: &Uid, files: &[PathBuf]) -> anyhow::Result<AssembledStudy> {
    let rules = match &config.assemble.sequences {
        Some(file) => SequenceRules::load(file)?,
        None => SequenceRules::built_in(),
    };
    let decode = DecodeLimits {
        timeout: Duration::from_secs(config.assemble.decode_timeout_s),
        memory_mib: config.assemble.decode_memory_mib,
        executable: None,
    };
    let (study, _left_out_and_logged) = assemble::assemble_study(study, files, &rules, &decode, VolumesWanted::Chosen)
        .context("the study's files in the spool")?;
    Ok(study)
}

fn print(added: &Added, args: &Args) -> anyhow::Result<()> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(added)?);
        return Ok(());
    }
    let (id, label, archive) = (&added.participant_id, added.label.name(), args.archive.display());
    if !added.is_new {
        println!("{id} is in {archive} with the label {label} already; nothing was changed");
        return Ok(());
    }
    if added.label == Label::Exclude {
        println!("the study of {id} is excluded from {archive}");
        return Ok(());
    }
    println!("{id} ({label}) is in {archive}; faces are not removed, see its README");
    added.files.iter().for_each(|file| println!("  {}", file.display()));
    if let Some(ml) = added.roi_ml {
        let how = if added.roi_resampled { ", resampled onto the image's grid" } else { "" };
        println!("  lesion mask of {ml:.2} ml{how}");
    } else if added.label == Label::Fcd {
        println!("  no lesion mask: it can be trained on, but its heatmap cannot be scored");
    }
    if ["no", "withdrawn"].contains(&added.consent.as_str()) {
        eprintln!("fcdd: the header's consent for distribution is {:?}; it is recorded, not judged", added.consent);
    }
    Ok(())
}
