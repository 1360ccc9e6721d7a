//! The Heat-Score: does the heatmap glow in the lesion? With the nulls that show what chance looks like.
//!
//! HS = (mean in the ROI − mean in the background) / standard deviation in the background (population,
//! ddof = 0), over the heatmap min-max normalised to 0..1. It does not depend on min-max, but on ReLU it does.

use ndarray::{Array3, ArrayView3, Zip};
use serde::Serialize;

/// What the ROI is compared with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Background {
    /// Brain without ROI: profile `default`.
    #[default]
    BrainMinusRoi,
    /// Everything without ROI: profile `paper`.
    WholeVolumeMinusRoi,
}

/// Why there is no Heat-Score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Undefined {
    /// No voxel in the ROI.
    #[error("the ROI is empty")]
    EmptyRoi,
    /// No voxel in the background.
    #[error("there is no background")]
    NoBackground,
    /// The heatmap has one value.
    #[error("the heatmap is constant")]
    ConstantMap,
    /// The background has one value.
    #[error("the background does not vary")]
    ZeroDeviation,
    /// NaN or infinity in the heatmap.
    #[error("the heatmap holds values that are not finite")]
    NotFinite,
    /// Heatmap, ROI and brain differ in shape.
    #[error("heatmap, ROI and brain are on different grids")]
    OtherGrid,
}

/// Heat-Score of one map; `map`, `roi` and `brain` share one grid.
pub fn heat_score(
    map: ArrayView3<'_, f32>,
    roi: ArrayView3<'_, bool>,
    brain: ArrayView3<'_, bool>,
    background: Background,
) -> Result<f64, Undefined> {
    if map.dim() != roi.dim() || map.dim() != brain.dim() {
        return Err(Undefined::OtherGrid);
    }
    if map.iter().any(|v| !v.is_finite()) {
        return Err(Undefined::NotFinite);
    }
    let (low, high) = map.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    if !roi.iter().any(|&r| r) {
        return Err(Undefined::EmptyRoi);
    }
    if low >= high {
        return Err(Undefined::ConstantMap);
    }
    let normalised = |v: f32| (f64::from(v) - f64::from(low)) / (f64::from(high) - f64::from(low));
    let is_background =
        |in_roi: bool, in_brain: bool| !in_roi && (in_brain || background == Background::WholeVolumeMinusRoi);
    // Twice through the map instead of a copy of it: this is done for every patient on every other patient's ROI.
    let (mut in_roi, mut voxels_in_roi, mut around, mut voxels_around) = (0.0, 0usize, 0.0, 0usize);
    Zip::from(map).and(roi).and(brain).for_each(|&v, &r, &b| {
        if r {
            (in_roi, voxels_in_roi) = (in_roi + normalised(v), voxels_in_roi + 1);
        } else if is_background(r, b) {
            (around, voxels_around) = (around + normalised(v), voxels_around + 1);
        }
    });
    if voxels_around == 0 {
        return Err(Undefined::NoBackground);
    }
    let (in_roi, around) = (in_roi / voxels_in_roi as f64, around / voxels_around as f64);
    let mut squares = 0.0;
    Zip::from(map).and(roi).and(brain).for_each(|&v, &r, &b| {
        if is_background(r, b) {
            squares += (normalised(v) - around).powi(2);
        }
    });
    let deviation = (squares / voxels_around as f64).sqrt();
    if deviation < 1e-12 {
        return Err(Undefined::ZeroDeviation);
    }
    Ok((in_roi - around) / deviation)
}

/// The ROI on the other side of axis 0 (left-right on a RAS grid `[D, H, W]`).
///
/// The mid-plane is halfway between the first and the last plane that holds brain. `None`: no brain, or a
/// midline lesion (ROI and mirror image overlap), which the report counts and leaves out. What would fall
/// outside the grid is lost.
pub fn mirrored(roi: ArrayView3<'_, bool>, brain: ArrayView3<'_, bool>) -> Option<Array3<bool>> {
    if roi.dim() != brain.dim() {
        return None;
    }
    let planes: Vec<usize> =
        brain.outer_iter().enumerate().filter(|(_, p)| p.iter().any(|&b| b)).map(|(i, _)| i).collect();
    let sum = planes.first()? + planes.last()?;
    let mut other = Array3::from_elem(roi.dim(), false);
    for ((i, j, k), _) in roi.indexed_iter().filter(|(_, r)| **r) {
        if let Some(voxel) = sum.checked_sub(i).and_then(|i| other.get_mut((i, j, k))) {
            *voxel = true;
        }
    }
    let overlap = roi.iter().zip(&other).any(|(&a, &b)| a && b);
    (!overlap).then_some(other)
}

