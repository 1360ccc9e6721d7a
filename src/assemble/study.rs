//! One study: its stacks with their verdicts and volumes, the chosen T1 and FLAIR, and what stands against
//! analyzing it at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::agreement;
use super::classify::{self, Classification};
use super::frames::Image;
use super::geometry::RegularGrid;
use super::scan::{Leftover, ScannedFile};
use super::select::{self, Candidate};
use super::stacks::{self, Draft, ImageRef};
use super::{NO_USABLE_SERIES, ONLY_OWN_RESULTS, Options, SEVERAL_PATIENTS, VolumesWanted, decode_child, volumes};
use crate::config::sequences::{AcquisitionType, RuleOutcome};
use crate::dicom::{Dataset, Uid};
use crate::observe::events::assemble::{StackRefused, StudyAssembled};
use crate::study::{AssembledStudy, InputDigest, Reason, Sequence, SeriesVerdict, SliceSource, SourceVolume, Stack};

/// Slices nearer than this (mm) count as 3D where the header does not say.
const LIKE_3D_MM: f64 = 1.5;

/// A stack on its way.
struct Prepared {
    stack: Stack,
    images: Vec<ImageRef>,
    grid: Option<RegularGrid>,
}

/// Assembles one study from its files; those that repeat an object go to `leftovers`.
pub fn assemble(
    study_uid: Uid,
    files: Vec<ScannedFile>,
    options: Options<'_>,
    leftovers: &mut Vec<Leftover>,
) -> AssembledStudy {
    let begun = Instant::now();
    let any_header = files.first().and_then(|f| f.header().ok());
    let (own, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|f| f.is_own_result);
    let files = without_repetitions(files, leftovers);
    let mut problems = Vec::new();
    if files.is_empty() && !own.is_empty() {
        problems.push(Reason::new(ONLY_OWN_RESULTS, "the study holds nothing but results of fcdd"));
    }
    let patients: BTreeSet<&str> = files.iter().map(|f| f.patient_id.as_str()).filter(|p| !p.is_empty()).collect();
    if patients.len() > 1 {
        let text = format!("the images of this study carry {} different patient IDs", patients.len());
        problems.push(Reason::new(SEVERAL_PATIENTS, text));
    }
    let mut prepared = prepare(&files, options);
    prepared.sort_by(|a, b| {
        let key = |p: &Prepared| (p.stack.series_number, p.stack.series_uid.clone(), p.stack.index_in_series);
        key(a).cmp(&key(b))
    });
    if options.volumes == VolumesWanted::All {
        for p in &mut prepared {
            if p.stack.verdict.is_ok() || matches!(p.stack.verdict, SeriesVerdict::TooFewSlices { .. }) {
                fill(&files, p, options);
            }
        }
    }
    let chooses = options.volumes != VolumesWanted::None;
    let mut chosen = |sequence| if chooses { choose(&files, &mut prepared, sequence, options) } else { None };
    let (t1, flair) = (chosen(Sequence::T1), chosen(Sequence::Flair));
    if chooses && t1.is_none() && flair.is_none() && problems.is_empty() {
        problems.push(Reason::new(NO_USABLE_SERIES, no_usable_series(&prepared)));
    }
    let inputs_of = part_in_the_result(&files, &prepared, [t1, flair]);
    let newest = inputs_of.iter().map(|f| f.modified).max().unwrap_or(SystemTime::UNIX_EPOCH);
    let received_at = jiff::Timestamp::try_from(newest).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let mut inputs: Vec<InputDigest> = inputs_of
        .iter()
        .filter_map(|f| Some(InputDigest { sop_instance_uid: f.sop_instance_uid.clone(), sha256: f.digest? }))
        .collect();
    inputs.sort();
    let stacks: Vec<Stack> = prepared.into_iter().map(|p| p.stack).collect();
    let chosen_header = t1.or(flair).or_else(|| stacks.iter().position(|s| s.verdict != SeriesVerdict::NoPixels));
    let header = chosen_header
        .and_then(|i| stacks.get(i))
        .map(|s| s.header.clone())
        .unwrap_or_else(|| Arc::new(any_header.unwrap_or_else(Dataset::new_empty)));
    for stack in stacks.iter().filter(|s| !s.verdict.is_ok()) {
        StackRefused { series_uid: &stack.series_uid, sequence: stack.sequence, verdict: &stack.verdict }.emit();
    }
    let (has_t1, has_flair) = (t1.is_some(), flair.is_some());
    let took_ms = begun.elapsed().as_secs_f64() * 1e3;
    StudyAssembled { study_uid: &study_uid, stacks: stacks.len(), has_t1, has_flair, took_ms }.emit();
    AssembledStudy { study_uid, received_at, stacks, t1, flair, problems, header, inputs }
}

