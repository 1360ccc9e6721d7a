//! What must come of a variant: its set's own volumes, or reasons.

use std::path::Path;

use fcdd::assemble::Assembly;
use fcdd::study::{SeriesVerdict, SourceVolume, Stack};
use fcdd::volume::Affine;

use super::set::{Due, Place, Set};
use super::variant::{Files, Variant};

/// A slice may lie this far from its place (mm) ...
const OFF_MM: f64 = 0.01;
/// ... and this far in a file one bit of whose deflated header was turned: as far as assembly allows, or this part of
/// a slice distance.
const OFF_FLIPPED_MM: f64 = 0.06;
const OFF_FLIPPED_PART: f64 = 0.03;
/// A value that another slope made may differ by this part of it.
const RESCALED_PART: f64 = 1e-5;

/// How a variant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Every volume of the undamaged set.
    Right,
    /// Volumes of right slices; the others have a verdict or are left over.
    Part,
    /// No volume; everything has a verdict or is left over.
    Refused,
    /// All of it, but values of the one file whose compressed pixels were changed: these streams carry no checksum.
    OtherValues,
}

/// Compares what became of a variant with its set.
pub fn judge(set: &Set, variant: &Variant, files: &Files, assembly: &Assembly) -> Result<Outcome, String> {
    let stacks: Vec<&Stack> = assembly.studies.iter().flat_map(|study| &study.stacks).collect();
    let images: usize = stacks.iter().map(|stack| stack.images).sum();
    let left_over = assembly.leftovers.len();
    let own_only =
        assembly.studies.iter().any(|s| s.problems.iter().any(|p| p.code == fcdd::assemble::ONLY_OWN_RESULTS));
    if images + left_over < files.paths.len() && !own_only {
        return Err(format!("{} files became {images} images and {left_over} left over", files.paths.len()));
    }
    if assembly.leftovers.iter().any(|leftover| leftover.why.is_empty()) {
        return Err("a file is left over without a reason".to_owned());
    }
    let mut is_whole = true;
    let mut found = Vec::new();
    let mut has_other_values = false;
    for stack in stacks {
        let Some(source) = &stack.volume else {
            if stack.verdict.is_ok() {
                return Err("ok without a volume".to_owned());
            }
            continue;
        };
        if !matches!(stack.verdict, SeriesVerdict::Ok | SeriesVerdict::TooFewSlices { .. }) {
            return Err(format!("a volume in spite of: {}", stack.verdict));
        }
        let comparison = Comparison { set, variant, files };
        let (which, other_values) = comparison.volume(stack, source)?;
        has_other_values |= other_values;
        is_whole &= source.slices.len() == set.volumes[which].slices.len();
        if found.contains(&which) && is_whole {
            return Err("the same volume twice".to_owned());
        }
        found.push(which);
    }
    Ok(match found.len() {
        0 => Outcome::Refused,
        _ if has_other_values => Outcome::OtherValues,
        volumes if is_whole && volumes >= set.accepted => Outcome::Right,
        _ => Outcome::Part,
    })
}

struct Comparison<'a> {
    set: &'a Set,
    variant: &'a Variant,
    files: &'a Files,
}

