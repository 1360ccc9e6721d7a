//! What a page is made of, and how Markdown and HTML write it: one text, two forms.

use std::fmt::Write;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::research::report;

/// A piece of a page.
pub(super) enum Block {
    /// A heading.
    Heading(&'static str),
    /// A paragraph.
    Text(String),
    /// Something that must not be overlooked, with the colour of its band: empty, `good`, `bad` or `synthetic`.
    Band(&'static str, String),
    /// A list.
    List(Vec<String>),
    /// A table: its head, then its rows.
    Table(Vec<String>, Vec<Vec<String>>),
}

/// The page as Markdown.
pub(super) fn markdown(title: &str, blocks: &[Block]) -> String {
    let mut text = format!("# {title}\n");
    // Writing to a String cannot fail, here and below.
    for block in blocks {
        text.push('\n');
        let _ = match block {
            Block::Heading(heading) => writeln!(text, "## {heading}"),
            Block::Text(paragraph) => writeln!(text, "{paragraph}"),
            Block::Band(_, sentence) => writeln!(text, "**{sentence}**"),
            Block::List(items) => items.iter().try_for_each(|item| writeln!(text, "- {item}")),
            Block::Table(head, rows) => {
                let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
                let rule = format!("|{}", "---|".repeat(head.len()));
                writeln!(text, "{}\n{rule}", line(head))
                    .and_then(|()| rows.iter().try_for_each(|row| writeln!(text, "{}", line(row))))
            }
        };
    }
    text
}

/// The page as one HTML file that fetches nothing.
pub(super) fn html(title: &str, blocks: &[Block]) -> String {
    let page: Markup = html! {
        (DOCTYPE)
        html lang="en" {
            (report::head(title))
            body {
                h1 { (title) }
                @for block in blocks {
                    @match block {
                        Block::Heading(heading) => h2 { (heading) },
                        Block::Text(paragraph) => p { (paragraph) },
                        Block::Band(colour, sentence) => div class={ "band " (colour) } { strong { (sentence) } },
                        Block::List(items) => ul { @for item in items { li { (item) } } },
                        Block::Table(head, rows) => table {
                            tr { @for cell in head { th { (cell) } } }
                            @for row in rows { tr { @for cell in row { td { (cell) } } } }
                        },
                    }
                }
            }
        }
    };
    let PreEscaped(text) = page;
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let table = Block::Table(vec!["a".into(), "b".into()], vec![vec!["1".into(), "< 2".into()]]);
        let blocks =
            [Block::Heading("One"), Block::Band("bad", "Two".into()), Block::List(vec!["three".into()]), table];
        let expected = "# Title\n\n## One\n\n**Two**\n\n- three\n\n| a | b |\n|---|---|\n| 1 | < 2 |\n";
        assert_eq!(markdown("Title", &blocks), expected);
        let page = html("Title", &blocks);
        for piece in ["<h2>One</h2>", "band bad", "<li>three</li>", "<td>&lt; 2</td>", "<title>Title</title>"] {
            assert!(page.contains(piece), "{piece} is missing in {page}");
        }
    }
}
