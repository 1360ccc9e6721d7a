//! `fcdd admin archive check`: every scan read and preprocessed once, what is usable per subject, and whether the
//! label can be read off the scanner, the protocol, sex or age.

use std::collections::BTreeMap;

use serde::Serialize;
use statrs::distribution::{DiscreteCDF, Hypergeometric};

use super::{Archive, ArchiveError, Excluded, Finding, Group, SEQUENCES, Series, examine, fingerprint, roi, same_scan};
use crate::analyze::preprocess::InputSpec;
use crate::research::few_at_once;
use crate::study::{Reason, Sequence};

/// Coarse on purpose: whether a head is found hardly depends on it.
const SPEC: InputSpec = InputSpec { shape: [80, 96, 80], spacing_mm: 2.0, background: 0.0 };
/// A value is said to give the label away when chance would do so in fewer than one of a hundred archives.
const SIGNIFICANCE: f64 = 0.01;
/// More ages than this are shown in bins of ten.
const MOST_AGES: usize = 15;

/// The answer about one modality of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScanCheck {
    /// T1 or FLAIR.
    pub sequence: Sequence,
    /// Whether it can be trained on.
    pub usable: bool,
    /// Why not.
    pub why: Option<Reason>,
    /// Reasons for which serving would withhold a verdict on it; it can be trained on all the same.
    pub gates: Vec<Reason>,
}

/// The answer about one subject.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubjectCheck {
    /// `sub-…`
    pub subject: String,
    /// Patient, control, or neither.
    pub group: Option<Group>,
    /// Why nothing of it can be used.
    pub why: Option<Reason>,
    /// T1 and FLAIR; empty where the subject itself cannot be used.
    pub scans: Vec<ScanCheck>,
    /// Volume of the lesion mask, ml.
    pub lesion_ml: Option<f64>,
    /// What somebody should know.
    pub notes: Vec<Reason>,
}

impl SubjectCheck {
    fn is_usable(&self, sequence: Sequence) -> bool {
        self.scans.iter().any(|scan| scan.sequence == sequence && scan.usable)
    }
}

/// Numbers of patients and controls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Patients.
    pub fcd: usize,
    /// Controls.
    pub hc: usize,
}

impl Counts {
    fn add(&mut self, group: Group) {
        match group {
            Group::Fcd => self.fcd += 1,
            Group::Hc => self.hc += 1,
        }
    }
}

/// One value of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// A serial number, an `acq-` label, a sex, an age; `n/a` where nothing is stated.
    pub value: String,
    /// All that were found.
    pub found: Counts,
    /// Those of them that can be used.
    pub usable: Counts,
}

/// A property by group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// `T1 scanner`, `FLAIR protocol`, `sex`, `age` ...
    pub of: String,
    /// By value.
    pub rows: Vec<Row>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// SHA-256 over what is used, see [`fingerprint`].
    pub fingerprint: String,
    /// Every row of the table, and every folder that has none.
    pub subjects: Vec<SubjectCheck>,
    /// Studies that must not be used.
    pub excluded: Vec<Excluded>,
    /// Usable T1.
    pub t1: Counts,
    /// Usable FLAIR.
    pub flair: Counts,
    /// Properties by group.
    pub tables: Vec<Table>,
    /// What in the tables gives the label away.
    pub warnings: Vec<String>,
    /// Why T1 cannot be trained; none: it can.
    pub t1_problem: Option<String>,
    /// Why FLAIR cannot be trained; none: it can.
    pub flair_problem: Option<String>,
}

impl Check {
    /// Whether some modality can be trained.
    pub fn can_be_trained(&self) -> bool {
        self.t1_problem.is_none() || self.flair_problem.is_none()
    }
}

/// How many scans [`check`] will read.
pub fn count_scans(archive: &Archive) -> usize {
    SEQUENCES.iter().map(|sequence| archive.scans(*sequence).len()).sum()
}

