//! A Markdown document under way: numbered headings with a table of contents, and numbered tables.

use std::fmt::Write;

/// Stands where the table of contents will be.
const CONTENTS: &str = "\u{0}contents\u{0}";

/// The document.
#[derive(Debug, Default)]
pub(super) struct Document {
    text: String,
    /// Number and title of every heading, in order.
    headings: Vec<(String, String)>,
    tables: usize,
}

impl Document {
    /// The document's title.
    pub(super) fn title(&mut self, title: &str) {
        self.line(&format!("# {title}\n"));
    }

    /// A heading; `number` is PS3.2's, such as `4.2.1`, and says how deep it is.
    pub(super) fn heading(&mut self, number: &str, title: &str) {
        let depth = number.split('.').count() + 1;
        // Markdown has six levels, PS3.2 has more.
        let marks = "#".repeat(depth.min(6));
        self.line(&format!("{marks} {number} {title}\n"));
        self.headings.push((number.to_owned(), title.to_owned()));
    }

    /// A paragraph.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.line(&format!("{text}\n"));
    }

    /// A list.
    pub(super) fn list<T: AsRef<str>>(&mut self, items: impl IntoIterator<Item = T>) {
        for item in items {
            self.line(&format!("- {}", item.as_ref()));
        }
        self.line("");
    }

    /// Text that is shown as it is.
    pub(super) fn drawing(&mut self, text: &str) {
        self.line(&format!("```text\n{}\n```\n", text.trim_matches('\n')));
    }

    /// A table; every row has as many cells as there are headers.
    pub(super) fn table<R: AsRef<[String]>>(
        &mut self,
        caption: &str,
        headers: &[&str],
        rows: impl IntoIterator<Item = R>,
    ) {
        self.tables += 1;
        let number = self.tables;
        self.line(&format!("**Table {number}. {caption}**\n"));
        self.line(&format!("| {} |", headers.join(" | ")));
        self.line(&format!("|{}", "---|".repeat(headers.len())));
        for row in rows {
            debug_assert_eq!(row.as_ref().len(), headers.len(), "{caption}");
            let cells: Vec<String> = row.as_ref().iter().map(|cell| cell_text(cell)).collect();
            self.line(&format!("| {} |", cells.join(" | ")));
        }
        self.line("");
    }

    /// Marks where the table of contents goes.
    pub(super) fn contents(&mut self) {
        self.line(CONTENTS);
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        let mut contents = String::new();
        for (number, title) in &self.headings {
            let depth = number.split('.').count();
            if depth <= 3 {
                let anchor = anchor(&format!("{number} {title}"));
                // Writing to a String cannot fail.
                let _ = writeln!(contents, "{}- [{number} {title}](#{anchor})", "  ".repeat(depth - 1));
            }
        }
        let mut text = self.text.replace(CONTENTS, &contents);
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }
}

/// A bar would end the cell, a line end the row.
fn cell_text(text: &str) -> String {
    text.replace('|', "\\|").replace(['\r', '\n'], " ")
}

/// The anchor that Git forges and most Markdown readers give a heading.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_tables_and_bars_come_out_right() {
        let mut document = Document::default();
        document.title("A statement");
        document.contents();
        document.heading("1", "First, a heading");
        document.heading("1.1.1.1", "Too deep for the contents");
        document.table("Bars", &["a", "b"], [["x | y".to_owned(), "1\n2".to_owned()]]);
        let expected = "# A statement\n\n- [1 First, a heading](#1-first-a-heading)\n\n## 1 First, a heading\n\n\
                        ##### 1.1.1.1 Too deep for the contents\n\n**Table 1. Bars**\n\n| a | b |\n|---|---|\n\
                        | x \\| y | 1 2 |\n";
        assert_eq!(document.finish(), expected);
    }
}