impl Comparison<'_> {
    fn key(&self, path: &Path, frame: Option<u32>) -> Result<Place, String> {
        let file = self.files.file_of.get(path).ok_or_else(|| format!("a slice of {}", path.display()))?;
        Ok((*file, frame.unwrap_or(1)))
    }

    /// Which of the set's volumes this is, and whether values of a changed file differ.
    fn volume(&self, stack: &Stack, source: &SourceVolume) -> Result<(usize, bool), String> {
        let keys: Vec<Place> =
            source.slices.iter().map(|s| self.key(&s.path, s.frame_number)).collect::<Result<_, _>>()?;
        let mut other_values = false;
        let mut which = None;
        for (k, key) in keys.iter().enumerate() {
            let in_volume = |(v, due): (usize, &Due)| Some((v, due.slices.iter().position(|slice| slice == key)?));
            let place = self.set.volumes.iter().enumerate().find_map(in_volume).or_else(|| self.twin(source, k, *key));
            let Some((v, slice)) = place else {
                return Err(format!("{key:?} is in a volume ({}), and in none of the undamaged set", stack.verdict));
            };
            if which.is_some_and(|which| which != v) {
                return Err("one volume of slices of two".to_owned());
            }
            which = Some(v);
            let due = &self.set.volumes[v];
            self.place(&source.volume.affine, k, due, slice)?;
            let flipped = self.variant.flipped_file() == Some(key.0);
            match self.values(source, k, due, slice, *key) {
                Ok(()) => {}
                Err(_) if flipped => other_values = true,
                Err(why) => return Err(why),
            }
        }
        let which = which.ok_or("a volume without slices")?;
        let due = self.set.volumes[which].sequence;
        let is_told_apart = stack.sequence == due || stack.sequence == fcdd::study::Sequence::Other;
        if !is_told_apart && self.variant.flipped_file().is_none() {
            return Err(format!(
                "{} is taken for {} ({})",
                due.label(),
                stack.sequence.label(),
                stack.sequence_because
            ));
        }
        Ok((which, other_values))
    }

    /// The slice that this one stands in for: some sets hold the same image in several encodings, of which the undamaged
    /// set shows one.
    fn twin(&self, source: &SourceVolume, k: usize, key: Place) -> Option<(usize, usize)> {
        let is_same = |due: &Due, slice: usize| {
            self.place(&source.volume.affine, k, due, slice).is_ok() && self.values(source, k, due, slice, key).is_ok()
        };
        let of_volume =
            |(v, due): (usize, &Due)| (0..due.slices.len()).find(|slice| is_same(due, *slice)).map(|slice| (v, slice));
        self.set.volumes.iter().enumerate().find_map(of_volume)
    }

    fn place(&self, affine: &Affine, k: usize, due: &Due, slice: usize) -> Result<(), String> {
        let (_, rows, columns) = due.source.volume.data.dim();
        let allowed = match self.variant.flipped_file() {
            Some(_) => OFF_FLIPPED_MM.max(OFF_FLIPPED_PART * due.source.volume.affine.spacing_mm()[0]),
            None => OFF_MM,
        };
        for corner in [[0.0, 0.0], [rows as f64 - 1.0, columns as f64 - 1.0]] {
            let found = affine.apply([k as f64, corner[0], corner[1]]);
            let wanted = due.source.volume.affine.apply([slice as f64, corner[0], corner[1]]);
            let off = (0..3).map(|c| (found[c] - wanted[c]).powi(2)).sum::<f64>().sqrt();
            if off.is_nan() || off > allowed {
                return Err(format!("slice {k} lies at {found:?} instead of {wanted:?}"));
            }
        }
        Ok(())
    }

    fn values(&self, source: &SourceVolume, k: usize, due: &Due, slice: usize, key: Place) -> Result<(), String> {
        let (ours, theirs) = (&source.volume.data, &due.source.volume.data);
        if (ours.dim().1, ours.dim().2) != (theirs.dim().1, theirs.dim().2) {
            return Err(format!("{:?} pixels instead of {:?}", ours.dim(), theirs.dim()));
        }
        let (ours, theirs) = (ours.index_axis(ndarray::Axis(0), k), theirs.index_axis(ndarray::Axis(0), slice));
        let Some([slope, intercept]) = self.files.rescale.get(&key) else {
            return (ours == theirs).then_some(()).ok_or_else(|| format!("other values in slice {k}"));
        };
        let [old_slope, old_intercept] = self.set.rescale.get(&key).copied().unwrap_or([1.0, 0.0]);
        let is_near = ours.iter().zip(theirs).all(|(found, old)| {
            let old = f64::from(*old);
            let wanted = (old - old_intercept) / old_slope * slope + intercept;
            // What single precision lost of the old value weighs more where the old slope was small.
            let lost = f64::from(f32::EPSILON) * (old.abs() + old_intercept.abs()) / old_slope * slope;
            (f64::from(*found) - wanted).abs() <= RESCALED_PART * wanted.abs().max(slope.abs()) + lost.abs()
        });
        is_near.then_some(()).ok_or_else(|| format!("slice {k} has not the values of slope {slope}, {intercept}"))
    }
}
