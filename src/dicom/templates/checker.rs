//! Reads the values of `dicom-templates/` out of the files' texts and names every mistake in them.

use std::borrow::Cow;
use std::path::Path;

use super::{
    CardTexts, Concepts, Device, LONGEST_DESCRIPTION, RESEARCH_SUFFIX, ReportClass, SeriesText, TemplateError,
    TemplateMistake, Templates, Texts, digest,
};
use crate::dicom::codes::Concept;

/// Which characters a text may have.
#[derive(Clone, Copy, PartialEq)]
enum Characters {
    /// Printable ASCII: goes into a DICOM object of any character set.
    Ascii,
    /// Drawn by us: anything that is not a control character.
    Drawn,
}

/// Reads values out of parsed files and remembers every mistake; a value with a mistake becomes empty.
#[derive(Default)]
pub(super) struct Checker {
    mistakes: Vec<TemplateMistake>,
}

/// One `[section]` of a file; keys are taken out of it, what is left over is unknown.
struct Section {
    file: &'static str,
    name: &'static str,
    table: toml::Table,
    known: Vec<&'static str>,
}

/// One parsed file; sections are taken out of it.
struct Parsed {
    file: &'static str,
    table: toml::Table,
    known: Vec<&'static str>,
    /// False when it could not be read: then its missing keys are no news.
    readable: bool,
}

impl Checker {
    pub(super) fn mistake(&mut self, file: &str, key: &str, problem: impl Into<String>) {
        self.mistakes.push(TemplateMistake { file: file.to_owned(), key: key.to_owned(), problem: problem.into() });
    }

    pub(super) fn verdict(self, directory: &Path, templates: Templates) -> Result<Templates, TemplateError> {
        if self.mistakes.is_empty() {
            Ok(templates)
        } else {
            Err(TemplateError { directory: directory.to_owned(), mistakes: self.mistakes })
        }
    }

