//! Series assembly: files that were taken to pieces and put together wrongly become volumes that are whole and finite,
//! or get a verdict; none is lost, and their order decides nothing.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::Target;
use super::choices::Choices;
use super::slices::{self, Element, Slice};
use crate::assemble::{Assembly, DecodeLimits, Options, VolumesWanted, assemble_contents};
use crate::config::sequences::SequenceRules;
use crate::dicom::identifying::{DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN};
use crate::study::{SeriesVerdict, Stack};

pub(super) const TARGET: Target =
    Target { name: "series", run, seeds, must_reach: &["a volume", "a verdict", "no study"] };

const SLICES: u8 = 6;
/// The first byte of an input that is a file, not a series with edits.
const ONE_FILE: u8 = 0xFF;
/// Whom an edit is for, instead of one file.
const EVERY_FILE: u8 = 0xFF;
/// Edits beyond these are not made: a file that is all damage teaches nothing.
const MAX_EDITS: usize = 24;

/// Values that no image should have, whatever the element's VR.
const ABSURD: [&[u8]; 16] = [
    b"",
    b"0 ",
    b"-1",
    b"65535 ",
    b"1e300 ",
    b"-1e-300 ",
    b"NaN ",
    b"inf ",
    b"\\\\\\\\",
    b"1\\2\\3\\4\\5\\6\\7\\8 ",
    b"not a number",
    &[0, 0],
    &[0xFF, 0xFF],
    &[0xFF, 0xFF, 0xFF, 0x7F],
    &[0x80],
    &[1, 0, 2, 0, 3, 0, 4, 0],
];
const VRS: [&[u8; 2]; 16] =
    [b"US", b"SS", b"UL", b"DS", b"IS", b"CS", b"LO", b"UI", b"SQ", b"UN", b"OB", b"OW", b"UT", b"FD", b"AT", b"??"];
const LENGTHS: [u32; 8] = [0, 1, 3, 8, 0xFFFE, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF];

fn run(bytes: &[u8]) -> &'static str {
    let mut choices = Choices::new(bytes);
    let kind = choices.byte();
    let files: Vec<Vec<u8>> =
        if kind == ONE_FILE { vec![choices.rest().to_vec()] } else { edited(series(kind), &mut choices) };
    let contents: Vec<(PathBuf, Vec<u8>)> =
        files.into_iter().enumerate().map(|(n, bytes)| (PathBuf::from(format!("{n}.dcm")), bytes)).collect();
    let count = contents.len();
    let backwards = contents.iter().rev().cloned().collect();
    let assembly = assemble_contents(contents, options());
    let reached = check(&assembly, count);
    compare(&assembly, &assemble_contents(backwards, options()));
    reached
}

/// The files that are edited: six encodings of a T1, and a study with a FLAIR beside it.
fn series(kind: u8) -> Vec<Slice> {
    let t1 = || (0..SLICES).map(|index| slices::slice(1, index));
    let in_syntax = |transfer_syntax| t1().map(|slice| Slice { transfer_syntax, ..slice }).collect();
    match kind % 7 {
        0 => t1().collect(),
        1 => in_syntax(IMPLICIT_VR_LITTLE_ENDIAN),
        2 => in_syntax(DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
        3 => t1().map(Slice::into_rle).collect(),
        4 => vec![slices::multi_frame(SLICES)],
        5 => t1().map(Slice::into_jpeg).collect(),
        _ => t1().chain((0..SLICES).map(|index| slices::slice(2, index))).collect(),
    }
}

/// Damage to a file's bytes, once its elements stand in them.
enum Cut {
    At(u16),
    Byte(u16, u8),
}

fn edited(mut series: Vec<Slice>, choices: &mut Choices) -> Vec<Vec<u8>> {
    let mut cuts: Vec<(usize, Cut)> = Vec::new();
    for _ in 0..MAX_EDITS {
        if choices.is_over() {
            break;
        }
        let whom = choices.byte();
        let chosen = usize::from(whom) % series.len();
        let place = choices.byte();
        let kind = choices.byte();
        match kind % 10 {
            8 => cuts.push((chosen, Cut::At(choices.short()))),
            9 => cuts.push((chosen, Cut::Byte(choices.short(), choices.byte()))),
            _ => {
                let edit = Edit::read(kind % 10, choices);
                let files = if whom == EVERY_FILE { 0..series.len() } else { chosen..chosen + 1 };
                series[files].iter_mut().for_each(|slice| edit.apply(slice, place));
            }
        }
    }
    let mut files: Vec<Vec<u8>> = series.iter().map(Slice::file).collect();
    for (file, cut) in cuts {
        let bytes = &mut files[file];
        match cut {
            Cut::At(at) => bytes.truncate(usize::from(at) % bytes.len().max(1)),
            Cut::Byte(at, mask) => {
                let at = usize::from(at) % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= mask;
                }
            }
        }
    }
    files
}