/// The files that a result rests on: those of the chosen stacks, or all where none was chosen. A report or a capture of
/// somebody else's that comes into the study later is none of them, so the result stays the same when it is made again.
fn part_in_the_result<'a>(
    files: &'a [ScannedFile],
    prepared: &[Prepared],
    chosen: [Option<usize>; 2],
) -> Vec<&'a ScannedFile> {
    let stacks = chosen.into_iter().flatten().filter_map(|index| prepared.get(index));
    let taken: BTreeSet<usize> = stacks.flat_map(|p| p.images.iter().map(|image| image.file)).collect();
    if taken.is_empty() {
        return files.iter().collect();
    }
    taken.into_iter().filter_map(|index| files.get(index)).collect()
}

/// One file per SOP instance: an undamaged, uncompressed one where there is a choice.
fn without_repetitions(mut files: Vec<ScannedFile>, leftovers: &mut Vec<Leftover>) -> Vec<ScannedFile> {
    files.sort_by(|a, b| {
        let key = |f: &ScannedFile| (f.sop_instance_uid.clone(), f.damage.is_some(), f.is_compressed());
        key(a).cmp(&key(b)).then_with(|| a.path.cmp(&b.path))
    });
    let mut kept: Vec<ScannedFile> = Vec::with_capacity(files.len());
    for file in files {
        match kept.last() {
            Some(last) if last.sop_instance_uid == file.sop_instance_uid => {
                let why = format!("repeats SOP instance {} of {}", file.sop_instance_uid, last.path.display());
                leftovers.push(Leftover { path: file.path, why });
            }
            _ => kept.push(file),
        }
    }
    kept
}

fn prepare(files: &[ScannedFile], options: Options<'_>) -> Vec<Prepared> {
    let mut by_series: BTreeMap<&Uid, Vec<ImageRef>> = BTreeMap::new();
    for (file, scanned) in files.iter().enumerate() {
        let members = by_series.entry(&scanned.series_uid).or_default();
        members.extend((0..scanned.images.len()).map(|image| ImageRef { file, image }));
    }
    let mut prepared = Vec::new();
    for members in by_series.into_values() {
        let damage = series_damage(files, &members);
        for (index, draft) in stacks::stacks(files, &members).into_iter().enumerate() {
            let mut p = prepare_stack(files, draft, index, options);
            // A series with a damaged file is incomplete, whatever the rest of it looks like.
            if let (true, Some(why)) = (p.grid.is_some(), &damage) {
                p.stack.verdict = SeriesVerdict::Unreadable { why: why.clone() };
            }
            prepared.push(p);
        }
    }
    prepared
}

/// What is wrong with the files of a series.
fn series_damage(files: &[ScannedFile], members: &[ImageRef]) -> Option<String> {
    let of_series: BTreeSet<usize> = members.iter().map(|m| m.file).collect();
    let damaged: Vec<&ScannedFile> = of_series.iter().map(|f| &files[*f]).filter(|f| f.damage.is_some()).collect();
    let first = damaged.first()?;
    let name = first.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let why = first.damage.clone().unwrap_or_default();
    Some(format!("{} of {} files are damaged; {name}: {why}", damaged.len(), of_series.len()))
}

