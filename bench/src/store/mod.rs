//! The local store alone, as one task of the restart benchmark fills it: how long it takes to open after a kill, and what
//! reads and writes cost.

pub(crate) mod mixed;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::store::StoreFactory;
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::store::write_behind::{Background, WriteBehind};
use tidemill_runtime::threads::SystemThreads;

use crate::failure::{During, Result};
use crate::machine;

const IDENTITY: &str = "bench/main/0";
const VALUE_BYTES: usize = 184;
/// As many records as a restore applies at once.
const FILL_BATCH: u64 = 10_000;
/// As many changes as a worker commits at once under a light load.
const TRICKLE_BATCH: usize = 20;
const TRICKLE_WRITES: u64 = 200;
/// Until what a fill has left to write out in the background is written.
const SETTLE: Duration = Duration::from_secs(5);
const FILLED: &str = "filled";
const SEED: u64 = 20_260_105;

#[derive(Args)]
pub(crate) struct StoreOptions {
    /// Pairs in the store
    #[arg(long, default_value_t = 1_250_000)]
    pairs: u64,
    /// Folder for the store
    #[arg(long)]
    folder: PathBuf,
    /// Changes that fjall keeps in memory, in MiB
    #[arg(long, default_value_t = 16)]
    write_buffer_mib: u64,
    /// How often the store is killed and opened
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

#[derive(Args)]
pub(crate) struct FillOptions {
    #[arg(long)]
    pairs: u64,
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    write_buffer_mib: u64,
}

/// What an act took on the clock, and of it on a processor, on this thread.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    cpu: Duration,
}

/// Fills a store, says so on standard output, and goes on with small writes until it is killed.
pub(crate) fn fill(options: &FillOptions) -> Result<()> {
    let mut store = open(&options.folder, options.write_buffer_mib)?;
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let started_at = Instant::now();
    let from = store.next_offset();
    for first in (from..options.pairs).step_by(FILL_BATCH as usize) {
        let numbers: Vec<u64> = (first..options.pairs.min(first + FILL_BATCH)).collect();
        apply(&mut store, &numbers, &mut random)?;
    }
    let took = started_at.elapsed();
    std::thread::sleep(SETTLE);
    for _ in 0..TRICKLE_WRITES {
        apply(&mut store, &draw(&mut random, options.pairs, TRICKLE_BATCH), &mut random)?;
    }
    println!("{FILLED} {}", took.as_micros());
    loop {
        apply(&mut store, &draw(&mut random, options.pairs, TRICKLE_BATCH), &mut random)?;
    }
}

pub(crate) fn run(options: &StoreOptions) -> Result<()> {
    let folder = options.folder.join("store");
    DiskStores::default().discard(&folder).during("empty the folder")?;
    println!("{}, load average {}\n", machine::describe(), machine::load_average());
    println!("| measure | wall | CPU of the caller |\n|---|---|---|");
    for round in 1..=options.rounds {
        let filled = fill_and_kill(options, &folder)?;
        if round == 1 {
            let per_s = options.pairs as f64 / filled.as_secs_f64();
            println!("| fill, {FILL_BATCH} a write | {per_s:.0} pairs/s | |");
        }
        let disk_mb = machine::bytes_below(&folder) / 1_000_000;
        let (took, store) = timed(|| open(&folder, options.write_buffer_mib))?;
        println!(
            "| open after kill -9, round {round}, {disk_mb} MB | {:.0} ms | {:.0} ms |",
            ms(took.wall),
            ms(took.cpu)
        );
        drop(store);
    }
    measure(options, &folder)
}

fn open(folder: &Path, write_buffer_mib: u64) -> Result<WriteBehind> {
    let stores = DiskStores { write_buffer_bytes_max: write_buffer_mib << 20, ..DiskStores::default() };
    open_behind(&stores, folder, IDENTITY)
}

fn open_behind(stores: &DiskStores, folder: &Path, identity: &str) -> Result<WriteBehind> {
    let background = Background { threads: Arc::new(SystemThreads), clock: Arc::new(SystemClock::default()) };
    let store = stores.open(folder, identity).during("open the store")?;
    Ok(WriteBehind::new(store, stores.write_buffer_bytes_max(), background))
}

