//! The thin layer between the core and its callers: one lock, the clock, and waiting.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::broker::{BrokerError, BrokerErrorKind, Result};
use crate::clock::Clock;
use crate::embedded::Waiting;
use crate::embedded::core::Core;
use crate::embedded::journal::Access;

/// Waiting is cut in slices, because time-outs of other members and frames of another process wake nobody.
const WAIT_SLICE_MAX: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) directory: PathBuf,
    pub(crate) access: Access,
    pub(crate) transaction_bytes_max: usize,
    waiting: Waiting,
    clock: SharedClock,
    core: Mutex<Core>,
    changed: Condvar,
}

struct SharedClock(Arc<dyn Clock>);

impl std::fmt::Debug for SharedClock {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", self.0.now())
    }
}

impl Shared {
    pub(crate) fn new(directory: PathBuf, access: Access, options: &super::EmbeddedOptions, core: Core) -> Self {
        Self {
            directory,
            access,
            transaction_bytes_max: options.transaction_bytes_max,
            waiting: options.waiting,
            clock: SharedClock(Arc::clone(&options.clock)),
            core: Mutex::new(core),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.0.now()
    }

    /// The core as of now.
    pub(crate) fn lock(&self, during: &'static str) -> Result<MutexGuard<'_, Core>> {
        let mut core = self.core.lock().map_err(|_| {
            let message = "the broker stopped at a broken invariant, open it again";
            BrokerError::new(BrokerErrorKind::Fatal, during, message)
        })?;
        if core.tick(self.now()) {
            self.changed.notify_all();
        }
        if self.access == Access::Read {
            core.refresh().map_err(|error| BrokerError::new(BrokerErrorKind::Fatal, during, error.to_string()))?;
        }
        Ok(core)
    }

    /// Like [`Shared::lock`], for calls that change something.
    pub(crate) fn lock_to_write(&self, during: &'static str) -> Result<MutexGuard<'_, Core>> {
        if self.access == Access::Read {
            let message = "the broker was opened for reading only";
            return Err(BrokerError::new(BrokerErrorKind::Misconfigured, during, message));
        }
        self.lock(during)
    }

    /// Says that something has changed that others may wait for.
    pub(crate) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Lets others work until something may have changed. Says whether it is worth looking again before `deadline`.
    pub(crate) fn wait(&self, core: MutexGuard<'_, Core>, deadline: Duration) -> bool {
        let remaining = deadline.saturating_sub(self.now());
        if self.waiting == Waiting::ReturnsAtOnce || remaining.is_zero() {
            return false;
        }
        drop(self.changed.wait_timeout(core, remaining.min(WAIT_SLICE_MAX)).unwrap_or_else(PoisonError::into_inner));
        true
    }
}
