//! Every reference series becomes a volume whose values lie where dcm2niix puts them, or gets the verdict that
//! the data deserve. The reference studies are found through FCDD_REFERENCE_DATA.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use fcdd::assemble::{self, Assembly, DecodeLimits};
use fcdd::config::sequences::SequenceRules;
use fcdd::study::{Sequence, SeriesVerdict, Stack};
use fcdd::volume::{Volume, nifti};
use serde_json::Value;

use crate::support::reference_root;

/// Position: a probe's voxel centre must lie this near (mm).
const POSITION_MM: f64 = 0.01;
/// Value: this part of it. Probes are written with four decimals, which adds its half.
const VALUE_PART: f64 = 1e-6;
const PROBE_ROUNDING: f64 = 5e-5;

type IsDue = fn(&SeriesVerdict) -> bool;

/// Sets whose references are not to be matched by a volume, since the series get a verdict instead, and why.
/// Sets that are not here must match every reference.
const VERDICTS: &[(&str, IsDue, &str)] = &[
    ("localizer-siemens-aascout", |v| matches!(v, SeriesVerdict::Localizer { .. }), "a scout, told by its description"),
    (
        "mosaic-siemens-skyra-epi",
        |v| *v == SeriesVerdict::Mosaic { tiles: 5 },
        "slices tiled into one image are refused",
    ),
    ("uih-mosaic-dwi", |v| *v == SeriesVerdict::Mosaic { tiles: 20 }, "slices tiled into one image are refused"),
    (
        "rgb-secondary-capture-t1",
        |v| matches!(v, SeriesVerdict::Colour { samples: 3, .. }),
        "a picture, though it says T1",
    ),
    ("mpr-siemens-scout-enhanced", |v| matches!(v, SeriesVerdict::Derived { .. }), "resampled from a scout"),
    ("sr-phoenix-report", |v| *v == SeriesVerdict::NoPixels, "a report"),
    (
        "tilt-ct-siemens",
        |v| matches!(v, SeriesVerdict::GantryTilt { degrees } if (degrees - 14.0).abs() < 0.1),
        "slices run off their normal",
    ),
    (
        "uneven-spacing-ct",
        |v| matches!(v, SeriesVerdict::MissingSlice { after: 2, missing: 1, gap_mm, .. } if (gap_mm - 10.0).abs() < 1e-3),
        "5, 5 and 10 mm apart",
    ),
];

/// Sets in which a T1 or a FLAIR must be recognised; every other set must have none.
const SEQUENCES: &[(&str, &[Sequence])] = &[
    ("enhanced-philips-t1-8frames", &[Sequence::T1]),
    ("flair-siemens-trio-space-4slices", &[Sequence::Flair]),
    ("flair-syntax-explicit", &[Sequence::Flair]),
    ("flair-syntax-implicit", &[Sequence::Flair]),
    ("flair-syntax-j2k", &[Sequence::Flair]),
    ("flair-syntax-jpeglossless", &[Sequence::Flair]),
    ("flair-syntax-jpegls", &[Sequence::Flair]),
    ("flair-syntax-rle", &[Sequence::Flair]),
    ("missing-slices-pair", &[Sequence::Flair]),
    ("study-openms-p12-t1-flair", &[Sequence::T1, Sequence::Flair]),
    ("t1-ge-signa-irspgr-phantom", &[Sequence::T1]),
    ("t1-legacy-enhanced-siemens", &[Sequence::T1]),
    ("t1-siemens-skyra-mprage-sag", &[Sequence::T1]),
    ("t1-syntax-deflated", &[Sequence::T1]),
    ("t1-syntax-htj2k", &[Sequence::T1]),
    ("t1-syntax-jpeg-divest", &[Sequence::T1, Sequence::T1]),
];

