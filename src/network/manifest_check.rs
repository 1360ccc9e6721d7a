//! Every statement of a manifest against what is allowed, and against the architecture that it names.

use std::collections::BTreeSet;

use super::manifest::{
    CalibrationKind, FORMAT, Manifest, ModelFile, PREPROCESSING, Precision, is_plain_name, stem_stride_one_axis,
};
use super::manifest_error::{ManifestError, wrong};
use crate::study::Sequence;

impl Manifest {
    /// Checks every field against its allowed values and against the architecture.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.format != FORMAT {
            return Err(wrong("format", format!("{FORMAT} (this program reads no other)"), self.format));
        }
        if !is_plain_name(&self.name) {
            return Err(wrong("name", "letters, digits, '.', '_' and '-', not beginning with '.'", &self.name));
        }
        if !is_semantic_version(&self.version) {
            return Err(wrong("version", "a semantic version such as 1.4.0", &self.version));
        }
        if self.sequence == Sequence::Other {
            return Err(wrong("sequence", "\"t1\" or \"flair\"", "other"));
        }
        if !(1..=1024).contains(&self.width) {
            return Err(wrong("width", "1 to 1024", self.width));
        }
        self.check_input_and_map()?;
        if !(0.0..=1.0).contains(&self.decision.threshold) {
            return Err(wrong("decision.threshold", "a probability from 0 to 1", self.decision.threshold));
        }
        let calibration = &self.calibration;
        if !(calibration.scale.is_finite() && calibration.scale > 0.0) {
            return Err(wrong("calibration.scale", "a number above 0", calibration.scale));
        }
        if !calibration.offset.is_finite() {
            return Err(wrong("calibration.offset", "a finite number", calibration.offset));
        }
        if calibration.kind == CalibrationKind::None && (calibration.scale, calibration.offset) != (1.0, 0.0) {
            let found = (calibration.scale, calibration.offset);
            return Err(wrong("calibration", "scale 1 and offset 0 where kind is \"none\"", found));
        }
        if !self.precision.validated.contains(&Precision::Fp32) {
            return Err(wrong("precision.validated", "a list with \"fp32\" in it", &self.precision.validated));
        }
        if let Some(distribution) = &self.distribution {
            distribution.check()?;
        }
        self.check_files()?;
        self.check_training()?;
        for change in &self.changelog {
            if !is_semantic_version(&change.version) {
                return Err(wrong("changelog.version", "a semantic version such as 1.4.0", &change.version));
            }
        }
        Ok(())
    }

    fn check_input_and_map(&self) -> Result<(), ManifestError> {
        let input = &self.input;
        if !input.shape.iter().all(|n| (1..=1024).contains(n)) {
            return Err(wrong("input.shape", "three edge lengths from 1 to 1024", input.shape));
        }
        if input.axes != "RAS" {
            return Err(wrong("input.axes", "\"RAS\"", &input.axes));
        }
        let axis = stem_stride_one_axis(self.geometry);
        if input.stem_stride_one_axis != axis {
            let expected = format!("{axis:?} for geometry {:?}", self.geometry.name());
            return Err(wrong("input.stem_stride_one_axis", expected, &input.stem_stride_one_axis));
        }
        if !(input.spacing_mm.is_finite() && input.spacing_mm > 0.0) {
            return Err(wrong("input.spacing_mm", "a voxel size above 0 mm", input.spacing_mm));
        }
        if input.preprocessing != PREPROCESSING {
            return Err(wrong("input.preprocessing", format!("{PREPROCESSING:?}"), &input.preprocessing));
        }
        if !input.background.is_finite() {
            return Err(wrong("input.background", "a finite number", input.background));
        }
        let spec = self.spec();
        let of_network = format!("of {} with geometry {:?}", self.architecture, self.geometry.name());
        if self.map.stride != spec.total_stride() {
            let expected = format!("{:?}, the total stride {of_network}", spec.total_stride());
            return Err(wrong("map.stride", expected, self.map.stride));
        }
        if self.map.shape != spec.map_shape(input.shape) {
            let expected =
                format!("{:?}, the map {of_network} for input {:?}", spec.map_shape(input.shape), input.shape);
            return Err(wrong("map.shape", expected, self.map.shape));
        }
        if !self.map.threshold_logit.is_finite() {
            return Err(wrong("map.threshold_logit", "a finite number", self.map.threshold_logit));
        }
        if self.map.control_percentile.is_some_and(|percentile| !(0.0..=100.0).contains(&percentile)) {
            return Err(wrong("map.control_percentile", "a percentile from 0 to 100", self.map.control_percentile));
        }
        Ok(())
    }

    fn check_files(&self) -> Result<(), ManifestError> {
        if self.files.is_empty() {
            return Err(wrong("file", "at least one [[file]]", 0));
        }
        let mut seen = BTreeSet::new();
        for file in &self.files {
            if !(is_plain_name(&file.name) && file.name.ends_with(".onnx")) {
                return Err(wrong("file.name", "a plain file name ending in .onnx, without a path", &file.name));
            }
            if !seen.insert(&file.name) {
                return Err(wrong("file.name", "each file once", &file.name));
            }
            check_digest("file", file)?;
        }
        for record in &self.records {
            let ending = [".txt", ".csv", ".json"].iter().any(|ending| record.name.ends_with(ending));
            if !(is_plain_name(&record.name) && ending) {
                let expected = "a plain file name ending in .txt, .csv or .json, without a path";
                return Err(wrong("record.name", expected, &record.name));
            }
            if !seen.insert(&record.name) {
                return Err(wrong("record.name", "each file once", &record.name));
            }
            check_digest("record", record)?;
        }
        Ok(())
    }

    fn check_training(&self) -> Result<(), ManifestError> {
        let Some(training) = &self.training else { return Ok(()) };
        if !self.records.iter().any(|record| record.name == training.subjects) {
            return Err(wrong("training.subjects", "the name of a [[record]]", &training.subjects));
        }
        if !(0.0..=1.0).contains(&training.prevalence) {
            return Err(wrong("training.prevalence", "a share from 0 to 1", training.prevalence));
        }
        if training.folds < self.files.len() {
            return Err(wrong("training.folds", "at least as many as there are files", training.folds));
        }
        Ok(())
    }
}