/// Reads and preprocesses every scan. `progress` hears of each; `folds` is what training would need.
///
/// # Errors
/// When a file disappears while it is read.
pub fn check(archive: &Archive, folds: usize, progress: &(dyn Fn() + Sync)) -> Result<Check, ArchiveError> {
    let mut subjects = subject_rows(archive);
    let same = same_scans(archive);
    let examined = few_at_once::map(&archive.subjects, |subject| {
        let scans: Vec<ScanCheck> = SEQUENCES
            .iter()
            .filter_map(|sequence| subject.scan(*sequence))
            .map(|scan| {
                let result = match same.get(&(subject.id.as_str(), scan.sequence)) {
                    Some(why) => Err(why.clone()),
                    None => examine::examine(scan, &SPEC),
                };
                progress();
                match result {
                    Ok(done) => ScanCheck { sequence: scan.sequence, usable: true, why: None, gates: done.gates },
                    Err(why) => ScanCheck { sequence: scan.sequence, usable: false, why: Some(why), gates: Vec::new() },
                }
            })
            .collect();
        (scans, subject.roi.as_deref().map(roi::read))
    });
    for (subject, (scans, mask)) in archive.subjects.iter().zip(examined) {
        let Some(row) = subjects.get_mut(&subject.id) else { continue };
        row.scans.extend(scans);
        row.scans.sort_by_key(|scan| scan.sequence);
        match mask {
            Some(Ok(mask)) if mask.count_voxels() == 0 => {
                row.notes.push(Reason::new("mask_empty", "its lesion mask is empty, so it gets no Heat-Score"));
            }
            Some(Ok(mask)) => row.lesion_ml = Some(mask.volume_ml()),
            Some(Err(error)) => {
                let text = format!("its mask cannot be used, so it gets no Heat-Score: {error}");
                row.notes.push(Reason::new("mask_unreadable", text));
            }
            None => {}
        }
    }
    let subjects: Vec<SubjectCheck> = subjects.into_values().collect();
    let tables = tables(archive, &subjects);
    let warnings = tables.iter().filter_map(warning).collect();
    let usable = SEQUENCES.map(|sequence| {
        let mut counts = Counts::default();
        let of_it = subjects.iter().filter(|s| s.is_usable(sequence));
        of_it.filter_map(|s| s.group).for_each(|group| counts.add(group));
        counts
    });
    let [t1_problem, flair_problem] = usable.map(|counts| problem(counts, folds));
    let [t1, flair] = usable;
    let fingerprint = fingerprint::of(archive)?;
    let excluded = archive.excluded.clone();
    Ok(Check { fingerprint, subjects, excluded, t1, flair, tables, warnings, t1_problem, flair_problem })
}

/// Why a subject's scan of a modality is left out for being another subject's too.
fn same_scans(archive: &Archive) -> BTreeMap<(&str, Sequence), Reason> {
    let mut same = BTreeMap::new();
    for sequence in SEQUENCES {
        let scans = archive.scans(sequence);
        let digests = few_at_once::map(&scans, |(_, scan)| fingerprint::sha256(&scan.path));
        for ((subject, _), reason) in scans.iter().zip(same_scan::find(&scans, &digests)) {
            same.extend(reason.map(|reason| ((subject.id.as_str(), sequence), reason)));
        }
    }
    same
}

/// One row per participant and per folder that nobody listed, with what is known before a volume is read.
fn subject_rows(archive: &Archive) -> BTreeMap<String, SubjectCheck> {
    let mut rows = BTreeMap::new();
    let groups: BTreeMap<&str, Option<Group>> = archive.participants.iter().map(|p| (p.id.as_str(), p.group)).collect();
    let row = |subject: &str| SubjectCheck {
        subject: subject.to_owned(),
        group: groups.get(subject).copied().flatten(),
        why: None,
        scans: Vec::new(),
        lesion_ml: None,
        notes: Vec::new(),
    };
    for participant in &archive.participants {
        rows.insert(participant.id.clone(), row(&participant.id));
    }
    for Finding { subject, sequence, reason } in &archive.unusable {
        let row = rows.entry(subject.clone()).or_insert_with(|| row(subject));
        match sequence {
            None => row.why = Some(reason.clone()),
            Some(sequence) => {
                let why = Some(reason.clone());
                row.scans.push(ScanCheck { sequence: *sequence, usable: false, why, gates: Vec::new() });
            }
        }
    }
    for Finding { subject, sequence, reason } in &archive.notes {
        let row = rows.entry(subject.clone()).or_insert_with(|| row(subject));
        let label = sequence.map(|s| format!("{}: ", s.label())).unwrap_or_default();
        row.notes.push(Reason { code: reason.code.clone(), text: format!("{label}{}", reason.text) });
    }
    rows
}

