//! Cohorts: who is in them, who is sick, who was scanned where, and all of it on disk.
//!
//! In a balanced cohort the label says nothing about scanner, protocol, sex and age. In a confounded one it
//! does, as in Bonn (OpenNeuro ds004199): controls all come from one scanner and are no children, patients
//! come from both. A confound report must tell the two apart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::acquisition::{Protocol, Scanner, Size};
use super::bids::{self, BidsError};
use super::dicom::{WriteStudyError, write_study};
use super::noise::{between, stream};
use super::{LesionTruth, PhantomError, Subject, SubjectOptions};
pub use crate::study::Group;

/// Subjects that are computed side by side.
const SUBJECTS_AT_A_TIME: usize = 4;

/// Whether the label can be read off the scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Design {
    /// Label and scanner, protocol, sex and age are independent.
    Balanced,
    /// The label goes with scanner, protocol and age, as in Bonn.
    Confounded,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One folder of MR images per subject.
    Dicom,
    /// The layout of OpenNeuro ds004199.
    Bids,
}

/// What kind of cohort to make.
#[derive(Debug, Clone)]
pub struct CohortOptions {
    /// How many subjects.
    pub subjects: usize,
    /// Seed of the cohort, from which every subject's seed follows.
    pub seed: u64,
    /// Share of controls, 0 to 1.
    pub controls: f64,
    /// Least and greatest strength of the lesions, 0 to 1: each patient's is drawn between the two.
    pub strength: [f32; 2],
    /// Whether the label can be read off the scanner.
    pub design: Design,
    /// How large the volumes are.
    pub size: Size,
}

/// One member of a cohort, before it is grown.
#[derive(Debug, Clone)]
pub struct Member {
    /// `sub-00001` ...
    pub id: String,
    /// Seed of its anatomy.
    pub seed: u64,
    /// Patient or control.
    pub group: Group,
    /// Strength of its lesion's signal; without effect in a control.
    pub strength: f32,
    /// `M` or `F`.
    pub sex: char,
    /// Age at the scan in bins of five years: 1 is 1-5 years, 13 is 61-65.
    pub age_bin: u8,
    /// Age at the first seizure, in the same bins; patients only.
    pub onset_bin: Option<u8>,
    /// `train` or `test`; as in Bonn no control is in `test`.
    pub split: &'static str,
    /// T1 and FLAIR.
    pub protocols: [Protocol; 2],
}

/// What was made of one member.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SubjectSummary {
    /// `sub-00001` ...
    pub id: String,
    /// Patient or control.
    pub group: Group,
    /// Seed of its anatomy.
    pub seed: u64,
    /// Strength of its lesion's signal; 0 in a control.
    pub strength: f32,
    /// Where the lesion is; `null` in a control.
    pub lesion: Option<LesionTruth>,
    /// Labels of the T1 and the FLAIR protocol.
    pub protocols: [String; 2],
    /// Serial number of the scanner of each.
    pub scanners: [&'static str; 2],
    /// Study Instance UID, when written as DICOM.
    pub study_uid: Option<String>,
    /// Its folder.
    pub folder: PathBuf,
}