fn check_digest(table: &str, file: &ModelFile) -> Result<(), ManifestError> {
    let is_hex = file.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if file.sha256.len() == 64 && is_hex {
        return Ok(());
    }
    Err(wrong(format!("{table}.sha256 of {}", file.name), "64 lower-case hexadecimal digits", &file.sha256))
}

/// `MAJOR.MINOR.PATCH` with optional pre-release and build (semver.org, version 2).
fn is_semantic_version(version: &str) -> bool {
    let identifiers = |text: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        text.split('.').all(|part| !part.is_empty() && part.bytes().all(allowed))
    };
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, release) = rest.split_once('-').map_or((rest, None), |(core, release)| (core, Some(release)));
    let is_number = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && release.is_none_or(identifiers)
        && build.is_none_or(identifiers)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::example;
    use super::*;

    #[test]
    fn every_wrong_field_is_named_with_what_is_expected() {
        let text = example().to_toml();
        for (from, to, field) in [
            ("format = 1", "format = 2", "format"),
            ("name = \"demo-t1\"", "name = \"../x\"", "name"),
            ("version = \"0.1.0\"", "version = \"0.1\"", "version"),
            ("sequence = \"t1\"", "sequence = \"other\"", "sequence"),
            ("width = 16", "width = 0", "width"),
            ("shape = [80, 96, 80]", "shape = [80, 0, 80]", "input.shape"),
            ("axes = \"RAS\"", "axes = \"LPS\"", "input.axes"),
            ("stem_stride_one_axis = \"D\"", "stem_stride_one_axis = \"W\"", "input.stem_stride_one_axis"),
            ("spacing_mm = 2.0", "spacing_mm = 0.0", "input.spacing_mm"),
            ("\"fcdd-2\"", "\"fcdd-1\"", "input.preprocessing"),
            ("background = 0.0", "background = nan", "input.background"),
            ("stride = [16, 32, 32]", "stride = [32, 32, 32]", "map.stride"),
            ("shape = [5, 3, 3]", "shape = [5, 3, 2]", "map.shape"),
            ("threshold_logit = 1.25", "threshold_logit = inf", "map.threshold_logit"),
            ("threshold = 0.5", "threshold = 1.5", "decision.threshold"),
            ("scale = 0.8", "scale = -0.8", "calibration.scale"),
            ("kind = \"platt\"", "kind = \"none\"", "calibration"),
            ("[\"fp32\", \"bf16\"]", "[\"bf16\"]", "precision.validated"),
            ("fold_0.onnx", "../fold_0.onnx", "file.name"),
            ("fold_0.onnx", "fold_0.bin", "file.name"),
            ("000000", "00000G", "file.sha256 of fold_0.onnx"),
            ("prevalence = 0.25", "prevalence = 1.5", "training.prevalence"),
            ("subjects = \"subjects.txt\"", "subjects = \"others.txt\"", "training.subjects"),
            ("folds = 5", "folds = 0", "training.folds"),
            ("name = \"subjects.txt\"", "name = \"x/subjects.txt\"", "record.name"),
            ("name = \"subjects.txt\"", "name = \"manifest.toml\"", "record.name"),
            ("111111", "11111x", "record.sha256 of subjects.txt"),
            ("control_percentile = 95.0", "control_percentile = 101.0", "map.control_percentile"),
            ("geometry = \"paper\"", "geometry = \"faithful\"", "input.stem_stride_one_axis"),
        ] {
            assert!(text.contains(from), "{from} is not in the example");
            match Manifest::from_toml(&text.replacen(from, to, 1)) {
                Err(ManifestError::Field { field: found, .. }) => assert_eq!(found, field, "{from} -> {to}"),
                other => panic!("{from} -> {to}: {other:?}"),
            }
        }
    }

    #[test]
    fn versions_are_semantic() {
        for good in ["0.1.0", "10.20.30", "1.0.0-rc.1", "1.0.0+build-5", "1.0.0-a+b"] {
            assert!(is_semantic_version(good), "{good}");
        }
        for bad in ["1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "v1.2.3", "1.2.3-", "1.2.3+", ""] {
            assert!(!is_semantic_version(bad), "{bad}");
        }
    }
}
