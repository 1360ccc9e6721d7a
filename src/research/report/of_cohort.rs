//! What the report of a run and that of a model have in common, beside figures: pictures, cautions, times.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ForwardPass, ReportError, Tile, processor};
use crate::analyze::looks;
use crate::network::Manifest;
use crate::research::archive::Finding;
use crate::research::archive::origin::{self, Data};
use crate::research::cache::Cache;
use crate::research::evaluate::{Heard, MapError, MapRule, Metrics, Scored, Withheld, chosen, maps};
use crate::research::statistics::bootstrap::percentile;

/// Pictures of the patients with the best, the median and the worst Heat-Score.
pub(in crate::research) fn tiles<E>(
    heard: &[Heard],
    scored: &[Scored],
    cache: &Cache,
    rule: &MapRule,
) -> Result<Vec<Tile>, E>
where
    E: From<MapError> + From<ReportError>,
{
    let mut tiles = Vec::new();
    for (place, which, value) in chosen(scored) {
        let Some((h, s)) = heard.get(place).zip(scored.get(place)) else { continue };
        let subject = h.row.subject.as_str();
        let Some(index) = cache.index_of(subject) else { continue };
        let Some(lesion) = cache.roi(index) else { continue };
        let map = maps::map(&h.cams, cache, subject, rule)?;
        let category = s.heat.as_ref().and_then(|heat| heat.category.ok());
        let category = category.map_or_else(String::new, |category| format!(", {}", category.name()));
        let caption = format!("{which}: {subject}, Heat-Score {value:.2}{category}");
        tiles.extend(Tile::new(caption, cache.volume(index), cache.head_mask(index), &map, lesion)?);
    }
    Ok(tiles)
}

/// What every cohort's figures do not say.
pub(in crate::research) fn cautions(
    metrics: &Metrics,
    scored: &[Scored],
    cache: &Cache,
    stride: [usize; 3],
) -> Vec<String> {
    let mut cautions = Vec::new();
    let with_heat = scored.iter().filter(|s| s.heat.is_some()).count();
    if with_heat < metrics.patients {
        cautions.push(format!(
            "{} of {} patients have no lesion mask that can be used: Heat-Score and categories are those of {with_heat}.",
            metrics.patients - with_heat,
            metrics.patients
        ));
    }
    if metrics.patients == 0 || metrics.patients == metrics.subjects {
        let class = if metrics.patients == 0 { "controls" } else { "patients" };
        cautions.push(format!("There are only {class}: whatever compares the two groups is undefined."));
    }
    let smallest = metrics.folds.iter().filter(|fold| fold.fold.is_some()).map(|fold| fold.subjects).min();
    if let Some(smallest) = smallest.filter(|smallest| *smallest < FEW_IN_A_FOLD) {
        cautions.push(format!("A fold tests as few as {smallest} subjects: figures of single folds jump."));
    }
    let [d, h, w] = stride.map(|stride| stride as f64 * cache.spec().spacing_mm);
    cautions.push(format!(
        "One cell of the map is {d:.0} x {h:.0} x {w:.0} mm wide: a heatmap points at a neighbourhood, not at a voxel."
    ));
    if !cache.excluded().is_empty() {
        cautions.push(format!(
            "{} scans of the archive could not be used: {}.",
            cache.excluded().len(),
            by_reason(cache.excluded())
        ));
    }
    cautions
}

/// Below so many subjects a fold's figures are not worth much by themselves.
const FEW_IN_A_FOLD: usize = 10;

fn by_reason(findings: &[Finding]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings {
        *counts.entry(finding.reason.code.as_str()).or_default() += 1;
    }
    counts.iter().map(|(code, count)| format!("{code} {count}")).collect::<Vec<_>>().join(", ")
}

/// The median, and what was measured.
pub(in crate::research) fn forward_pass(took: Vec<Duration>, networks: usize) -> Option<ForwardPass> {
    let mut milliseconds: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1000.0).collect();
    let median_ms = percentile(&mut milliseconds, 50.0)?;
    let each =
        if networks == 1 { "one network".to_owned() } else { format!("{networks} networks, one after the other") };
    let what =
        format!("forward pass of {each} in ONNX Runtime, without preprocessing and map, fp32, {}", this_machine());
    Some(ForwardPass { median_ms, scans: milliseconds.len(), what })
}

/// Where this program computes.
pub(in crate::research) fn this_machine() -> String {
    let threads = maps::threads();
    processor().map_or_else(|| format!("cpu, {threads} threads"), |name| format!("cpu, {threads} threads; {name}"))
}

/// On how many of the scored scans serving would withhold its verdict; `model` adds what it knows of its training's.
pub(in crate::research) fn withheld(scored: &[Scored], cache: &Cache, model: Option<&Manifest>) -> Withheld {
    let reasons = |index: usize| {
        let mut reasons = cache.subject(index).gates.clone();
        if let Some((distribution, name)) = model.and_then(|m| Some((m.distribution.as_ref()?, &m.name))) {
            let measures = looks::measures(cache.tensor(index), cache.view(index).head.view());
            reasons.extend(looks::check(distribution, &measures, cache.sequence(), name));
        }
        reasons
    };
    Withheld::of(scored.iter().filter_map(|s| cache.index_of(&s.row.subject)).map(reasons))
}

/// Whether any subject is synthetic; what is not known is a caution. `said` is the caller's word, before the dataset's.
pub(in crate::research) fn any_synthetic(said: Option<Data>, cache: &Cache, cautions: &mut Vec<String>) -> bool {
    let stated = origin::stated(cache.subjects().iter().map(|subject| subject.source.as_path()));
    let data = said.or_else(|| stated.data());
    if data.is_none() {
        cautions.push(
            "No dataset_description.json says whose scans these are; if they are synthetic, nothing here is about \
             people."
                .to_owned(),
        );
    }
    if data == Some(Data::People) && stated.synthetic > 0 {
        cautions.push(format!("{} of the scans are synthetic.", stated.synthetic));
    }
    data == Some(Data::Synthetic) || stated.synthetic > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_scan_is_told_with_what_was_measured() {
        let took = [9, 1, 2].map(Duration::from_millis).to_vec();
        let pass = forward_pass(took, 5).unwrap();
        assert!((pass.median_ms - 2.0).abs() < 1e-9 && pass.scans == 3, "{pass:?}");
        assert!(pass.what.contains("5 networks") && pass.what.contains("threads"), "{}", pass.what);
        assert!(forward_pass(Vec::new(), 1).is_none());
    }
}
