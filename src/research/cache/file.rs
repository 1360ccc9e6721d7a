//! A cached scan on disk.
//!
//! ```text
//!  0  magic "FCDDVOL1"
//!  8  length of the description, u64 little-endian
//! 16  SHA-256 of everything from byte 48 to the end
//! 48  description, JSON
//!     zeros up to a multiple of 64
//!     tensor   [D, H, W] f32 little-endian
//!     head     [D, H, W] u8, 1 inside
//!     lesion   [D, H, W] u8, 1 inside; only where there is one
//! ```
//!
//! The map begins at a page, the tensor at a multiple of 64 within it: the values are read where they lie.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::research::archive::fingerprint::hexadecimal;
use crate::study::Reason;

const MAGIC: &[u8; 8] = b"FCDDVOL1";
const DIGEST: std::ops::Range<usize> = 16..48;
const ALIGNMENT: usize = 64;
/// A longer description is none.
const LONGEST_DESCRIPTION: usize = 1 << 20;

// The tensor is mapped as it lies in the file.
const _: () = assert!(cfg!(target_endian = "little"), "the cache's files are little-endian");

/// What a cached scan says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// What it was made from, see `cache::build`.
    pub key: String,
    /// `[D, H, W]`
    pub shape: [usize; 3],
    /// Index `[D, H, W]` to LPS mm, rows as in [`crate::volume::Affine`].
    pub affine: [[f64; 4]; 3],
    /// LPS x of the head's mid-plane, mm.
    pub middle_x_mm: f64,
    /// Mean of the head's intensities before z-scoring.
    pub mean: f64,
    /// Their standard deviation.
    pub standard_deviation: f64,
    /// Gates that stay shut.
    pub gates: Vec<Reason>,
    /// Whether a lesion mask follows.
    pub has_roi: bool,
    /// Why there is no lesion mask although the archive has one.
    pub roi_problem: Option<Reason>,
}

impl Description {
    fn voxels(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |product, n| product.checked_mul(*n))
    }

    fn payload_bytes(&self) -> Option<usize> {
        self.voxels()?.checked_mul(if self.has_roi { 6 } else { 5 })
    }
}

/// The bytes of a file; `tensor`, `head` and `roi` are `[D, H, W]` in C order.
pub fn encode(description: &Description, tensor: &[f32], head: &[u8], roi: Option<&[u8]>) -> Vec<u8> {
    // Strings, numbers and booleans: this cannot fail.
    let json = serde_json::to_vec(description).unwrap_or_default();
    let start = (DIGEST.end + json.len()).next_multiple_of(ALIGNMENT);
    let mut bytes = Vec::with_capacity(start + tensor.len() * 6);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(json.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&[0; 32]);
    bytes.extend_from_slice(&json);
    bytes.resize(start, 0);
    bytes.extend_from_slice(bytemuck::cast_slice(tensor));
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(roi.unwrap_or_default());
    let digest = Sha256::digest(&bytes[DIGEST.end..]);
    bytes[DIGEST].copy_from_slice(&digest);
    bytes
}

/// A cached scan in memory, as far as pages were touched.
#[derive(Debug)]
pub struct CachedScan {
    map: Mmap,
    description: Description,
    digest: String,
    start: usize,
    voxels: usize,
}

