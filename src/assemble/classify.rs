//! T1, FLAIR or something else: evaluates the rules of `config/sequences.toml` and says which decided.

use dicom_dictionary_std::tags;

use super::geometry;
use crate::config::sequences::{AcquisitionType, Pattern, Plane, RuleOutcome, SequenceRule, SequenceRules};
use crate::dicom::attributes::Attributes;
use crate::study::{ImagePlane, Sequence};

/// What a header says about how its image came to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeriesFacts {
    /// Modality.
    pub modality: String,
    /// Series Description.
    pub description: String,
    /// Protocol Name.
    pub protocol: String,
    /// Sequence Name and Pulse Sequence Name.
    pub sequence_name: String,
    /// Values of Image Type and Frame Type.
    pub image_type: Vec<String>,
    /// Values of Scanning Sequence, or what the enhanced attributes say in its terms.
    pub scanning_sequence: Vec<String>,
    /// MR Acquisition Type.
    pub acquisition: Option<AcquisitionType>,
    /// Repetition Time, ms.
    pub tr_ms: Option<f64>,
    /// (Effective) Echo Time, ms.
    pub te_ms: Option<f64>,
    /// Inversion Time, ms.
    pub ti_ms: Option<f64>,
    /// Flip Angle, degrees.
    pub flip_deg: Option<f64>,
    /// Contrast/Bolus Agent, where it names one.
    pub contrast_agent: String,
    /// Acquisition (Date) Time or Series Time, sortable text.
    pub acquired_at: String,
}

impl SeriesFacts {
    /// Reads the facts of an object or of one of its frames.
    pub fn read(attributes: &Attributes) -> SeriesFacts {
        let text = |tag| attributes.text(tag);
        let mut image_type = attributes.texts(tags::IMAGE_TYPE);
        for value in attributes.texts(tags::FRAME_TYPE) {
            if !image_type.contains(&value) {
                image_type.push(value);
            }
        }
        let names = [text(tags::SEQUENCE_NAME), text(tags::PULSE_SEQUENCE_NAME)];
        let mut scanning_sequence = attributes.texts(tags::SCANNING_SEQUENCE);
        if scanning_sequence.is_empty() {
            scanning_sequence = enhanced_scanning_sequence(attributes);
        }
        let positive = |tag| attributes.number(tag).filter(|n| *n > 0.0);
        let of_series = attributes.at_top_level();
        SeriesFacts {
            modality: of_series.text(tags::MODALITY),
            description: of_series.text(tags::SERIES_DESCRIPTION),
            protocol: of_series.text(tags::PROTOCOL_NAME),
            sequence_name: names.iter().filter(|n| !n.is_empty()).cloned().collect::<Vec<_>>().join(" "),
            image_type,
            scanning_sequence,
            acquisition: match text(tags::MR_ACQUISITION_TYPE).as_str() {
                "2D" => Some(AcquisitionType::TwoD),
                "3D" => Some(AcquisitionType::ThreeD),
                _ => None,
            },
            tr_ms: positive(tags::REPETITION_TIME),
            te_ms: positive(tags::EFFECTIVE_ECHO_TIME).or_else(|| positive(tags::ECHO_TIME)),
            ti_ms: positive(tags::INVERSION_TIMES).or_else(|| positive(tags::INVERSION_TIME)),
            flip_deg: positive(tags::FLIP_ANGLE),
            contrast_agent: contrast_agent(attributes),
            acquired_at: acquired_at(attributes),
        }
    }

    /// The text that description patterns see.
    fn searched_text(&self) -> String {
        simplify(if self.description.is_empty() { &self.protocol } else { &self.description })
    }
}

