//! `report.md`: the same figures for a terminal or a repository.

use std::fmt::Write;

use super::{Contents, RESEARCH_ONLY, SYNTHETIC, confound_verdict, interval, mean_and_sd, measures, number};

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
        "\n{} subjects: {} patients, {controls} controls; {} folds. {}\n",
        metrics.subjects,
        metrics.patients,
        metrics.folds.len(),
        contents.hardware
    );
    text.push_str("| | mean ± SD over folds | pooled | 95 % interval (pooled) |\n|---|---|---|---|\n");
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
    if let Some(heat) = &metrics.heat {
        let _ = writeln!(
            text,
            "\n| Heat-Score | mean | median | undefined as 0 | true positives | defined |\n|---|---|---|---|---|---|"
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
        let _ = writeln!(text, "| null: other patients' lesions | {} | | | | |", number(heat.others));
    }
    text
}
