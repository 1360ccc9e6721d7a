//! Reading the file: every mistake at once, each with its line.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;

/// One thing that is wrong in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Mistake {
    /// One-based line; `None` for something that is not there at all.
    pub line: Option<usize>,
    /// The dotted key, e.g. `receive.ae_title`; empty for broken syntax.
    pub key: String,
    /// What is wrong with it and what is allowed.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{} ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is wrong; every mistake is listed.
    #[error("{path}: {} mistake(s)\n{}", mistakes.len(), mistakes.iter().map(|m| format!("  {m}")).collect::<Vec<_>>().join("\n"))]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// In the order of lines.
        mistakes: Vec<Mistake>,
    },
}

impl Config {
    /// Reads and checks a file. Relative paths in it are taken from the file's own folder.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Config::parse(&text, folder).map_err(|mistakes| ConfigError::Mistakes { path: path.to_owned(), mistakes })
    }

    /// Checks a configuration's text; relative paths are taken from `folder`.
    pub fn parse(text: &str, folder: &Path) -> Result<Config, Vec<Mistake>> {
        let document = Document { text };
        let (config, mut mistakes) = document.deserialize();
        let Some(mut config) = config else {
            return Err(mistakes);
        };
        config.validate(&document, &mut mistakes);
        mistakes.sort_by_key(|m| m.line.unwrap_or(usize::MAX));
        if mistakes.is_empty() {
            config.resolve_paths(folder);
            Ok(config)
        } else {
            Err(mistakes)
        }
    }

    fn resolve_paths(&mut self, folder: &Path) {
        let resolve = |path: &mut PathBuf| {
            if path.is_relative() {
                *path = folder.join(&*path);
            }
        };
        resolve(&mut self.spool.directory);
        self.analyze.models.iter_mut().for_each(resolve);
        let optional = [&mut self.assemble.sequences, &mut self.report.templates, &mut self.analyze.onnxruntime];
        optional.into_iter().flatten().for_each(resolve);
        self.research.paths().for_each(resolve);
        self.mail.iter_mut().filter_map(|mail| mail.password_file.as_mut()).for_each(resolve);
    }
}

/// A configuration's text, with what is needed to name lines.
pub(super) struct Document<'t> {
    text: &'t str,
}

impl Document<'_> {
    /// Deserializes; where a value is refused it is noted, taken out, and the rest is tried again, so that
    /// one mistake does not hide the next.
    fn deserialize(&self) -> (Option<Config>, Vec<Mistake>) {
        let (mut table, syntax_errors) = DeTable::parse_recoverable(self.text);
        let mut mistakes: Vec<Mistake> =
            syntax_errors.iter().map(|e| self.mistake_at(e.span(), String::new(), e.message())).collect();
        if !mistakes.is_empty() {
            return (None, mistakes);
        }
        loop {
            let error = match Config::deserialize(toml::de::Deserializer::from(table.clone())) {
                Ok(config) => return (Some(config), mistakes),
                Err(error) => error,
            };
            let taken = error.span().and_then(|span| take_out(table.get_mut(), &span, ""));
            match taken {
                Some(key) => mistakes.push(self.mistake_at(error.span(), key, error.message())),
                None => {
                    mistakes.push(self.mistake_at(error.span(), String::new(), error.message()));
                    return (None, mistakes);
                }
            }
        }
    }

    fn mistake_at(&self, span: Option<Range<usize>>, key: String, what: &str) -> Mistake {
        let what = if key.is_empty() { what.to_owned() } else { format!("is wrong: {what}") };
        Mistake { line: span.map(|s| self.line_at(s.start)), key, what }
    }

    fn line_at(&self, offset: usize) -> usize {
        self.text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count() + 1
    }

    /// The line of a key such as `["destination", "pacs", "port"]`, if the file has it.
    pub(super) fn line_of(&self, path: &[&str]) -> Option<usize> {
        let (document, _) = DeTable::parse_recoverable(self.text);
        let mut table = document.get_ref();
        let (last, parents) = path.split_last()?;
        for part in parents {
            table = match table.get(*part).map(|v| v.get_ref()) {
                Some(DeValue::Table(inner)) => inner,
                _ => return None,
            };
        }
        let (key, _) = table.iter().find(|(k, _)| k.get_ref() == last)?;
        Some(self.line_at(key.span().start))
    }
}

