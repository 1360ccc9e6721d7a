//! Fills a stack's volume from its images' pixels: uncompressed ones straight from the bytes at hand,
//! compressed ones through [child processes](super::decode_child), one per core and stack.

use std::borrow::Cow;
use std::time::Instant;

use dicom_dictionary_std::uids;
use ndarray::Array3;
use rayon::prelude::*;

use super::decode_child::{self, DecodeLimits, Job};
use super::encapsulated;
use super::geometry::RegularGrid;
use super::pixels::{PixelFormat, widen};
use super::scan::ScannedFile;
use super::stacks::ImageRef;
use crate::study::SeriesVerdict;
use crate::volume::Volume;

/// A volume of more voxels than this is not believed (2 GiB of values).
const MAX_VOXELS: usize = 1 << 29;
/// A child is worth starting for this many frames.
const FRAMES_PER_CHILD: usize = 12;

/// One slice of the volume and the image that fills it.
struct Slice<'a> {
    file: &'a ScannedFile,
    format: &'a PixelFormat,
    frame: usize,
    rescale: [f64; 2],
    values: &'a mut [f32],
}

/// Decodes and rescales the images of a stack.
pub fn fill(
    files: &[ScannedFile],
    images: &[ImageRef],
    grid: &RegularGrid,
    limits: &DecodeLimits,
) -> Result<Volume, SeriesVerdict> {
    let unreadable = |why: String| SeriesVerdict::Unreadable { why };
    let first = images.first().map(|r| &files[r.file]);
    let Some(format) = first.and_then(|f| f.format.as_ref()) else {
        return Err(SeriesVerdict::NoPixels);
    };
    let shape = (grid.order.len(), format.rows, format.columns);
    if shape.0.saturating_mul(shape.1).saturating_mul(shape.2) > MAX_VOXELS {
        return Err(unreadable(format!("{} x {} x {} voxels are too many", shape.0, shape.1, shape.2)));
    }
    let mut data = Array3::<f32>::zeros(shape);
    let values = data.as_slice_mut().ok_or_else(|| unreadable("the volume is not contiguous".to_owned()))?;
    let mut compressed = Vec::new();
    let mut plain = Vec::new();
    for (index, values) in grid.order.iter().zip(values.chunks_mut(format.pixels().max(1))) {
        let place = images[*index];
        let file = &files[place.file];
        let image = &file.images[place.image];
        let Some(format) = &file.format else { return Err(SeriesVerdict::NoPixels) };
        let rescale = image.rescale.clone().map_err(unreadable)?;
        let slice = Slice { file, format, frame: image.frame, rescale, values };
        if file.is_compressed() { compressed.push(slice) } else { plain.push(slice) }
    }
    plain.into_par_iter().try_for_each(fill_plain).map_err(unreadable)?;
    fill_compressed(compressed, limits, limits.deadline()).map_err(unreadable)?;
    Ok(Volume { data, affine: grid.affine })
}

fn fill_plain(slice: Slice<'_>) -> Result<(), String> {
    let bytes = slice.format.frame_bytes();
    let stored = slice.file.pixel_bytes(slice.frame * bytes, bytes)?;
    let [slope, intercept] = slice.rescale;
    slice.format.unpack(&stored, slope, intercept, slice.values)
}

/// A slice and its codestream.
struct Compressed<'a> {
    slice: Slice<'a>,
    stream: Cow<'a, [u8]>,
    job: Job,
}

fn fill_compressed(slices: Vec<Slice<'_>>, limits: &DecodeLimits, deadline: Instant) -> Result<(), String> {
    let mut by_job: Vec<Vec<Compressed>> = Vec::new();
    for compressed in take_streams(slices)? {
        let job = job(&compressed, limits)?;
        let compressed = Compressed { job, ..compressed };
        match by_job.iter_mut().find(|g| g.first().is_some_and(|c| c.job == compressed.job)) {
            Some(group) => group.push(compressed),
            None => by_job.push(vec![compressed]),
        }
    }
    for group in by_job {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let children = cores.min(group.len().div_ceil(FRAMES_PER_CHILD)).max(1);
        let per_child = group.len().div_ceil(children);
        let mut group = group;
        std::thread::scope(|scope| {
            let threads: Vec<_> = group
                .chunks_mut(per_child)
                .map(|part| scope.spawn(move || decode_part(part, limits, deadline)))
                .collect();
            threads
                .into_iter()
                .try_for_each(|t| t.join().unwrap_or_else(|_| Err("decoding ended abnormally".to_owned())))
        })?;
    }
    Ok(())
}

/// A file taken apart into its frames' fragments.
struct OpenFile<'a> {
    file: &'a ScannedFile,
    bytes: Cow<'a, [u8]>,
    frames: Vec<encapsulated::Fragments>,
}