/// The DICOM files of a set; a packed one is unpacked into `scratch`.
fn dicom_files(set: &Path, scratch: &Path) -> Vec<PathBuf> {
    let archive = set.join("dicom.tar.xz");
    let folder = if archive.exists() {
        let status = Command::new("tar").arg("-xJf").arg(&archive).arg("-C").arg(scratch).status();
        assert!(status.expect("tar runs").success(), "cannot unpack {}", archive.display());
        scratch.join("dicom")
    } else {
        set.join("dicom")
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

fn limits() -> DecodeLimits {
    DecodeLimits { executable: Some(env!("CARGO_BIN_EXE_fcdd").into()), ..DecodeLimits::default() }
}

fn rules() -> &'static SequenceRules {
    static RULES: OnceLock<SequenceRules> = OnceLock::new();
    RULES.get_or_init(SequenceRules::built_in)
}

fn assembled(files: &[PathBuf]) -> Assembly {
    assemble::assemble(files, rules(), &limits())
}

fn stacks(assembly: &Assembly) -> Vec<&Stack> {
    assembly.studies.iter().flat_map(|s| &s.stacks).collect()
}

/// The value at a world position (RAS mm), if a voxel centre lies there.
fn value_at(volume: &Volume, ras_mm: [f64; 3]) -> Result<f32, String> {
    let lps = [-ras_mm[0], -ras_mm[1], ras_mm[2]];
    let index = volume.affine.inverse().unwrap().apply(lps);
    let nearest = index.map(f64::round);
    let centre = volume.affine.apply(nearest);
    let distance = (0..3).map(|c| (centre[c] - lps[c]).powi(2)).sum::<f64>().sqrt();
    if distance > POSITION_MM {
        return Err(format!("no voxel within {POSITION_MM} mm of {ras_mm:?}, the nearest is {distance} mm away"));
    }
    let inside = nearest.iter().all(|n| *n >= 0.0);
    let index = nearest.map(|n| n as usize);
    volume.data.get(index).filter(|_| inside).copied().ok_or_else(|| format!("{ras_mm:?} lies outside"))
}

fn numbers<const N: usize>(value: &Value) -> [f64; N] {
    let all: Vec<f64> = value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    all[..N].try_into().unwrap()
}

/// Whether the volume is the reference's: size, and each probe's place and value.
fn agrees(volume: &Volume, reference: &Value) -> Result<(), String> {
    let mut dims = numbers::<3>(&reference["dims"]).map(|n| n as usize);
    let mut shape = volume.grid().shape;
    dims.sort();
    shape.sort();
    if dims != shape {
        return Err(format!("size {shape:?}, not {dims:?}"));
    }
    let probes = reference["probes"].as_array().unwrap();
    assert!(probes.len() >= 10, "only {} probes", probes.len());
    for probe in probes {
        let (due, found) = (probe["value"].as_f64().unwrap(), value_at(volume, numbers(&probe["ras_mm"]))?);
        if (f64::from(found) - due).abs() > VALUE_PART * due.abs() + PROBE_ROUNDING {
            return Err(format!("{found} at {}, not {due}", probe["ras_mm"]));
        }
    }
    Ok(())
}

/// Every voxel of a reference file against ours.
fn agrees_everywhere(volume: &Volume, reference: &Volume) {
    let to_ours = volume.affine.inverse().unwrap().after(&reference.affine);
    for ((i, j, k), due) in reference.data.indexed_iter() {
        let index = to_ours.apply([i as f64, j as f64, k as f64]).map(|n| n.round() as usize);
        let found = volume.data[index];
        let tolerance = VALUE_PART * f64::from(due.abs()).max(1.0);
        assert!((f64::from(found) - f64::from(*due)).abs() <= tolerance, "{found} at {index:?}, not {due}");
    }
}

#[test]
fn every_reference_series_is_a_volume_or_has_its_verdict() {
    let Some(data) = reference_root() else { return };
    let mut sets = 0;
    for entry in std::fs::read_dir(&data).unwrap() {
        let set = entry.unwrap().path();
        let name = set.file_name().unwrap().to_string_lossy().into_owned();
        if !set.join("expected.json").exists() || !(set.join("dicom").exists() || set.join("dicom.tar.xz").exists()) {
            continue;
        }
        sets += 1;
        let expected: Value = serde_json::from_slice(&std::fs::read(set.join("expected.json")).unwrap()).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let files = dicom_files(&set, scratch.path());
        assert_eq!(files.len(), expected["n_files"].as_u64().unwrap() as usize, "{name}");
        let assembly = assembled(&files);
        let stacks = stacks(&assembly);
        for s in &stacks {
            eprintln!("{name}: {:?} {} {} ({})", s.series_number, s.sequence.label(), s.verdict, s.sequence_because);
        }
        let due = SEQUENCES.iter().find(|(n, _)| *n == name).map_or(&[][..], |(_, s)| s);
        let mut found: Vec<Sequence> = stacks.iter().map(|s| s.sequence).filter(|s| *s != Sequence::Other).collect();
        found.sort();
        assert_eq!(found, due, "{name}");
        if let Some((_, is_due, why)) = VERDICTS.iter().find(|(n, ..)| *n == name) {
            assert!(!stacks.is_empty(), "{name}");
            for stack in &stacks {
                assert!(is_due(&stack.verdict) && stack.volume.is_none(), "{name} ({why}): {}", stack.verdict);
            }
            continue;
        }
        match_references(&name, &set, &stacks, expected["reference"].as_array().unwrap());
    }
    assert!(sets >= 28, "only {sets} sets in {}", data.display());
}

/// Each reference is one stack's volume.
fn match_references(name: &str, set: &Path, stacks: &[&Stack], references: &[Value]) {
    let mut taken = vec![false; stacks.len()];
    for reference in references {
        let file = reference["file"].as_str().unwrap();
        if name == "t1-syntax-jpeg-divest" && file.starts_with("8_DTI") {
            // Two images at one position, and nothing in the headers tells them apart.
            let of_dti: Vec<_> = stacks.iter().filter(|s| s.series_number == Some(8)).collect();
            assert!(!of_dti.is_empty());
            for stack in of_dti {
                assert_eq!(stack.verdict, SeriesVerdict::DuplicatePosition { duplicates: 1 }, "{name}");
            }
            continue;
        }
        if name == "t1-syntax-jpeg-divest" && file == "9_fl3D_t1_sag_0.nii.gz" {
            let lossy = |s: &&&Stack| matches!(s.verdict, SeriesVerdict::LossyCompression { .. }) && s.volume.is_none();
            assert_eq!(stacks.iter().filter(lossy).count(), 1, "{name}");
            continue;
        }
        let mut failures = Vec::new();
        let matched = stacks.iter().enumerate().position(|(i, stack)| {
            let Some(source) = stack.volume.as_ref().filter(|_| !taken[i]) else { return false };
            agrees(&source.volume, reference).map_err(|why| failures.push(why)).is_ok()
        });
        let Some(matched) = matched else { panic!("{name}: nothing agrees with {file}: {failures:?}") };
        taken[matched] = true;
        let source = stacks[matched].volume.as_ref().unwrap();
        assert_eq!(source.slices.len(), source.volume.data.dim().0, "{name}");
        let full = reference["reference_file"].as_str().map(|f| set.join(f)).filter(|f| f.exists());
        if let Some(reference) = full.and_then(|f| nifti::read(&f).ok()) {
            agrees_everywhere(&source.volume, &reference);
        }
    }
}

#[test]
fn every_lossless_syntax_gives_the_same_voxels() {
    let Some(data) = reference_root() else { return };
    let flair = ["flair-syntax-rle", "flair-syntax-j2k", "flair-syntax-jpegls", "flair-syntax-jpeglossless"];
    for sets in [&flair[..], &["t1-syntax-deflated", "t1-syntax-htj2k"]] {
        let volumes: Vec<_> = sets
            .iter()
            .map(|set| {
                let assembly = assembled(&dicom_files(&data.join(set), Path::new("")));
                stacks(&assembly)[0].volume.clone().unwrap()
            })
            .collect();
        for (volume, set) in volumes.iter().zip(sets) {
            assert_eq!(volume.volume.data, volumes[0].volume.data, "{set}");
        }
    }
}

#[test]
fn a_lossy_series_is_decoded_where_the_site_accepts_it() {
    let Some(data) = reference_root() else { return };
    let set = data.join("t1-syntax-jpeg-divest");
    let rules = SequenceRules { accept_lossy: true, ..rules().clone() };
    let assembly = assemble::assemble(&dicom_files(&set, Path::new("")), &rules, &limits());
    let reference = nifti::read(&set.join("reference/9_fl3D_t1_sag_0.nii.gz")).unwrap();
    let is_lossy = |s: &&&Stack| {
        s.series_number == Some(9) && s.volume.as_ref().is_some_and(|v| v.volume.data[[0, 0, 0]] <= 255.0)
    };
    let stacks = stacks(&assembly);
    // Decoders may differ by one grey level (ITU-T T.83), and libjpeg's does too.
    let is_near = stacks.iter().filter(is_lossy).any(|s| {
        let ours = &s.volume.as_ref().unwrap().volume;
        let to_ours = ours.affine.inverse().unwrap().after(&reference.affine);
        reference.data.indexed_iter().all(|((i, j, k), due)| {
            let index = to_ours.apply([i as f64, j as f64, k as f64]).map(|n| n.round() as usize);
            (ours.data[index] - due).abs() <= 1.0
        })
    });
    assert!(is_near);
}

#[test]
fn the_multi_frame_conversion_equals_its_classic_series() {
    let Some(data) = reference_root() else { return };
    let read = |set: &str| {
        let scratch = tempfile::tempdir().unwrap();
        let assembly = assembled(&dicom_files(&data.join(set), scratch.path()));
        let study = &assembly.studies[0];
        let t1 = &study.stacks[study.t1.expect("a T1 is chosen")];
        (t1.series_number, t1.volume.clone().unwrap())
    };
    let ((classic_number, classic), (enhanced_number, enhanced)) =
        (read("t1-siemens-skyra-mprage-sag"), read("t1-legacy-enhanced-siemens"));
    // The converted object repeats its source's number in a functional group.
    assert_eq!((classic_number, enhanced_number), (Some(5), Some(5005)));
    assert_eq!(classic.volume.data, enhanced.volume.data);
    let place = |v: &Volume| v.affine.apply([191.0, 255.0, 255.0]);
    for (a, b) in place(&classic.volume).iter().zip(place(&enhanced.volume)) {
        assert!((a - b).abs() < POSITION_MM);
    }
    assert!(enhanced.slices.iter().all(|s| s.frame_number.is_some()));
    assert!(classic.slices.iter().all(|s| s.frame_number.is_none()));
}

#[test]
fn what_the_transfer_lost_or_repeated_is_named() {
    let Some(data) = reference_root() else { return };
    let set = data.join("t1-ge-signa-irspgr-phantom");
    let expected: Value = serde_json::from_slice(&std::fs::read(set.join("expected.json")).unwrap()).unwrap();
    let recipes = &expected["recipes"];
    let scratch = tempfile::tempdir().unwrap();
    let files = dicom_files(&set, scratch.path());
    let inner = recipes["missing_slices_inner"].as_array().unwrap();
    let is_inner = |file: &Path| inner.iter().any(|n| file.file_name().unwrap() == n.as_str().unwrap());

    let without: Vec<PathBuf> = files.iter().filter(|f| !is_inner(f)).cloned().collect();
    let assembly = assembled(&without);
    let verdict = &stacks(&assembly)[0].verdict;
    assert!(matches!(verdict, SeriesVerdict::MissingSlice { missing: 2, .. }), "{verdict}");
    assert_eq!(assembly.studies[0].problems[0].code, assemble::NO_USABLE_SERIES);

    // The same object twice is one object.
    let repeated = recipes["duplicated_slice"].as_str().unwrap();
    let copy = scratch.path().join("copy.dcm");
    let original = files.iter().find(|f| f.file_name().unwrap() == repeated).unwrap();
    std::fs::copy(original, &copy).unwrap();
    let mut twice = files.clone();
    twice.push(copy.clone());
    let assembly = assembled(&twice);
    assert!(stacks(&assembly)[0].verdict.is_ok());
    assert!(assembly.leftovers[0].why.contains("repeats SOP instance"), "{:?}", assembly.leftovers);

    // The same image as another object is a duplicate: the last digit of its SOP instance UID is changed.
    let source = stacks(&assembly)[0].volume.clone().unwrap();
    let kept = [original.as_path(), copy.as_path()];
    let slice = source.slices.iter().find(|s| kept.contains(&s.path.as_path())).unwrap();
    let uid = slice.sop_instance_uid.as_str().as_bytes();
    let mut bytes = std::fs::read(&copy).unwrap();
    let places: Vec<usize> = (0..bytes.len() - uid.len()).filter(|i| bytes[*i..].starts_with(uid)).collect();
    assert!(!places.is_empty());
    for place in places {
        let last = &mut bytes[place + uid.len() - 1];
        *last = if *last == b'1' { b'2' } else { b'1' };
    }
    std::fs::write(&copy, &bytes).unwrap();
    let assembly = assembled(&twice);
    assert_eq!(stacks(&assembly)[0].verdict, SeriesVerdict::DuplicatePosition { duplicates: 1 });

    // A slice cut short makes its series unreadable, also at the edge where geometry would not miss it.
    let whole = std::fs::read(&files[0]).unwrap();
    std::fs::remove_file(&files[0]).unwrap();
    std::fs::write(&files[0], &whole[..60_000]).unwrap();
    let assembly = assembled(&files);
    let verdict = &stacks(&assembly)[0].verdict;
    assert!(matches!(verdict, SeriesVerdict::Unreadable { why } if why.contains("1 of 196 files")), "{verdict}");
}

#[test]
fn damaged_compressed_slices_are_unreadable_and_never_wrong() {
    let Some(data) = reference_root() else { return };
    for set in ["flair-syntax-rle", "flair-syntax-j2k", "flair-syntax-jpegls", "flair-syntax-jpeglossless"] {
        let files = dicom_files(&data.join(set), Path::new(""));
        let scratch = tempfile::tempdir().unwrap();
        let originals: Vec<Vec<u8>> = files.iter().map(|f| std::fs::read(f).unwrap()).collect();
        let (first, rest) = originals.split_first().unwrap();
        let one_damaged = |damaged: Vec<u8>| [vec![damaged], rest.to_vec()].concat();
        let variants = [
            one_damaged(first[..first.len() / 2].to_vec()),
            one_damaged(first[..first.len() - 200].to_vec()),
            one_damaged(shorter_fragment(first)),
            // All slices alike, so that only the codestreams tell.
            originals.iter().map(|f| fewer_rows(f)).collect(),
        ];
        for (i, contents) in variants.iter().enumerate() {
            let paths: Vec<PathBuf> = (0..contents.len()).map(|n| scratch.path().join(format!("{n}.dcm"))).collect();
            for (path, content) in paths.iter().zip(contents) {
                std::fs::write(path, content).unwrap();
            }
            for stack in stacks(&assembled(&paths)) {
                eprintln!("{set}, variant {i}: {}", stack.verdict);
                assert!(!matches!(stack.verdict, SeriesVerdict::Ok | SeriesVerdict::TooFewSlices { .. }), "{set} {i}");
                assert!(stack.volume.is_none(), "{set}, variant {i}: {}", stack.verdict);
            }
        }
    }
}

/// Rows (0028,0010) becomes 200 where the pixels have 256.
fn fewer_rows(file: &[u8]) -> Vec<u8> {
    let rows = [0x28, 0, 0x10, 0, b'U', b'S', 2, 0, 0, 1];
    let place = file.windows(rows.len()).position(|w| w == rows).unwrap();
    let mut out = file.to_vec();
    (out[place + 8], out[place + 9]) = (200, 0);
    out
}

/// The file with the second half of its only fragment cut out, and the lengths to match.
fn shorter_fragment(file: &[u8]) -> Vec<u8> {
    let pixels = file.windows(4).rposition(|w| w == [0xE0, 0x7F, 0x10, 0]).unwrap();
    let table = pixels + 12;
    let table_length = u32::from_le_bytes(file[table + 4..table + 8].try_into().unwrap()) as usize;
    let fragment = table + 8 + table_length;
    let length = u32::from_le_bytes(file[fragment + 4..fragment + 8].try_into().unwrap()) as usize;
    let half = length / 4 * 2;
    let mut out = file[..fragment + 4].to_vec();
    out.extend((half as u32).to_le_bytes());
    out.extend(&file[fragment + 8..fragment + 8 + half]);
    out.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    out
}

#[test]
fn broken_and_foreign_files_are_accounted_for() {
    let Some(data) = reference_root() else { return };
    for set in ["broken-pydicom-a", "charset-pydicom-a"] {
        let mut files = dicom_files(&data.join(set), Path::new(""));
        let scratch = tempfile::tempdir().unwrap();
        let text = scratch.path().join("README");
        std::fs::write(&text, "not DICOM at all").unwrap();
        files.extend([text, scratch.path().join("is-not-there.dcm")]);
        let assembly = assembled(&files);
        for leftover in &assembly.leftovers {
            eprintln!("{set}: {}: {}", leftover.path.display(), leftover.why);
        }
        let in_stacks: usize = stacks(&assembly).iter().map(|s| s.images).sum();
        assert_eq!(in_stacks + assembly.leftovers.len(), files.len(), "{set}: each has one frame");
        assert!(stacks(&assembly).iter().all(|s| !s.verdict.is_ok() && s.volume.is_none()));
    }
}

#[test]
fn nifti_files_are_read_where_they_say() {
    let Some(data) = reference_root() else { return };
    for set in ["openms-long-p12-s1", "openms-mni-p26"] {
        let folder = data.join("nifti").join(set);
        let expected: Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let files: BTreeMap<String, Value> = serde_json::from_value(expected).unwrap();
        let mut read = 0;
        for (name, reference) in files.iter().filter(|(_, v)| v["probes"].is_array()) {
            agrees(&nifti::read(&folder.join(name)).unwrap(), reference)
                .unwrap_or_else(|e| panic!("{set}/{name}: {e}"));
            read += 1;
        }
        assert!(read >= 2, "{set}");
    }
}
