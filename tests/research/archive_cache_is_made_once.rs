//! The cache holds what serving's preprocessing makes, is made once, notices damage, follows changed content, and
//! another process opens it from the run's index.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use fcdd::analyze::preprocess::{self, InputSpec};
use fcdd::research::archive::{Archive, fingerprint};
use fcdd::research::cache::{Cache, CacheError};
use fcdd::study::Sequence;
use fcdd::volume::nifti;

use crate::archive::{anat, head, mask, write_flair, write_participants};

const SPEC: InputSpec = InputSpec { shape: [40, 48, 40], spacing_mm: 4.0, background: -2.0 };

fn build(dir: &Path, cache: &Path) -> Cache {
    let archive = Archive::read(dir).unwrap();
    Cache::build(&archive, Sequence::Flair, &SPEC, cache, &|| {}).unwrap()
}

fn files(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let scans = entries.filter(|path| path.extension().is_some_and(|e| e == "vol"));
    scans.map(|path| (path.clone(), fs::metadata(&path).unwrap().modified().unwrap())).collect()
}

#[test]
fn scans_are_preprocessed_once_and_mapped_by_the_trainer() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, store) = (folder.path().join("archive"), folder.path().join("cache"));
    fs::create_dir(&dir).unwrap();
    write_participants(&dir, &[["sub-3", "fcd", "F", "4"], ["sub-1", "hc", "F", "5"], ["sub-2", "hc", "M", "n/a"]]);
    let patient = head(3);
    let patient_path = write_flair(&dir, "sub-3", "1", &patient);
    nifti::write(&anat(&dir, "sub-3").join("sub-3_acq-T2sel_FLAIR_roi.nii.gz"), &mask(&patient)).unwrap();
    write_flair(&dir, "sub-1", "2", &head(1));
    let mut flat = head(2);
    flat.data.fill(0.0);
    write_flair(&dir, "sub-2", "2", &flat);

    // What serving would make of it is what lies in the cache.
    let cache = build(&dir, &store);
    let ids: Vec<&str> = cache.subjects().iter().map(|s| s.id.as_str()).collect();
    assert_eq!((ids.as_slice(), cache.index_of("sub-3")), (["sub-1", "sub-3"].as_slice(), Some(1)));
    let serving = preprocess::prepare(&patient, &SPEC).unwrap();
    assert_eq!(cache.volume(1), serving.tensor.as_slice().unwrap());
    let view = cache.view(1);
    assert_eq!((&view.grid, &view.head), (&serving.view.grid, &serving.view.head));
    // The mask lies where the lesion is.
    let roi = cache.roi(1).unwrap();
    let mut voxels = 0;
    for (index, _) in serving.tensor.indexed_iter() {
        let place = cache.grid(1).affine.apply([index.0 as f64, index.1 as f64, index.2 as f64]);
        let marked = roi[(index.0 * 48 + index.1) * 40 + index.2] == 1;
        voxels += usize::from(marked);
        let off_mm = |p: [f64; 3]| ((p[0] - 30.0).powi(2) + (p[1] + 20.0).powi(2) + (p[2] - 25.0).powi(2)).sqrt();
        // Nearest neighbour moves an edge by half a diagonal of the mask's voxels at most.
        assert!(marked == (off_mm(place) < 12.0) || (off_mm(place) - 12.0).abs() < 1.3, "{index:?}");
    }
    assert!(voxels > 80, "{voxels}");
    let subject = cache.subject(1);
    assert_eq!((subject.scanner.as_deref(), subject.acquisition.as_deref()), (Some("1"), Some("T2sel")));
    assert!(subject.gates.is_empty() && cache.roi(0).is_none());
    // Who could not be preprocessed is listed, not fatal.
    let left_out: Vec<_> = cache.excluded().iter().map(|f| (f.subject.as_str(), f.reason.code.as_str())).collect();
    assert_eq!(left_out, [("sub-2", "no_head_found")]);

    // Again: nothing is written. Another process: the same from the index.
    let first = files(&store);
    assert_eq!(first.len(), 2);
    drop(build(&dir, &store));
    assert_eq!(files(&store), first);
    let index = folder.path().join("run/cache.json");
    cache.write_index(&index).unwrap();
    let opened = Cache::open_index(&index).unwrap();
    assert_eq!((opened.subjects(), opened.excluded()), (cache.subjects(), cache.excluded()));
    assert_eq!((opened.volume(1), opened.roi(1), opened.spec()), (cache.volume(1), cache.roi(1), &SPEC));

    // A damaged file is noticed and made anew; the trainer refuses a cut one.
    let damaged = opened.subject(1).file.clone();
    let whole = fs::read(&damaged).unwrap();
    drop((cache, opened));
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(Cache::open_index(&index), Err(CacheError::Damaged { path, .. }) if path == damaged));
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&damaged, &flipped).unwrap();
    drop(build(&dir, &store));
    assert_eq!(fs::read(&damaged).unwrap(), whole);

    // Another mask or another background is another scan; a foreign file in its place does no harm.
    let before = fingerprint::of(&Archive::read(&dir).unwrap()).unwrap();
    nifti::write(&patient_path, &head(4)).unwrap();
    assert_ne!(fingerprint::of(&Archive::read(&dir).unwrap()).unwrap(), before);
    let calls = AtomicUsize::new(0);
    let count = || {
        calls.fetch_add(1, Ordering::Relaxed);
    };
    let changed = Cache::build(&Archive::read(&dir).unwrap(), Sequence::Flair, &SPEC, &store, &count).unwrap();
    assert_eq!((files(&store).len(), calls.into_inner()), (3, 3));
    assert_eq!(changed.volume(1), preprocess::prepare(&head(4), &SPEC).unwrap().tensor.as_slice().unwrap());
}