/// A change of one element.
enum Edit {
    Remove,
    Value(Vec<u8>),
    Vr([u8; 2]),
    Claim(u32),
    Repeat,
    Insert(Element),
}

impl Edit {
    fn read(kind: u8, choices: &mut Choices) -> Edit {
        match kind {
            0 => Edit::Remove,
            1 => Edit::Value(choices.counted().to_vec()),
            2 => Edit::Value(choices.one_of(&ABSURD).to_vec()),
            3 => Edit::Vr(**choices.one_of(&VRS)),
            4 => Edit::Claim(*choices.one_of(&LENGTHS)),
            5 => Edit::Claim(choices.long()),
            6 => Edit::Repeat,
            _ => {
                let tag = (choices.short(), choices.short());
                let (vr, value) = (**choices.one_of(&VRS), choices.counted().to_vec());
                Edit::Insert(Element { tag, vr, value, claimed: None })
            }
        }
    }

    fn apply(&self, slice: &mut Slice, place: u8) {
        if slice.elements.is_empty() {
            return;
        }
        let place = usize::from(place) % slice.elements.len();
        let element = &mut slice.elements[place];
        match self {
            Edit::Remove => {
                slice.elements.remove(place);
            }
            Edit::Value(value) => element.value.clone_from(value),
            Edit::Vr(vr) => element.vr = *vr,
            Edit::Claim(length) => element.claimed = Some(*length),
            Edit::Repeat => {
                let again = element.clone();
                slice.elements.push(again);
            }
            Edit::Insert(new) => slice.elements.insert(place, new.clone()),
        }
    }
}

fn options() -> Options<'static> {
    static RULES: OnceLock<SequenceRules> = OnceLock::new();
    static DECODE: OnceLock<DecodeLimits> = OnceLock::new();
    Options {
        rules: RULES.get_or_init(|| SequenceRules { minimum_slices: 4, ..SequenceRules::built_in() }),
        // There is no decoder: what is checked before one is asked is what this target is about.
        decode: DECODE.get_or_init(|| DecodeLimits { executable: Some("/nonexistent".into()), ..Default::default() }),
        volumes: VolumesWanted::All,
        digests: true,
        on_file: None,
    }
}

fn stacks(assembly: &Assembly) -> impl Iterator<Item = &Stack> {
    assembly.studies.iter().flat_map(|study| &study.stacks)
}

fn check(assembly: &Assembly, files: usize) -> &'static str {
    let images: usize = stacks(assembly).map(|stack| stack.images).sum();
    let left_over = assembly.leftovers.len();
    assert!(images + left_over >= files, "{files} files became {images} images and {left_over} leftovers");
    assert!(assembly.leftovers.iter().all(|leftover| !leftover.why.is_empty()), "left over without a reason");
    for study in &assembly.studies {
        for index in [study.t1, study.flair].into_iter().flatten() {
            assert!(study.stacks[index].verdict.is_ok() && study.stacks[index].volume.is_some());
        }
        assert!(study.t1.is_some() || study.flair.is_some() || !study.problems.is_empty(), "nothing, and no reason");
    }
    stacks(assembly).for_each(check_stack);
    let has_volume = stacks(assembly).any(|stack| stack.volume.is_some());
    match (has_volume, assembly.studies.is_empty()) {
        (true, _) => "a volume",
        (false, false) => "a verdict",
        (false, true) => "no study",
    }
}

