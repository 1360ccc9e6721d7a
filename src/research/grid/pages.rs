//! What `grid.md` and `grid.html` say.

use super::blocks::Block;
use super::{Grid, MeansTest, Outcome, Table, Transfer, machines};
use crate::research::report::{RESEARCH_ONLY, SYNTHETIC};
use crate::research::statistics::MeanSd;

pub(super) const TITLE: &str = "Three networks, two modalities, three transfer strategies";

/// The paper's best accuracy. Of its tables no more is known here than this and [`super::comparisons::PAPERS_P`].
const PAPERS_BEST: &str = "80.3 %";

/// The pages' pieces, in order.
pub(super) fn blocks(grid: &Grid) -> Vec<Block> {
    let text = |text: &str| Block::Text(text.to_owned());
    let mut blocks = vec![Block::Band("", RESEARCH_ONLY.to_owned())];
    if grid.synthetic == Some(true) {
        blocks.push(Block::Band("synthetic", SYNTHETIC.to_owned()));
    }
    blocks.extend([confounds(&grid.configurations), best(grid)]);
    blocks.push(Block::Text(grid.choices.clone()));
    if !grid.cautions.is_empty() {
        blocks.push(Block::List(grid.cautions.clone()));
    }

    blocks.extend([
        Block::Heading("Table 1: accuracy"),
        Block::Text(format!(
            "Percent, mean ± SD over folds, of the networks' own calls at a probability of 0.5, as the paper counts. The \
             paper's best accuracy is {PAPERS_BEST}. The other cells of its tables are not known to this program, so \
             that none stand beside ours."
        )),
        table(&grid.accuracy, &percent),
        text(PAPERS_TEST),
        means_tests(&grid.accuracy_tests, &|difference| format!("{:+.1}", 100.0 * difference)),
        Block::Heading("Table 2: Heat-Score"),
        text("Mean over the patients of a fold whose score is defined, then mean ± SD over folds."),
        table(&grid.heat_score, &|value| format!("{value:.2}")),
        text(PAPERS_TEST),
        means_tests(&grid.heat_score_tests, &|difference| format!("{difference:+.2}")),
        Block::Heading("The same subjects, two strategies"),
        text(
            "McNemar's test (mid-p) on the calls of Table 1, and a paired bootstrap of the AUC over pairs of subjects \
             within folds, with a 95 % interval. Each p stands beside Holm's, which is corrected over all rows of this \
             table.",
        ),
        subjects_tests(grid),
        Block::Heading("Gaps and times"),
        text(
            "Gap: training less validation accuracy at the best epoch. Time per fold: wall time of its epochs. \
             Time per scan: median of the forward pass, as the run's report measured it. Null: mean Heat-Score on the \
             mirrored lesions. The paper's gaps and times are not known to this program.",
        ),
        gaps_and_times(&grid.configurations),
    ]);
    if let [machine] = machines(&grid.configurations).as_slice() {
        blocks.push(Block::Text(format!("Of all configurations: {machine}.")));
    }
    blocks
}

const PAPERS_TEST: &str = "The paper's test: a paired t-test over the (network × modality) means of two strategies. It \
    takes six means for independent, though all are of the same subjects. The paper's p is recomputed from its own \
    table; its text prints other values for three of the four.";

fn confounds(outcomes: &[Outcome]) -> Block {
    let count = |verdict: Option<bool>| outcomes.iter().filter(|outcome| outcome.confounds_passed == verdict).count();
    let (passed, failed, unknown) = (count(Some(true)), count(Some(false)), count(None));
    let colour = if passed == outcomes.len() { "good" } else { "bad" };
    let sentence = format!(
        "Confounds: {passed} of {} configurations passed, {failed} failed, {unknown} were not assessed, which is no pass.",
        outcomes.len()
    );
    Block::Band(colour, sentence)
}

fn best(grid: &Grid) -> Block {
    let Some(best) = &grid.best else {
        return Block::Band("bad", "No configuration has an accuracy.".to_owned());
    };
    let equals = match best.equals {
        0 => String::new(),
        1 => " (another one has the same mean; this is the first of the table)".to_owned(),
        others => format!(" ({others} others have the same mean; this is the first of the table)"),
    };
    let verdict = match best.confounds_passed {
        Some(true) => "passed",
        Some(false) => "FAILED",
        None => "was not assessed",
    };
    Block::Band(
        "",
        format!(
            "Best, by the highest mean accuracy over folds: {}, {} %{equals}; its confound report {verdict}. The best of \
             {} by the very folds that scored them is optimistic: expect less on new subjects.",
            best.configuration,
            mean_and_sd(Some(&best.accuracy), &percent),
            grid.configurations.len()
        ),
    )
}

