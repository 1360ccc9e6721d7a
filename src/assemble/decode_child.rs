//! Decoders run in a child process: they are C code or may panic, and a thread that hangs cannot be stopped.
//!
//! Protocol (all integers little endian). Parent to child on stdin: `u32` length and a [`Job`] as JSON, then
//! for each frame `u32` length and its codestream. Child to parent on stdout, for each frame in order: one
//! byte (1 good, 0 refused), `u32` length, and the samples (or the reason as text). The child reads no file and ends
//! when its input ends. Its parent limits its address space and kills it, with whatever it started, when its time is
//! over; it dies with its parent.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dicom_encoding::adapters::{PixelDataObject, RawPixelData};
use dicom_encoding::transfer_syntax::{Codec, TransferSyntaxIndex};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

/// Bounds for decoding one series.
#[derive(Debug, Clone)]
pub struct DecodeLimits {
    /// Decoding that takes longer, in however many children, is stopped.
    pub timeout: Duration,
    /// Address space of a child, MiB.
    pub memory_mib: u64,
    /// The `fcdd` program; without it the environment's `FCDD_EXECUTABLE`, then the running program itself.
    pub executable: Option<PathBuf>,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        DecodeLimits { timeout: Duration::from_secs(120), memory_mib: 2048, executable: None }
    }
}

impl DecodeLimits {
    /// When decoding that begins now must be over.
    pub fn deadline(&self) -> Instant {
        let now = Instant::now();
        // No series takes a year; an addition to an instant must not overflow.
        now + self.timeout.min(Duration::from_secs(365 * 86_400))
    }

    fn program(&self) -> PathBuf {
        if let Some(program) = &self.executable {
            return program.clone();
        }
        if let Some(program) = std::env::var_os("FCDD_EXECUTABLE") {
            return program.into();
        }
        // The link leads to the running program also after an upgrade replaced its file.
        let link = PathBuf::from("/proc/self/exe");
        if link.exists() { link } else { std::env::current_exe().unwrap_or_else(|_| PathBuf::from("fcdd")) }
    }
}

/// What the frames of one job have in common.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Transfer syntax UID.
    pub transfer_syntax: String,
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
    /// Samples per pixel.
    pub samples: u16,
    /// Bits of a decoded sample: 8 or 16, by the codestream's precision rather than by the header.
    pub bits_allocated: u16,
    /// Bits Stored.
    pub bits_stored: u16,
    /// Photometric Interpretation.
    pub photometric: String,
    /// Number of frames that follow.
    pub frames: u32,
    /// Address space, MiB.
    pub memory_mib: u64,
}

impl Job {
    /// Bytes of one decoded frame.
    pub fn frame_bytes(&self) -> usize {
        usize::from(self.rows)
            * usize::from(self.columns)
            * usize::from(self.samples)
            * usize::from(self.bits_allocated / 8)
    }
}

/// Whether a decoder for this syntax is built in.
pub fn can_decode(transfer_syntax: &str) -> bool {
    matches!(
        TransferSyntaxRegistry.get(transfer_syntax).map(|ts| ts.codec()),
        Some(Codec::EncapsulatedPixelData(Some(_), _))
    )
}

/// Decodes the frames of one job in one child, up to the [deadline](DecodeLimits::deadline) of its series. `take` gets
/// each frame's index in `streams` and its samples, which have exactly [`Job::frame_bytes`] bytes.
pub fn decode(
    job: &Job,
    streams: &[Cow<'_, [u8]>],
    limits: &DecodeLimits,
    deadline: Instant,
    mut take: impl FnMut(usize, &[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let program = limits.program();
    let mut child = Command::new(&program)
        .arg("decode")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // A group of its own: what a decoder leaves behind holds our pipes open as well as it does.
        .process_group(0)
        .spawn()
        .map_err(|e| format!("cannot start the decoder {}: {e}", program.display()))?;
    let memory = job.memory_mib.saturating_mul(1 << 20);
    let limited = rustix::process::prlimit(
        Some(Pid::from_child(&child)),
        Resource::As,
        Rlimit { current: Some(memory), maximum: Some(memory) },
    );
    // One that has ended already says so itself, below.
    if let Some(error) = limited.err().filter(|error| *error != rustix::io::Errno::SRCH) {
        kill(&mut child);
        return Err(format!("the decoder's memory cannot be limited: {error}"));
    }
    let (Some(mut to_child), Some(mut from_child)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("the decoder has no pipes".to_owned());
    };
    let (done, is_done) = mpsc::channel::<()>();
    let patience = deadline.saturating_duration_since(Instant::now());
    let watch = std::thread::spawn(move || {
        let timed_out = is_done.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout);
        (timed_out, kill(&mut child))
    });
    let mut finished = 0;
    let result = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A child that ended early breaks the pipe; the reading side tells why.
            let _ = write_job(&mut to_child, job, streams);
        });
        let result = read_answers(&mut from_child, job, streams.len(), &mut finished, &mut take);
        // A child whose answers nobody reads stops reading too: the thread above would wait for it until the deadline.
        let _ = done.send(());
        result
    });
    let (timed_out, ending) = watch.join().unwrap_or((false, "unknown".to_owned()));
    result.map_err(|why: String| {
        let of = streams.len();
        if timed_out {
            format!(
                "decoding took longer than {} s and was stopped at frame {} of {of}",
                limits.timeout.as_secs(),
                finished + 1
            )
        } else if why.contains("no answer") {
            format!("the decoder failed at frame {} of {of} ({ending})", finished + 1)
        } else {
            format!("frame {} of {of}: {why}", finished + 1)
        }
    })
}

