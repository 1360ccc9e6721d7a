//! On how many scans serving would withhold its verdict, whatever the networks say.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::study::Reason;

/// Scans whose gates stay shut. They are scored all the same; the report says how many they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Withheld {
    /// Scans looked at.
    pub scans: usize,
    /// Those with at least one reason.
    pub withheld: usize,
    /// How many have each reason, by its code, and an example in words.
    pub reasons: BTreeMap<String, WithheldReason>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WithheldReason {
    /// Scans that have it.
    pub scans: usize,
    /// The words for the first of them.
    pub example: String,
}

impl Withheld {
    /// Counts the reasons of every scan.
    pub fn of<R: AsRef<[Reason]>>(gates: impl IntoIterator<Item = R>) -> Withheld {
        let mut found = Withheld::default();
        for reasons in gates {
            found.scans += 1;
            found.withheld += usize::from(!reasons.as_ref().is_empty());
            for reason in reasons.as_ref() {
                let first = || WithheldReason { scans: 0, example: reason.text.clone() };
                found.reasons.entry(reason.code.clone()).or_insert_with(first).scans += 1;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_with_two_reasons_is_one_scan() {
        let thick = Reason::new("thick", "5 mm");
        let flat = Reason::new("flat", "2D");
        let scans: [&[Reason]; 3] = [&[thick.clone(), flat], &[], &[thick]];
        let found = Withheld::of(scans);
        assert_eq!((found.scans, found.withheld), (3, 2));
        assert_eq!((found.reasons["thick"].scans, found.reasons["flat"].scans), (2, 1));
        assert_eq!(found.reasons["thick"].example, "5 mm");
    }
}