fn prepare_stack(files: &[ScannedFile], draft: Draft, index_in_series: usize, options: Options<'_>) -> Prepared {
    let Draft { images, grid } = draft;
    let first_place = grid.as_ref().ok().and_then(|g| g.order.first().copied()).unwrap_or(0);
    let first = images[first_place];
    let (file, image) = (&files[first.file], &files[first.file].images[first.image]);
    let classification = classify::classify(&image.facts, image.plane.as_ref().ok(), options.rules);
    let verdict = early_verdict(files, &images, &grid, &classification, options).err().unwrap_or(SeriesVerdict::Ok);
    let sequence = match &verdict {
        SeriesVerdict::Colour { .. } | SeriesVerdict::NoPixels => Sequence::Other,
        _ => classification.sequence,
    };
    let stack = Stack {
        series_uid: file.series_uid.clone(),
        series_number: file.series_number,
        description: file.description.clone(),
        index_in_series,
        images: images.len(),
        sequence,
        sequence_because: match &verdict {
            SeriesVerdict::Colour { .. } | SeriesVerdict::NoPixels => verdict.to_string(),
            _ => classification.because,
        },
        verdict,
        volume: None,
        header: Arc::new(file.header().unwrap_or_else(|_| Dataset::new_empty())),
    };
    Prepared { stack, images, grid: grid.ok() }
}

/// Everything that can be said before pixels are decoded; the first that holds is what the operator hears.
fn early_verdict(
    files: &[ScannedFile],
    images: &[ImageRef],
    grid: &Result<RegularGrid, SeriesVerdict>,
    classification: &Classification,
    options: Options<'_>,
) -> Result<(), SeriesVerdict> {
    let of_stack = || images.iter().map(|r| &files[r.file]);
    let first_image: &Image = &files[images[0].file].images[images[0].image];
    let modality = &first_image.facts.modality;
    if let Some(file) = of_stack().find(|f| f.damage.is_some()) {
        return Err(SeriesVerdict::Unreadable {
            why: series_damage(files, images).unwrap_or_else(|| file.path.display().to_string()),
        });
    }
    if of_stack().any(|f| f.pixels.is_none()) {
        return Err(SeriesVerdict::NoPixels);
    }
    for format in of_stack().filter_map(|f| f.format.as_ref()) {
        if !format.is_grey() {
            let photometric = format.photometric.clone();
            return Err(SeriesVerdict::Colour { photometric, samples: format.samples });
        }
    }
    if let Some(tiles) = of_stack().find_map(|f| f.mosaic_tiles) {
        return Err(SeriesVerdict::Mosaic { tiles });
    }
    match classification.exclusion {
        Some(RuleOutcome::Localizer) => {
            return Err(SeriesVerdict::Localizer { because: classification.because.clone() });
        }
        Some(RuleOutcome::Derived) => {
            return Err(SeriesVerdict::Derived { image_type: first_image.image_type.clone() });
        }
        _ => {}
    }
    let not_mr = || SeriesVerdict::NotMr { modality: modality.clone() };
    let slices = match grid {
        Ok(grid) => grid.order.len(),
        // Single pictures and pictures without a place in the patient are usual for other modalities.
        Err(SeriesVerdict::NoGeometry { .. } | SeriesVerdict::SingleSlice) if modality != "MR" => return Err(not_mr()),
        Err(verdict) => return Err(verdict.clone()),
    };
    if modality != "MR" {
        return Err(not_mr());
    }
    if let Some(file) = of_stack().find(|f| f.is_compressed() && !decode_child::can_decode(&f.transfer_syntax)) {
        return Err(SeriesVerdict::UndecodableSyntax { transfer_syntax: file.transfer_syntax.clone() });
    }
    if let Some(file) = of_stack().find(|f| f.is_lossy).filter(|_| !options.rules.accept_lossy) {
        return Err(SeriesVerdict::LossyCompression { transfer_syntax: file.transfer_syntax.clone() });
    }
    if let Some(why) = of_stack().find_map(|f| f.format.as_ref().and_then(|format| format.problem())) {
        return Err(SeriesVerdict::Unreadable { why });
    }
    if let Some(why) = agreement::disagreement(files, images) {
        return Err(SeriesVerdict::Unreadable { why });
    }
    let needed = options.rules.minimum_slices;
    if slices < needed { Err(SeriesVerdict::TooFewSlices { slices, needed }) } else { Ok(()) }
}

