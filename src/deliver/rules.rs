//! Which result objects go where: a destination's configuration turned into outbox rows.

use std::collections::BTreeMap;
use std::net::IpAddr;

use regex::{Regex, RegexBuilder};

use crate::config::Destination;
use crate::ledger::outbox::OutboxRow;
use crate::observe::events::deliver::DeliveriesHeld;
use crate::study::{Analysis, ObjectKind, RenderedObject, Standing};

/// A destination whose rules cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("destination {destination}: only_study_description {pattern:?} is not a regular expression: {source}")]
pub struct InvalidRule {
    /// Name of the destination.
    pub destination: String,
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub source: regex::Error,
}

/// What the rules ask about a study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyFacts {
    /// Study Instance UID, for the log.
    pub study_uid: String,
    /// Calling AE title that the study came from.
    pub calling_ae: String,
    /// Study Description (0008,1030); may be empty.
    pub study_description: String,
    /// Whether a demonstration model had a part in the results: untrained, or trained on synthetic data only.
    pub untrained: bool,
}

/// True when a demonstration model had a part in an analysis: untrained, or trained on synthetic data only.
pub fn is_untrained(analysis: &Analysis) -> bool {
    analysis.standing() != Standing::Trained
}

/// The rules of every destination.
#[derive(Debug, Clone)]
pub struct Rules {
    destinations: Vec<DestinationRule>,
}

#[derive(Debug, Clone)]
struct DestinationRule {
    name: String,
    objects: Vec<ObjectKind>,
    only_from_ae: Vec<String>,
    only_study_description: Option<Regex>,
    takes_untrained: bool,
}

impl Rules {
    /// The rules of the configured destinations.
    pub fn new(destinations: &BTreeMap<String, Destination>) -> Result<Rules, InvalidRule> {
        let rule = |(name, destination): (&String, &Destination)| {
            let pattern = destination.only_study_description.as_deref();
            let compile = |pattern: &str| {
                RegexBuilder::new(pattern).case_insensitive(true).build().map_err(|source| InvalidRule {
                    destination: name.clone(),
                    pattern: pattern.to_owned(),
                    source,
                })
            };
            Ok(DestinationRule {
                name: name.clone(),
                objects: destination.objects.clone(),
                only_from_ae: destination.only_from_ae.iter().map(|ae| ae.trim().to_owned()).collect(),
                only_study_description: pattern.map(compile).transpose()?,
                takes_untrained: destination.allow_untrained || is_loopback(&destination.host),
            })
        };
        Ok(Rules { destinations: destinations.iter().map(rule).collect::<Result<_, _>>()? })
    }

    /// The deliveries of a study's result objects: heatmaps first, the report last, so that what it describes
    /// is already there. What a destination may not have is a row too, held with its reason.
    pub fn outbox(&self, study: &StudyFacts, objects: &[RenderedObject]) -> Vec<OutboxRow> {
        let order = |object: &&RenderedObject| ObjectKind::ALL.iter().position(|kind| *kind == object.kind);
        let mut ordered: Vec<&RenderedObject> = objects.iter().collect();
        ordered.sort_by_key(order);
        let mut rows = Vec::new();
        for rule in self.destinations.iter().filter(|rule| rule.wants(study)) {
            let held_because = rule.withheld(study);
            let wanted = (0..).zip(&ordered).filter(|(_, object)| rule.objects.contains(&object.kind));
            let before = rows.len();
            rows.extend(wanted.map(|(position, object)| OutboxRow {
                sop_instance_uid: object.sop_instance_uid.clone(),
                destination: rule.name.clone(),
                position,
                held_because: held_because.clone(),
            }));
            if let (Some(reason), true) = (&held_because, rows.len() > before) {
                let held = rows.len() - before;
                DeliveriesHeld { study_uid: &study.study_uid, destination: &rule.name, objects: held, reason }.emit();
            }
        }
        rows
    }
}

impl DestinationRule {
    fn wants(&self, study: &StudyFacts) -> bool {
        let from = self.only_from_ae.is_empty() || self.only_from_ae.iter().any(|ae| ae == study.calling_ae.trim());
        let described = self.only_study_description.as_ref().is_none_or(|r| r.is_match(&study.study_description));
        from && described
    }

    fn withheld(&self, study: &StudyFacts) -> Option<String> {
        (study.untrained && !self.takes_untrained).then(|| {
            "made by a demonstration model (untrained, or trained on synthetic data only); such results go to loopback \
             only, unless allow_untrained is set"
                .to_owned()
        })
    }
}

