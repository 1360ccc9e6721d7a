//! DCMTK's storescp, as somebody else's receiver.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{free_port, require_peer, wait_until};

/// A running storescp; killed when dropped.
pub struct Storescp {
    pub port: u16,
    process: Child,
}

impl Storescp {
    /// `None`, after a word about it, where it is not installed. With `no_delay` TCP_NODELAY=1 is in its environment.
    pub fn start(no_delay: bool, options: &[&str], folder: &Path) -> Option<Storescp> {
        let port = free_port();
        let mut command = Command::new(require_peer("storescp")?);
        if no_delay {
            command.env("TCP_NODELAY", "1");
        }
        command.args(options).arg("-od").arg(folder).arg(port.to_string());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("storescp starts");
        let patience = Duration::from_secs(20);
        wait_until("storescp listens", patience, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Some(Storescp { port, process })
    }
}

impl Drop for Storescp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
