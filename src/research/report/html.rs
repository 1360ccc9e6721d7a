//! `report.html`: one file that opens from disk; pictures and curves are in it, nothing is fetched.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::words::{
    self, RESEARCH_ONLY, SYNTHETIC, categories, confound_verdict, interval, mean_and_sd, measures, number,
};
use super::{Contents, ReportError, charts};

/// The pages' style sheet.
pub(super) const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; max-width: 1060px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25em .9em .25em 0; border-bottom: 1px solid #e6e6e6; }
.band { padding: .7em 1em; border-radius: 4px; margin: .6em 0; background: #eef3fa; }
.bad { background: #fbe6e2; } .good { background: #e5f3e6; } .synthetic { background: #fff3d6; }
.charts { display: flex; flex-wrap: wrap; gap: 1em; } figure { margin: 0 0 1em 0; } img { max-width: 100%; }
.scroll { max-height: 30em; overflow: auto; } .wrong { color: #b3261e; }
@media print { .scroll { max-height: none; } }
";

/// The `head` of a page that fetches nothing.
pub(in crate::research) fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            title { (title) }
            style { (PreEscaped(STYLE)) }
        }
    }
}

/// The page.
pub(super) fn page(contents: &Contents) -> Result<String, ReportError> {
    let metrics = &contents.metrics;
    let passed = contents.confounds.as_ref().is_some_and(|report| report.passed);
    let body: Markup = html! {
        (DOCTYPE)
        html lang="en" {
            (head(&contents.title))
            body {
                h1 { (contents.title) }
                div.band { (RESEARCH_ONLY) }
                @if contents.synthetic { div.band.synthetic { strong { (SYNTHETIC) } } }
                div.band.(if passed { "good" } else { "bad" }) { strong { "Confounds. " } (confound_verdict(contents)) }
                @if !contents.cautions.is_empty() {
                    ul { @for caution in &contents.cautions { li { (caution) } } }
                }
                h2 { "Figures" }
                p {
                    (metrics.subjects) " subjects: " (metrics.patients) " patients, "
                    (metrics.subjects - metrics.patients) " controls. " (contents.scored_by)
                }
                (figures(contents))
                ul { @for sentence in words::beside_the_model(contents) { li { (sentence) } } }
                @if metrics.heat.is_some() { h2 { "Heat-Score" } (heat(contents)) }
                h2 { "Curves" }
                div.charts {
                    @if metrics.roc.is_empty() {
                        p { "ROC and calibration curves are undefined: they need patients and controls." }
                    } @else {
                        figure { (PreEscaped(charts::roc(&metrics.roc)?)) figcaption { (words::roc(metrics)) } }
                        figure { (PreEscaped(charts::reliability(&metrics.reliability)?)) figcaption { "Calibration" } }
                    }
                    @if contents.histories.iter().any(|(_, epochs)| !epochs.is_empty()) {
                        figure { (PreEscaped(charts::learning(&contents.histories)?)) figcaption { "Learning curves of all folds" } }
                    }
                }
                @if !contents.tiles.is_empty() {
                    h2 { "Where the network looked" }
                    p { "Left the source, right the heatmap over it with the lesion's contour; the patient's right is on the left." }
                    div.charts {
                        @for tile in &contents.tiles {
                            figure { img src=(tile.address()) alt=(tile.caption); figcaption { (tile.caption) } }
                        }
                    }
                }
                h2 { "Confounds" }
                (confounds(contents))
                h2 { (if contents.model.is_some() { "Networks" } else { "Folds" }) }
                (folds(contents))
                h2 { "Subjects" }
                (subjects(contents))
                h2 { "How it was made" }
                ul { @for line in words::how_it_was_made(contents) { li { (line) } } }
                @if let Some(plan) = &contents.plan { pre { (plan.to_toml()) } }
            }
        }
    };
    Ok(body.into_string())
}

fn figures(contents: &Contents) -> Markup {
    html! {
        table {
            tr { th {} th { (words::over(contents)) } th { "pooled" } th { "95 % interval (pooled)" } }
            @for (name, measure) in measures(&contents.metrics) {
                tr {
                    td { (name) } td { (mean_and_sd(measure.over_folds.as_ref())) }
                    td { (number(measure.pooled)) } td { (interval(measure.interval.as_ref())) }
                }
            }
            @if let Some(gap) = &contents.metrics.train_validation_gap {
                tr { td { "Training − validation accuracy" } td { (mean_and_sd(Some(gap))) } td {} td {} }
            }
        }
    }
}

