//! On a machine without the reference studies, pydicom's own test files carry the suite: its small MR image in
//! each encoding becomes the same volume, and its whole folder of odd files is told apart without a crash.

use std::path::Path;

use fcdd::volume::nifti;
use serde_json::Value;

use crate::support::{fcdd, files_below, run_python};

/// Where pydicom keeps the files that come with its package.
const TEST_FILES: &str = "
import pathlib, pydicom.data
print(pathlib.Path(pydicom.data.__file__).parent / 'test_files')
";

/// Four slices from one encoded image: only place and identity differ, the encoded pixels are the file's own. Beside
/// them the image's values as pydicom reads them from the uncompressed file, as text.
const MAKE_STACKS: &str = "
import pathlib, sys, numpy, pydicom
source, target = map(pathlib.Path, sys.argv[1:])
plain = pydicom.dcmread(source / 'MR_small.dcm').pixel_array
numpy.savetxt(target / 'values.txt', plain, fmt='%d')
for name in ['', '_RLE', '_bigendian', '_implicit', '_expb', '_jp2klossless', '_jpeg_ls_lossless', '_padded']:
    folder = target / ('stack' + name)
    folder.mkdir()
    for i in range(4):
        image = pydicom.dcmread(source / f'MR_small{name}.dcm')
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f'2.25.77.{i}'
        image.ImagePositionPatient = [float(v) for v in image.ImagePositionPatient[:2]] + [3.0 * i]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.save_as(folder / f'{i}.dcm')
";

fn volume(study: &Path, output: &Path) -> Vec<Value> {
    let run = fcdd(["volume".as_ref(), study.as_os_str(), "--output".as_ref(), output.as_os_str(), "--json".as_ref()]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).expect("--json prints an array")
}

#[test]
fn each_encoding_gives_the_same_volume() {
    let Some(source) = run_python(TEST_FILES, &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(_) = run_python(MAKE_STACKS, &[Path::new(source.trim()), folder.path()]) else { return };
    let text = std::fs::read_to_string(folder.path().join("values.txt")).unwrap();
    let expected: Vec<f32> = text.split_whitespace().map(|v| v.parse().unwrap()).collect();
    assert_eq!(expected.len(), 64 * 64);

    let stacks: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    assert_eq!(stacks.len(), 8);
    for stack in stacks {
        let name = stack.file_name().unwrap().to_string_lossy().into_owned();
        let output = folder.path().join(format!("volume-of-{name}"));
        volume(&stack, &output);
        let files = files_below(&output);
        assert_eq!(files.len(), 1, "{name}: {files:?}");
        let volume = nifti::read(&files[0]).unwrap();
        // As NIfTI axes [k, j, i] come back: slices, rows (front to back), columns.
        assert_eq!(volume.data.dim(), (4, 64, 64), "{name}");
        for slice in volume.data.outer_iter() {
            // A NIfTI file may hold the rows the other way round; the affine says so, the values are the same set.
            let forward: Vec<f32> = slice.iter().copied().collect();
            let backward: Vec<f32> = slice.outer_iter().rev().flat_map(|row| row.to_vec()).collect();
            assert!(forward == expected || backward == expected, "{name}: other values than pydicom reads");
        }
    }
}

#[test]
fn the_whole_folder_is_told_apart() {
    let Some(source) = run_python(TEST_FILES, &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let lines = volume(Path::new(source.trim()), folder.path());
    let verdicts: Vec<&str> = lines.iter().filter_map(|line| line["verdict"].as_str()).collect();
    assert_eq!(verdicts.len(), lines.len(), "every line has a verdict");
    for expected in ["colour", "no_pixels", "not_mr", "localizer", "derived", "single_slice", "mixed_orientation"] {
        assert!(verdicts.contains(&expected), "{expected} is missing in {verdicts:?}");
    }
}
