//! Which studies are for us at all: the administrator's rules, first match wins.

use regex::{Regex, RegexBuilder};

use crate::config::{AdmissionAction, AdmissionRule};

/// What the rules look at.
#[derive(Debug, Clone, Default)]
pub struct StudyFacts {
    /// AE title of the sender.
    pub calling_ae: String,
    /// Study Description.
    pub study_description: String,
    /// Protocol Names of the study's series.
    pub protocols: Vec<String>,
    /// Series Descriptions of the study's series.
    pub series_descriptions: Vec<String>,
}

/// The rules, with their patterns compiled.
#[derive(Debug, Default)]
pub struct Admission {
    rules: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    action: AdmissionAction,
    calling_ae: Option<Regex>,
    study_description: Option<Regex>,
    protocol: Option<Regex>,
    series_description: Option<Regex>,
}

/// Whether a study is analyzed, and which rule said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Analyze, or keep as "not for analysis".
    pub action: AdmissionAction,
    /// In words, for the ledger.
    pub because: String,
}

/// A pattern that is no regular expression.
#[derive(Debug, thiserror::Error)]
#[error("assemble.admission: rule {rule} has the pattern {pattern:?}, which is no regular expression: {source}")]
pub struct InvalidPattern {
    rule: usize,
    pattern: String,
    source: Box<regex::Error>,
}

impl Admission {
    /// Compiles the rules of the configuration.
    pub fn new(rules: &[AdmissionRule]) -> Result<Admission, InvalidPattern> {
        let compile_rule = |(index, rule): (usize, &AdmissionRule)| {
            let compile = |pattern: &Option<String>| {
                pattern
                    .as_ref()
                    .map(|p| {
                        RegexBuilder::new(p).case_insensitive(true).build().map_err(|source| InvalidPattern {
                            rule: index + 1,
                            pattern: p.clone(),
                            source: Box::new(source),
                        })
                    })
                    .transpose()
            };
            Ok(Compiled {
                action: rule.action,
                calling_ae: compile(&rule.calling_ae)?,
                study_description: compile(&rule.study_description)?,
                protocol: compile(&rule.protocol)?,
                series_description: compile(&rule.series_description)?,
            })
        };
        Ok(Admission { rules: rules.iter().enumerate().map(compile_rule).collect::<Result<_, _>>()? })
    }

    /// Decides for one study. Without a matching rule it is analyzed.
    pub fn decide(&self, facts: &StudyFacts) -> Admitted {
        for (index, rule) in self.rules.iter().enumerate() {
            if rule.matches(facts) {
                return Admitted { action: rule.action, because: format!("admission rule {}", index + 1) };
            }
        }
        Admitted { action: AdmissionAction::Analyze, because: "no admission rule matches".to_owned() }
    }
}

impl Compiled {
    fn matches(&self, facts: &StudyFacts) -> bool {
        let one = |pattern: &Option<Regex>, text: &str| pattern.as_ref().is_none_or(|p| p.is_match(text));
        let any = |pattern: &Option<Regex>, texts: &[String]| {
            pattern.as_ref().is_none_or(|p| texts.iter().any(|t| p.is_match(t)))
        };
        one(&self.calling_ae, &facts.calling_ae)
            && one(&self.study_description, &facts.study_description)
            && any(&self.protocol, &facts.protocols)
            && any(&self.series_description, &facts.series_descriptions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = [
            AdmissionRule {
                action: AdmissionAction::Analyze,
                series_description: Some("epilep".into()),
                ..Default::default()
            },
            AdmissionRule {
                action: AdmissionAction::Ignore,
                study_description: Some("^knee|spine".into()),
                ..Default::default()
            },
            AdmissionRule { action: AdmissionAction::Ignore, calling_ae: Some("^CT".into()), ..Default::default() },
        ];
        let admission = Admission::new(&rules).unwrap();
        let decide = |calling: &str, study: &str, series: &str| {
            let facts = StudyFacts {
                calling_ae: calling.into(),
                study_description: study.into(),
                series_descriptions: vec!["localizer".into(), series.into()],
                ..Default::default()
            };
            admission.decide(&facts)
        };
        assert_eq!(decide("MR1", "KNEE left", "t1").because, "admission rule 2");
        assert_eq!(decide("MR1", "KNEE left", "T1 Epilepsy").action, AdmissionAction::Analyze);
        assert_eq!(decide("CT2", "brain", "x").action, AdmissionAction::Ignore);
        assert_eq!(decide("MR1", "brain", "x").because, "no admission rule matches");
    }

    #[test]
    fn a_wrong_pattern_is_named() {
        let rules = [AdmissionRule { calling_ae: Some("(".into()), ..Default::default() }];
        assert!(Admission::new(&rules).unwrap_err().to_string().contains("rule 1"));
    }
}
