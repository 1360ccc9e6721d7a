//! Every kind of result, for every verdict, passes the validators of the field: dciodvfy, PixelMed, DCMTK, and
//! highdicom reads the numbers back as they were written.

use std::path::Path;
use std::sync::Arc;

use dicom_dictionary_std::tags;
use fcdd::config;
use fcdd::dicom::templates::ReportClass;
use fcdd::dicom::{Templates, Uid};
use fcdd::report::render;
use fcdd::study::{Analysis, AssembledStudy, ObjectKind, RenderedObject, ReportReference, Revision, SourceVolume};

use crate::report_fixture::{
    self, Acquisition, not_suspected, peer, python, study, suspected, suspected_at_a_site, unassessable, untrained,
};
use crate::support::{reference_root, skip};

/// PixelMed and what it needs, where Debian puts them.
const PIXELMED: &str = "/usr/share/java/pixelmed.jar";

struct Rendered {
    name: &'static str,
    objects: Vec<RenderedObject>,
    analysis: Analysis,
    _directory: tempfile::TempDir,
}

fn rendered(
    name: &'static str,
    class: ReportClass,
    case: impl Fn(AssembledStudy) -> (AssembledStudy, Analysis),
) -> Rendered {
    rendered_as(name, class, &Revision::first(), case)
}

fn rendered_as(
    name: &'static str,
    class: ReportClass,
    revision: &Revision,
    case: impl Fn(AssembledStudy) -> (AssembledStudy, Analysis),
) -> Rendered {
    let directory = tempfile::tempdir().unwrap();
    let (study, analysis) = case(study(directory.path(), Acquisition::Sagittal, Acquisition::Axial));
    let out = directory.path().join("results");
    std::fs::create_dir(&out).unwrap();
    let templates = site_templates(directory.path(), class);
    assert_eq!(templates.report_class, class);
    let objects = render(&study, &analysis, &templates, &config::Report::default(), revision, &out).unwrap();
    Rendered { name, objects, analysis, _directory: directory }
}

/// The templates of a site that wants the report in another SOP class.
fn site_templates(directory: &Path, class: ReportClass) -> Templates {
    let site = directory.join("dicom-templates");
    std::fs::create_dir(&site).unwrap();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/dicom-templates")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = match class {
            ReportClass::Comprehensive3D => "comprehensive-3d",
            ReportClass::Comprehensive => "comprehensive",
            ReportClass::Enhanced => "enhanced",
        };
        let text = text.replace("sop-class = \"comprehensive-3d\"", &format!("sop-class = {name:?}"));
        std::fs::write(site.join(path.file_name().unwrap()), text).unwrap();
    }
    Templates::load(&site).unwrap()
}

fn all() -> Vec<Rendered> {
    let new = ReportClass::Comprehensive3D;
    let uid = |text: &str| fcdd::dicom::Uid::parse(text).unwrap();
    let before = ReportReference {
        series_uid: uid("1.2.3.4"),
        sop_class_uid: uid("1.2.840.10008.5.1.4.1.1.88.34"),
        sop_instance_uid: uid("1.2.3.5"),
    };
    let second = Revision { number: 2, predecessor: Some(before) };
    vec![
        rendered_as("not suspected, rev 2", new, &second, |s| (s.clone(), not_suspected(&s))),
        rendered("suspected", new, |s| (s.clone(), suspected(&s))),
        rendered("suspected, comprehensive", ReportClass::Comprehensive, |s| (s.clone(), suspected(&s))),
        rendered("suspected, enhanced", ReportClass::Enhanced, |s| (s.clone(), suspected(&s))),
        rendered("suspected, site prevalence", new, |s| (s.clone(), suspected_at_a_site(&s))),
        rendered("not suspected", new, |s| (s.clone(), not_suspected(&s))),
        rendered("untrained", new, |s| (s.clone(), untrained(&s))),
        rendered("unassessable", new, unassessable),
        rendered("no images", new, |s| {
            let (mut s, a) = unassessable(s);
            s.stacks.clear();
            (s, a)
        }),
    ]
}

/// One object of each kind of a rendered study.
fn one_of_each(objects: &[RenderedObject]) -> Vec<&RenderedObject> {
    ObjectKind::ALL.iter().filter_map(|kind| objects.iter().find(|o| o.kind == *kind)).collect()
}

fn check(program: &str, arguments: &[&str], path: &Path, what: &str, is_bad: impl Fn(&str) -> bool) {
    let mut arguments = arguments.to_vec();
    let file = path.to_str().unwrap();
    arguments.push(file);
    let Some((status, text)) = peer(program, &arguments) else { return };
    let bad: Vec<&str> = text.lines().filter(|line| is_bad(line)).collect();
    assert!(bad.is_empty(), "{what}: {program}: {bad:#?}");
    assert_eq!(status, 0, "{what}: {program} exits {status}:\n{text}");
}

/// Java's limits on XPath stop the validator before it has begun, with exit status 0: they are lifted, and its last
/// line must be there.
fn validate_with_pixelmed(path: &Path, what: &str) {
    let arguments = [
        "-Djava.awt.headless=true",
        "-Djdk.xml.xpathTotalOpLimit=0",
        "-Djdk.xml.xpathExprOpLimit=0",
        "-Djdk.xml.xpathExprGrpLimit=0",
        "-cp",
        "/usr/share/java/pixelmed.jar:/usr/share/java/*",
        "com.pixelmed.validate.DicomSRValidator",
        path.to_str().unwrap(),
    ];
    let Some((_, text)) = peer("java", &arguments) else { return };
    assert!(text.contains("Found Root Template TID_1500"), "{what}: {text}");
    assert!(text.contains("IOD validation complete"), "{what}: {text}");
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("Error")).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}");
}