fn table(table: &Table, value: &dyn Fn(f64) -> String) -> Block {
    let mut head = vec!["network".to_owned(), "modality".to_owned()];
    head.extend(Transfer::ALL.map(|transfer| transfer.label().to_owned()));
    head.push("mean".to_owned());
    let mean = |mean: Option<f64>| mean.map_or_else(undefined, value);
    let mut rows: Vec<Vec<String>> = Vec::new();
    for row in &table.rows {
        let mut cells = vec![row.architecture.to_string(), row.sequence.label().to_owned()];
        cells.extend(row.cells.iter().map(|cell| mean_and_sd(cell.as_ref(), value)));
        cells.push(mean(row.mean));
        rows.push(cells);
    }
    let mut last = vec!["mean".to_owned(), String::new()];
    last.extend(table.column_means.map(mean));
    last.push(mean(table.mean));
    rows.push(last);
    Block::Table(head, rows)
}

fn means_tests(tests: &[MeansTest], difference: &dyn Fn(f64) -> String) -> Block {
    let head = ["compared", "pairs", "mean difference", "t", "degrees of freedom", "p", "p of the paper's table"];
    let rows = tests.iter().map(|test| {
        let of = |figure: &dyn Fn(&crate::research::statistics::paired_tests::PairedT) -> String| {
            test.test.as_ref().map_or_else(undefined, figure)
        };
        vec![
            compared(test.first, test.second),
            test.pairs.to_string(),
            of(&|t| difference(t.mean_difference)),
            of(&|t| format!("{:.2}", t.t)),
            of(&|t| t.degrees_of_freedom.to_string()),
            of(&|t| p_value(t.p)),
            test.papers_p.map_or_else(|| "not known".to_owned(), |p| format!("{p:.4}")),
        ]
    });
    Block::Table(head.map(str::to_owned).into(), rows.collect())
}

fn subjects_tests(grid: &Grid) -> Block {
    let head = [
        "network",
        "modality",
        "compared",
        "subjects",
        "only the first right",
        "only the second right",
        "mid-p",
        "Holm",
        "AUC difference",
        "p",
        "Holm",
    ];
    let p = |p: Option<f64>| p.map_or_else(undefined, p_value);
    let rows = grid.subjects_tests.iter().map(|test| {
        let only = |count: &dyn Fn(&crate::research::statistics::paired_tests::McNemar) -> usize| {
            test.mcnemar.as_ref().map_or_else(undefined, |of| count(of).to_string())
        };
        let auc = test.auc.map(|auc| auc.difference);
        vec![
            test.architecture.to_string(),
            test.sequence.label().to_owned(),
            compared(test.first, test.second),
            test.subjects.to_string(),
            only(&|of| of.only_first_right),
            only(&|of| of.only_second_right),
            p(test.mcnemar.map(|of| of.p_mid)),
            p(test.mcnemar_holm),
            auc.map_or_else(undefined, |d| format!("{:+.3} ({:+.3} to {:+.3})", d.estimate, d.lower, d.upper)),
            p(test.auc.map(|of| of.p)),
            p(test.auc_holm),
        ]
    });
    Block::Table(head.map(str::to_owned).into(), rows.collect())
}

fn gaps_and_times(outcomes: &[Outcome]) -> Block {
    let head = [
        "configuration",
        "subjects",
        "patients",
        "AUC",
        "gap, points",
        "s per fold",
        "ms per scan",
        "Heat-Score, null",
        "confounds",
    ];
    let points = |value: f64| format!("{:.1}", 100.0 * value);
    let seconds = |value: f64| if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    let rows = outcomes.iter().map(|outcome| {
        vec![
            outcome.configuration.to_string(),
            outcome.subjects.to_string(),
            outcome.patients.to_string(),
            mean_and_sd(outcome.auc.as_ref(), &|value| format!("{value:.3}")),
            mean_and_sd(outcome.train_validation_gap.as_ref(), &points),
            mean_and_sd(outcome.seconds_per_fold.as_ref(), &seconds),
            outcome.milliseconds_per_scan.map_or_else(undefined, |ms| format!("{ms:.0}")),
            outcome.heat_score_mirrored.map_or_else(undefined, |score| format!("{score:.2}")),
            match outcome.confounds_passed {
                Some(true) => "passed",
                Some(false) => "FAILED",
                None => "not assessed",
            }
            .to_owned(),
        ]
    });
    Block::Table(head.map(str::to_owned).into(), rows.collect())
}

fn compared(first: Transfer, second: Transfer) -> String {
    format!("{} − {}", first.label(), second.label())
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

fn mean_and_sd(of: Option<&MeanSd>, value: &dyn Fn(f64) -> String) -> String {
    let Some(of) = of else { return undefined() };
    of.sd.map_or_else(|| value(of.mean), |sd| format!("{} ± {}", value(of.mean), value(sd)))
}

fn p_value(p: f64) -> String {
    if p < 0.0005 { "< 0.0005".to_owned() } else { format!("{p:.3}") }
}

fn undefined() -> String {
    "undefined".to_owned()
}
