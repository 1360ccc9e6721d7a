//! The conformance statement as the real program prints it, taken apart again: its headings and its tables.

// Each group is a crate of its own that uses only a part of this module.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::Command;

/// A row of a table: each cell by its column's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(BTreeMap<String, String>);

impl Row {
    /// The cell below a header.
    pub fn cell(&self, header: &str) -> &str {
        self.0.get(header).unwrap_or_else(|| panic!("no column {header} in {self:?}"))
    }

    /// The number that a cell begins with, as in `2 (rejected-transient)`.
    pub fn number(&self, header: &str) -> u8 {
        let cell = self.cell(header);
        cell.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no number: {cell:?}"))
    }
}

/// The printed text.
pub struct Statement {
    pub text: String,
}

impl Statement {
    /// What `fcdd conformance` prints.
    pub fn printed<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Statement {
        let output = Command::new(env!("CARGO_BIN_EXE_fcdd")).arg("conformance").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        Statement { text: String::from_utf8(output.stdout).unwrap() }
    }

    /// Every table by its caption, in order. A row with too many or too few cells is a mistake of the document.
    pub fn tables(&self) -> Vec<(String, Vec<Row>)> {
        let mut tables = Vec::new();
        let mut lines = self.text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(caption) = line.strip_prefix("**Table ").and_then(|l| l.strip_suffix("**")) else { continue };
            let (_, caption) = caption.split_once(". ").expect("a number and a caption");
            assert_eq!(lines.next(), Some(""), "{caption}: a table begins after an empty line");
            let headers = cells(lines.next().expect("headers"));
            let rule = lines.next().expect("a rule below the headers");
            assert_eq!(rule, format!("|{}", "---|".repeat(headers.len())), "{caption}");
            let mut rows = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.is_empty()) {
                let cells = cells(line);
                assert_eq!(cells.len(), headers.len(), "{caption}: {line}");
                rows.push(Row(headers.iter().cloned().zip(cells).collect()));
            }
            tables.push((caption.to_owned(), rows));
        }
        tables
    }

    /// The rows of the table with this caption.
    pub fn table(&self, caption: &str) -> Vec<Row> {
        let found: Vec<_> = self.tables().into_iter().filter(|(c, _)| c == caption).collect();
        assert_eq!(found.len(), 1, "tables called {caption:?}");
        found.into_iter().next().unwrap().1
    }

    /// One column of a table.
    pub fn column(&self, caption: &str, header: &str) -> Vec<String> {
        self.table(caption).iter().map(|row| row.cell(header).to_owned()).collect()
    }
}

/// The cells of a line `| a | b |`; `\|` is a bar within a cell.
fn cells(line: &str) -> Vec<String> {
    let inner = line.strip_prefix("| ").and_then(|l| l.strip_suffix(" |"));
    let inner = inner.unwrap_or_else(|| panic!("not the line of a table: {line:?}"));
    inner.replace("\\|", "\u{0}").split(" | ").map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}
