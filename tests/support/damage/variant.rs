//! The variants of a set: what is done to which of its files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dicom_core::Tag;
use dicom_core::dictionary::DataDictionary;
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};
use dicom_object::DefaultDicomObject;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::element::{self, CHANGES, Change, ELEMENTS, Frames};
use super::set::{MOST_FILES, Place, Set};

/// Turned bits in the compressed pixels of one file: in each of the first bytes, where the structure is, and elsewhere.
const FLIPS_AT_THE_START: usize = 120;
const FLIPS: usize = 400;

/// What is done to a set.
#[derive(Debug, Clone)]
pub enum Variant {
    AsItIs,
    /// Each file parsed and written again, with nothing changed: what the other variants rest on.
    WrittenAnew,
    CutShort {
        file: usize,
        bytes: usize,
    },
    Flipped {
        file: usize,
        at: usize,
        bit: u8,
    },
    Element {
        tag: Tag,
        change: Change,
        /// One file, or all of them.
        file: Option<usize>,
        frames: Frames,
    },
    /// Without these files, or with no others, as a transfer leaves it.
    Missing(Vec<PathBuf>),
    /// One file twice.
    Repeated(PathBuf),
}

/// The files of a variant, written below a folder where they are not the set's own.
pub struct Files {
    pub paths: Vec<PathBuf>,
    /// Which file of the set each path is.
    pub file_of: BTreeMap<PathBuf, usize>,
    /// Slope and intercept by which values are due where the damage changed them into
    /// others that a scanner may write.
    pub rescale: BTreeMap<Place, [f64; 2]>,
}

/// All variants of a set.
pub fn variants(set: &Set) -> Vec<Variant> {
    let mut all = Vec::new();
    if !set.is_part {
        all.push(Variant::AsItIs);
        all.extend(cut_short(set));
        all.extend(flipped(set));
        all.extend(recipes(set));
    }
    if set.files.len() <= MOST_FILES && set.files.iter().all(|(_, _, parsed)| parsed.is_some()) {
        all.push(Variant::WrittenAnew);
        all.extend(elements(set));
    }
    all
}

/// The first file and the one in the middle.
fn victims(set: &Set) -> Vec<usize> {
    let mut victims = vec![0, set.files.len() / 2];
    victims.dedup();
    victims
}

fn cut_short(set: &Set) -> Vec<Variant> {
    let of_file = |file: usize| {
        let length = set.files[file].1.len();
        let hundredths = (0..100).map(move |percent| length * percent / 100);
        let cuts = hundredths.chain([1, 2, 9].map(|less| length.saturating_sub(less)));
        cuts.map(move |bytes| Variant::CutShort { file, bytes })
    };
    victims(set).into_iter().flat_map(of_file).collect()
}