/// Hands on the answers up to the first that is not good, and counts those that are.
fn read_answers(
    from: &mut impl Read,
    job: &Job,
    due: usize,
    finished: &mut usize,
    take: &mut impl FnMut(usize, &[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let mut buffer = Vec::new();
    while *finished < due {
        match read_answer(from, job.frame_bytes(), &mut buffer) {
            Ok(true) => take(*finished, &buffer)?,
            Ok(false) => return Err(String::from_utf8_lossy(&buffer).into_owned()),
            Err(e) => return Err(format!("the decoder gave no answer ({e})")),
        }
        *finished += 1;
    }
    Ok(())
}

/// Ends a child and what it started, whether or not they still run, and says how the child ended.
fn kill(child: &mut Child) -> String {
    // Until it was waited for, its id is nobody else's.
    let _ = rustix::process::kill_process_group(Pid::from_child(child), Signal::KILL);
    child.wait().map(|s| s.to_string()).unwrap_or_else(|e| e.to_string())
}

fn write_job(to: &mut impl Write, job: &Job, streams: &[Cow<'_, [u8]>]) -> io::Result<()> {
    let head = serde_json::to_vec(job)?;
    for part in std::iter::once(head.as_slice()).chain(streams.iter().map(|s| s.as_ref())) {
        let length = u32::try_from(part.len()).map_err(io::Error::other)?;
        to.write_all(&length.to_le_bytes())?;
        to.write_all(part)?;
    }
    to.flush()
}

fn read_answer(from: &mut impl Read, frame_bytes: usize, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut head = [0u8; 5];
    from.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let is_good = head[0] == 1;
    if is_good && length != frame_bytes || length > frame_bytes.max(4096) {
        return Err(io::Error::other(format!("{length} bytes where {frame_bytes} were due")));
    }
    buffer.resize(length, 0);
    from.read_exact(buffer)?;
    Ok(is_good)
}

/// The child's side: reads a job and its frames, answers each. Used by the hidden `fcdd decode`.
pub fn serve(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let head = read_block(&mut from)?;
    let job: Job = serde_json::from_slice(&head)?;
    for _ in 0..job.frames {
        let stream = read_block(&mut from)?;
        let (status, answer) = match decode_frame(&job, stream) {
            Ok(samples) => (1u8, samples),
            Err(why) => (0u8, why.chars().take(1000).collect::<String>().into_bytes()),
        };
        to.write_all(&[status])?;
        to.write_all(&(answer.len() as u32).to_le_bytes())?;
        to.write_all(&answer)?;
        to.flush()?;
    }
    Ok(())
}

fn read_block(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0u8; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    let mut block = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut block)?;
    if block.len() == length as usize { Ok(block) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn decode_frame(job: &Job, stream: Vec<u8>) -> Result<Vec<u8>, String> {
    let syntax = TransferSyntaxRegistry.get(&job.transfer_syntax);
    let Some(Codec::EncapsulatedPixelData(Some(reader), _)) = syntax.map(|ts| ts.codec()) else {
        return Err(format!("transfer syntax {} cannot be decoded here", job.transfer_syntax));
    };
    let mut samples = Vec::new();
    reader.decode_frame(&OneFrame { job, stream }, 0, &mut samples).map_err(|e| {
        let cause = std::error::Error::source(&e).map(|s| format!(": {s}")).unwrap_or_default();
        format!("{e}{cause}")
    })?;
    if samples.len() == job.frame_bytes() {
        Ok(samples)
    } else {
        Err(format!("{} bytes were decoded where {} are due", samples.len(), job.frame_bytes()))
    }
}

/// One compressed frame, as the registry's decoders want to see it.
struct OneFrame<'a> {
    job: &'a Job,
    stream: Vec<u8>,
}

impl PixelDataObject for OneFrame<'_> {
    fn transfer_syntax_uid(&self) -> &str {
        &self.job.transfer_syntax
    }
    fn rows(&self) -> Option<u16> {
        Some(self.job.rows)
    }
    fn cols(&self) -> Option<u16> {
        Some(self.job.columns)
    }
    fn samples_per_pixel(&self) -> Option<u16> {
        Some(self.job.samples)
    }
    fn bits_allocated(&self) -> Option<u16> {
        Some(self.job.bits_allocated)
    }
    fn bits_stored(&self) -> Option<u16> {
        Some(self.job.bits_stored)
    }
    fn photometric_interpretation(&self) -> Option<&str> {
        Some(&self.job.photometric)
    }
    fn number_of_frames(&self) -> Option<u32> {
        Some(1)
    }
    fn number_of_fragments(&self) -> Option<u32> {
        Some(1)
    }
    fn fragment(&self, fragment: usize) -> Option<Cow<'_, [u8]>> {
        (fragment == 0).then_some(Cow::Borrowed(self.stream.as_slice()))
    }
    fn offset_table(&self) -> Option<Cow<'_, [u32]>> {
        Some(Cow::Borrowed(&[]))
    }
    fn raw_pixel_data(&self) -> Option<RawPixelData> {
        Some(RawPixelData { fragments: vec![self.stream.clone()].into(), offset_table: Vec::new().into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rle_job() -> Job {
        Job {
            transfer_syntax: "1.2.840.10008.1.2.5".into(),
            rows: 2,
            columns: 2,
            samples: 1,
            bits_allocated: 8,
            bits_stored: 8,
            photometric: "MONOCHROME2".into(),
            frames: 1,
            memory_mib: 1 << 20,
        }
    }

    /// A program that stands in for the decoder.
    fn stand_in(folder: &std::path::Path, script: &str) -> DecodeLimits {
        let (text, program) = (folder.join("decoder.sh"), folder.join("decoder"));
        std::fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
        // Written by another process: a child of a neighbour could hold what we write open, and it would be busy.
        let installed = Command::new("install").args(["-m", "755"]).args([&text, &program]).status().unwrap();
        assert!(installed.success());
        DecodeLimits { executable: Some(program), ..DecodeLimits::default() }
    }

    fn decode_one(limits: &DecodeLimits, memory_mib: u64) -> String {
        let job = Job { memory_mib, ..rle_job() };
        let streams = [Cow::Owned(rle_frame(&[3, 9, 8, 7, 6]))];
        decode(&job, &streams, limits, limits.deadline(), |_, _| Ok(())).unwrap_err()
    }

    fn rle_frame(segment: &[u8]) -> Vec<u8> {
        let mut out = vec![0u8; 64];
        out[0] = 1;
        out[4] = 64;
        out.extend(segment);
        out
    }

    #[test]
    fn a_frame_comes_back_decoded_and_a_bad_one_with_its_reason() {
        let mut job = rle_job();
        job.frames = 2;
        let good = rle_frame(&[3, 9, 8, 7, 6]);
        let mut input = Vec::new();
        write_job(&mut input, &job, &[Cow::Owned(good), Cow::Owned(rle_frame(&[])[..32].to_vec())]).unwrap();
        let mut output = Vec::new();
        serve(input.as_slice(), &mut output).unwrap();
        let mut answers = output.as_slice();
        let mut buffer = Vec::new();
        assert!(read_answer(&mut answers, 4, &mut buffer).unwrap());
        assert_eq!(buffer, [9, 8, 7, 6]);
        assert!(!read_answer(&mut answers, 4, &mut buffer).unwrap());
        assert!(String::from_utf8_lossy(&buffer).contains("RLE"));
    }

    #[test]
    fn an_answer_of_the_wrong_length_is_refused() {
        let mut answer = vec![1u8];
        answer.extend(3u32.to_le_bytes());
        answer.extend([0; 3]);
        assert!(read_answer(&mut answer.as_slice(), 4, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_program_that_is_no_decoder_is_an_error_not_a_hang() {
        let limits = DecodeLimits { executable: Some("/bin/true".into()), ..DecodeLimits::default() };
        let error = decode_one(&limits, 1 << 20);
        assert!(error.contains("failed at frame 1 of 1"), "{error}");
    }

    #[test]
    fn a_decoder_that_hangs_is_cut_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        // The shell waits for a child of its own, which holds the pipe.
        let limits = stand_in(folder.path(), "sleep 600; true");
        let limits = DecodeLimits { timeout: Duration::from_millis(300), ..limits };
        let begun = Instant::now();
        let error = decode_one(&limits, 1 << 20);
        assert!(error.contains("took longer"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_refused_frame_is_told_at_once_though_the_decoder_reads_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let limits = stand_in(folder.path(), r"printf '\000\003\000\000\000bad'; exec sleep 600");
        let begun = Instant::now();
        // More than a pipe holds.
        let streams = vec![Cow::Owned(vec![0; 1 << 20]); 2];
        let job = Job { frames: 2, ..rle_job() };
        let error = decode(&job, &streams, &limits, limits.deadline(), |_, _| Ok(())).unwrap_err();
        assert_eq!(error, "frame 1 of 2: bad");
        assert!(begun.elapsed() < limits.timeout / 2, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_decoder_that_eats_memory_is_cut_long_before_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        // A line without end, which `tail` keeps in memory.
        let limits = stand_in(folder.path(), "exec tail -n 1 /dev/zero");
        let begun = Instant::now();
        let error = decode_one(&limits, 64);
        assert!(error.contains("failed at frame 1 of 1"), "{error}");
        assert!(begun.elapsed() < limits.timeout / 2, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_series_has_one_deadline_however_many_children_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let limits = stand_in(folder.path(), "exec sleep 600");
        let over = Instant::now();
        let error = decode(&rle_job(), &[Cow::Owned(rle_frame(&[0]))], &limits, over, |_, _| Ok(())).unwrap_err();
        assert!(error.contains("took longer"), "{error}");
    }
}