/// Why nothing can be trained on so many.
fn problem(counts: Counts, folds: usize) -> Option<String> {
    match counts {
        Counts { fcd: 0, hc: 0 } => Some("nothing is usable".to_owned()),
        Counts { fcd, hc: 0 } => Some(format!("all {fcd} usable subjects are patients; training needs controls too")),
        Counts { fcd: 0, hc } => Some(format!("all {hc} usable subjects are controls; training needs patients too")),
        Counts { fcd, hc } if fcd.min(hc) < folds => Some(format!(
            "{fcd} patients and {hc} controls are too few for {folds} folds; each fold needs one of both: add subjects \
             or use fewer folds"
        )),
        _ => None,
    }
}

fn tables(archive: &Archive, subjects: &[SubjectCheck]) -> Vec<Table> {
    let checks: BTreeMap<&str, &SubjectCheck> = subjects.iter().map(|s| (s.subject.as_str(), s)).collect();
    let is_usable = |id: &str, sequence: Sequence| checks.get(id).is_some_and(|c| c.is_usable(sequence));
    let mut tables = Vec::new();
    let mut of_series = |what: &str, value: fn(&Series) -> &Option<String>| {
        for sequence in SEQUENCES {
            let mut rows = Rows::default();
            for series in archive.series.iter().filter(|s| s.sequence == sequence) {
                let group = checks.get(series.subject.as_str()).and_then(|c| c.group);
                rows.add(value(series).as_deref(), group, is_usable(&series.subject, sequence));
            }
            tables.push(rows.table(format!("{} {what}", sequence.label())));
        }
    };
    of_series("scanner", |series| &series.scanner);
    of_series("protocol", |series| &series.acquisition);

    let any = |id: &str| SEQUENCES.iter().any(|sequence| is_usable(id, *sequence));
    let (mut sex, mut age) = (Rows::default(), Rows::default());
    let mut ages: Vec<f64> = archive.participants.iter().filter_map(|p| p.age).collect();
    ages.sort_by(f64::total_cmp);
    ages.dedup();
    for participant in &archive.participants {
        let usable = any(&participant.id);
        sex.add(participant.sex.as_deref(), participant.group, usable);
        let shown = participant.age.map(|age| {
            if ages.len() <= MOST_AGES { format!("{age}") } else { format!("{}", (age / 10.0).floor() * 10.0) }
        });
        age.add(shown.as_deref(), participant.group, usable);
    }
    tables.push(sex.table("sex".to_owned()));
    let bins = if ages.len() > MOST_AGES { ", in tens of years" } else { "" };
    tables.push(age.table(format!("{}{bins}", archive.age_column.unwrap_or("age"))));
    tables.retain(|table| !table.rows.is_empty());
    tables
}

#[derive(Default)]
struct Rows(BTreeMap<Option<String>, Row>);

impl Rows {
    fn add(&mut self, value: Option<&str>, group: Option<Group>, usable: bool) {
        let Some(group) = group else { return };
        let shown = value.unwrap_or("n/a").to_owned();
        let row = self.0.entry(value.map(str::to_owned)).or_insert_with(|| Row {
            value: shown,
            found: Counts::default(),
            usable: Counts::default(),
        });
        row.found.add(group);
        if usable {
            row.usable.add(group);
        }
    }

    fn table(self, of: String) -> Table {
        let mut rows: Vec<Row> = self.0.into_values().collect();
        let number = |row: &Row| row.value.parse::<f64>().ok();
        if of.starts_with("age") {
            rows.sort_by(|a, b| match (number(a), number(b)) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            });
        }
        Table { of, rows }
    }
}

