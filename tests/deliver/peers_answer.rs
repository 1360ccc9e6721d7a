//! The peers that the other scenarios trust do answer: what is stored in Orthanc is counted, found by C-FIND,
//! downloaded unchanged and deleted; a restarted Orthanc still has it.

use std::time::Duration;

use serde_json::json;

use crate::support::{Orthanc, echoscu, findscu, run_python, storescu};

/// One small MR image, made by pydicom.
const MAKE_IMAGE: &str = r#"
import sys, pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
image = Dataset()
image.SOPClassUID = MRImageStorage
image.SOPInstanceUID, image.SeriesInstanceUID, image.StudyInstanceUID = '2.25.3', '2.25.2', '2.25.1'
image.PatientID, image.PatientName, image.Modality, image.SeriesNumber = 'PEER', 'Peer^Test', 'MR', 7
image.Rows = image.Columns = 4
image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelData = 1, 'MONOCHROME2', bytes(32)
image.file_meta = FileMetaDataset()
image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
image.save_as(sys.argv[1], enforce_file_format=True)
"#;

#[test]
fn orthanc_stores_finds_returns_and_deletes() {
    let Some(orthanc) = Orthanc::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image.dcm");
    let Some(_) = run_python(MAKE_IMAGE, &[&file]) else { return };

    let Some(echo) = echoscu(Orthanc::AE_TITLE, orthanc.dicom_port()) else { return };
    assert!(echo.success, "{}", echo.log);
    let Some(sent) = storescu(&[&file], Orthanc::AE_TITLE, orthanc.dicom_port()) else { return };
    assert!(sent.success, "{}", sent.log);
    orthanc.wait_for_instances(1, Duration::from_secs(10));

    let keys = ["StudyInstanceUID=2.25.1", "SeriesInstanceUID", "SeriesNumber"];
    let Some(found) = findscu("SERIES", &keys, Orthanc::AE_TITLE, orthanc.dicom_port()) else { return };
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["0020,000e"], "2.25.2");
    assert_eq!(found[0]["0020,0011"], "7");

    let orthanc = orthanc.stop().restart();
    assert_eq!(orthanc.instance_count(), 1);
    let downloads = orthanc.download_matching(json!({ "SOPInstanceUID": "2.25.3" }), &folder.path().join("back"));
    assert_eq!(downloads.len(), 1);
    let back = dicom_object::open_file(&downloads[0]).unwrap();
    assert_eq!(back.element_by_name("PatientID").unwrap().to_str().unwrap().trim_end(), "PEER");

    orthanc.delete_all();
    assert_eq!(orthanc.instance_count(), 0);
}
