//! `participants.tsv`: who is a patient and who a control. A byte order mark, CRLF, `n/a` and rows in any order are
//! usual; two labels for one subject are an error.

use std::collections::BTreeMap;
use std::path::Path;

use super::{ArchiveError, Finding, Group, Participant};
use crate::study::Reason;

/// The table.
pub(super) struct Table {
    /// By id.
    pub rows: Vec<Participant>,
    /// The column of ages.
    pub age_column: Option<&'static str>,
    /// Cells that say nothing.
    pub notes: Vec<Finding>,
}

/// Reads the table.
pub(super) fn read(path: &Path) -> Result<Table, ArchiveError> {
    let bytes = std::fs::read(path).map_err(|source| ArchiveError::File { path: path.to_owned(), source })?;
    let text = String::from_utf8(bytes).map_err(|_| ArchiveError::NotText { path: path.to_owned() })?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Table, ArchiveError> {
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_end_matches('\r')));
    let columns: Vec<&str> =
        lines.next().map(|(_, line)| line.split('\t').map(str::trim).collect()).unwrap_or_default();
    let column = |name: &str| columns.iter().position(|c| *c == name);
    let needed = |name: &'static str| {
        let missing = || ArchiveError::Column { path: path.to_owned(), column: name, found: columns.join(", ") };
        column(name).ok_or_else(missing)
    };
    let (id, group) = (needed("participant_id")?, needed("group")?);
    let age_column = ["age", "age_scan"].into_iter().find(|name| column(name).is_some());
    let (sex, age, scanner) = (column("sex"), age_column.and_then(column), column("scanner"));

    let mut notes = Vec::new();
    let mut rows: BTreeMap<String, (usize, Participant)> = BTreeMap::new();
    for (line, row) in lines.filter(|(_, row)| !row.trim().is_empty()) {
        let cells: Vec<&str> = row.split('\t').map(str::trim).collect();
        if cells.len() != columns.len() {
            let (expected, found) = (columns.len(), cells.len());
            return Err(ArchiveError::Row { path: path.to_owned(), line, expected, found });
        }
        let cell = |index: Option<usize>| index.and_then(|i| cells.get(i)).copied().filter(|c| is_said(c));
        let id = subject_id(cells.get(id).copied().unwrap_or_default()).ok_or_else(|| ArchiveError::Id {
            path: path.to_owned(),
            line,
            found: cells.get(id).copied().unwrap_or_default().to_owned(),
        })?;
        let group_text = cells.get(group).copied().unwrap_or_default().to_owned();
        let years = cell(age).map(|text| text.trim_end_matches('+').parse::<f64>().ok().filter(|a| a.is_finite()));
        if years == Some(None) {
            let text = format!("its age is `{}`, not a number; it counts as unknown", cell(age).unwrap_or_default());
            notes.push(Finding::new(&id, None, Reason::new("age_is_no_number", text)));
        }
        let participant = Participant {
            id: id.clone(),
            group: group_named(&group_text),
            group_text,
            sex: cell(sex).map(str::to_owned),
            age: years.flatten(),
            scanner: cell(scanner).map(str::to_owned),
        };
        let Some((first_line, first)) = rows.get(&id) else {
            rows.insert(id, (line, participant));
            continue;
        };
        let (path, first_line) = (path.to_owned(), *first_line);
        return Err(if first.group_text == participant.group_text {
            ArchiveError::Twice { path, subject: id, first_line, line }
        } else {
            let (first, second) = (first.group_text.clone(), participant.group_text);
            ArchiveError::InTwoGroups { path, subject: id, first, first_line, second, line }
        });
    }
    if rows.is_empty() {
        return Err(ArchiveError::Nobody { path: path.to_owned() });
    }
    Ok(Table { rows: rows.into_values().map(|(_, participant)| participant).collect(), age_column, notes })
}

/// BIDS writes `n/a` for what is not known.
pub(super) fn is_said(cell: &str) -> bool {
    !cell.is_empty() && !cell.eq_ignore_ascii_case("n/a")
}

/// `sub-…`, also where the table leaves the prefix out; none when it could be no folder's name.
pub(super) fn subject_id(cell: &str) -> Option<String> {
    let label = cell.strip_prefix("sub-").unwrap_or(cell);
    let is_label = !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric());
    is_label.then(|| format!("sub-{label}"))
}

fn group_named(cell: &str) -> Option<Group> {
    [Group::Fcd, Group::Hc].into_iter().find(|group| group.name().eq_ignore_ascii_case(cell))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Table, ArchiveError> {
        parse(text, Path::new("participants.tsv"))
    }

    #[test]
    fn a_byte_order_mark_crlf_and_missing_values_are_usual() {
        let text = "\u{feff}participant_id\tgroup\tsex\tage_scan\r\nsub-2\thc\tF\tn/a\r\nsub-1\tFCD\tn/a\t4\r\n\r\n";
        let table = read(text).unwrap();
        let ids: Vec<_> = table.rows.iter().map(|r| (r.id.as_str(), r.group, r.sex.as_deref(), r.age)).collect();
        assert_eq!(ids, [("sub-1", Some(Group::Fcd), None, Some(4.0)), ("sub-2", Some(Group::Hc), Some("F"), None)]);
        assert_eq!(table.age_column, Some("age_scan"));
        assert!(table.notes.is_empty());
    }

    #[test]
    fn what_makes_labels_doubtful_is_an_error_that_names_it() {
        let message = |text: &str| read(text).err().map(|e| e.to_string()).unwrap_or_default();
        let two = message("participant_id\tgroup\nsub-7\tfcd\nsub-8\thc\nsub-7\thc\n");
        assert!(two.contains("sub-7") && two.contains("line 2") && two.contains("line 4"), "{two}");
        assert!(message("participant_id\tgroup\nsub-7\tfcd\nsub-7\tfcd\n").contains("twice"));
        assert!(message("participant_id\tsex\nsub-7\tM\n").contains("`group`"));
        assert!(message("participant_id group\nsub-7 fcd\n").contains("`participant_id`"));
        assert!(message("participant_id\tgroup\nsub-7\n").contains("line 2"));
        assert!(message("participant_id\tgroup\nsub-../../etc\tfcd\n").contains("no participant_id"));
        assert!(message("participant_id\tgroup\n").contains("nobody"));
        assert!(message("").contains("participant_id"));
    }

    #[test]
    fn a_group_that_is_neither_is_kept_as_it_stands() {
        let table = read("participant_id\tgroup\tage\n1\ttle\t34.5\nsub-2\tn/a\told\n").unwrap();
        assert_eq!((table.rows[0].id.as_str(), table.rows[0].group), ("sub-1", None));
        assert_eq!(table.rows[0].group_text, "tle");
        assert_eq!((table.rows[0].age, table.rows[1].age), (Some(34.5), None));
        assert_eq!(table.notes[0].reason.code, "age_is_no_number");
    }
}
