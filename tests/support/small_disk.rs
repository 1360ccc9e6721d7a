//! A daemon whose spool lies on a small disk of its own, which the test fills and empties.
//!
//! The disk is an ext4 image on a loop device, or a tmpfs of the same size where there is no loop device. It is mounted
//! in a mount namespace of the daemon's own, so that nothing stays mounted whatever happens; the test looks into it
//! through `/proc/PID/root`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::prerequisites::skip;

/// A small disk to be.
pub struct SmallDisk {
    /// Where the daemon sees it.
    pub mount_point: PathBuf,
    /// The command that mounts it and then becomes the program that follows.
    pub wrapper: Vec<String>,
}

impl SmallDisk {
    /// A disk of `mib` MiB, mounted on `mount_point` for whatever the wrapper starts. `None` (with a word) where this user
    /// may not mount anything.
    pub fn new(mib: u64, mount_point: &Path, folder: &Path) -> Option<SmallDisk> {
        std::fs::create_dir_all(mount_point).expect("the mount point can be made");
        let image = folder.join("disk.ext4");
        let made = File::create(&image).and_then(|file| file.set_len(mib << 20)).is_ok()
            && Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).status().is_ok_and(|status| status.success());
        let (image, mount_point) = (image.display().to_string(), mount_point.display().to_string());
        let loop_mount = format!("mount -o loop '{image}' '{mount_point}'");
        let memory_mount = format!("mount -t tmpfs -o size={mib}m tmpfs '{mount_point}'");
        let mounts = if made { vec![loop_mount, memory_mount] } else { vec![memory_mount] };
        for mount in mounts {
            let script = format!("{mount} && exec \"$@\"");
            let wrapper: Vec<String> =
                ["unshare", "--mount", "sh", "-c", &script, "sh"].iter().map(|word| (*word).to_owned()).collect();
            let (program, arguments) = wrapper.split_first().expect("it is not empty");
            let works = Command::new(program).args(arguments).arg("true").output();
            if works.is_ok_and(|output| output.status.success()) {
                return Some(SmallDisk { mount_point: PathBuf::from(mount_point), wrapper });
            }
        }
        skip("no small disk can be mounted here (that takes root and a mount namespace)");
        None
    }
}

/// The small disk as a running daemon has it.
pub struct MountedDisk {
    root: PathBuf,
}

impl MountedDisk {
    /// Of the daemon with this process id.
    pub fn of(process: u32, mount_point: &Path) -> MountedDisk {
        let below_root = mount_point.strip_prefix("/").expect("a mount point is absolute");
        MountedDisk { root: PathBuf::from(format!("/proc/{process}/root")).join(below_root) }
    }

    /// The disk's root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Fills the disk until `kib` KiB are left.
    pub fn fill_up_to(&self, kib: u64) {
        let space = rustix::fs::statvfs(&self.root).expect("the disk is there");
        let free = space.f_bavail * space.f_frsize;
        let mut ballast = File::create(self.root.join("ballast")).expect("there is room for a name");
        let block = vec![0_u8; 64 << 10];
        for _ in 0..free.saturating_sub(kib << 10) / block.len() as u64 {
            if ballast.write_all(&block).is_err() {
                break;
            }
        }
        let _ = ballast.sync_all();
    }

    /// Takes the ballast away.
    pub fn empty(&self) {
        std::fs::remove_file(self.root.join("ballast")).expect("the ballast can be removed");
    }
}