fn fill_and_kill(options: &StoreOptions, folder: &Path) -> Result<Duration> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["store-fill", "--pairs", &options.pairs.to_string()])
        .args(["--write-buffer-mib", &options.write_buffer_mib.to_string(), "--folder"])
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .during("start the process that is killed")?;
    let stdout = child.stdout.take().ok_or("a child without standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    child.kill()?;
    child.wait()?;
    let micros = line.trim().strip_prefix(FILLED).and_then(|rest| rest.trim().parse().ok());
    micros.map(Duration::from_micros).ok_or_else(|| "the process that fills the store failed".into())
}

fn measure(options: &StoreOptions, folder: &Path) -> Result<()> {
    let pairs = options.pairs;
    let mut random = ChaCha8Rng::seed_from_u64(SEED + 1);
    let (took, mut store) = timed(|| open(folder, options.write_buffer_mib))?;
    println!("| open after a close | {:.0} ms | {:.0} ms |", ms(took.wall), ms(took.cpu));
    for name in ["first", "second", "third"] {
        get(&store, &format!("random, {name} 100,000"), &draw(&mut random, pairs, 100_000))?;
    }
    let busy: Vec<u64> = (0..100_000).map(|_| random.random_range(0..1_000)).collect();
    get(&store, "1,000 busy keys", &busy)?;
    let absent: Vec<u64> = (0..100_000).map(|_| pairs + random.random_range(0..pairs)).collect();
    get(&store, "absent", &absent)?;
    for size in [1, 20, 200, 2_000, 10_000] {
        let writes = (200_000 / size).clamp(20, 5_000);
        let batches: Vec<Vec<u64>> = (0..writes).map(|_| draw(&mut random, pairs, size)).collect();
        let (took, ()) = timed(|| batches.iter().try_for_each(|batch| apply(&mut store, batch, &mut random)))?;
        let per_pair = |time: Duration| ms(time) * 1e3 / (writes * size) as f64;
        println!("| write of {size}, a pair | {:.2} µs | {:.2} µs |", per_pair(took.wall), per_pair(took.cpu));
    }
    Ok(())
}

fn get(store: &WriteBehind, name: &str, numbers: &[u64]) -> Result<()> {
    let read = |number: &u64| store.get(&key(*number)).during("read").map(|value| drop(std::hint::black_box(value)));
    let (took, ()) = timed(|| numbers.iter().try_for_each(read))?;
    let per_get = |time: Duration| ms(time) * 1e3 / numbers.len() as f64;
    println!("| get, {name} | {:.2} µs | {:.2} µs |", per_get(took.wall), per_get(took.cpu));
    Ok(())
}

fn timed<T>(act: impl FnOnce() -> Result<T>) -> Result<(Took, T)> {
    let (cpu, started_at) = (machine::thread_cpu(), Instant::now());
    let result = act()?;
    Ok((Took { wall: started_at.elapsed(), cpu: machine::thread_cpu().saturating_sub(cpu) }, result))
}

fn apply(store: &mut WriteBehind, numbers: &[u64], random: &mut ChaCha8Rng) -> Result<()> {
    let mut values = vec![0; numbers.len() * VALUE_BYTES];
    random.fill_bytes(&mut values);
    let keys: Vec<Vec<u8>> = numbers.iter().map(|number| key(*number)).collect();
    for (key, value) in keys.iter().zip(values.chunks_exact(VALUE_BYTES)) {
        store.put(store.hash(key), (key, Some(value)));
    }
    let next_offset = store.next_offset() + numbers.len() as u64;
    store.settle(b"checkpoint", next_offset).during("write")
}

fn draw(random: &mut ChaCha8Rng, pairs: u64, count: usize) -> Vec<u64> {
    (0..count).map(|_| random.random_range(0..pairs)).collect()
}

/// In a task, the keys of the accounts that fall to it: in no order when they arrive.
fn key(number: u64) -> Vec<u8> {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    format!("accounts\0a-{scattered:08}-{number:07}").into_bytes()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
