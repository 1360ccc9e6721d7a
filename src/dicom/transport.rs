//! What PDUs travel over: a TCP connection; for fuzz targets and tests also a pipe in memory.

use std::fmt::Debug;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

/// A connection that carries bytes both ways. A read that was cancelled must have taken nothing.
pub trait Transport: AsyncRead + AsyncWrite + Debug + Send + Sync + Unpin {
    /// Called once, before the first byte.
    fn set_up(&self) -> io::Result<()> {
        Ok(())
    }

    /// Called before each read.
    fn before_read(&self) {}
}

impl Transport for TcpStream {
    /// A PDU goes out in one write; Nagle's algorithm could only hold it back.
    fn set_up(&self) -> io::Result<()> {
        self.set_nodelay(true)
    }

    /// Acknowledges at once. The option lasts only until the kernel thinks otherwise, so it is set before each read.
    /// Failing to set it costs speed and nothing else.
    fn before_read(&self) {
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(self).set_tcp_quickack(true);
    }
}

impl Transport for DuplexStream {}
