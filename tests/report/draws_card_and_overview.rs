//! The card and the overview show what they must; the pictures are kept in the target folder to be looked at.

use std::path::PathBuf;

use fcdd::config;
use fcdd::dicom::Templates;
use fcdd::report::card::{card_picture, card_svg};
use fcdd::report::drawing::Picture;
use fcdd::report::overview_png;
use fcdd::study::{Analysis, AssembledStudy, Revision};

use crate::report_fixture::{
    Acquisition, not_suspected, study, suspected, suspected_at_a_site, unassessable, untrained,
};

fn kept(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, bytes).unwrap();
    eprintln!("look at {}", path.display());
}

/// Draws and keeps the card and the overview of a case.
fn drawn(name: &str, study: &AssembledStudy, analysis: &Analysis) -> Picture {
    let (templates, report) = (Templates::built_in(), config::Report::default());
    let card = card_picture(study, analysis, &templates, &report, &Revision::first()).unwrap();
    kept(&format!("card-{name}.png"), &card.png().unwrap());
    kept(&format!("overview-{name}.png"), &overview_png(study, analysis, &templates, &report).unwrap());
    card
}

/// Pixels of a part `[left, top, right, bottom]` of a picture for which something holds.
fn count(picture: &Picture, [left, top, right, bottom]: [u32; 4], holds: impl Fn([i32; 3]) -> bool) -> usize {
    let rows = picture.rgb.chunks_exact(picture.width as usize * 3).enumerate();
    rows.filter(|(y, _)| (top..bottom).contains(&(*y as u32)))
        .flat_map(|(_, row)| row.chunks_exact(3).enumerate())
        .filter(|(x, p)| (left..right).contains(&(*x as u32)) && holds([p[0], p[1], p[2]].map(i32::from)))
        .count()
}

fn warm([r, g, b]: [i32; 3]) -> bool {
    r - g > 40 && r - b > 40
}

const TILES: [u32; 4] = [28, 408, 996, 708];
const BANNER: [u32; 4] = [0, 70, 1024, 130];

#[test]
fn cards_of_all_verdicts() {
    let directory = tempfile::tempdir().unwrap();
    let study = study(directory.path(), Acquisition::Sagittal, Acquisition::Axial);

    let card = drawn("suspected", &study, &suspected(&study));
    assert!(count(&card, TILES, warm) > 1000, "no heatmap on the card");
    // The lesion is on the left: in the axial tile, right of its middle.
    let (left, right) = (count(&card, [28, 408, 178, 708], warm), count(&card, [178, 408, 328, 708], warm));
    assert!(right > 10 * left.max(1), "left half {left}, right half {right}");
    assert_eq!(count(&card, BANNER, |p| p == [0xa3, 0x22, 0x1c]), 0, "a trained model has no banner");

    let (templates, report) = (Templates::built_in(), config::Report::default());
    let second = Revision { number: 2, predecessor: None };
    let card = card_picture(&study, &suspected(&study), &templates, &report, &second).unwrap();
    kept("card-revision.png", &card.png().unwrap());
    let words = |revision| card_svg(&study, &suspected(&study), &templates, &report, &revision).unwrap();
    assert!(words(second).contains("rev 2") && !words(Revision::first()).contains("rev "));

    let card = drawn("site-prevalence", &study, &suspected_at_a_site(&study));
    assert!(count(&card, TILES, warm) > 1000, "no heatmap on the card");

    let card = drawn("not-suspected", &study, &not_suspected(&study));
    assert!(count(&card, TILES, |[r, g, b]| r > 60 && r == g && g == b) > 10_000, "no anatomy on the card");

    let card = drawn("untrained", &study, &untrained(&study));
    assert!(count(&card, BANNER, |p| p == [0xa3, 0x22, 0x1c]) > 20_000, "the banner is missing");

    // A model that never saw a person has a verdict, and every result says what it is worth.
    let mut synthetic = not_suspected(&study);
    synthetic.outcomes.iter_mut().for_each(|outcome| outcome.model.synthetic = true);
    let card = drawn("synthetic", &study, &synthetic);
    assert!(count(&card, BANNER, |p| p == [0xa3, 0x22, 0x1c]) > 20_000, "the banner is missing");
    let result = fcdd::report::result_json(&study, &synthetic, &fcdd::dicom::Templates::built_in());
    assert_eq!((&result["synthetic"], &result["untrained"]), (&"trained on synthetic data only".into(), &().into()));

    let (study, analysis) = unassessable(study);
    let card = drawn("unassessable", &study, &analysis);
    assert_eq!(count(&card, TILES, warm), 0);
    assert!(count(&card, [28, 64, 520, 300], |[r, ..]| r > 150) > 1000, "the reasons are missing");
}