fn flipped(set: &Set) -> Vec<Variant> {
    let mut random = ChaCha8Rng::seed_from_u64(20_260_103);
    let mut all = Vec::new();
    for file in victims(set) {
        let (_, bytes, Some(parsed)) = &set.files[file] else { continue };
        let from = match parsed.meta().transfer_syntax() {
            uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => 400,
            _ if parsed.get(tags::PIXEL_DATA).is_some_and(|pixels| pixels.fragments().is_some()) => {
                let head = [0xE0, 0x7F, 0x10, 0, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
                let Some(place) = bytes.windows(head.len()).rposition(|window| window == head) else { continue };
                place
            }
            _ => continue,
        };
        let start = (from..bytes.len()).take(FLIPS_AT_THE_START);
        let places: Vec<usize> = start.chain((0..FLIPS).map(|_| random.random_range(from..bytes.len()))).collect();
        all.extend(places.into_iter().map(|at| Variant::Flipped { file, at, bit: random.random_range(0..8) }));
    }
    all
}

fn elements(set: &Set) -> Vec<Variant> {
    let mut all = Vec::new();
    let middle = set.files.len() / 2;
    for tag in ELEMENTS {
        for change in CHANGES {
            let mut add = |file: Option<usize>, frames: Frames| {
                let variant = Variant::Element { tag, change, file, frames };
                if is_damage(set, &variant) {
                    all.push(variant);
                }
            };
            add(None, Frames::All);
            add(None, Frames::Only(1));
            if set.files.len() > 1 {
                add(Some(0), Frames::All);
                add(Some(middle), Frames::All);
                add(Some(middle), Frames::Only(0));
            }
        }
    }
    all
}

/// Whether a variant of an element changes anything, into something that no scanner could have meant.
fn is_damage(set: &Set, variant: &Variant) -> bool {
    let Variant::Element { tag, change, file, frames } = *variant else { return true };
    let touched = file.map_or(0..set.files.len(), |file| file..file + 1);
    let objects = || set.files[touched.clone()].iter().filter_map(|(_, _, parsed)| parsed.as_ref());
    // Signed samples that are said to be unsigned in every image: 0 is as good a value as 1, and nobody can tell.
    let is_signed = |object: &DefaultDicomObject| {
        object.get(tags::PIXEL_REPRESENTATION).is_some_and(|e| e.to_int::<u16>().is_ok_and(|n| n == 1))
    };
    if (tag, change) == (tags::PIXEL_REPRESENTATION, Change::Zero) && touched.len() == set.files.len() {
        return !objects().any(is_signed);
    }
    objects().any(|object| element::stands(object, tag, frames, change))
}

fn recipes(set: &Set) -> Vec<Variant> {
    let names = |key: &str| -> Vec<PathBuf> {
        let listed = set.recipes[key].as_array().map_or(&[][..], |names| names.as_slice());
        let listed: Vec<&str> = listed.iter().filter_map(|name| name.as_str()).collect();
        let is_listed = |path: &Path| path.file_name().is_some_and(|n| listed.contains(&&*n.to_string_lossy()));
        set.files.iter().map(|(path, _, _)| path.clone()).filter(|path| is_listed(path)).collect()
    };
    if !set.recipes.is_object() {
        return Vec::new();
    }
    let kept = names("truncated_transfer");
    let lost = set.files.iter().map(|(path, _, _)| path.clone()).filter(|path| !kept.contains(path)).collect();
    let repeated = set.recipes["duplicated_slice"].as_str().expect("a recipe names a file");
    let repeated = set.files.iter().find(|(path, _, _)| path.ends_with(repeated)).expect("a file of the set");
    vec![
        Variant::Missing(names("missing_slices_inner")),
        Variant::Missing(names("missing_slices_edge")),
        Variant::Missing(lost),
        Variant::Repeated(repeated.0.clone()),
    ]
}

impl Variant {
    /// The line of the table that counts it.
    pub fn kind(&self) -> &'static str {
        match self {
            Variant::AsItIs => "as it is",
            Variant::WrittenAnew => "written anew",
            Variant::CutShort { .. } => "cut short",
            Variant::Flipped { .. } => "a bit turned in compressed data",
            Variant::Element { file: None, .. } => "an element damaged in all files",
            Variant::Element { .. } => "an element damaged in one file",
            Variant::Missing(_) | Variant::Repeated(_) => "a recipe of the set",
        }
    }

    /// What was done, for a person who wants to do it again.
    pub fn describe(&self) -> String {
        match self {
            Variant::Element { tag, change, file, frames } => {
                let name = StandardDataDictionary.by_tag(*tag).map_or("?", |entry| entry.alias);
                let whom = file.map_or("all files".to_owned(), |file| format!("file {file}"));
                format!("{name} {tag} {change:?} in {whom}, frames {frames:?}")
            }
            other => format!("{other:?}").chars().take(200).collect(),
        }
    }

    /// The file and frame whose values this may change without anybody's notice.
    pub fn flipped_file(&self) -> Option<usize> {
        if let Variant::Flipped { file, .. } = self { Some(*file) } else { None }
    }

    /// Writes what differs from the set into `folder`.
    pub fn write(&self, set: &Set, folder: &Path) -> Files {
        let own = || set.files.iter().enumerate().map(|(i, (path, _, _))| (path.clone(), i));
        let mut files: Vec<(PathBuf, usize)> = own().collect();
        let mut rescale = BTreeMap::new();
        let mut replace = |file: usize, bytes: &[u8]| {
            let path = folder.join(format!("{file}.dcm"));
            std::fs::write(&path, bytes).expect("the temporary folder can be written to");
            files[file].0 = path;
        };
        match self {
            Variant::AsItIs => {}
            Variant::CutShort { file, bytes } => replace(*file, &set.files[*file].1[..*bytes]),
            Variant::Flipped { file, at, bit } => {
                let mut bytes = set.files[*file].1.clone();
                bytes[*at] ^= 1 << bit;
                replace(*file, &bytes);
            }
            Variant::WrittenAnew => {
                for (index, (_, _, parsed)) in set.files.iter().enumerate() {
                    let parsed = parsed.as_ref().expect("only such sets have this variant");
                    replace(index, &written(parsed));
                }
            }
            Variant::Element { tag, change, file, frames } => {
                let touched = file.map_or(0..set.files.len(), |file| file..file + 1);
                for index in touched {
                    let parsed = set.files[index].2.as_ref().expect("only such sets have this variant");
                    let mut object = parsed.clone();
                    if element::change(&mut object, *tag, *frames, *change) == 0 {
                        continue;
                    }
                    replace(index, &written(&object));
                    if self.may_rescale(set) {
                        rescale.extend(element::rescale(index, &object));
                    }
                }
            }
            Variant::Missing(missing) => files.retain(|(path, _)| !missing.contains(path)),
            Variant::Repeated(path) => {
                let copy = folder.join("copy.dcm");
                std::fs::copy(path, &copy).expect("the temporary folder can be written to");
                let index = set.files.iter().position(|(own, _, _)| own == path).expect("a file of the set");
                files.push((copy, index));
            }
        }
        let paths = files.iter().map(|(path, _)| path.clone()).collect();
        Files { paths, file_of: files.into_iter().collect(), rescale }
    }

    /// Whether the values are due by the slope and intercept that are left: where none of the images says any more that
    /// there were others, and where the new one is a number that a scanner may write.
    fn may_rescale(&self, set: &Set) -> bool {
        let Variant::Element { tag, change, file, frames } = self else { return false };
        let is_everywhere = (file.is_none() || set.files.len() == 1) && *frames == Frames::All;
        let is_absent = matches!(change, Change::Removed | Change::Emptied);
        match *tag {
            tags::RESCALE_SLOPE | tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE => is_absent && is_everywhere,
            tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE => is_absent && is_everywhere,
            tags::RESCALE_INTERCEPT => is_absent && is_everywhere || matches!(change, Change::Zero | Change::Negative),
            _ => false,
        }
    }
}

fn written(object: &DefaultDicomObject) -> Vec<u8> {
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).expect("what was read can be written");
    bytes
}
