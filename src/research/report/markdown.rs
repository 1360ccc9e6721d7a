//! `report.md`: the same figures for a terminal or a repository.

use std::fmt::Write;

use super::Contents;
use super::words::{
    self, RESEARCH_ONLY, SYNTHETIC, categories, confound_verdict, interval, mean_and_sd, measures, number,
};

/// The page.
pub(super) fn page(contents: &Contents) -> String {
    let metrics = &contents.metrics;
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "# {}\n\n**{RESEARCH_ONLY}**\n", contents.title);
    if contents.synthetic {
        let _ = writeln!(text, "**{SYNTHETIC}**\n");
    }
    let _ = writeln!(text, "**Confounds.** {}\n", confound_verdict(contents));
    for caution in &contents.cautions {
        let _ = writeln!(text, "- {caution}");
    }
    let controls = metrics.subjects - metrics.patients;
    let _ = writeln!(
        text,
        "\n{} subjects: {} patients, {controls} controls. {}\n",
        metrics.subjects, metrics.patients, contents.scored_by
    );
    let _ = writeln!(text, "| | {} | pooled | 95 % interval (pooled) |\n|---|---|---|---|", words::over(contents));
    for (name, measure) in measures(metrics) {
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} |",
            mean_and_sd(measure.over_folds.as_ref()),
            number(measure.pooled),
            interval(measure.interval.as_ref())
        );
    }
    if let Some(gap) = &metrics.train_validation_gap {
        let _ = writeln!(text, "| Training − validation accuracy | {} | | |", mean_and_sd(Some(gap)));
    }
    heat(&mut text, contents);
    text.push_str("\n## Beside the model\n\n");
    for sentence in words::beside_the_model(contents) {
        let _ = writeln!(text, "- {sentence}");
    }
    if let Some(report) = &contents.confounds {
        text.push_str("\n## Confounds\n\n| check | passed | what was found |\n|---|---|---|\n");
        for check in &report.checks {
            let passed = if check.passed { "yes" } else { "no" };
            let _ = writeln!(text, "| {} | {passed} | {} |", check.name, check.sentence);
        }
    }
    text.push_str("\n## How it was made\n\n");
    for line in words::how_it_was_made(contents) {
        let _ = writeln!(text, "- {line}");
    }
    text
}

fn heat(text: &mut String, contents: &Contents) {
    let Some(heat) = &contents.metrics.heat else { return };
    let _ = writeln!(text, "\n{}\n", contents.maps);
    text.push_str(
        "| Heat-Score | mean | median | undefined as 0 | true positives | defined |\n|---|---|---|---|---|---|\n",
    );
    for (name, summary) in [("on the lesion", &heat.lesion), ("null: mirrored lesion", &heat.mirrored)] {
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} |",
            number(summary.mean),
            number(summary.median),
            number(summary.mean_undefined_as_zero),
            number(summary.mean_true_positives),
            summary.defined
        );
    }
    let _ = writeln!(text, "| null: other patients' lesions | {} | | | | |\n", number(heat.others));
    text.push_str("| category | right | near | vague | wrong | undefined |\n|---|---|---|---|---|---|\n");
    for (name, counts) in [("on the lesion", &heat.categories), ("null: mirrored lesion", &heat.mirrored_categories)] {
        let cells: Vec<String> = categories(counts).iter().map(|(_, count)| count.to_string()).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
}