fn heat(contents: &Contents) -> Markup {
    let Some(heat) = &contents.metrics.heat else { return html! {} };
    html! {
        p {
            "(mean in the lesion − mean in the background) / SD of the background, on the map of networks that never saw \
             the patient. " (contents.maps)
        }
        table {
            tr { th {} th { "mean" } th { "median" } th { "undefined as 0" } th { "true positives" } th { "defined" } }
            @for (name, summary) in [("on the lesion", &heat.lesion), ("null: mirrored lesion", &heat.mirrored)] {
                tr {
                    td { (name) } td { (number(summary.mean)) } td { (number(summary.median)) }
                    td { (number(summary.mean_undefined_as_zero)) } td { (number(summary.mean_true_positives)) }
                    td { (summary.defined) }
                }
            }
            tr { td { "null: other patients' lesions" } td { (number(heat.others)) } td {} td {} td {} td {} }
        }
        p { (heat.midline) " patients have a lesion at the midline and no mirrored null." }
        @if !heat.lesion.undefined.is_empty() {
            ul { @for (reason, count) in &heat.lesion.undefined { li { "undefined in " (count) ": " (reason) } } }
        }
        p {
            "Figure 2's categories by stated rules. The ruler is a cell of the map: right, the lesion reaches into the cell \
             around the hottest voxel; near, into a cell beside it; vague, more than a quarter of the brain is hot; wrong, \
             neither."
        }
        table {
            tr { th {} @for (name, _) in categories(&heat.categories) { th { (name) } } }
            @for (name, counts) in
                [("on the lesion", &heat.categories), ("null: mirrored lesion", &heat.mirrored_categories)]
            {
                tr { td { (name) } @for (_, count) in categories(counts) { td { (count) } } }
            }
        }
    }
}

fn confounds(contents: &Contents) -> Markup {
    html! {
        p { (confound_verdict(contents)) }
        @if let Some(report) = &contents.confounds {
            table {
                tr { th { "check" } th { "passed" } th { "what was found" } }
                @for check in &report.checks {
                    tr { td { (check.name) } td { (if check.passed { "yes" } else { "no" }) } td { (check.sentence) } }
                }
            }
            @if !report.scanner_predictions.is_empty() {
                p { "How well the score tells a scanner from the others within one class (AUC; 0.5 says nothing of it):" }
                table {
                    tr { th { "class" } th { "scanner" } th { "on it" } th { "on others" } th { "AUC" } }
                    @for prediction in &report.scanner_predictions {
                        tr {
                            td { (if prediction.fcd { "patients" } else { "controls" }) } td { (prediction.scanner) }
                            td { (prediction.subjects[0]) } td { (prediction.subjects[1]) }
                            td { (words::with_interval(prediction.auc.as_ref())) }
                        }
                    }
                }
            }
            p { "AUC of the metadata alone: " (words::with_interval(report.metadata_auc.as_ref())) "." }
        }
    }
}

fn folds(contents: &Contents) -> Markup {
    html! {
        table {
            tr { th { (if contents.model.is_some() { "network of fold" } else { "fold" }) } th { "subjects" } th { "accuracy" } th { "AUC" } th { "sensitivity" } th { "specificity" } th { "Brier" } th { "gap" } th { "epochs" } th { "time, s" } }
            @for fold in &contents.metrics.folds {
                tr {
                    td { (words::fold(fold.fold)) } td { (fold.subjects) } td { (number(fold.accuracy)) } td { (number(fold.auc)) }
                    td { (number(fold.sensitivity)) } td { (number(fold.specificity)) } td { (number(fold.brier)) }
                    td { (number(fold.train_validation_gap)) }
                    td { (fold.epochs.map_or_else(String::new, |epochs| epochs.to_string())) }
                    td { (fold.seconds.map_or_else(String::new, |seconds| format!("{seconds:.1}"))) }
                }
            }
        }
    }
}

fn subjects(contents: &Contents) -> Markup {
    html! {
        div.scroll {
            table {
                tr { th { "subject" } th { "fold" } th { "is" } th { "called" } th { "probability" } th { "logit" } th { "Heat-Score" } th { "map" } }
                @for subject in &contents.metrics.per_subject {
                    tr.(if subject.called_fcd == subject.fcd { "right" } else { "wrong" }) {
                        td { (subject.subject) } td { (words::fold(subject.fold)) }
                        td { (if subject.fcd { "FCD" } else { "control" }) }
                        td { (if subject.called_fcd { "FCD" } else { "no FCD" }) }
                        td { (format!("{:.3}", subject.probability)) } td { (format!("{:.3}", subject.logit)) }
                        td { (subject.heat_score.map_or_else(|| "–".to_owned(), |v| format!("{v:.2}"))) }
                        td { (subject.category.map_or("–", |category| category.name())) }
                    }
                }
            }
        }
    }
}
