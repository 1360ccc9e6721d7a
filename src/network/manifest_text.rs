//! The manifest as a file for people: fixed order, and a comment where a reader needs one.

use super::manifest::{CalibrationKind, Manifest, Precision};
use crate::study::Sequence;

impl Manifest {
    /// The manifest as a file: fixed order, a comment where a reader needs one.
    pub fn to_toml(&self) -> String {
        let text = |value: &str| toml::Value::from(value).to_string();
        let axes = |values: [usize; 3]| format!("[{}, {}, {}]", values[0], values[1], values[2]);
        let number = |value: f64| toml::Value::from(value).to_string();
        let kind = match self.calibration.kind {
            CalibrationKind::None => "none",
            CalibrationKind::Platt => "platt",
        };
        let precisions: Vec<&str> = self
            .precision
            .validated
            .iter()
            .map(|precision| match precision {
                Precision::Fp32 => "\"fp32\"",
                Precision::Bf16 => "\"bf16\"",
            })
            .collect();
        let sequence = match self.sequence {
            Sequence::T1 => "t1",
            Sequence::Flair => "flair",
            Sequence::Other => "other",
        };

        let mut lines = vec![
            "# A model of fcdd. Research use only: not a medical device.".to_owned(),
            format!("format = {}", self.format),
            format!("name = {}", text(&self.name)),
            format!("version = {}", text(&self.version)),
            format!("sequence = \"{sequence}\""),
            format!("architecture = \"{}\"", self.architecture),
            format!("width = {}", self.width),
            format!("geometry = \"{}\"", self.geometry.name()),
            format!("trained = {}", self.trained),
            format!("intended_use = {}", text(&self.intended_use)),
            format!("data_source = {}", text(&self.data_source)),
            format!("training_run = {}", text(&self.training_run)),
            String::new(),
            "[input]".to_owned(),
            "# [D, H, W] = left-right, posterior-anterior, inferior-superior; the index grows to R, A, S.".to_owned(),
            format!("shape = {}", axes(self.input.shape)),
            format!("axes = {}", text(&self.input.axes)),
            format!("stem_stride_one_axis = {}", text(&self.input.stem_stride_one_axis)),
            format!("spacing_mm = {}", number(self.input.spacing_mm)),
            format!("preprocessing = {}", text(&self.input.preprocessing)),
            format!("background = {}", number(self.input.background)),
            String::new(),
            "[map]".to_owned(),
            "# Cell i is centred at input index stride * i. Regions lie above the threshold (logit units).".to_owned(),
            format!("stride = {}", axes(self.map.stride)),
            format!("shape = {}", axes(self.map.shape)),
            format!("threshold_logit = {}", number(self.map.threshold_logit)),
        ];
        // What only trained models have is not written for others: their files must not change.
        let said = |key: &str, value: Option<String>, lines: &mut Vec<String>| {
            lines.extend(value.map(|value| format!("{key} = {value}")));
        };
        said("threshold_rule", self.map.threshold_rule.as_deref().map(text), &mut lines);
        said("control_percentile", self.map.control_percentile.map(number), &mut lines);
        lines.extend([
            String::new(),
            "[decision]".to_owned(),
            format!("threshold = {}", number(self.decision.threshold)),
        ]);
        said("rule", self.decision.rule.as_deref().map(text), &mut lines);
        lines.extend([
            String::new(),
            "[calibration]".to_owned(),
            "# p = sigmoid(scale * logit + offset), logit = logits[1] - logits[0].".to_owned(),
            format!("kind = \"{kind}\""),
            format!("scale = {}", number(self.calibration.scale)),
            format!("offset = {}", number(self.calibration.offset)),
        ]);
        said("fitted_on", self.calibration.fitted_on.as_deref().map(text), &mut lines);
        lines.extend([String::new(), "[precision]".to_owned(), format!("validated = [{}]", precisions.join(", "))]);
        if let Some(training) = &self.training {
            lines.extend([
                String::new(),
                "[training]".to_owned(),
                "# synthetic = true: trained on synthetic data only. prevalence: the prior of the probabilities."
                    .to_owned(),
                format!("synthetic = {}", training.synthetic),
                format!("subjects = {}", text(&training.subjects)),
                format!("prevalence = {}", number(training.prevalence)),
                format!("folds = {}", training.folds),
                format!("plan = {}", text(&training.plan)),
            ]);
        }
        if let Some(distribution) = &self.distribution {
            let numbers = |values: &[f64]| {
                format!("[{}]", values.iter().map(|value| number(*value)).collect::<Vec<_>>().join(", "))
            };
            lines.extend([
                String::new(),
                "[distribution]".to_owned(),
                "# How the training's scans looked. A scan at a larger distance than the limit gets no verdict."
                    .to_owned(),
                format!("measures = {}", text(&distribution.measures)),
                format!("limit = {}", number(distribution.limit)),
                format!("rule = {}", text(&distribution.rule)),
                format!("mean = {}", numbers(&distribution.mean)),
                "whitening = [".to_owned(),
            ]);
            lines.extend(distribution.whitening.iter().map(|row| format!("    {},", numbers(row))));
            lines.push("]".to_owned());
        }
        for file in &self.files {
            lines.extend([
                String::new(),
                "[[file]]".to_owned(),
                format!("name = {}", text(&file.name)),
                format!("sha256 = {}", text(&file.sha256)),
            ]);
        }
        for record in &self.records {
            lines.extend([
                String::new(),
                "[[record]]".to_owned(),
                format!("name = {}", text(&record.name)),
                format!("sha256 = {}", text(&record.sha256)),
            ]);
        }
        for change in &self.changelog {
            lines.extend([
                String::new(),
                "[[changelog]]".to_owned(),
                format!("version = {}", text(&change.version)),
                format!("date = {}", text(&change.date)),
                format!("text = {}", text(&change.text)),
            ]);
        }
        lines.push(String::new());
        lines.join("\n")
    }
}