/// True for a name or address that cannot leave this machine. A name other than `localhost` is not looked up:
/// what it means may change.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::dicom::Uid;

    fn rules(text: &str) -> Rules {
        Rules::new(&toml::from_str(text).unwrap()).unwrap()
    }

    fn objects() -> Vec<RenderedObject> {
        let uid = |text: &str| Uid::parse(text).unwrap();
        let object = |kind, number: &str| RenderedObject {
            kind,
            sop_class_uid: uid("1.2"),
            sop_instance_uid: uid(number),
            series_uid: uid("1.3"),
            path: PathBuf::from("x"),
        };
        vec![
            object(ObjectKind::Report, "4"),
            object(ObjectKind::Card, "3"),
            object(ObjectKind::HeatmapT1, "1"),
            object(ObjectKind::HeatmapT1, "2"),
        ]
    }

    fn study() -> StudyFacts {
        StudyFacts {
            study_uid: "1.9".into(),
            calling_ae: "MR1 ".into(),
            study_description: "MR Schädel EPILEPSIE".into(),
            untrained: false,
        }
    }

    fn sent(rows: &[OutboxRow], destination: &str) -> Vec<String> {
        let mut rows: Vec<&OutboxRow> =
            rows.iter().filter(|r| r.destination == destination && r.held_because.is_none()).collect();
        rows.sort_by_key(|r| r.position);
        rows.into_iter().map(|r| r.sop_instance_uid.to_string()).collect()
    }

    #[test]
    fn the_report_comes_last_and_each_destination_gets_its_kinds() {
        let rules = rules(
            "[all]\nae_title = 'A'\nhost = '127.0.0.1'\nport = 104\n
             [ris]\nae_title = 'B'\nhost = 'ris.example'\nport = 104\nobjects = ['report', 'card']",
        );
        let rows = rules.outbox(&study(), &objects());
        assert_eq!(sent(&rows, "all"), ["1", "2", "3", "4"]);
        assert_eq!(sent(&rows, "ris"), ["3", "4"]);
    }

    #[test]
    fn the_sender_and_the_description_decide() {
        let rules = rules(
            "[from]\nae_title = 'A'\nhost = 'h'\nport = 104\nonly_from_ae = ['MR1', 'MR2']\n
             [not_from]\nae_title = 'A'\nhost = 'h'\nport = 104\nonly_from_ae = ['MR3']\n
             [described]\nae_title = 'A'\nhost = 'h'\nport = 104\nonly_study_description = 'epilep(sy|sie)'\n
             [otherwise]\nae_title = 'A'\nhost = 'h'\nport = 104\nonly_study_description = 'knee'",
        );
        let rows = rules.outbox(&study(), &objects());
        assert_eq!(sent(&rows, "from").len(), 4);
        assert_eq!(sent(&rows, "not_from").len(), 0);
        assert_eq!(sent(&rows, "described").len(), 4);
        assert_eq!(sent(&rows, "otherwise").len(), 0);
        assert_eq!(rows.len(), 8, "what a rule does not select is no row");
    }

    #[test]
    fn results_of_untrained_models_stay_on_this_machine_unless_allowed() {
        let rules = rules(
            "[here]\nae_title = 'A'\nhost = 'LOCALHOST'\nport = 104\n
             [far]\nae_title = 'A'\nhost = '192.0.2.1'\nport = 104\n
             [allowed]\nae_title = 'A'\nhost = '192.0.2.1'\nport = 104\nallow_untrained = true",
        );
        let rows = rules.outbox(&StudyFacts { untrained: true, ..study() }, &objects());
        assert_eq!(sent(&rows, "here").len(), 4);
        assert_eq!(sent(&rows, "allowed").len(), 4);
        assert_eq!(sent(&rows, "far").len(), 0);
        let held: Vec<_> = rows.iter().filter(|r| r.destination == "far").collect();
        assert_eq!(held.len(), 4, "withheld, not dropped");
        assert!(held.iter().all(|r| r.held_because.as_ref().unwrap().contains("untrained")));
    }

    #[test]
    fn loopback_is_an_address_or_one_name() {
        for host in ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1", "localhost", "Localhost."] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["192.0.2.1", "localhost.example", "0.0.0.0", "127.0.0.1.example", "pacs"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let destinations =
            toml::from_str("[x]\nae_title = 'A'\nhost = 'h'\nport = 1\nonly_study_description = '('").unwrap();
        let error = Rules::new(&destinations).unwrap_err();
        assert!(error.to_string().contains("destination x"), "{error}");
    }
}
