//! NIfTI-1 in and out. Inside fcdd volumes are LPS with axes `[slice, row, column]`; NIfTI's RAS+ and its
//! fastest-first order exist only here.
//!
//! Array axis 2 (column) is NIfTI's i, the fastest; axis 1 (row) is j; axis 0 (slice) is k: the bytes of the
//! voxels need no reordering. Both sform (exact) and qform (rigid, without shear) are written with code 1.
//! Reading prefers the sform, then the qform, and refuses a file with neither: analyze-style files do not
//! say which side is left.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use ndarray::Array3;
use nifti::{Endianness, NiftiHeader, NiftiType};
use rayon::prelude::*;

use super::{Affine, Grid, Volume};

/// Length of a NIfTI-1 header with its four extension bytes: where voxels begin.
const VOXEL_OFFSET: usize = 352;
/// Voxels that are written at once: they fit into a core's cache.
const VOXELS_AT_ONCE: usize = 1 << 16;
/// Bytes that are compressed as one piece.
const PIECE: usize = 1 << 20;
/// A gzipped file may not grow beyond this (bytes).
const MAX_BYTES: u64 = 8 << 30;

/// A NIfTI file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NiftiError {
    /// A file operation failed.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not what can be used here.
    #[error("{path} cannot be used: {why}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why, with what was found.
        why: String,
    },
}

/// Writes a volume as NIfTI-1, gzipped unless the name ends in `.nii`: int16 where every value is a whole number that
/// fits, float32 otherwise.
pub fn write(path: &Path, volume: &Volume) -> Result<(), NiftiError> {
    let io = |doing, source| NiftiError::Io { doing, path: path.to_owned(), source };
    let data = volume.data.as_standard_layout();
    let values = data.as_slice().unwrap_or_default();
    let shape = volume.data.dim();
    if [shape.0, shape.1, shape.2].iter().any(|n| !(1..=i16::MAX as usize).contains(n)) {
        return Err(NiftiError::Refused { path: path.to_owned(), why: format!("{shape:?} is no shape for NIfTI-1") });
    }
    let is_int16 = values.par_iter().all(|v| v.fract() == 0.0 && (-32768.0..=32767.0).contains(v));
    let mut bytes = header(volume, is_int16);
    let is_plain = path.extension().is_some_and(|ending| ending == "nii");
    if !is_plain {
        append(&mut bytes, values, is_int16);
        bytes = gzip(&bytes).map_err(|e| io("compress", e))?;
    }
    let mut file = std::fs::File::create(path).map_err(|e| io("create", e))?;
    file.write_all(&bytes).map_err(|e| io("write", e))?;
    // A volume as it is needs no second one in memory.
    for part in values.chunks(VOXELS_AT_ONCE).filter(|_| is_plain) {
        bytes.clear();
        append(&mut bytes, part, is_int16);
        file.write_all(&bytes).map_err(|e| io("write", e))?;
    }
    Ok(())
}

/// Appends voxels as the file has them.
fn append(bytes: &mut Vec<u8>, values: &[f32], is_int16: bool) {
    let start = bytes.len();
    if is_int16 {
        bytes.resize(start + 2 * values.len(), 0);
        let (cells, _) = bytes[start..].as_chunks_mut::<2>();
        cells.iter_mut().zip(values).for_each(|(cell, value)| *cell = (*value as i16).to_le_bytes());
    } else {
        bytes.resize(start + 4 * values.len(), 0);
        let (cells, _) = bytes[start..].as_chunks_mut::<4>();
        cells.iter_mut().zip(values).for_each(|(cell, value)| *cell = value.to_le_bytes());
    }
}

