//! A tab-separated table of a BIDS folder, read and written without touching what is not ours: other columns,
//! their order, the order of rows, line ends and a byte order mark stay as they were.

use std::path::{Path, PathBuf};

use crate::spool::{SpoolError, write_durably};

/// Who is who.
pub const PARTICIPANTS: &str = "participants.tsv";
/// What was added: the archive's memory of studies.
pub const ADDED: &str = "added-studies.tsv";
/// Studies that must not be used.
pub const EXCLUDED: &str = "excluded.tsv";
/// What BIDS writes for an unknown value.
pub const NOT_AVAILABLE: &str = "n/a";

/// A table cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Reading failed.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Writing failed; the old file is whole.
    #[error(transparent)]
    Write(#[from] SpoolError),
    /// A row has another number of cells than the header.
    #[error("{path}, line {line}: {found} cells where the header has {expected}; mend the table first")]
    Row {
        /// The file.
        path: PathBuf,
        /// Line from 1.
        line: usize,
        /// Cells found.
        found: usize,
        /// Cells of the header.
        expected: usize,
    },
    /// A column that must be there.
    #[error("{path} has no column {column:?} (it has {found}); is it a BIDS table?")]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The columns found.
        found: String,
    },
}

/// A table in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    has_byte_order_mark: bool,
    has_crlf: bool,
}

impl Table {
    /// Reads a table; one with these columns and no rows when there is no file.
    ///
    /// # Errors
    /// When it cannot be read, is ragged, or lacks `key` among its columns.
    pub fn read_or_new(path: &Path, columns: &[&str], key: &str) -> Result<Table, TableError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let columns = columns.iter().map(|c| (*c).to_owned()).collect();
                return Ok(Table { columns, rows: Vec::new(), has_byte_order_mark: false, has_crlf: false });
            }
            Err(source) => return Err(TableError::Read { path: path.to_owned(), source }),
        };
        let table = Table::parse(&text, path)?;
        match table.column(key) {
            Some(_) => Ok(table),
            None => Err(TableError::Column {
                path: path.to_owned(),
                column: key.to_owned(),
                found: table.columns.join(", "),
            }),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Table, TableError> {
        let body = text.trim_start_matches('\u{feff}');
        let mut lines = body.split('\n').map(|line| line.trim_end_matches('\r')).enumerate();
        let cells = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
        let columns = lines.next().map(|(_, line)| cells(line)).unwrap_or_default();
        let mut rows = Vec::new();
        for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let row = cells(line);
            if row.len() != columns.len() {
                let (found, expected) = (row.len(), columns.len());
                return Err(TableError::Row { path: path.to_owned(), line: index + 1, found, expected });
            }
            rows.push(row);
        }
        let has_byte_order_mark = text.starts_with('\u{feff}');
        Ok(Table { columns, rows, has_byte_order_mark, has_crlf: body.contains("\r\n") })
    }

    /// Whether there is such a column.
    pub fn has_column(&self, name: &str) -> bool {
        self.column(name).is_some()
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.trim() == name)
    }

    /// The cell of the first row whose `key` column holds `id`.
    pub fn find(&self, key: &str, id: &str, column: &str) -> Option<&str> {
        let (key, column) = (self.column(key)?, self.column(column)?);
        let row = self.rows.iter().find(|row| row.get(key).is_some_and(|cell| cell.trim() == id))?;
        row.get(column).map(|cell| cell.trim())
    }

    /// Of every row these cells, [`NOT_AVAILABLE`] where there is no such column.
    pub fn cells<const N: usize>(&self, columns: [&str; N]) -> impl Iterator<Item = [&str; N]> {
        let columns = columns.map(|name| self.column(name));
        self.rows.iter().map(move |row| {
            columns.map(|column| column.and_then(|index| row.get(index)).map_or(NOT_AVAILABLE, |cell| cell.trim()))
        })
    }

    /// Sets these cells in the row whose `key` column holds `id`, which is added at the end when it is new. Columns
    /// that are not there are added on the right, `n/a` in all other rows.
    pub fn set(&mut self, key: &str, id: &str, cells: &[(&str, &str)]) {
        for (column, _) in cells.iter().chain(&[(key, id)]) {
            if !self.has_column(column) {
                self.columns.push((*column).to_owned());
                self.rows.iter_mut().for_each(|row| row.push(NOT_AVAILABLE.to_owned()));
            }
        }
        let key_column = self.column(key);
        let is_it = |row: &Vec<String>| key_column.and_then(|k| row.get(k)).is_some_and(|cell| cell.trim() == id);
        let place = self.rows.iter().position(is_it).unwrap_or_else(|| {
            self.rows.push(vec![NOT_AVAILABLE.to_owned(); self.columns.len()]);
            self.rows.len() - 1
        });
        for (column, value) in cells.iter().chain(&[(key, id)]) {
            let index = self.column(column);
            if let Some(cell) = index.and_then(|i| self.rows.get_mut(place)?.get_mut(i)) {
                // A tab or a line end would make another table of it.
                *cell = value.split(['\t', '\r', '\n']).collect::<Vec<_>>().join(" ");
            }
        }
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let end = if self.has_crlf { "\r\n" } else { "\n" };
        let mut text = String::from(if self.has_byte_order_mark { "\u{feff}" } else { "" });
        for row in std::iter::once(&self.columns).chain(&self.rows) {
            text.push_str(&row.join("\t"));
            text.push_str(end);
        }
        text
    }

    /// Replaces the file at once.
    ///
    /// # Errors
    /// When it cannot be written; the old file stays.
    pub fn write(&self, path: &Path) -> Result<(), TableError> {
        Ok(write_durably(path, self.to_text().as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREIGN: &str = "\u{feff}participant_id\tgroup\tlobe\r\nsub-2\thc\tn/a\r\nsub-1\tfcd\tFL\r\n";

    #[test]
    fn what_is_not_ours_stays() {
        let mut table = Table::parse(FOREIGN, Path::new("t")).unwrap();
        assert_eq!(table.to_text(), FOREIGN);
        assert_eq!(table.find("participant_id", "sub-1", "group"), Some("fcd"));
        table.set("participant_id", "sub-A", &[("group", "hc"), ("consent", "yes")]);
        let expected = "\u{feff}participant_id\tgroup\tlobe\tconsent\r\nsub-2\thc\tn/a\tn/a\r\n\
                        sub-1\tfcd\tFL\tn/a\r\nsub-A\thc\tn/a\tyes\r\n";
        assert_eq!(table.to_text(), expected);
        table.set("participant_id", "sub-A", &[("consent", "n\to")]);
        assert_eq!(table.find("participant_id", "sub-A", "consent"), Some("n o"));
    }

    #[test]
    fn a_ragged_row_is_named() {
        let error = Table::parse("participant_id\tgroup\nsub-1\n", Path::new("t")).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