#[test]
fn validators_find_no_errors() {
    let all = all();
    let pixelmed = Path::new(PIXELMED).exists();
    if !pixelmed {
        skip(&format!("PixelMed's SR validator, {PIXELMED} is missing (make setup-test)"));
    }
    for case in &all {
        for object in one_of_each(&case.objects) {
            let what = format!("{} / {}", case.name, object.kind.name());
            check("dciodvfy", &["-new"], &object.path, &what, |line| line.starts_with("Error"));
            check("dcmdump", &["-q"], &object.path, &what, |line| line.starts_with("E:") || line.starts_with("W:"));
            if object.kind != ObjectKind::Report {
                continue;
            }
            check("dsrdump", &[], &object.path, &what, |line| line.starts_with("E:"));
            check("dsr2html", &[], &object.path, &what, |line| line.starts_with("E:"));
            // Its style sheet takes ten seconds to compile, so only documents that differ in structure.
            if pixelmed && ["suspected", "suspected, enhanced", "no images"].contains(&case.name) {
                validate_with_pixelmed(&object.path, &what);
            }
        }
    }
}

#[test]
fn highdicom_reads_the_probabilities_back() {
    let all = all();
    let interpreter = python();
    for case in all.iter().filter(|case| case.name.starts_with("suspected") || case.name == "not suspected") {
        let report = case.objects.iter().find(|o| o.kind == ObjectKind::Report).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/report/read_measurement_groups.py");
        let arguments = [script, report.path.to_str().unwrap()];
        let Some((status, text)) = peer(interpreter.to_str().unwrap(), &arguments) else { return };
        if text.contains("No module named 'highdicom'") {
            return skip(&format!("{} has no highdicom (make setup-test)", interpreter.display()));
        }
        assert_eq!(status, 0, "{}: {text}", case.name);
        let line = text.lines().find(|line| line.starts_with('{')).unwrap();
        let groups: serde_json::Value = serde_json::from_str(line).unwrap();
        let fused = case.analysis.fused.as_ref().unwrap().probability;
        let t1 = case.analysis.outcomes[0].probability;
        let number = |value: f64| (value * 1e6).round() / 1e4;
        assert_eq!(groups["whole study, all sequences"]["probability"], number(fused), "{groups}");
        assert_eq!(groups["whole study, T1"]["probability"], number(t1), "{groups}");
        let regions = if case.name == "not suspected" { 0 } else { 2 };
        assert_eq!(groups.as_object().unwrap().len(), 3 + regions, "{groups}");
        if regions > 0 {
            let region = &groups["T1 region 1"];
            let [slice, row, column] = case.analysis.outcomes[0].regions[0].peak_source_index;
            assert_eq!(region["probability"], number(fused));
            assert_eq!(region["point"], serde_json::json!([column as f64 + 0.5, row as f64 + 0.5]));
            assert!(region["image"].as_str().unwrap().ends_with(&format!(".3.{}", slice + 1)), "{region}");
            assert_eq!(region["laterality"], "7771000", "{region}");
        }
    }
}

#[test]
fn results_for_a_scanners_own_headers_pass_too() {
    let Some(data) = reference_root() else { return };
    for series in ["flair-siemens-trio-space-4slices", "flair-syntax-implicit", "enhanced-philips-t1-8frames"] {
        let directory = tempfile::tempdir().unwrap();
        let mut study = study(directory.path(), Acquisition::Axial, Acquisition::Axial);
        let folder = data.join(series).join("dicom");
        let path = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        // The synthetic volume under a real header: what is copied from the header is what is tested.
        let header = report_fixture::header(&path);
        study.header = Arc::clone(&header);
        study.study_uid = Uid::parse(&report_fixture::text(&header, tags::STUDY_INSTANCE_UID)).unwrap();
        for stack in &mut study.stacks {
            stack.header = Arc::clone(&header);
            let mut volume = SourceVolume::clone(stack.volume.as_ref().unwrap());
            volume.slices[0].path = path.clone();
            volume.slices[0].sop_instance_uid =
                Uid::parse(&report_fixture::text(&header, tags::SOP_INSTANCE_UID)).unwrap();
            stack.volume = Some(Arc::new(volume));
        }
        let analysis = suspected(&study);
        let templates = Templates::built_in();
        let objects =
            render(&study, &analysis, &templates, &config::Report::default(), &Revision::first(), directory.path())
                .unwrap();
        for object in one_of_each(&objects) {
            let what = format!("{series} / {}", object.kind.name());
            check("dciodvfy", &["-new"], &object.path, &what, |line| line.starts_with("Error"));
            let file = report_fixture::open(&object.path);
            for tag in [tags::PATIENT_NAME, tags::PATIENT_ID, tags::STUDY_DATE, tags::STUDY_DESCRIPTION] {
                assert_eq!(report_fixture::text(&file, tag), report_fixture::text(&header, tag), "{what} {tag}");
            }
        }
    }
}