fn header(volume: &Volume, is_int16: bool) -> Vec<u8> {
    let mut header = vec![0u8; VOXEL_OFFSET];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    let (slices, rows, columns) = volume.data.dim();
    let (datatype, bits): (i16, i16) = if is_int16 { (4, 16) } else { (16, 32) };
    put(0, &348i32.to_le_bytes());
    for (i, n) in [3, columns, rows, slices, 1, 1, 1, 1].iter().enumerate() {
        put(40 + 2 * i, &(*n as i16).to_le_bytes());
    }
    put(70, &datatype.to_le_bytes());
    put(72, &bits.to_le_bytes());
    let spacing = volume.affine.spacing_mm();
    let (quaternion, qfac) = quaternion(&volume.affine);
    for (i, p) in [qfac, spacing[2], spacing[1], spacing[0], 1.0, 1.0, 1.0, 1.0].iter().enumerate() {
        put(76 + 4 * i, &(*p as f32).to_le_bytes());
    }
    put(108, &(VOXEL_OFFSET as f32).to_le_bytes());
    put(112, &1f32.to_le_bytes());
    // Millimetres and seconds.
    put(123, &[2 | 8]);
    put(252, &1i16.to_le_bytes());
    put(254, &1i16.to_le_bytes());
    let ras = volume.affine.to_ras();
    let offset = ras.map(|row| row[3]);
    for (i, v) in quaternion.iter().chain(&offset).enumerate() {
        put(256 + 4 * i, &(*v as f32).to_le_bytes());
    }
    for (r, row) in ras.iter().enumerate() {
        for (c, v) in [row[2], row[1], row[0], row[3]].iter().enumerate() {
            put(280 + 16 * r + 4 * c, &(*v as f32).to_le_bytes());
        }
    }
    put(344, b"n+1\0");
    header
}

/// Quaternion b, c, d and qfac of the nearest rotation without shear (nifti1.h, method 2).
fn quaternion(affine: &Affine) -> ([f64; 3], f64) {
    let ras = affine.to_ras();
    let column = |axis: usize| ras.map(|row| row[axis]);
    let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let unit = |v: [f64; 3]| v.map(|c| c / dot(v, v).sqrt().max(f64::MIN_POSITIVE));
    let i = unit(column(2));
    let j_raw = column(1);
    let along = dot(i, j_raw);
    let j = unit([j_raw[0] - along * i[0], j_raw[1] - along * i[1], j_raw[2] - along * i[2]]);
    let k = [i[1] * j[2] - i[2] * j[1], i[2] * j[0] - i[0] * j[2], i[0] * j[1] - i[1] * j[0]];
    let qfac = if dot(k, column(0)) < 0.0 { -1.0 } else { 1.0 };
    let r = [[i[0], j[0], k[0]], [i[1], j[1], k[1]], [i[2], j[2], k[2]]];
    let trace = r[0][0] + r[1][1] + r[2][2] + 1.0;
    let (a, b, c, d);
    if trace > 0.5 {
        a = 0.5 * trace.sqrt();
        b = 0.25 * (r[2][1] - r[1][2]) / a;
        c = 0.25 * (r[0][2] - r[2][0]) / a;
        d = 0.25 * (r[1][0] - r[0][1]) / a;
    } else {
        let xd = 1.0 + r[0][0] - r[1][1] - r[2][2];
        let yd = 1.0 + r[1][1] - r[0][0] - r[2][2];
        let zd = 1.0 + r[2][2] - r[0][0] - r[1][1];
        if xd > 1.0 {
            b = 0.5 * xd.sqrt();
            c = 0.25 * (r[0][1] + r[1][0]) / b;
            d = 0.25 * (r[0][2] + r[2][0]) / b;
            a = 0.25 * (r[2][1] - r[1][2]) / b;
        } else if yd > 1.0 {
            c = 0.5 * yd.sqrt();
            b = 0.25 * (r[0][1] + r[1][0]) / c;
            d = 0.25 * (r[1][2] + r[2][1]) / c;
            a = 0.25 * (r[0][2] - r[2][0]) / c;
        } else {
            d = 0.5 * zd.sqrt();
            b = 0.25 * (r[0][2] + r[2][0]) / d;
            c = 0.25 * (r[1][2] + r[2][1]) / d;
            a = 0.25 * (r[1][0] - r[0][1]) / d;
        }
    }
    let sign = if a < 0.0 { -1.0 } else { 1.0 };
    ([b * sign, c * sign, d * sign], qfac)
}

