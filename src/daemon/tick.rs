//! The regular wake-up of an idle daemon, by a timer of the kernel's.
//!
//! For one sleep the runtime's own timers wake it several times (once for each level of their wheel that the sleep passes
//! through); this one wakes it exactly once a period.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Comes once a period.
#[derive(Debug)]
pub(super) struct Tick {
    period: Duration,
    /// Where the kernel gave none, the runtime's timers do.
    timer: Option<AsyncFd<OwnedFd>>,
}

impl Tick {
    /// Begins a period.
    pub(super) fn every(period: Duration) -> Tick {
        Tick { period, timer: timer(period).ok() }
    }

    /// Waits for the end of the period. Periods that went by meanwhile count as one.
    pub(super) async fn next(&self) {
        if let Some(timer) = &self.timer
            && expired(timer).await.is_ok()
        {
            return;
        }
        tokio::time::sleep(self.period).await;
    }
}

fn timer(period: Duration) -> io::Result<AsyncFd<OwnedFd>> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let period = Timespec { tv_sec: period.as_secs() as i64, tv_nsec: period.subsec_nanos().into() };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: period, it_value: period })?;
    #[expect(
        deprecated,
        reason = "unsound for what does not own its descriptor, which this does; its successor is unsafe"
    )]
    AsyncFd::with_interest(timer, Interest::READABLE)
}

async fn expired(timer: &AsyncFd<OwnedFd>) -> io::Result<()> {
    // How many periods went by; reading it is what begins the next wait.
    let mut periods = [0u8; 8];
    loop {
        let mut ready = timer.readable().await?;
        if let Ok(read) = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut periods)?)) {
            return read.map(|_| ());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn it_comes_once_a_period() {
        let (begun, tick) = (Instant::now(), Tick::every(Duration::from_millis(20)));
        for _ in 0..5 {
            tick.next().await;
        }
        assert!(tick.timer.is_some());
        assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
    }
}
