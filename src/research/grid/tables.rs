//! Tables 1 and 2: a row per network and modality, a column per transfer strategy, with the means of both.

use serde::Serialize;

use super::{Outcome, Transfer};
use crate::network::Architecture;
use crate::research::statistics::MeanSd;
use crate::study::Sequence;

/// A table of one figure.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    /// Network by modality.
    pub rows: Vec<Row>,
    /// Mean of each column; none where a cell of it is undefined.
    pub column_means: [Option<f64>; 3],
    /// Mean of all cells; none where one is undefined.
    pub mean: Option<f64>,
}

/// A row of [`Table`].
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The network.
    pub architecture: Architecture,
    /// T1 or FLAIR.
    #[serde(rename = "modality")]
    pub sequence: Sequence,
    /// By [`Transfer::ALL`]; none: undefined.
    pub cells: [Option<MeanSd>; 3],
    /// Mean of the cells' means; none where a cell is undefined.
    pub mean: Option<f64>,
}

impl Table {
    /// The table of one figure of the outcomes, in their order.
    pub fn new(outcomes: &[Outcome], figure: impl Fn(&Outcome) -> Option<MeanSd>) -> Table {
        let mut rows: Vec<Row> = Vec::new();
        for outcome in outcomes {
            let (architecture, sequence) = (outcome.configuration.architecture, outcome.configuration.sequence);
            if rows.iter().any(|row| row.architecture == architecture && row.sequence == sequence) {
                continue;
            }
            let cells = Transfer::ALL.map(|transfer| {
                let is_it = |other: &&Outcome| {
                    let other = other.configuration;
                    (other.architecture, other.sequence, other.transfer) == (architecture, sequence, transfer)
                };
                outcomes.iter().find(is_it).and_then(&figure)
            });
            rows.push(Row { architecture, sequence, cells, mean: mean(cells.iter().map(of)) });
        }
        let column_means = [0, 1, 2].map(|column| mean(rows.iter().map(|row| row.cells.get(column).and_then(of))));
        let mean = mean(rows.iter().flat_map(|row| row.cells.iter().map(of)));
        Table { rows, column_means, mean }
    }

    /// The means of the rows in which both strategies are defined: the pairs of the paper's test.
    pub fn pairs(&self, first: Transfer, second: Transfer) -> (Vec<f64>, Vec<f64>) {
        let cell = |row: &Row, transfer: Transfer| row.cells.get(transfer as usize).and_then(of);
        self.rows.iter().filter_map(|row| Some((cell(row, first)?, cell(row, second)?))).unzip()
    }
}

fn of(cell: &Option<MeanSd>) -> Option<f64> {
    cell.map(|cell| cell.mean)
}

/// The mean; none when one is undefined, so that columns with different gaps are not compared.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::research::grid::outcome::made_up;
    use crate::research::grid::{ARCHITECTURES, Training};

    #[test]
    fn means_are_of_whole_rows_and_columns_only() {
        let configurations = Training::all(&ARCHITECTURES[..2]).into_iter().flat_map(Training::configurations);
        // In the order of training: by network, then strategy, then T1 and FLAIR.
        let accuracies = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 0.5, 0.7, 0.6, f64::NAN, 0.7, 0.8];
        let outcomes: Vec<Outcome> = configurations
            .zip(accuracies)
            .map(|(configuration, accuracy)| made_up(configuration, Some(accuracy).filter(|a| a.is_finite())))
            .collect();
        let table = Table::new(&outcomes, |outcome| outcome.accuracy);
        let rows: Vec<_> = table.rows.iter().map(|row| (row.architecture, row.sequence)).collect();
        let [resnet18, resnet34, _] = ARCHITECTURES;
        let (t1, flair) = (Sequence::T1, Sequence::Flair);
        assert_eq!(rows, [(resnet18, t1), (resnet18, flair), (resnet34, t1), (resnet34, flair)]);
        let close = |found: Option<f64>, expected: f64| assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?}");
        close(table.rows[0].mean, 0.7);
        close(table.rows[1].mean, 0.8);
        assert_eq!(table.rows[3].mean, None);
        close(table.column_means[0], 0.575);
        assert_eq!(table.column_means[1], None);
        close(table.column_means[2], 0.85);
        assert_eq!(table.mean, None);
        // The row without "1 dataset" is no pair of it.
        assert_eq!(table.pairs(Transfer::OneDataset, Transfer::None).0, [0.7, 0.8, 0.6]);
        assert_eq!(table.pairs(Transfer::TwentyThreeDatasets, Transfer::None).1, [0.5, 0.6, 0.5, 0.7]);
    }
}
