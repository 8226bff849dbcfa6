//! The state of a task over its store on disk.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use tidemill_core::State;
use tidemill_core::chain::UndoState;
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::store::StoreFactory;
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::store::write_behind::Background;
use tidemill_runtime::task::state::TaskState;
use tidemill_runtime::threads::SystemThreads;

use crate::{Result, count};

const STORE: &str = "accounts";
const KEYS: u64 = 5_000;
const VALUE_BYTES: usize = 128;
pub(crate) const CHECKPOINT: &[u8] = &[0; 300];

pub(crate) fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut state = open(folder.path())?;
    // Memory is reused from transaction to transaction and from run to run. What it costs to get it at first depends on
    // where the heap lies, and would make the counts waver.
    for warm_up in 1..=2 {
        put(&mut state, &keys(warm_up * KEYS))?;
        state.apply(CHECKPOINT, warm_up)?;
        state.flush()?;
    }
    let keys = keys(0);
    count::step("store/put", keys.len(), || put(&mut state, &keys))?;
    count::step("store/commit", keys.len(), || Ok(state.apply(CHECKPOINT, KEYS)?))?;
    count::step("store/get", keys.len(), || get(&mut state, &keys))?;
    state.flush()?;
    drop(state);
    let mut state = open(folder.path())?;
    count::step("store/get_on_disk", keys.len(), || get(&mut state, &keys))
}

/// An empty store, or the one that was left there.
pub(crate) fn open(folder: &Path) -> Result<TaskState> {
    let background = Background { threads: Arc::new(SystemThreads), clock: Arc::new(SystemClock::default()) };
    Ok(TaskState::new(DiskStores::default().open_behind(folder, "instructions/main/0", &background)?))
}

fn put(state: &mut TaskState, keys: &[Vec<u8>]) -> Result<()> {
    for key in keys {
        state.mark();
        state.put(STORE, key, vec![7; VALUE_BYTES])?;
    }
    Ok(())
}

fn get(state: &mut TaskState, keys: &[Vec<u8>]) -> Result<()> {
    for key in keys {
        if black_box(state.get(STORE, key)?).is_none() {
            return Err("a key that was written is gone".into());
        }
    }
    Ok(())
}

fn keys(from: u64) -> Vec<Vec<u8>> {
    (from..from + KEYS).map(key).collect()
}

/// In no order when they arrive, as accounts are.
fn key(number: u64) -> Vec<u8> {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    format!("acc-{scattered:08}-{number:07}").into_bytes()
}
