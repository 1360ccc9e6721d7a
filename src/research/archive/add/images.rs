//! A study's images on their way into the archive.

use std::fs::File;
use std::path::{Path, PathBuf};

use dicom_dictionary_std::tags;

use super::error::{AddError, io};
use super::memory::Known;
use super::roi::{self, Roi, RoiError, Target};
use super::site_secret::{PatientIdentity, SiteSecret};
use super::{kept_metadata, problems};
use crate::dicom::attributes::text;
use crate::spool::{sync_directory, write_durably};
use crate::study::{AssembledStudy, Sequence, Stack};
use crate::volume::{Volume, nifti};

/// One image that enters the archive.
pub(super) struct Image<'a> {
    /// `FLAIR` or `T1`, as people say.
    name: &'static str,
    /// BIDS suffix.
    suffix: &'static str,
    stack: &'a Stack,
    volume: &'a Volume,
    frame_of_reference: String,
}

impl Image<'_> {
    fn target(&self) -> Target<'_> {
        Target {
            name: self.name,
            volume: self.volume,
            series_uid: &self.stack.series_uid,
            frame_of_reference: &self.frame_of_reference,
        }
    }
}

/// The chosen FLAIR and T1, the FLAIR first: masks are drawn on it.
pub(super) fn images(study: &AssembledStudy) -> Result<Vec<Image<'_>>, AddError> {
    let mut images = Vec::new();
    for (sequence, name, suffix) in [(Sequence::Flair, "FLAIR", "FLAIR"), (Sequence::T1, "T1", "T1w")] {
        let Some(stack) = study.chosen(sequence) else { continue };
        let Some(source) = stack.volume.as_deref() else { continue };
        if kept_metadata::says_burned_in(&stack.header) {
            return Err(AddError::BurnedIn { image: name });
        }
        let frame_of_reference = text(&stack.header, tags::FRAME_OF_REFERENCE_UID);
        images.push(Image { name, suffix, stack, volume: &source.volume, frame_of_reference });
    }
    if images.is_empty() {
        return Err(AddError::Unusable { why: problems(study) });
    }
    Ok(images)
}

/// The lesion mask, on the grid of the first image.
pub(super) fn read_roi(path: &Path, segment: Option<u32>, images: &[Image<'_>]) -> Result<Roi, RoiError> {
    let targets: Vec<Target<'_>> = images.iter().map(Image::target).collect();
    match targets.split_first() {
        Some((first, others)) => roi::read(path, segment, *first, others),
        None => Err(RoiError::Empty { path: path.to_owned(), label: segment }),
    }
}

/// Writes the subject's folder beside its place and moves it there whole; the files, relative to the archive.
pub(super) fn write_images(
    images: &[Image<'_>],
    mask: Option<&Roi>,
    known: &Known,
    archive: &Path,
    identity: &PatientIdentity,
    secret: &SiteSecret,
) -> Result<Vec<PathBuf>, AddError> {
    let id = &known.participant_id;
    let scratch = archive.join(format!(".adding-{id}"));
    let place = archive.join(id);
    let anat = scratch.join("anat");
    for leftover in [&scratch, &place] {
        // Only this command makes these names: without a row in the tables they are what a kill left behind.
        if leftover.exists() {
            std::fs::remove_dir_all(leftover).map_err(|e| io("remove", leftover, e))?;
        }
    }
    std::fs::create_dir_all(&anat).map_err(|e| io("make", &anat, e))?;
    let mut names = Vec::new();
    let mut write_volume = |name: String, volume| -> Result<(), AddError> {
        let path = anat.join(&name);
        nifti::write(&path, volume)?;
        File::open(&path).and_then(|f| f.sync_all()).map_err(|e| io("sync", &path, e))?;
        names.push(name);
        Ok(())
    };
    for (index, image) in images.iter().enumerate() {
        let stem = format!("{id}_{}", image.suffix);
        write_volume(format!("{stem}.nii.gz"), image.volume)?;
        if let (0, Some(mask)) = (index, mask) {
            write_volume(format!("{stem}_roi.nii.gz"), &mask.volume)?;
        }
        let sidecar = kept_metadata::sidecar(&image.stack.header, identity, secret);
        write_durably(&anat.join(format!("{stem}.json")), format!("{sidecar:#}\n").as_bytes())?;
    }
    sync_directory(&anat)?;
    sync_directory(&scratch)?;
    std::fs::rename(&scratch, &place).map_err(|e| io("rename into place", &place, e))?;
    sync_directory(archive)?;
    Ok(names.into_iter().map(|name| Path::new(id).join("anat").join(name)).collect())
}