/// Decodes a stack's pixels; failing that, the verdict changes.
fn fill(files: &[ScannedFile], prepared: &mut Prepared, options: Options<'_>) {
    let Some(grid) = &prepared.grid else { return };
    match volumes::fill(files, &prepared.images, grid, options.decode) {
        Ok(volume) => {
            let slices = grid.order.iter().filter_map(|i| slice_source(files, prepared.images[*i])).collect();
            prepared.stack.volume = Some(Arc::new(SourceVolume { volume, slices }));
        }
        Err(verdict) => prepared.stack.verdict = verdict,
    }
}

fn slice_source(files: &[ScannedFile], place: ImageRef) -> Option<SliceSource> {
    let file = &files[place.file];
    let image = &file.images[place.image];
    Some(SliceSource {
        path: file.path.clone(),
        sop_class_uid: file.sop_class_uid.clone(),
        sop_instance_uid: file.sop_instance_uid.clone(),
        frame_number: image.is_multi_frame.then_some(image.frame as u32 + 1),
        instance_number: image.instance_number,
        plane: image.plane.clone().ok()?,
    })
}

/// The best stack of a sequence whose pixels can be read; the others learn why they were not taken.
fn choose(files: &[ScannedFile], prepared: &mut [Prepared], sequence: Sequence, options: Options<'_>) -> Option<usize> {
    loop {
        let candidates = prepared
            .iter()
            .enumerate()
            .filter(|(_, p)| p.stack.sequence == sequence && p.stack.verdict.is_ok())
            .filter_map(|(i, p)| candidate(files, i, p, options))
            .collect();
        let ranked = select::rank(candidates);
        let best = ranked.first()?.0.stack;
        if prepared[best].stack.volume.is_none() {
            fill(files, &mut prepared[best], options);
        }
        if prepared[best].stack.volume.is_none() {
            continue;
        }
        let number = prepared[best].stack.series_number.map_or("?".to_owned(), |n| n.to_string());
        let index = prepared[best].stack.index_in_series;
        for (loser, why) in ranked.into_iter().filter_map(|(c, why)| Some((c.stack, why?))) {
            let because = &mut prepared[loser].stack.sequence_because;
            *because = format!("{because}; not chosen: series {number} (stack {index}) is better, {why}");
        }
        return Some(best);
    }
}

fn candidate(files: &[ScannedFile], stack: usize, prepared: &Prepared, options: Options<'_>) -> Option<Candidate> {
    let grid = prepared.grid.as_ref()?;
    let first = prepared.images[*grid.order.first()?];
    let image = &files[first.file].images[first.image];
    let facts = &image.facts;
    let spacing = grid.affine.spacing_mm();
    Some(Candidate {
        stack,
        is_3d: facts.acquisition.map_or(spacing[0] <= LIKE_3D_MM, |a| a == AcquisitionType::ThreeD),
        has_contrast: classify::contrast(facts, options.rules).is_some(),
        largest_edge_mm: spacing.into_iter().fold(0.0, f64::max),
        coverage_mm: spacing[0] * (grid.order.len() as f64 - 1.0),
        is_original: facts.image_type.first().is_some_and(|v| v == "ORIGINAL"),
        acquired_at: facts.acquired_at.clone(),
        series_number: prepared.stack.series_number,
        series_uid: prepared.stack.series_uid.clone(),
        index_in_series: prepared.stack.index_in_series,
    })
}

/// The sentence for a study without T1 and FLAIR: what stood against those that looked like one.
fn no_usable_series(prepared: &[Prepared]) -> String {
    let refused: Vec<String> = prepared
        .iter()
        .filter(|p| p.stack.sequence != Sequence::Other)
        .map(|p| {
            let number = p.stack.series_number.map_or("?".to_owned(), |n| n.to_string());
            format!("{} series {number}: {}", p.stack.sequence.label(), p.stack.verdict)
        })
        .collect();
    if refused.is_empty() {
        format!("none of the {} image stacks is a T1 or a FLAIR", prepared.len())
    } else {
        format!("no usable T1 or FLAIR ({})", refused.join("; "))
    }
}
