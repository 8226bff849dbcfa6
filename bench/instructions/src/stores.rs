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
    let keys: Vec<Vec<u8>> = (0..KEYS).map(key).collect();
    let values: Vec<Vec<u8>> = keys.iter().map(|_| vec![7; VALUE_BYTES]).collect();
    count::step("store/put", keys.len(), || {
        for (key, value) in keys.iter().zip(values) {
            state.mark();
            state.put(STORE, key, value)?;
        }
        Ok(())
    })?;
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

fn get(state: &mut TaskState, keys: &[Vec<u8>]) -> Result<()> {
    for key in keys {
        if black_box(state.get(STORE, key)?).is_none() {
            return Err("a key that was written is gone".into());
        }
    }
    Ok(())
}

/// In no order when they arrive, as accounts are.
fn key(number: u64) -> Vec<u8> {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    format!("acc-{scattered:08}-{number:07}").into_bytes()
}