/// A plain sentence when the table gives the label away.
///
/// It looks at the usable subjects, or at all where none is usable. Each value is set against all others (each age
/// against all above it) by Fisher's exact test, two-sided (twice the smaller tail), with Bonferroni's correction.
fn warning(table: &Table) -> Option<String> {
    let any_usable = table.rows.iter().any(|row| row.usable.fcd + row.usable.hc > 0);
    let counts = |row: &Row| if any_usable { row.usable } else { row.found };
    let stated: Vec<(&str, Counts)> = table
        .rows
        .iter()
        .filter(|row| row.value != "n/a")
        .map(|row| (row.value.as_str(), counts(row)))
        .filter(|(_, c)| c.fcd + c.hc > 0)
        .collect();
    let total = stated.iter().fold(Counts::default(), |sum, (_, c)| Counts { fcd: sum.fcd + c.fcd, hc: sum.hc + c.hc });
    if total.fcd == 0 || total.hc == 0 || stated.len() < 2 {
        return None;
    }
    let is_age = table.of.starts_with("age");
    let mut sides: Vec<(String, Counts)> = Vec::new();
    let mut below = Counts::default();
    for (value, c) in &stated {
        if is_age {
            below = Counts { fcd: below.fcd + c.fcd, hc: below.hc + c.hc };
            sides.push((format!("up to {value}"), below));
        } else {
            sides.push(((*value).to_owned(), *c));
        }
    }
    let tests = sides.len() as f64;
    let (p, (value, side)) = sides
        .into_iter()
        .map(|side| ((fisher(side.1, total) * tests).min(1.0), side))
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    let is_split = !is_age && stated.iter().all(|(_, c)| c.fcd == 0 || c.hc == 0);
    let is_person = table.of == "sex";
    if p >= SIGNIFICANCE && (!is_split || is_person) {
        return None;
    }
    let all = (total.fcd + total.hc) as f64;
    let right = if is_age {
        // "FCD up to this age", or the other way round.
        let by_rule = side.fcd + (total.hc - side.hc);
        by_rule.max(total.fcd + total.hc - by_rule)
    } else {
        stated.iter().map(|(_, c)| c.fcd.max(c.hc)).sum()
    };
    let guess = total.fcd.max(total.hc) as f64 / all;
    Some(format!(
        "the label can be read off {of}: {value} has {sf} of {tf} patients and {sh} of {th} controls. {of} alone is right \
         in {right:.1} % of the subjects, guessing in {guess:.1} %: a network may learn it instead of the lesion",
        of = table.of,
        sf = side.fcd,
        tf = total.fcd,
        sh = side.hc,
        th = total.hc,
        right = 100.0 * right as f64 / all,
        guess = 100.0 * guess,
    ))
}

/// Fisher's exact test of "this value" against "any other", two-sided.
fn fisher(side: Counts, total: Counts) -> f64 {
    let (all, draws) = ((total.fcd + total.hc) as u64, (side.fcd + side.hc) as u64);
    let Ok(chance) = Hypergeometric::new(all, total.fcd as u64, draws) else { return 1.0 };
    let seen = side.fcd as u64;
    let at_most = chance.cdf(seen);
    let at_least = if seen == 0 { 1.0 } else { chance.sf(seen - 1) };
    (2.0 * at_most.min(at_least)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(of: &str, rows: &[(&str, usize, usize)]) -> Table {
        let row = |(value, fcd, hc): &(&str, usize, usize)| {
            let counts = Counts { fcd: *fcd, hc: *hc };
            Row { value: (*value).to_owned(), found: counts, usable: counts }
        };
        Table { of: of.to_owned(), rows: rows.iter().map(row).collect() }
    }

    /// The scanners of ds004199: 42 patients and all 85 controls on one, 43 patients on the other; the rule is right
    /// in (43 + 85) / 170 = 75.3 %.
    #[test]
    fn bonns_scanner_gives_the_label_away() {
        let text = warning(&table("T1 scanner", &[("20619", 43, 0), ("35083", 42, 85)])).unwrap();
        assert!(text.contains("43 of 85 patients and 0 of 85 controls") && text.contains("75.3 %"), "{text}");
        assert!(text.contains("guessing in 50.0 %"), "{text}");
    }

    #[test]
    fn a_balanced_property_does_not() {
        assert_eq!(warning(&table("T1 scanner", &[("a", 43, 42), ("b", 42, 43)])), None);
        assert_eq!(warning(&table("sex", &[("F", 2, 0), ("M", 0, 2)])), None);
        // Four subjects prove nothing, but no scanner has both groups.
        assert!(warning(&table("T1 scanner", &[("a", 2, 0), ("b", 0, 2)])).is_some());
        assert_eq!(warning(&table("T1 scanner", &[("a", 5, 0)])), None);
    }

    /// [[8, 2], [1, 9]] by hand: (C(10,8)·C(10,1) + C(10,9)·C(10,0)) / C(20,9) = 460 / 167960 is the upper tail.
    #[test]
    fn fishers_test_agrees_with_counting() {
        let p = fisher(Counts { fcd: 8, hc: 1 }, Counts { fcd: 10, hc: 10 });
        assert!((p - 2.0 * 460.0 / 167_960.0).abs() < 1e-12, "{p}");
    }

    #[test]
    fn what_is_missing_for_training_is_said() {
        assert!(problem(Counts { fcd: 9, hc: 0 }, 5).unwrap().contains("controls"));
        assert!(problem(Counts { fcd: 4, hc: 9 }, 5).unwrap().contains("5 folds"));
        assert_eq!(problem(Counts { fcd: 5, hc: 9 }, 5), None);
    }
}
