//! The disk that everything is measured on, and what it can do at most.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use tempfile::TempDir;

/// Magic numbers of file systems that live in memory (statfs(2)): tmpfs, ramfs.
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58F6];

/// Makes Cargo's folder for such things the place of every temporary file, if it is on a disk. Ends the process with a
/// word about it where it is not: a sync costs nothing in memory, and the figures would mean nothing.
pub fn on_a_real_disk() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&folder).expect("the folder for temporary files can be made");
    let kind = rustix::fs::statfs(&folder).expect("the file system can be asked").f_type;
    if IN_MEMORY.contains(&(kind as u32)) {
        eprintln!("{} is in memory: set CARGO_TARGET_DIR to a folder on a disk", folder.display());
        std::process::exit(2);
    }
    tempfile::env::override_temp_dir(&folder).expect("nobody has set it before");
    folder
}

/// What the disk can do with the very order that the spool keeps: `writers` threads, each object written to a temporary
/// file, fdatasync, rename, fsync of the directory. Objects per second.
///
/// What was written stays in `folder`, which must outlast the measurement: ext4 looks for inodes that were not freed of
/// late, and after a folder of a thousand files was removed, making a file costs it several times as much.
pub fn disk_limit(folder: &TempDir, writers: usize, objects: usize, bytes: usize) -> f64 {
    let round = tempfile::tempdir_in(folder.path()).expect("a temporary directory can be made").keep();
    let (incoming, study) = (round.join("incoming"), round.join("study"));
    for directory in [&incoming, &study] {
        std::fs::create_dir(directory).expect("a directory can be made");
    }
    let content: Vec<u8> = (0..bytes).map(|i| (i * 7 + i / 251) as u8).collect();
    rustix::fs::sync();
    let write = |name: usize| -> std::io::Result<()> {
        let temporary = incoming.join(format!("{name}.part"));
        let mut file = File::create_new(&temporary)?;
        file.write_all(&content)?;
        file.sync_data()?;
        std::fs::rename(&temporary, study.join(format!("{name}.dcm")))?;
        File::open(&study)?.sync_all()
    };
    let began = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..writers {
            scope.spawn(move || (writer..objects).step_by(writers).try_for_each(write).expect("the disk takes it"));
        }
    });
    objects as f64 / began.elapsed().as_secs_f64()
}