/// Finds each slice's codestream; each file is taken apart once.
fn take_streams(slices: Vec<Slice<'_>>) -> Result<Vec<Compressed<'_>>, String> {
    let mut found = Vec::with_capacity(slices.len());
    let mut last: Option<OpenFile> = None;
    let mut slices = slices;
    slices.sort_by(|a, b| a.file.path.cmp(&b.file.path));
    for slice in slices {
        let file = slice.file;
        if last.as_ref().is_none_or(|l| !std::ptr::eq(l.file, file)) {
            let bytes = file.bytes().map_err(|e| format!("{} cannot be read: {e}", file.path.display()))?;
            let value = file.pixels.map_or(0, |p| p.offset);
            let frames = encapsulated::frames(&bytes, value, slice.format.frames)?;
            last = Some(OpenFile { file, bytes, frames });
        }
        let Some(OpenFile { bytes, frames, .. }) = &last else { continue };
        let fragments = frames.get(slice.frame).ok_or_else(|| format!("frame {} is not there", slice.frame + 1))?;
        let stream = match (fragments.as_slice(), bytes) {
            ([fragment], Cow::Borrowed(all)) => Cow::Borrowed(&all[fragment.clone()]),
            (many, all) => Cow::Owned(many.iter().flat_map(|f| &all[f.clone()]).copied().collect()),
        };
        let job = Job { transfer_syntax: file.transfer_syntax.clone(), ..Job::default() };
        found.push(Compressed { slice, stream, job });
    }
    Ok(found)
}

/// What the decoder is told, after the codestream was compared with the header.
fn job(compressed: &Compressed, limits: &DecodeLimits) -> Result<Job, String> {
    let format = compressed.slice.format;
    let syntax = &compressed.job.transfer_syntax;
    let mut decoded_bits = format.bits_allocated;
    if encapsulated::has_codestream(syntax) {
        let stream = encapsulated::inspect(&compressed.stream)?;
        let found = (stream.rows, stream.columns, stream.components);
        let due = (format.rows, format.columns, usize::from(format.samples));
        if found != due {
            return Err(format!(
                "the codestream is {}x{} with {} components, the header says {}x{} with {}",
                found.0, found.1, found.2, due.0, due.1, due.2
            ));
        }
        if let Some(is_signed) = stream.is_signed
            && format.representation != Some(i64::from(is_signed))
        {
            let sign = if is_signed { "signed" } else { "unsigned" };
            return Err(format!("the samples of the codestream are {sign}, the header says the opposite"));
        }
        decoded_bits = if stream.precision <= 8 { 8 } else { 16 };
        if stream.precision > 16 || decoded_bits > format.bits_allocated {
            return Err(format!(
                "{} bits per sample in the codestream, {} in the header",
                stream.precision, format.bits_allocated
            ));
        }
    }
    if syntax == uids::RLE_LOSSLESS {
        let segments = usize::from(format.samples) * (format.bits_allocated as usize / 8);
        encapsulated::check_rle(&compressed.stream, segments, format.pixels())?;
    }
    let narrow = |n: usize| u16::try_from(n).map_err(|e| e.to_string());
    Ok(Job {
        transfer_syntax: syntax.clone(),
        rows: narrow(format.rows)?,
        columns: narrow(format.columns)?,
        samples: format.samples,
        bits_allocated: narrow(decoded_bits as usize)?,
        bits_stored: narrow(format.bits_stored as usize)?,
        photometric: format.photometric.clone(),
        frames: 0,
        memory_mib: limits.memory_mib,
    })
}

fn decode_part(part: &mut [Compressed], limits: &DecodeLimits, deadline: Instant) -> Result<(), String> {
    let Some(first) = part.first() else { return Ok(()) };
    let job = Job { frames: part.len() as u32, ..first.job.clone() };
    let streams: Vec<Cow<[u8]>> = part.iter_mut().map(|c| std::mem::take(&mut c.stream)).collect();
    let mut widened = Vec::new();
    decode_child::decode(&job, &streams, limits, deadline, |index, samples| {
        let Some(Compressed { slice, .. }) = part.get_mut(index) else { return Ok(()) };
        // Decoders answer in little endian, whatever the file's cells were.
        let format = PixelFormat { big_endian: false, ..slice.format.clone() };
        let [slope, intercept] = slice.rescale;
        if u32::from(job.bits_allocated) == format.bits_allocated {
            return format.unpack(samples, slope, intercept, slice.values);
        }
        widen(samples, u32::from(job.bits_allocated), &format, &mut widened);
        format.unpack(&widened, slope, intercept, slice.values)
    })
}
