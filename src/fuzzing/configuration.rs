//! What an administrator writes: the configuration, the rules for sequences, the DICOM templates, admission patterns.
//! Each is accepted and usable, or refused with reasons that name a place in the text; neither takes long.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Target;
use super::choices::Choices;
use crate::assemble::admission::{Admission, StudyFacts};
use crate::config::Config;
use crate::config::sequences::SequenceRules;
use crate::dicom::Templates;
use crate::dicom::templates::RESEARCH_SUFFIX;

pub(super) const TARGET: Target = Target {
    name: "configuration",
    run,
    seeds,
    must_reach: &[
        "configuration accepted",
        "configuration refused",
        "rules accepted",
        "rules refused",
        "templates accepted",
        "templates refused",
    ],
};

/// Nothing that fits into a fuzzer's input may take longer, not even unoptimised beside other work.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first byte says which file the rest is.
fn run(bytes: &[u8]) -> &'static str {
    let mut choices = Choices::new(bytes);
    let kind = choices.byte();
    let text = String::from_utf8_lossy(choices.rest());
    let begun = Instant::now();
    let reached = match kind {
        b'r' => rules(&text),
        b't' => templates(&text),
        _ => configuration(&text),
    };
    assert!(begun.elapsed() < PATIENCE, "took {:?}", begun.elapsed());
    reached
}

fn configuration(text: &str) -> &'static str {
    let config = match Config::parse(text, Path::new("/etc/fcdd")) {
        Ok(config) => config,
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused without a mistake");
            let lines = text.lines().count() + 1;
            for mistake in &mistakes {
                assert!(mistake.line.is_none_or(|line| (1..=lines).contains(&line)), "{mistake} in {lines} lines");
                assert!(!mistake.to_string().is_empty());
            }
            return "configuration refused";
        }
    };
    // What the daemon makes of it at start-up must not fail there.
    let paths = [Some(&config.spool.directory), config.assemble.sequences.as_ref(), config.report.templates.as_ref()];
    assert!(paths.into_iter().flatten().chain(&config.analyze.models).all(|path| path.is_absolute()));
    let admission = Admission::new(&config.assemble.admission).unwrap_or_else(|e| panic!("accepted, yet: {e}"));
    let described = StudyFacts {
        calling_ae: "MR1".to_owned(),
        study_description: "Epilepsie^T1 mpr ".repeat(8),
        protocols: vec!["x".repeat(64)],
        series_descriptions: vec!["a".repeat(64), "t1_mpr_sag".to_owned()],
    };
    assert!(!admission.decide(&described).because.is_empty());
    let drain_s = config.observe.drain_s;
    assert!(Duration::try_from_secs_f64(drain_s).is_ok(), "{drain_s} s are no duration");
    let mut waits = vec![config.assemble.decode_timeout_s];
    waits.extend(config.destinations.values().map(|destination| destination.timeout_s));
    waits.extend(config.mail.iter().map(|mail| mail.timeout_s));
    for seconds in waits {
        assert!(Instant::now().checked_add(Duration::from_secs(seconds)).is_some(), "{seconds} s never end");
    }
    "configuration accepted"
}

fn rules(text: &str) -> &'static str {
    let rules = match SequenceRules::parse(text) {
        Ok(rules) => rules,
        Err(why) => {
            assert!(!why.is_empty(), "refused without a reason");
            return "rules refused";
        }
    };
    // The longest description that a series can have, and one that many patterns begin to match.
    for description in ["a".repeat(64), "t1 mprage sag + gd ".repeat(4), "flair".to_owned()] {
        for rule in &rules.rules {
            for pattern in rule.description.iter().chain(&rule.not_description).chain(&rule.sequence_name) {
                let _ = pattern.regex.find(&description);
            }
        }
    }
    "rules accepted"
}

/// The templates' four files, each behind a line with its name.
fn templates(text: &str) -> &'static str {
    let mut files = Templates::built_in_texts();
    for (name, content) in &mut files {
        let Some((_, begin)) = text.split_once(&marker(name)) else { continue };
        *content = begin.split("\n#### ").next().unwrap_or_default().to_owned();
    }
    let templates = match Templates::from_texts(&files) {
        Ok(templates) => templates,
        Err(error) => {
            assert!(!error.mistakes.is_empty(), "refused without a mistake");
            assert!(error.to_string().contains(&error.mistakes[0].file), "{error}");
            return "templates refused";
        }
    };
    let series = [&templates.heatmap_t1, &templates.heatmap_flair, &templates.card_series, &templates.report_series];
    for series in series {
        let text = &series.description;
        assert!(text.is_ascii() && text.len() <= 64 && text.ends_with(RESEARCH_SUFFIX), "{text:?}");
    }
    "templates accepted"
}

fn marker(name: &str) -> String {
    format!("#### {name}\n")
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let tagged = |kind: u8, text: &str| [&[kind], text.as_bytes()].concat();
    let example = include_str!("../../config/fcdd.toml");
    let all_templates: String =
        Templates::built_in_texts().iter().map(|(name, text)| format!("{}{text}\n", marker(name))).collect();
    let minimal = "version = 1\n[receive]\nae_title = \"FCDD\"\n[spool]\ndirectory = \"spool\"\n\
                   [analyze]\nmodels = [\"models/demo-t1\"]\n[[assemble.admission]]\naction = \"ignore\"\n\
                   study_description = \"^knee|spine\"\n[destination.pacs]\nae_title = \"PACS\"\n\
                   host = \"127.0.0.1\"\nport = 104\n";
    let rules = "version = 1\nminimum_slices = 16\ncontrast_words = [\"gd\"]\nno_contrast_words = [\"nativ\"]\n\
                 [[rule]]\nname = \"T1\"\nresult = \"t1\"\ndescription = ['\\bt1\\b']\ntr_ms = [0, 3000]\n";
    [
        ("example.toml", tagged(b'c', example)),
        ("minimal.toml", tagged(b'c', minimal)),
        ("wrong.toml", tagged(b'c', &minimal.replace("104", "\"many\""))),
        ("sequences.toml", tagged(b'r', include_str!("../../config/sequences.toml"))),
        ("rules.toml", tagged(b'r', rules)),
        ("rules-wrong.toml", tagged(b'r', &rules.replace("'\\bt1\\b'", "'('"))),
        ("templates.toml", tagged(b't', &all_templates)),
        ("templates-wrong.toml", tagged(b't', &all_templates.replace("(RESEARCH ONLY)", ""))),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}