fn check_stack(stack: &Stack) {
    let deserves_one = matches!(stack.verdict, SeriesVerdict::Ok | SeriesVerdict::TooFewSlices { .. });
    assert_eq!(deserves_one, stack.volume.is_some(), "{}: a volume where there must be none, or none", stack.verdict);
    let Some(source) = &stack.volume else { return };
    let (slices, rows, columns) = source.volume.data.dim();
    assert_eq!((slices, stack.images), (source.slices.len(), source.slices.len()));
    assert!(source.slices.iter().all(|slice| (slice.plane.rows, slice.plane.columns) == (rows, columns)));
    let affine = &source.volume.affine;
    assert!(affine.rows.iter().flatten().all(|number| number.is_finite()), "{affine:?}");
    assert!(affine.inverse().is_ok(), "{affine:?}");
    assert!(source.volume.data.iter().all(|value| value.is_finite()), "a voxel is not finite");
    for (index, slice) in source.slices.iter().enumerate() {
        let place = affine.apply([index as f64, 0.0, 0.0]);
        let off = (0..3).map(|c| (place[c] - slice.plane.position_mm[c]).abs()).fold(0.0, f64::max);
        let spacing_mm = affine.spacing_mm()[0];
        assert!(off <= 0.06_f64.max(0.03 * spacing_mm), "slice {index} lies {off} mm off its place");
    }
}

fn compare(forwards: &Assembly, backwards: &Assembly) {
    let [one, other] = [forwards, backwards].map(|assembly| stacks(assembly).collect::<Vec<_>>());
    assert_eq!(one.len(), other.len(), "the order of the files decides the number of stacks");
    for (one, other) in one.iter().zip(&other) {
        let seen =
            |stack: &Stack| (stack.series_uid.clone(), stack.images, stack.sequence, stack.sequence_because.clone());
        assert_eq!(seen(one), seen(other), "the order of the files decides");
        assert_eq!(one.verdict.to_string(), other.verdict.to_string(), "the order of the files decides the verdict");
        let data = |stack: &Stack| stack.volume.as_ref().map(|source| source.volume.data.clone());
        assert!(data(one) == data(other), "the order of the files decides the voxels");
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let names = ["explicit", "implicit", "deflated", "rle", "multi-frame", "jpeg", "t1-and-flair"];
    let mut seeds: Vec<(String, Vec<u8>)> =
        names.iter().enumerate().map(|(kind, name)| (format!("{name}-whole"), vec![kind as u8])).collect();
    // Of the third slice: Rows gone, Pixel Spacing absurd, a length that lies, cut short, one bit turned.
    let edits: [(&str, &[u8]); 7] = [
        ("no-rows", &[2, 25, 0]),
        ("absurd-spacing", &[2, 27, 2, 6]),
        ("lying-length", &[2, 11, 4, 5]),
        ("cut", &[2, 0, 8, 0x80, 0x02]),
        ("bit", &[2, 0, 9, 0x90, 0x01, 0x04]),
        ("scale-of-all", &[EVERY_FILE, 33, 1, 4, b'1', b'e', b'9', b' ']),
        ("private", &[2, 5, 7, 0x09, 0x00, 0x10, 0x00, 6, 4, b'f', b'u', b'z', b'z']),
    ];
    for (kind, name) in names.iter().enumerate() {
        seeds.extend(edits.iter().map(|(edit, bytes)| (format!("{name}-{edit}"), [&[kind as u8], *bytes].concat())));
    }
    seeds.push(("file".to_owned(), [&[ONE_FILE], slices::slice(1, 0).file().as_slice()].concat()));
    seeds.push(("text".to_owned(), [&[ONE_FILE], &b"not DICOM at all"[..]].concat()));
    seeds
}