/// One gzip member (RFC 1952) whose pieces were deflated on all cores: each piece but the last ends with a
/// flush to a byte boundary, so that they join.
fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let pieces = bytes.len().div_ceil(PIECE);
    let deflated: Vec<(Vec<u8>, Crc)> = bytes
        .par_chunks(PIECE)
        .enumerate()
        .map(|(i, piece)| {
            let mut crc = Crc::new();
            crc.update(piece);
            deflate(piece, i + 1 == pieces).map(|d| (d, crc))
        })
        .collect::<std::io::Result<_>>()?;
    let mut out = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
    let mut crc = Crc::new();
    for (piece, piece_crc) in &deflated {
        out.extend_from_slice(piece);
        crc.combine(piece_crc);
    }
    out.extend(crc.sum().to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    Ok(out)
}

fn deflate(piece: &[u8], is_last: bool) -> std::io::Result<Vec<u8>> {
    let mut compress = Compress::new(Compression::new(4), false);
    let mut out = Vec::with_capacity(piece.len() / 2 + 64);
    let flush = if is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    loop {
        let done = compress.total_in() as usize;
        let room_before = out.capacity() - out.len();
        let status = compress.compress_vec(&piece[done..], &mut out, flush).map_err(std::io::Error::other)?;
        // A flush is over when everything was taken and room was left.
        let is_taken = compress.total_in() as usize == piece.len();
        let is_flushed = out.len() < out.capacity();
        if status == Status::StreamEnd || !is_last && is_taken && is_flushed {
            return Ok(out);
        }
        out.reserve((2 * room_before).max(4096));
    }
}

/// Reads `.nii` or `.nii.gz` with three dimensions (more are allowed where their length is 1).
pub fn read(path: &Path) -> Result<Volume, NiftiError> {
    let io = |source| NiftiError::Io { doing: "read", path: path.to_owned(), source };
    let raw = std::fs::read(path).map_err(io)?;
    let bytes = if raw.starts_with(&[0x1F, 0x8B]) {
        let mut inflated = Vec::new();
        flate2::read::MultiGzDecoder::new(raw.as_slice()).take(MAX_BYTES).read_to_end(&mut inflated).map_err(io)?;
        inflated
    } else {
        raw
    };
    from_bytes(&bytes).map_err(|why| NiftiError::Refused { path: path.to_owned(), why })
}

/// Reads only where the voxels of a `.nii` or `.nii.gz` file lie, not the voxels.
///
/// # Errors
/// As [`read`], but for what is wrong with the voxels.
pub fn read_grid(path: &Path) -> Result<Grid, NiftiError> {
    let io = |source| NiftiError::Io { doing: "read", path: path.to_owned(), source };
    let refused = |why: String| NiftiError::Refused { path: path.to_owned(), why };
    let file = std::fs::File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    let mut start = Vec::new();
    (&file).take(2).read_to_end(&mut start).map_err(io)?;
    let whole = start.as_slice().chain(&file);
    if start == [0x1F, 0x8B] {
        flate2::read::MultiGzDecoder::new(whole).take(VOXEL_OFFSET as u64).read_to_end(&mut bytes).map_err(io)?;
    } else {
        let mut whole = whole;
        (&mut whole).take(VOXEL_OFFSET as u64).read_to_end(&mut bytes).map_err(io)?;
    }
    Ok(read_header(&bytes).map_err(refused)?.1)
}

/// Header, shape `[slice, row, column]` and place of a NIfTI-1 file of one volume.
fn read_header(bytes: &[u8]) -> Result<(NiftiHeader, Grid), String> {
    if bytes.get(..4) == Some(&540i32.to_le_bytes()) || bytes.get(..4) == Some(&540i32.to_be_bytes()) {
        return Err("it is NIfTI-2; convert it to NIfTI-1".to_owned());
    }
    if bytes.len() < VOXEL_OFFSET || &bytes[344..348] != b"n+1\0" {
        return Err("it is no single-file NIfTI-1 (no n+1 in its header)".to_owned());
    }
    let header = NiftiHeader::from_reader(&bytes[..348]).map_err(|e| e.to_string())?;
    let dims = header.dim().map_err(|e| e.to_string())?;
    let (spatial, further) = dims.split_at(dims.len().min(3));
    let &[columns, rows, slices] = spatial else { return Err(format!("it has the dimensions {dims:?}, not three")) };
    if further.iter().any(|n| *n > 1) {
        return Err(format!("it has the dimensions {dims:?}: a series of volumes, not one"));
    }
    let shape = [slices, rows, columns].map(usize::from);
    let affine = affine(&header)?;
    Ok((header, Grid { shape, affine }))
}