/// One person under two names would be trained on and tested at once.
#[test]
fn the_same_scan_under_two_names_is_nobodys() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, store) = (folder.path().join("archive"), folder.path().join("cache"));
    fs::create_dir(&dir).unwrap();
    let row = |id| [id, "hc", "F", "4"];
    write_participants(&dir, &[row("sub-1"), row("sub-2"), row("sub-3"), row("sub-4")]);
    for (id, seed) in [("sub-1", 1), ("sub-2", 2), ("sub-3", 1), ("sub-4", 1)] {
        write_flair(&dir, id, "1", &head(seed));
    }
    let cache = build(&dir, &store);
    assert_eq!(cache.subjects().iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["sub-2"]);
    let left_out = cache.excluded().iter().map(|f| (f.subject.as_str(), f.reason.code.as_str())).collect::<Vec<_>>();
    assert_eq!(left_out, ["sub-1", "sub-3", "sub-4"].map(|id| (id, "same_scan")));
    for (finding, twin) in cache.excluded().iter().zip(["sub-3", "sub-1", "sub-1"]) {
        assert!(finding.reason.text.contains(&format!("the scan of {twin}")), "{}", finding.reason.text);
    }
}

#[test]
fn the_fingerprint_follows_content_not_places() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two/deeper"));
    let rows = [["sub-2", "fcd", "F", "4"], ["sub-1", "hc", "F", "5"]];
    for (dir, rows) in [(&one, rows), (&two, [rows[1], rows[0]])] {
        fs::create_dir_all(dir).unwrap();
        write_participants(dir, &rows);
        write_flair(dir, "sub-1", "1", &head(1));
        write_flair(dir, "sub-2", "1", &head(2));
    }
    let of = |dir: &Path| fingerprint::of(&Archive::read(dir).unwrap()).unwrap();
    assert_eq!(of(&one), of(&two));
    // Who cannot be used does not count; a label does.
    write_participants(&two, &[["sub-3", "hc", "M", "7"], rows[0], rows[1]]);
    assert_eq!(of(&one), of(&two));
    write_participants(&two, &[["sub-2", "hc", "F", "4"], rows[1]]);
    assert_ne!(of(&one), of(&two));
}