/// A cohort could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CohortError {
    /// The folder already holds something, which might be data.
    #[error("{0} is not empty; give a new or empty folder")]
    NotEmpty(PathBuf),
    /// A file or folder of the cohort could not be made or read.
    #[error("cannot use {path}: {source}; check that it is a writable folder and the disk is not full")]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The options make no subject.
    #[error(transparent)]
    Subject(#[from] PhantomError),
    /// A DICOM study could not be written.
    #[error(transparent)]
    Study(#[from] WriteStudyError),
    /// A BIDS file could not be written.
    #[error(transparent)]
    Bids(#[from] BidsError),
}

/// Draws the members of a cohort.
pub fn plan(options: &CohortOptions) -> Vec<Member> {
    let mut random = stream(options.seed, "cohort");
    let controls = (options.subjects as f64 * options.controls.clamp(0.0, 1.0)).round() as usize;
    let mut groups = vec![Group::Hc; controls.min(options.subjects)];
    groups.resize(options.subjects, Group::Fcd);
    groups.shuffle(&mut random);
    let mut seen = [0usize; 2];
    let mut members = Vec::with_capacity(options.subjects);
    for (index, group) in groups.into_iter().enumerate() {
        let nth = seen[group as usize];
        seen[group as usize] += 1;
        let protocols = match options.design {
            // Every second member of each group, so that even small cohorts are balanced.
            Design::Balanced if nth % 2 == 0 => Protocol::pair(Scanner::ChannelsThirtyTwo, options.size),
            Design::Balanced => Protocol::pair(Scanner::ChannelsEight, options.size),
            Design::Confounded => bonn_protocols(group, options.size, random.random()),
        };
        let youngest = match (options.design, group) {
            (Design::Confounded, Group::Hc) => 5,
            _ => 3,
        };
        let age_bin = random.random_range(youngest..=13);
        let onset_bin = random.random_range(1..=age_bin);
        let [weakest, strongest] = options.strength;
        // A stream of its own: the same seed gives the same heads at every strength.
        let strength = between(&mut stream(options.seed, &format!("cohort/strength {index}")), weakest, strongest);
        members.push(Member {
            id: format!("sub-{:05}", index + 1),
            seed: stream(options.seed, &format!("cohort/subject {index}")).random(),
            group,
            strength,
            sex: if random.random::<bool>() { 'M' } else { 'F' },
            age_bin,
            onset_bin: (group == Group::Fcd).then_some(onset_bin),
            split: if group == Group::Fcd && nth % 3 == 2 { "test" } else { "train" },
            protocols,
        });
    }
    members
}

/// T1 and FLAIR as Bonn's groups were scanned. `chance` is between 0 and 1.
fn bonn_protocols(group: Group, size: Size, chance: f64) -> [Protocol; 2] {
    let new_scanner = Scanner::ChannelsThirtyTwo;
    let older_protocol = [Protocol::t1_sag111().on(new_scanner), Protocol::flair_t2sel()].map(|p| p.sized(size));
    match group {
        // 7 of 85 controls have the older T1, all are from the newer scanner.
        Group::Hc if chance < 7.0 / 85.0 => older_protocol,
        Group::Hc => Protocol::pair(new_scanner, size),
        // 43 of 85 patients are from the older scanner.
        Group::Fcd if chance < 43.0 / 85.0 => Protocol::pair(Scanner::ChannelsEight, size),
        Group::Fcd => Protocol::pair(new_scanner, size),
    }
}

/// Makes a cohort below `folder`, which must be new or empty. `made` hears of each subject when it is on disk.
///
/// # Errors
/// When the folder is not empty, the options make no subject, or something cannot be written.
pub fn write(
    options: &CohortOptions,
    format: Format,
    folder: &Path,
    mut made: impl FnMut(&SubjectSummary),
) -> Result<Vec<SubjectSummary>, CohortError> {
    let unusable = |source| CohortError::Folder { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(unusable)?;
    if fs::read_dir(folder).map_err(unusable)?.next().is_some() {
        return Err(CohortError::NotEmpty(folder.to_owned()));
    }
    let members = plan(options);
    if format == Format::Bids {
        bids::write_descriptions(folder)?;
    }
    // A few subjects at a time: what one does alone (compressing its files) runs beside the other's scans. More
    // would only take more memory, as each is computed by all threads anyway.
    let mut summaries = Vec::with_capacity(members.len());
    for together in members.chunks(SUBJECTS_AT_A_TIME) {
        let written: Vec<_> = together.par_iter().map(|member| write_member(options, member, format, folder)).collect();
        for summary in written {
            let summary = summary?;
            made(&summary);
            summaries.push(summary);
        }
    }
    match format {
        Format::Bids => bids::write_participants(folder, &members, &summaries)?,
        Format::Dicom => write_truth(folder, &summaries)?,
    }
    Ok(summaries)
}

/// Grows and scans one member and writes its files.
fn write_member(
    options: &CohortOptions,
    member: &Member,
    format: Format,
    folder: &Path,
) -> Result<SubjectSummary, CohortError> {
    let subject = Subject::new(&SubjectOptions {
        seed: member.seed,
        lesion: member.group == Group::Fcd,
        strength: member.strength,
        anatomy_step_mm: options.size.anatomy_step_mm(),
        ..SubjectOptions::default()
    })?;
    let subject_folder = folder.join(&member.id);
    let study_uid = match format {
        Format::Dicom => Some(write_study(&subject, &member.protocols, &subject_folder)?.study_uid.to_string()),
        Format::Bids => {
            bids::write_subject(&subject, &member.id, &member.protocols, folder)?;
            None
        }
    };
    Ok(SubjectSummary {
        id: member.id.clone(),
        group: member.group,
        seed: member.seed,
        strength: if member.group == Group::Fcd { member.strength } else { 0.0 },
        lesion: subject.lesion(),
        protocols: member.protocols.each_ref().map(|protocol| protocol.label.clone()),
        scanners: member.protocols.each_ref().map(|protocol| protocol.scanner.serial()),
        study_uid,
        folder: subject_folder,
    })
}

/// What was made, beside the studies: a DICOM study does not say where its lesion is.
fn write_truth(folder: &Path, summaries: &[SubjectSummary]) -> Result<(), CohortError> {
    let path = folder.join("subjects.json");
    let text = serde_json::to_string_pretty(summaries).map_err(io::Error::from);
    text.and_then(|text| fs::write(&path, text)).map_err(|source| CohortError::Folder { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(design: Design) -> CohortOptions {
        CohortOptions { subjects: 170, seed: 4, controls: 0.5, strength: [1.0; 2], design, size: Size::Small }
    }

    fn from_older_scanner(members: &[Member], group: Group) -> usize {
        let older = |m: &&Member| m.group == group && m.protocols[0].scanner == Scanner::ChannelsEight;
        members.iter().filter(older).count()
    }

    #[test]
    fn the_label_follows_the_scanner_only_in_a_confounded_cohort() {
        let balanced = plan(&options(Design::Balanced));
        let [patients, controls] = [Group::Fcd, Group::Hc].map(|group| from_older_scanner(&balanced, group));
        assert_eq!((patients, controls), (42, 42));
        let confounded = plan(&options(Design::Confounded));
        assert_eq!(from_older_scanner(&confounded, Group::Hc), 0);
        assert!(from_older_scanner(&confounded, Group::Fcd) > 30);
        assert!(confounded.iter().filter(|m| m.group == Group::Hc).all(|m| m.age_bin >= 5));
    }

    #[test]
    fn seeds_and_names_are_unique_and_controls_are_as_many_as_asked_for() {
        let members = plan(&CohortOptions { controls: 0.3, ..options(Design::Balanced) });
        let seeds: std::collections::BTreeSet<u64> = members.iter().map(|m| m.seed).collect();
        let names: std::collections::BTreeSet<&str> = members.iter().map(|m| m.id.as_str()).collect();
        assert_eq!((seeds.len(), names.len()), (170, 170));
        assert_eq!(members.iter().filter(|m| m.group == Group::Hc).count(), 51);
        assert!(members.iter().all(|m| m.group == Group::Fcd || m.split == "train"));
    }
}
