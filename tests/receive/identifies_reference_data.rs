//! Where each object of the reference data belongs is read as another parser reads it, wherever the network cuts the
//! bytes.

use std::path::Path;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::OpenFileOptions;
use fcdd::dicom::identifying::{IdentifierReader, Identifiers, IdentifyingError};

use crate::scripted_peer::split_file;
use crate::support::{files_below, reference_data, reference_root};

/// Every set: the folders of the reference data that hold DICOM files.
fn sets() -> Option<Vec<String>> {
    let entries = std::fs::read_dir(reference_root()?).expect("the reference data can be listed");
    let names = entries.map(|entry| entry.expect("it can be listed").file_name().into_string().expect("UTF-8"));
    let mut names: Vec<String> = names.collect();
    names.sort();
    Some(names)
}

fn read_in_pieces(dataset: &[u8], transfer_syntax: &str, piece: usize) -> Result<Identifiers, IdentifyingError> {
    let mut reader = IdentifierReader::new(transfer_syntax);
    for piece in dataset.chunks(piece) {
        if let Some(identifiers) = reader.read(piece)? {
            return Ok(identifiers);
        }
    }
    Err(reader.at_the_end())
}

/// The same four UIDs by dicom-object; `None` where it cannot read the file.
fn by_dicom_object(path: &Path) -> Option<[String; 4]> {
    let object = OpenFileOptions::new().read_until(tags::PIXEL_DATA).open_file(path).ok()?;
    let uid = |tag: Tag| {
        let element = object.element(tag).ok();
        element.and_then(|e| e.to_str().ok()).map(|text| text.trim_end_matches(['\0', ' ']).to_owned())
    };
    let wanted = [tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID, tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID];
    let [class, instance, study, series] = wanted.map(uid);
    Some([class?, instance?, study?, series?])
}

#[test]
fn every_file_is_read_as_by_another_parser() {
    let Some(sets) = sets() else { return };
    let (mut read, mut unreadable) = (0, 0);
    for set in &sets {
        let Some(folder) = reference_data(set) else { return };
        for path in files_below(&folder) {
            let file = std::fs::read(&path).expect("it can be read");
            if file.get(128..132) != Some(b"DICM") {
                continue;
            }
            let (_, _, transfer_syntax, dataset) = split_file(&file);
            let found = read_in_pieces(dataset, &transfer_syntax, 65_536);
            for piece in [1, 7, 100, 16_378] {
                assert_eq!(read_in_pieces(dataset, &transfer_syntax, piece), found, "{} by {piece}", path.display());
            }
            match (found, by_dicom_object(&path)) {
                (Ok(found), Some(expected)) => {
                    let Identifiers { sop_class_uid, sop_instance_uid, study_uid, series_uid } = found;
                    let found = [sop_class_uid, sop_instance_uid, study_uid, series_uid].map(|uid| uid.to_string());
                    assert_eq!(found, expected, "{}", path.display());
                    read += 1;
                }
                (Err(why), Some(expected)) => panic!("{}: {why}, but it has {expected:?}", path.display()),
                // The data set is broken behind its identifiers, or in them.
                (_, None) => unreadable += 1,
            }
        }
    }
    assert!(read > 550, "only {read} files were read");
    assert!(unreadable < 10, "{unreadable} files could not be compared");
}

#[test]
fn every_cut_of_a_real_header_is_read_alike() {
    for set in ["flair-syntax-explicit", "flair-syntax-implicit", "t1-syntax-deflated", "enhanced-philips-t1-8frames"] {
        let Some(folder) = reference_data(set) else { return };
        let is_dicom = |file: &Vec<u8>| file.get(128..132) == Some(b"DICM");
        let files = files_below(&folder).into_iter().map(|path| std::fs::read(path).expect("it can be read"));
        let file = files.into_iter().find(is_dicom).expect("the set has DICOM files");
        let (_, _, transfer_syntax, dataset) = split_file(&file);
        let mut reader = IdentifierReader::new(&transfer_syntax);
        // How far a reader must read, byte by byte.
        let enough = dataset
            .iter()
            .position(|byte| reader.read(std::slice::from_ref(byte)).expect("a reference file").is_some());
        let enough = enough.expect("a reference file has identifiers") + 1;
        let whole = read_in_pieces(dataset, &transfer_syntax, dataset.len()).expect("a reference file");
        for cut in 0..enough {
            let mut reader = IdentifierReader::new(&transfer_syntax);
            assert_eq!(reader.read(&dataset[..cut]), Ok(None), "{set} up to {cut}");
            assert_eq!(reader.read(&dataset[cut..]), Ok(Some(whole.clone())), "{set} cut at {cut}");
        }
    }
}