impl CachedScan {
    /// Maps a file and checks its form and length; with `verify` also every byte against its digest.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence without the path.
    pub fn open(path: &Path, verify: bool) -> Result<CachedScan, String> {
        let mut file = File::open(path).map_err(|e| e.to_string())?;
        let mut start = [0u8; DIGEST.end];
        file.read_exact(&mut start).map_err(|_| "it is cut short".to_owned())?;
        if &start[..8] != MAGIC {
            return Err("it is no cached scan".to_owned());
        }
        let map = map(&file).map_err(|e| e.to_string())?;
        let length = start[8..16].iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let length = usize::try_from(length).ok().filter(|l| *l <= LONGEST_DESCRIPTION).ok_or("its length is wrong")?;
        let json = map.get(DIGEST.end..DIGEST.end + length).ok_or("it is cut short")?;
        let description: Description = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        let start = (DIGEST.end + length).next_multiple_of(ALIGNMENT);
        let expected = description.payload_bytes().and_then(|bytes| bytes.checked_add(start));
        if expected != Some(map.len()) {
            return Err(format!("it has {} bytes, expected {expected:?}", map.len()));
        }
        let stated = map.get(DIGEST).unwrap_or_default();
        if verify && Sha256::digest(map.get(DIGEST.end..).unwrap_or_default())[..] != *stated {
            return Err("its content is not what was written".to_owned());
        }
        let digest = hexadecimal(stated);
        let voxels = description.voxels().unwrap_or_default();
        let scan = CachedScan { map, description, digest, start, voxels };
        // Aligned by construction; asked once, so that reading never has to.
        bytemuck::try_cast_slice::<u8, f32>(scan.part(0, 4)).map_err(|e| e.to_string())?;
        Ok(scan)
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// SHA-256 of its content, hexadecimal, as its header states it.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// z-scored intensities, `[D, H, W]` in C order.
    pub fn tensor(&self) -> &[f32] {
        bytemuck::try_cast_slice(self.part(0, 4)).unwrap_or_default()
    }

    /// 1 inside the head, `[D, H, W]` in C order.
    pub fn head(&self) -> &[u8] {
        self.part(4, 1)
    }

    /// 1 inside the lesion, `[D, H, W]` in C order.
    pub fn roi(&self) -> Option<&[u8]> {
        self.description.has_roi.then(|| self.part(5, 1))
    }

    /// `width` bytes per voxel, after `before` bytes per voxel.
    fn part(&self, before: usize, width: usize) -> &[u8] {
        let start = self.start + before * self.voxels;
        self.map.get(start..start + width * self.voxels).unwrap_or_default()
    }
}

#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: a map is sound as long as nobody changes the file under it. Cached scans are written under another name
    // and renamed, never written in place; a damaged one is replaced by a rename, which leaves the mapped inode as it
    // was. Truncating the file by hand while it is used ends the process (SIGBUS), it reads no foreign memory. Any
    // bytes are valid f32 and u8.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(has_roi: bool) -> Description {
        Description {
            key: "k".to_owned(),
            shape: [2, 3, 5],
            affine: [[0.0; 4]; 3],
            middle_x_mm: 0.5,
            mean: 100.0,
            standard_deviation: 20.0,
            gates: vec![Reason::new("a_gate", "stays shut")],
            has_roi,
            roi_problem: None,
        }
    }

    #[test]
    fn what_is_written_is_mapped_back_and_any_flipped_byte_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.vol");
        let tensor: Vec<f32> = (0..30).map(|i| i as f32 - 7.25).collect();
        let head: Vec<u8> = (0..30).map(|i| u8::from(i % 3 == 0)).collect();
        let roi: Vec<u8> = (0..30).map(|i| u8::from(i == 4)).collect();
        for roi in [None, Some(roi.as_slice())] {
            let description = description(roi.is_some());
            let bytes = encode(&description, &tensor, &head, roi);
            std::fs::write(&path, &bytes).unwrap();
            let scan = CachedScan::open(&path, true).unwrap();
            assert_eq!((scan.description(), scan.tensor(), scan.head()), (&description, &tensor[..], &head[..]));
            assert_eq!(scan.roi(), roi);
            for at in [3, 12, 20, 60, bytes.len() - 1] {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                std::fs::write(&path, &damaged).unwrap();
                assert!(CachedScan::open(&path, true).is_err(), "byte {at}");
            }
            for length in [0, 20, 100, bytes.len() - 1] {
                std::fs::write(&path, &bytes[..length]).unwrap();
                assert!(CachedScan::open(&path, false).is_err(), "{length} bytes");
            }
        }
    }
}