/// Lower case, and blanks for everything that is no letter, digit, `+` or `*`.
fn simplify(text: &str) -> String {
    let blanked: String = text
        .chars()
        .flat_map(char::to_lowercase)
        .map(|c| if c.is_alphanumeric() || matches!(c, '+' | '*') { c } else { ' ' })
        .collect();
    blanked.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The enhanced MR attributes (PS3.3 C.8.13.4) in the classic terms.
fn enhanced_scanning_sequence(attributes: &Attributes) -> Vec<String> {
    let yes = |tag| attributes.text(tag) == "YES";
    let mut found = Vec::new();
    match attributes.text(tags::ECHO_PULSE_SEQUENCE).as_str() {
        "GRADIENT" => found.push("GR".to_owned()),
        "SPIN" => found.push("SE".to_owned()),
        "BOTH" => found.extend(["GR".to_owned(), "SE".to_owned()]),
        _ => {}
    }
    if yes(tags::ECHO_PLANAR_PULSE_SEQUENCE) {
        found.push("EP".to_owned());
    }
    if yes(tags::INVERSION_RECOVERY) {
        found.push("IR".to_owned());
    }
    // Some enhanced objects state only the train lengths (PS3.3 C.8.13.5.2).
    if found.is_empty() && attributes.integer(tags::RF_ECHO_TRAIN_LENGTH) == Some(0) {
        let has_gradient_train = attributes.integer(tags::GRADIENT_ECHO_TRAIN_LENGTH).is_some_and(|n| n > 0);
        let is_spoiled = !matches!(attributes.text(tags::SPOILING).as_str(), "" | "NONE");
        if has_gradient_train && is_spoiled {
            found.push("GR".to_owned());
        }
    }
    found
}

/// The agent's name, unless it says that there was none.
fn contrast_agent(attributes: &Attributes) -> String {
    let agent = attributes.text(tags::CONTRAST_BOLUS_AGENT);
    let denies = ["", "no", "none", "n/a", "na", "not applicable", "without", "0", "-", "nil", "nein", "non", "keine"];
    if !denies.contains(&agent.to_lowercase().as_str()) {
        return agent;
    }
    let administered = attributes.text(tags::CONTRAST_BOLUS_AGENT_ADMINISTERED);
    if administered == "YES" || administered.is_empty() && attributes.has_items(tags::CONTRAST_BOLUS_AGENT_SEQUENCE) {
        return "Contrast/Bolus Agent Sequence".to_owned();
    }
    String::new()
}

fn acquired_at(attributes: &Attributes) -> String {
    let date_time = attributes.text(tags::ACQUISITION_DATE_TIME);
    if !date_time.is_empty() {
        return date_time;
    }
    let first = |a, b| Some(attributes.text(a)).filter(|t| !t.is_empty()).unwrap_or_else(|| attributes.text(b));
    let date = first(tags::ACQUISITION_DATE, tags::SERIES_DATE);
    date + &first(tags::ACQUISITION_TIME, tags::SERIES_TIME)
}

/// What the rules made of a stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    /// T1, FLAIR or other.
    pub sequence: Sequence,
    /// Localizer or derived: not a volume at all.
    pub exclusion: Option<RuleOutcome>,
    /// The rule, and what of the header met it, in words.
    pub because: String,
}

/// Applies the rules; `plane` is where the stack's first image lies, if known.
pub fn classify(facts: &SeriesFacts, plane: Option<&ImagePlane>, rules: &SequenceRules) -> Classification {
    let other = |because: String| Classification { sequence: Sequence::Other, exclusion: None, because };
    if facts.modality != "MR" {
        return other(format!("modality {:?} is not MR", facts.modality));
    }
    let seen = Seen {
        facts,
        text: facts.searched_text(),
        sequence_name: simplify(&facts.sequence_name),
        plane: plane.map(main_plane),
        contrast: contrast(facts, rules),
    };
    for rule in &rules.rules {
        if let Some(met) = seen.meets(rule) {
            let because = format!("{}: {}", rule.name, met.join(", "));
            let (sequence, exclusion) = match rule.result {
                RuleOutcome::T1 => (Sequence::T1, None),
                RuleOutcome::Flair => (Sequence::Flair, None),
                RuleOutcome::Other => (Sequence::Other, None),
                excluded => (Sequence::Other, Some(excluded)),
            };
            return Classification { sequence, exclusion, because };
        }
    }
    let number = |n: Option<f64>| n.map_or("?".to_owned(), |n| n.to_string());
    let (tr, te, ti) = (number(facts.tr_ms), number(facts.te_ms), number(facts.ti_ms));
    other(format!("no rule fits (description {:?}, TR {tr}, TE {te}, TI {ti} ms)", seen.text))
}

/// The plane that the slices' normal is nearest to.
pub fn main_plane(plane: &ImagePlane) -> Plane {
    let [x, y, z] = geometry::directions(&plane.orientation)[2].map(f64::abs);
    if z >= x && z >= y {
        Plane::Axial
    } else if y >= x {
        Plane::Coronal
    } else {
        Plane::Sagittal
    }
}