/// Heat-Scores of a group of subjects.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Mean of the defined scores.
    pub mean: Option<f64>,
    /// Median of the defined scores.
    pub median: Option<f64>,
    /// Mean with undefined as 0: a map without a spot is a miss.
    pub mean_undefined_as_zero: Option<f64>,
    /// Mean of the defined scores of true positives.
    pub mean_true_positives: Option<f64>,
    /// Subjects with a score.
    pub defined: usize,
    /// Subjects without, by reason.
    pub undefined: Vec<(Undefined, usize)>,
}

/// Summary of scores, each with whether the subject was a true positive.
pub fn summarise(scores: &[(Result<f64, Undefined>, bool)]) -> Summary {
    let mean = |v: &[f64], n: usize| (n > 0).then(|| v.iter().sum::<f64>() / n as f64);
    let mut defined: Vec<f64> = scores.iter().filter_map(|(s, _)| s.ok()).collect();
    let hits: Vec<f64> = scores.iter().filter(|(_, hit)| *hit).filter_map(|(s, _)| s.ok()).collect();
    let mut undefined: Vec<(Undefined, usize)> = Vec::new();
    for reason in scores.iter().filter_map(|(s, _)| s.err()) {
        match undefined.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, n)) => *n += 1,
            None => undefined.push((reason, 1)),
        }
    }
    Summary {
        mean: mean(&defined, defined.len()),
        mean_undefined_as_zero: mean(&defined, scores.len()),
        mean_true_positives: mean(&hits, hits.len()),
        defined: defined.len(),
        undefined,
        median: crate::research::statistics::bootstrap::percentile(&mut defined, 50.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[f32], roi: &[bool], brain: &[bool], background: Background) -> Result<f64, Undefined> {
        let n = values.len();
        heat_score(
            ArrayView3::from_shape((n, 1, 1), values).unwrap(),
            ArrayView3::from_shape((n, 1, 1), roi).unwrap(),
            ArrayView3::from_shape((n, 1, 1), brain).unwrap(),
            background,
        )
    }

    #[test]
    fn hand_worked() {
        let (roi, brain) = ([false, false, false, true], [false, true, true, true]);
        // Normalised 0, 0.25, 0.75, 1. Brain: (1 − 0.5) / 0.25 = 2. Whole: mean 1/3, variance 7/72.
        let map = [0.0, 1.0, 3.0, 4.0];
        assert!((line(&map, &roi, &brain, Background::BrainMinusRoi).unwrap() - 2.0).abs() < 1e-12);
        let whole = line(&map, &roi, &brain, Background::WholeVolumeMinusRoi).unwrap();
        assert!((whole - (2.0 / 3.0) / (7.0f64 / 72.0).sqrt()).abs() < 1e-12);
        let b = Background::BrainMinusRoi;
        assert_eq!(line(&map, &[false; 4], &brain, b), Err(Undefined::EmptyRoi));
        assert_eq!(line(&[2.0; 4], &roi, &brain, b), Err(Undefined::ConstantMap));
        assert_eq!(line(&[0.0, 1.0, 1.0, 4.0], &roi, &brain, b), Err(Undefined::ZeroDeviation));
        assert_eq!(line(&map, &roi, &roi, b), Err(Undefined::NoBackground));
        assert_eq!(line(&[f32::NAN; 4], &roi, &brain, b), Err(Undefined::NotFinite));
    }

    #[test]
    fn mirror_and_summary() {
        let brain = Array3::from_shape_fn((6, 1, 1), |(i, _, _)| (1..=4).contains(&i));
        let roi = |at: usize| Array3::from_shape_fn((6, 1, 1), |(i, _, _)| i == at);
        assert_eq!(mirrored(roi(1).view(), brain.view()), Some(roi(4)));
        let middle = Array3::from_shape_fn((6, 1, 1), |(i, _, _)| i == 2 || i == 3);
        assert_eq!(mirrored(middle.view(), brain.view()), None);
        let s = summarise(&[(Ok(1.0), true), (Ok(3.0), false), (Err(Undefined::ConstantMap), false)]);
        assert_eq!((s.mean, s.median, s.mean_true_positives), (Some(2.0), Some(2.0), Some(1.0)));
        assert_eq!(s.mean_undefined_as_zero, Some(4.0 / 3.0));
        assert_eq!(s.undefined, [(Undefined::ConstantMap, 1)]);
    }
}