fn from_bytes(bytes: &[u8]) -> Result<Volume, String> {
    let (header, grid) = read_header(bytes)?;
    let voxels = grid.len();
    let start = header.vox_offset as usize;
    if start < VOXEL_OFFSET {
        return Err(format!("its voxels begin at byte {start}, within the header"));
    }
    let stored = bytes.get(start..).unwrap_or_default();
    let scaling = match (f64::from(header.scl_slope), f64::from(header.scl_inter)) {
        (slope, inter) if slope != 0.0 && slope.is_finite() && inter.is_finite() => (slope, inter),
        _ => (1.0, 0.0),
    };
    let kind = header.data_type().map_err(|e| e.to_string())?;
    let values = values(stored, voxels, kind, header.endianness == Endianness::Big, scaling)?;
    let data = Array3::from_shape_vec(grid.shape, values).map_err(|e| e.to_string())?;
    Ok(Volume { data, affine: grid.affine })
}

fn values(
    stored: &[u8],
    voxels: usize,
    kind: NiftiType,
    is_big_endian: bool,
    (slope, inter): (f64, f64),
) -> Result<Vec<f32>, String> {
    let is_plain = slope == 1.0 && inter == 0.0;
    macro_rules! read_as {
        ($t:ty) => {{
            const N: usize = size_of::<$t>();
            let due = voxels.checked_mul(N).ok_or("too many voxels")?;
            let cells = stored
                .get(..due)
                .ok_or_else(|| format!("its voxels are cut short: {} of {due} bytes", stored.len()))?;
            cells
                .chunks_exact(N)
                .map(|cell| {
                    let mut b = [0u8; N];
                    b.copy_from_slice(cell);
                    let value = if is_big_endian { <$t>::from_be_bytes(b) } else { <$t>::from_le_bytes(b) };
                    if is_plain { value as f32 } else { (value as f64 * slope + inter) as f32 }
                })
                .collect()
        }};
    }
    Ok(match kind {
        NiftiType::Uint8 => read_as!(u8),
        NiftiType::Int8 => read_as!(i8),
        NiftiType::Int16 => read_as!(i16),
        NiftiType::Uint16 => read_as!(u16),
        NiftiType::Int32 => read_as!(i32),
        NiftiType::Uint32 => read_as!(u32),
        NiftiType::Int64 => read_as!(i64),
        NiftiType::Uint64 => read_as!(u64),
        NiftiType::Float32 => read_as!(f32),
        NiftiType::Float64 => read_as!(f64),
        other => return Err(format!("its voxels are {other:?}, not numbers")),
    })
}

/// Index `[slice, row, column]` to LPS mm, from the sform, else the qform.
fn affine(header: &NiftiHeader) -> Result<Affine, String> {
    let metres_to_mm = match header.xyzt_units & 7 {
        1 => 1000.0,
        3 => 0.001,
        _ => 1.0,
    };
    let by_ijk: [[f64; 4]; 3] = if header.sform_code > 0 {
        [header.srow_x, header.srow_y, header.srow_z].map(|row| row.map(f64::from))
    } else if header.qform_code > 0 {
        qform(header)
    } else {
        return Err("it has neither sform nor qform, so it does not say which side is left".to_owned());
    };
    let ras = by_ijk.map(|[i, j, k, offset]| [k, j, i, offset].map(|v| v * metres_to_mm));
    let affine = Affine::from_ras(ras);
    if !ras.iter().flatten().all(|v| v.is_finite()) {
        return Err("its sform or qform has values that are no numbers".to_owned());
    }
    affine.inverse().map_err(|e| e.to_string())?;
    Ok(affine)
}