    pub(super) fn templates(&mut self, files: &[(&'static str, String)]) -> Templates {
        let mut series = self.parse(files, "series.toml");
        let heatmap_t1 = self.series(&mut series, "heatmap-t1");
        let heatmap_flair = self.series(&mut series, "heatmap-flair");
        let card_series = self.series(&mut series, "card");
        let report_series = self.series(&mut series, "report");
        self.different_numbers(&[&heatmap_t1, &heatmap_flair, &card_series, &report_series]);
        self.close_file(series);

        let mut report = self.parse(files, "report.toml");
        let report_class = self.report_class(&mut report);
        let device = self.device(&mut report);
        let texts = self.texts(&mut report);
        self.close_file(report);

        let mut concepts = self.parse(files, "concepts.toml");
        let concepts_read = Concepts {
            finding: self.concept(&mut concepts, "finding"),
            finding_site: self.concept(&mut concepts, "finding-site"),
            procedure: self.concept(&mut concepts, "procedure"),
            prevalence: self.concept(&mut concepts, "prevalence"),
            language: self.concept(&mut concepts, "language"),
            present: self.concept(&mut concepts, "present"),
            absent: self.concept(&mut concepts, "absent"),
            undetermined: self.concept(&mut concepts, "undetermined"),
        };
        self.close_file(concepts);

        let mut card = self.parse(files, "card.toml");
        let card_texts = self.card(&mut card);
        self.close_file(card);

        Templates {
            heatmap_t1,
            heatmap_flair,
            card_series,
            report_series,
            report_class,
            device,
            texts,
            concepts: concepts_read,
            card: card_texts,
            digest: digest(files),
        }
    }

    fn parse(&mut self, files: &[(&'static str, String)], file: &'static str) -> Parsed {
        let mut parsed = Parsed { file, table: toml::Table::new(), known: Vec::new(), readable: false };
        if let Some((_, text)) = files.iter().find(|(name, _)| *name == file) {
            match text.parse::<toml::Table>() {
                Ok(table) => {
                    parsed.table = table;
                    parsed.readable = true;
                }
                Err(error) => self.mistake(file, "", error.to_string().trim_end().replace('\n', "\n    ")),
            }
        }
        parsed
    }

    fn section(&mut self, parsed: &mut Parsed, name: &'static str) -> Option<Section> {
        parsed.known.push(name);
        match parsed.table.remove(name) {
            Some(toml::Value::Table(table)) => Some(Section { file: parsed.file, name, table, known: Vec::new() }),
            Some(_) => {
                self.mistake(parsed.file, name, "must be a section, as in [section]");
                None
            }
            None if parsed.readable => {
                self.mistake(parsed.file, name, "this section is missing");
                None
            }
            None => None,
        }
    }

    fn close_section(&mut self, section: Option<Section>) {
        let Some(section) = section else { return };
        for key in section.table.keys() {
            let allowed = section.known.join(", ");
            self.mistake(section.file, &format!("{}.{key}", section.name), format!("unknown key; allowed: {allowed}"));
        }
    }

    fn close_file(&mut self, parsed: Parsed) {
        for key in parsed.table.keys() {
            self.mistake(parsed.file, key, format!("unknown section; allowed: {}", parsed.known.join(", ")));
        }
    }

    /// A text of 1 to `longest` characters.
    fn text(
        &mut self,
        section: &mut Option<Section>,
        key: &'static str,
        longest: usize,
        characters: Characters,
    ) -> String {
        let Some(section) = section else { return String::new() };
        section.known.push(key);
        let path = format!("{}.{key}", section.name);
        let text = match section.table.remove(key) {
            Some(toml::Value::String(text)) => text,
            Some(_) => {
                self.mistake(section.file, &path, "must be a text in quotes");
                return String::new();
            }
            None => {
                self.mistake(section.file, &path, "is missing");
                return String::new();
            }
        };
        let length = text.chars().count();
        if text.trim().is_empty() || length > longest {
            let problem = format!("{length} characters; 1 to {longest} are allowed");
            self.mistake(section.file, &path, problem);
        }
        if let Some(bad) = text.chars().find(|c| c.is_control() || *c == '\\') {
            self.mistake(section.file, &path, format!("the character {bad:?} is not allowed"));
        }
        if characters == Characters::Ascii && !text.is_ascii() {
            self.mistake(
                section.file,
                &path,
                "only ASCII is allowed: this text shares a DICOM object with the patient's name, whose character set is kept",
            );
        }
        text
    }

    fn series(&mut self, parsed: &mut Parsed, name: &'static str) -> SeriesText {
        let mut section = self.section(parsed, name);
        let number = match section.as_mut().map(|s| (s.known.push("number"), s.table.remove("number")).1) {
            Some(Some(toml::Value::Integer(number))) if (1..=999_999_999).contains(&number) => number,
            Some(_) => {
                self.mistake(parsed.file, &format!("{name}.number"), "must be a whole number from 1 to 999999999");
                0
            }
            None => 0,
        };
        let description = self.text(&mut section, "description", LONGEST_DESCRIPTION, Characters::Ascii);
        if section.is_some() && !description.is_empty() && !description.ends_with(RESEARCH_SUFFIX) {
            self.mistake(parsed.file, &format!("{name}.description"), format!("must end in \"{RESEARCH_SUFFIX}\""));
        }
        self.close_section(section);
        SeriesText { number, description }
    }

    fn different_numbers(&mut self, series: &[&SeriesText]) {
        for (i, a) in series.iter().enumerate() {
            if a.number != 0 && series.iter().skip(i + 1).any(|b| b.number == a.number) {
                self.mistake("series.toml", "", format!("two series have the number {}", a.number));
            }
        }
    }

    fn report_class(&mut self, parsed: &mut Parsed) -> ReportClass {
        let mut section = self.section(parsed, "report");
        let name = self.text(&mut section, "sop-class", 64, Characters::Ascii);
        let class = ReportClass::NAMES.iter().find(|(n, _)| *n == name).map(|(_, class)| *class);
        if section.is_some() && class.is_none() {
            let allowed = ReportClass::NAMES.map(|(n, _)| n).join(", ");
            self.mistake(parsed.file, "report.sop-class", format!("{name:?} is unknown; allowed: {allowed}"));
        }
        self.close_section(section);
        class.unwrap_or(ReportClass::Comprehensive3D)
    }

    fn device(&mut self, parsed: &mut Parsed) -> Device {
        let mut section = self.section(parsed, "device");
        let name = self.text(&mut section, "name", 16, Characters::Ascii);
        let serial_number = self.text(&mut section, "serial-number", 64, Characters::Ascii);
        self.close_section(section);
        Device { name, serial_number }
    }

    fn texts(&mut self, parsed: &mut Parsed) -> Texts {
        let mut section = self.section(parsed, "texts");
        let texts = Texts {
            notice: self.text(&mut section, "notice", 200, Characters::Ascii),
            untrained: self.text(&mut section, "untrained", 100, Characters::Ascii),
            synthetic: self.text(&mut section, "synthetic", 100, Characters::Ascii),
            constant_heatmap: self.text(&mut section, "constant-heatmap", 200, Characters::Ascii),
        };
        self.close_section(section);
        texts
    }

    fn concept(&mut self, parsed: &mut Parsed, name: &'static str) -> Concept {
        let mut section = self.section(parsed, name);
        let value = self.text(&mut section, "value", 16, Characters::Ascii);
        let scheme = self.text(&mut section, "scheme", 16, Characters::Ascii);
        let meaning = self.text(&mut section, "meaning", 64, Characters::Ascii);
        self.close_section(section);
        Concept { value: Cow::Owned(value), scheme: Cow::Owned(scheme), meaning: Cow::Owned(meaning) }
    }

    fn card(&mut self, parsed: &mut Parsed) -> CardTexts {
        let mut section = self.section(parsed, "card");
        let mut word = |key, longest| self.text(&mut section, key, longest, Characters::Drawn);
        let card = CardTexts {
            title: word("title", 40),
            subtitle: word("subtitle", 60),
            notice: word("notice", 60),
            not_verified: word("not-verified", 40),
            untrained: word("untrained", 40),
            untrained_hint: word("untrained-hint", 90),
            synthetic: word("synthetic", 40),
            synthetic_hint: word("synthetic-hint", 90),
            suspected: word("suspected", 30),
            not_suspected: word("not-suspected", 30),
            unassessable: word("unassessable", 30),
            probability: word("probability", 40),
            threshold: word("threshold", 30),
            prior: word("prior", 24),
            prior_training: word("prior-training", 18),
            prior_site: word("prior-site", 18),
            prior_unstated: word("prior-unstated", 18),
            folds: word("folds", 30),
            folds_hint: word("folds-hint", 110),
            single_fold: word("single-fold", 50),
            strongest_region: word("strongest-region", 40),
            left: word("left", 40),
            right: word("right", 40),
            midline: word("midline", 40),
            no_region: word("no-region", 60),
            reasons: word("reasons", 30),
            no_picture: word("no-picture", 60),
            constant_heatmap: word("constant-heatmap", 60),
        };
        self.close_section(section);
        card
    }
}
