//! Whatever bytes a file holds: assembly neither panics nor hangs nor loses the file, and nothing that was
//! damaged within its structure passes for a volume. Needs FCDD_REFERENCE_DATA.

use std::time::{Duration, Instant};

use fcdd::assemble::{self, DecodeLimits, Options, VolumesWanted};
use fcdd::config::sequences::SequenceRules;
use rand::{Rng, SeedableRng};

use crate::support::reference_root;

const VICTIMS: [&str; 6] = [
    "broken-pydicom-a/dicom/MR_small.dcm",
    "broken-pydicom-a/dicom/MR_small_implicit.dcm",
    "enhanced-siemens-xa10-epi/dicom/6_1.dcm",
    "flair-syntax-rle/dicom/IM-0001-0001-0001.dcm",
    "flair-syntax-jpegls/dicom/IM-0001-0001-0001.dcm",
    "t1-syntax-deflated/dicom/0091-1.3.12.2.1107.5.2.19.45152.2013030808105980663585859.dcm",
];

#[test]
fn mutated_files_are_accounted_for() {
    let Some(data) = reference_root() else { return };
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(20_260_101);
    let rules = SequenceRules::built_in();
    let decode = DecodeLimits { executable: Some(env!("CARGO_BIN_EXE_fcdd").into()), ..DecodeLimits::default() };
    let options = Options { rules: &rules, decode: &decode, volumes: VolumesWanted::All, digests: true, on_file: None };
    let scratch = tempfile::tempdir().unwrap();
    for victim in VICTIMS {
        let original = std::fs::read(data.join(victim)).unwrap();
        for round in 0..60 {
            let mut bytes = original.clone();
            for _ in 0..random.random_range(1..8) {
                // Mostly in the header, where lengths and tags are.
                let end = if random.random_bool(0.8) { bytes.len().min(4000) } else { bytes.len() };
                let at = random.random_range(0..end);
                bytes[at] = if random.random_bool(0.3) { 0xFF } else { random.random() };
            }
            if random.random_bool(0.3) {
                bytes.truncate(random.random_range(0..bytes.len()));
            }
            let path = scratch.path().join("mutated.dcm");
            std::fs::write(&path, &bytes).unwrap();
            let begun = Instant::now();
            let assembly = assemble::assemble_with(&[path], options);
            // A length that is believed shows as seconds of reading what is not there.
            assert!(begun.elapsed() < Duration::from_secs(15), "{victim}, round {round}: took {:?}", begun.elapsed());
            let stacks: usize = assembly.studies.iter().map(|s| s.stacks.len()).sum();
            let own_only =
                assembly.studies.iter().any(|s| s.problems.iter().any(|p| p.code == assemble::ONLY_OWN_RESULTS));
            assert!(stacks + assembly.leftovers.len() > 0 || own_only, "{victim}, round {round}: the file is lost");
        }
    }
}