/// nifti1.h, method 2.
fn qform(header: &NiftiHeader) -> [[f64; 4]; 3] {
    let [b, c, d] = [header.quatern_b, header.quatern_c, header.quatern_d].map(f64::from);
    let a = (1.0 - (b * b + c * c + d * d)).max(0.0).sqrt();
    let rotation = [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ];
    let qfac = if header.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
    let step = [f64::from(header.pixdim[1]), f64::from(header.pixdim[2]), f64::from(header.pixdim[3]) * qfac];
    let offset = [header.quatern_x, header.quatern_y, header.quatern_z].map(f64::from);
    let row = |r: usize| [rotation[r][0] * step[0], rotation[r][1] * step[1], rotation[r][2] * step[2], offset[r]];
    [row(0), row(1), row(2)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An oblique, left-handed grid with values that tell every voxel apart.
    fn volume(fractional: bool) -> Volume {
        let (s, c) = 0.2f64.sin_cos();
        let axes = [[0.1, 3.0 * s, -3.0 * c], [0.0, 0.7 * c, 0.7 * s], [-0.9, 0.0, 0.0]];
        let data = Array3::from_shape_fn((3, 4, 5), |(i, j, k)| {
            (i * 100 + j * 10 + k) as f32 + if fractional { 0.25 } else { 0.0 }
        });
        Volume { data, affine: Affine::from_axes(axes, [11.0, -22.0, 33.0]) }
    }

    fn largest_difference(a: &Affine, b: &Affine) -> f64 {
        a.rows.iter().flatten().zip(b.rows.iter().flatten()).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        for (fractional, name) in [(false, "a.nii.gz"), (true, "a.nii.gz"), (false, "a.nii"), (true, "a.nii")] {
            let path = directory.path().join(name);
            let original = volume(fractional);
            write(&path, &original).unwrap();
            let is_gzip = std::fs::read(&path).unwrap().starts_with(&[0x1F, 0x8B]);
            assert_eq!(is_gzip, name.ends_with(".gz"));
            let back = read(&path).unwrap();
            assert_eq!(back.data, original.data);
            assert!(largest_difference(&back.affine, &original.affine) < 1e-5);
        }
    }

    #[test]
    fn the_qform_alone_gives_the_same_place() {
        // Without shear, which a qform cannot hold.
        let (s, c) = 0.2f64.sin_cos();
        let axes = [[0.0, 3.0 * s, -3.0 * c], [0.0, 0.7 * c, 0.7 * s], [-0.9, 0.0, 0.0]];
        let rigid = Volume { affine: Affine::from_axes(axes, [1.0, 2.0, 3.0]), ..volume(false) };
        let mut bytes = header(&rigid, true);
        bytes[254..256].copy_from_slice(&0i16.to_le_bytes());
        bytes.extend(vec![0; 3 * 4 * 5 * 2]);
        let back = from_bytes(&bytes).unwrap();
        assert!(largest_difference(&back.affine, &rigid.affine) < 1e-5, "{:?}", back.affine);
    }

    #[test]
    fn files_that_do_not_say_where_they_lie_or_are_cut_are_refused() {
        let mut bytes = header(&volume(false), true);
        assert!(from_bytes(&bytes).unwrap_err().contains("cut short"));
        bytes.extend(vec![0; 3 * 4 * 5 * 2]);
        assert!(from_bytes(&bytes).is_ok());
        bytes[252..256].copy_from_slice(&[0; 4]);
        assert!(from_bytes(&bytes).unwrap_err().contains("neither sform nor qform"));
        assert!(from_bytes(b"nonsense").is_err());
    }

    #[test]
    fn pieces_join_to_one_gzip_member() {
        let bytes: Vec<u8> = (0..3 * PIECE + 17).map(|i| (i * i / 7) as u8).collect();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(gzip(&bytes).unwrap().as_slice()).read_to_end(&mut back).unwrap();
        assert_eq!(back, bytes);
    }
}