/// Whether a contrast agent was given, and how we know.
pub fn contrast(facts: &SeriesFacts, rules: &SequenceRules) -> Option<String> {
    let text = facts.searched_text();
    let first_match =
        |patterns: &[Pattern]| patterns.iter().find_map(|p| p.regex.find(&text).map(|m| m.as_str().to_owned()));
    if first_match(&rules.no_contrast_words).is_some() {
        return None;
    }
    if let Some(word) = first_match(&rules.contrast_words) {
        return Some(format!("{word:?} in the description"));
    }
    (!facts.contrast_agent.is_empty()).then(|| format!("contrast agent {:?}", facts.contrast_agent))
}

struct Seen<'a> {
    facts: &'a SeriesFacts,
    text: String,
    sequence_name: String,
    plane: Option<Plane>,
    contrast: Option<String>,
}

impl Seen<'_> {
    /// What met each condition, or nothing when one does not hold.
    fn meets(&self, rule: &SequenceRule) -> Option<Vec<String>> {
        let mut met = Vec::new();
        let mut one_of = |patterns: &[Pattern], text: &str, what: &str| -> Option<()> {
            if !patterns.is_empty() {
                let found = patterns.iter().find_map(|p| p.regex.find(text))?;
                met.push(format!("{what} {text:?} has {:?}", found.as_str().trim()));
            }
            Some(())
        };
        one_of(&rule.description, &self.text, "description")?;
        one_of(&rule.sequence_name, &self.sequence_name, "sequence name")?;
        if rule.not_description.iter().any(|p| p.regex.is_match(&self.text)) {
            return None;
        }
        if !rule.image_type.is_empty() {
            let value = self.facts.image_type.iter().find(|v| rule.image_type.contains(v))?;
            met.push(format!("image type has {value}"));
        }
        let scanning = &self.facts.scanning_sequence;
        if !rule.scanning_sequence.is_empty() {
            rule.scanning_sequence.iter().all(|v| scanning.contains(v)).then_some(())?;
            met.push(format!("scanning sequence {}", scanning.join("+")));
        }
        if rule.not_scanning_sequence.iter().any(|v| scanning.contains(v)) {
            return None;
        }
        if let Some(acquisition) = rule.acquisition {
            (self.facts.acquisition == Some(acquisition)).then_some(())?;
            met.push(if acquisition == AcquisitionType::ThreeD { "3D".to_owned() } else { "2D".to_owned() });
        }
        if !rule.plane.is_empty() {
            let plane = self.plane.filter(|p| rule.plane.contains(p))?;
            met.push(plane.to_string());
        }
        let windows = [
            (rule.tr_ms, self.facts.tr_ms, "TR", "ms"),
            (rule.te_ms, self.facts.te_ms, "TE", "ms"),
            (rule.ti_ms, self.facts.ti_ms, "TI", "ms"),
            (rule.flip_deg, self.facts.flip_deg, "flip angle", "degrees"),
        ];
        for (window, value, name, unit) in windows {
            if let Some([from, to]) = window {
                let value = value.filter(|v| (from..=to).contains(v))?;
                met.push(format!("{name} {value} {unit}"));
            }
        }
        if let Some(wanted) = rule.contrast_agent {
            (self.contrast.is_some() == wanted).then_some(())?;
            met.push(self.contrast.clone().unwrap_or_else(|| "no contrast agent".to_owned()));
        }
        Some(met)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(description: &str) -> SeriesFacts {
        SeriesFacts { modality: "MR".into(), description: description.into(), ..SeriesFacts::default() }
    }

    fn rules() -> &'static SequenceRules {
        static RULES: std::sync::OnceLock<SequenceRules> = std::sync::OnceLock::new();
        RULES.get_or_init(SequenceRules::built_in)
    }

    fn kind(facts: &SeriesFacts) -> (Sequence, Option<RuleOutcome>) {
        let c = classify(facts, None, rules());
        (c.sequence, c.exclusion)
    }

    #[test]
    fn descriptions_in_several_languages() {
        use RuleOutcome::{Derived, Localizer};
        let table = [
            (
                Sequence::T1,
                None,
                &[
                    "SAG MPRAGE 220 FOV",
                    "T1W",
                    "Accelerated SAG IR-SPGR",
                    "t1_mpr_sag_p2_iso",
                    "Sag 3D T1 FSPGR BRAVO",
                    "3D_T1_TFE",
                    "fl3D_t1_sag",
                    "T1 MP2RAGE UNI",
                    "T1 sag nativ",
                    "WIP sT1W_3D_TFE SENSE",
                    "T1 3D sin contraste",
                    "t1_se_tra",
                    "SAG MPRAGE 220 FOV (enhanced conversion)",
                    "T1 3D pré injection sans gado",
                ][..],
            ),
            (
                Sequence::Flair,
                None,
                &[
                    "FLAIR",
                    "t2_space_da-fl_sag_p2_iso",
                    "t2_tirm_tra_dark-fluid",
                    "3D FLAIR CUBE SAG",
                    "sFLAIR_3D_VISTA",
                    "Ax T2 FLAIR FS",
                    "T2 mit Liquorunterdrückung",
                    "FLAIR coupes axiales",
                ][..],
            ),
            (
                Sequence::Other,
                None,
                &[
                    "DTIb3000s5",
                    "EPI PE=AP",
                    "B0 NS",
                    "gre_field_mapping",
                    "ep2d_diff_3scan_trace_p2",
                    "Ax SWAN",
                    "TOF_3D_multi-slab",
                    "t2_tse_tra",
                    "T1 MPRAGE +KM",
                    "t1_mprage_sag post gd",
                    "T1 3D apres gado",
                    "SAG T1 C+",
                    "ADC",
                    "T2* GRE",
                    "Ax T1 FLAIR",
                    "Double_IR_TSE",
                    "STIR cor",
                    "T1_Images_map t1 map",
                    "mp2rage_INV1",
                    "REST1 w SMS PF7-8",
                ][..],
            ),
            (
                Sequence::Other,
                Some(Localizer),
                &[
                    "anat-scout_ses-localizer",
                    "AAHead_Scout_64ch",
                    "3-plane loc",
                    "Survey_32ch",
                    "Repérage",
                    "localizador",
                ][..],
            ),
            (Sequence::Other, Some(Derived), &["MPR cor", "MIP axial", "T1 subtraction"][..]),
        ];
        for (sequence, exclusion, descriptions) in table {
            for description in descriptions {
                assert_eq!(kind(&described(description)), (sequence, exclusion), "{description}");
            }
        }
    }

    #[test]
    fn timing_alone_tells_flair_and_t1() {
        let flair = SeriesFacts { tr_ms: Some(6000.0), te_ms: Some(394.0), ti_ms: Some(2200.0), ..described("") };
        let c = classify(&flair, None, rules());
        assert_eq!(c.sequence, Sequence::Flair);
        assert_eq!(c.because, "FLAIR by TR, TE and TI: TR 6000 ms, TE 394 ms, TI 2200 ms");
        let mprage = SeriesFacts {
            tr_ms: Some(2000.0),
            te_ms: Some(2.5),
            ti_ms: Some(900.0),
            scanning_sequence: vec!["GR".into(), "IR".into()],
            acquisition: Some(AcquisitionType::ThreeD),
            ..described("")
        };
        assert_eq!(kind(&mprage).0, Sequence::T1);
        let stir = SeriesFacts { tr_ms: Some(5000.0), te_ms: Some(60.0), ti_ms: Some(160.0), ..described("") };
        assert_eq!(kind(&stir).0, Sequence::Other);
    }

    #[test]
    fn an_agent_in_the_header_makes_a_t1_other_but_not_when_it_says_none() {
        let with = |agent: &str| SeriesFacts { contrast_agent: agent.into(), ..described("t1_mprage_sag") };
        assert_eq!(kind(&with("GADOVIST")).0, Sequence::Other);
        assert_eq!(kind(&with("")).0, Sequence::T1);
    }

    #[test]
    fn other_modalities_and_derived_image_types_are_told_first() {
        let ct = SeriesFacts { modality: "CT".into(), ..described("T1") };
        assert_eq!(kind(&ct).0, Sequence::Other);
        let image_type = vec!["DERIVED".into(), "PRIMARY".into(), "MPR".into(), "RESAMPLED".into()];
        let mpr = SeriesFacts { image_type, ..described("anat-scout_ses-01_MPR_cor") };
        assert_eq!(kind(&mpr), (Sequence::Other, Some(RuleOutcome::Derived)));
        let research = ["DERIVED", "SECONDARY", "REFORMATTED"].map(str::to_owned).to_vec();
        assert_eq!(kind(&SeriesFacts { image_type: research, ..described("T1W") }).0, Sequence::T1);
    }
}