/// Removes the entry whose key or value lies at `span`, and returns its dotted key.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>, prefix: &str) -> Option<String> {
    let at = |s: &Range<usize>| s.start == span.start && s.end == span.end;
    let hit = table.iter().find(|(key, value)| at(&key.span()) || at(&value.span())).map(|(key, _)| key.clone());
    if let Some(key) = hit {
        table.remove(&key);
        return Some(format!("{prefix}{}", key.get_ref()));
    }
    let mut found = None;
    for key in table.keys().cloned().collect::<Vec<_>>() {
        let inner = format!("{prefix}{}.", key.get_ref());
        let Some(value) = table.get_mut(&key) else { continue };
        found = match value.get_mut() {
            DeValue::Table(t) => take_out(t, span, &inner),
            DeValue::Array(items) => {
                items.iter_mut().find_map(|item: &mut Spanned<DeValue<'_>>| match item.get_mut() {
                    DeValue::Table(t) => take_out(t, span, &inner),
                    _ => None,
                })
            }
            _ => None,
        };
        // A value inside an array or a nested place that is refused takes its whole entry with it.
        if found.is_none()
            && value.span().start <= span.start
            && span.end <= value.span().end
            && !matches!(value.get_ref(), DeValue::Table(_))
        {
            table.remove(&key);
            found = Some(format!("{prefix}{}", key.get_ref()));
        }
        if found.is_some() {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
version = 1
[receive]
ae_title = "FCDD"
[spool]
directory = "spool"
[analyze]
models = ["models/demo-t1"]
[destination.pacs]
ae_title = "PACS"
host = "127.0.0.1"
port = 104
"#;

    #[test]
    fn a_short_file_is_enough_and_paths_are_taken_from_its_folder() {
        let config = Config::parse(GOOD, Path::new("/etc/fcdd")).unwrap();
        assert_eq!(config.spool.directory, Path::new("/etc/fcdd/spool"));
        assert_eq!(config.destinations["pacs"].objects.len(), 4);
        assert_eq!(config.receive.max_pdu_bytes, 131_072);
    }

    #[test]
    fn every_mistake_is_named_at_once_with_its_line() {
        let text = GOOD
            .replace("ae_title = \"FCDD\"", "ae_title = \"MUCH TOO LONG AE TITLE\"\nmax_asociations = 3")
            .replace("port = 104", "port = \"one hundred\"\nobjects = [\"card\", \"movie\"]")
            .replace("models = [", "device = \"gpu\"\nmodels = [");
        let mistakes = Config::parse(&text, Path::new("")).unwrap_err();
        let lines: Vec<(Option<usize>, String)> = mistakes.iter().map(|m| (m.line, m.to_string())).collect();
        assert_eq!(mistakes.len(), 5, "{lines:#?}");
        let at = |line: usize, word: &str| {
            assert!(lines.iter().any(|(l, w)| *l == Some(line) && w.contains(word)), "{line} {word}: {lines:#?}");
        };
        at(4, "receive.ae_title");
        at(5, "max_asociations");
        at(9, "cuda:N");
        at(14, "u16");
        at(15, "heatmap-t1");
    }

    #[test]
    fn what_is_missing_is_named() {
        let mistakes = Config::parse("version = 1\n", Path::new("")).unwrap_err();
        let all = mistakes.iter().map(|m| m.to_string()).collect::<Vec<_>>().join("\n");
        for key in ["receive.ae_title", "spool.directory", "analyze.models"] {
            assert!(all.contains(key), "{all}");
        }
    }

    #[test]
    fn broken_syntax_names_its_line() {
        let mistakes = Config::parse("version = 1\n[receive\nae_title = 'X'\n", Path::new("")).unwrap_err();
        assert_eq!(mistakes[0].line, Some(2), "{mistakes:?}");
    }
}
