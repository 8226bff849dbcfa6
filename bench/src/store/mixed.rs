//! What the state of a payment costs: a job like that of the default topology on one task's state, without broker,
//! records and processors.
//!
//! A payment reads and writes four keys: its own identity, which is new and is never read again, the profile of its
//! counterparty, and two accounts. Every 64 payments a sweep looks at 128 of the identities. A transaction holds 500
//! payments; its changes are encoded for the state log and then applied.

use std::time::Instant;

use clap::Args;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidemill_core::State;
use tidemill_core::chain::UndoState;
use tidemill_runtime::state_log::{RecordWriter, StateLogPolicy};
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::store::{StoreError, StoreFactory};
use tidemill_runtime::task::state::TaskState;

use crate::failure::{During, Result};
use crate::machine;
use crate::store::{SEED, SETTLE, open_behind};

const CHECKPOINT: &[u8] = &[0; 300];
const SEEN: &str = "seen_payments";
const PROFILES: &str = "payer_profiles";
const ACCOUNTS: &str = "accounts";
const PAYMENTS_PER_TRANSACTION: u64 = 500;
const SWEEP_INTERVAL: u64 = 64;
const SWEEP_ENTRIES: usize = 128;
const SEEN_BYTES: usize = 26;
const PROFILE_BYTES: usize = 160;
const ACCOUNT_BYTES: usize = 90;

#[derive(Args)]
pub(crate) struct MixedOptions {
    /// Accounts of the task, each with a profile
    #[arg(long, default_value_t = 100_000)]
    accounts: u64,
    #[arg(long, default_value_t = 500_000)]
    payments: u64,
    /// Folder for the store
    #[arg(long)]
    folder: std::path::PathBuf,
    /// Changes that are kept in memory until they are written out, in MiB
    #[arg(long, default_value_t = 16)]
    write_buffer_mib: u64,
    /// Block cache, in MiB
    #[arg(long, default_value_t = 32)]
    cache_mib: u64,
}

pub(crate) fn run(options: &MixedOptions) -> Result<()> {
    let folder = options.folder.join("mixed");
    let stores = DiskStores {
        cache_bytes: options.cache_mib << 20,
        write_buffer_bytes_max: options.write_buffer_mib << 20,
        ..DiskStores::default()
    };
    stores.discard(&folder).during("empty the folder")?;
    let state = TaskState::new(open_behind(&stores, &folder, "bench/mixed/0")?);
    let mut job = Job {
        state,
        random: ChaCha8Rng::seed_from_u64(SEED),
        next_offset: 0,
        cursor: Vec::new(),
        log: RecordWriter::default(),
        logged: 0,
    };
    println!("{}, load average {}\n", machine::describe(), machine::load_average());
    let (cpu, began) = (machine::process_cpu(), Instant::now());
    job.open_accounts(options.accounts)?;
    println!(
        "{} accounts with profiles opened in {:.1?}, {:.1?} of CPU",
        options.accounts,
        began.elapsed(),
        machine::process_cpu() - cpu
    );
    std::thread::sleep(SETTLE);
    println!(
        "\n| payments | wall, ns a payment | CPU of the task, ns | CPU of the process, ns | log, bytes | RSS, MB |\n|---|---|---|---|---|---|"
    );
    let lots = 5;
    for lot in 0..lots {
        let count = options.payments / lots;
        let (thread, process, began) = (machine::thread_cpu(), machine::process_cpu(), Instant::now());
        let logged = job.logged;
        job.pay(lot * count..(lot + 1) * count, options.accounts)?;
        let per = |nanos: u128| nanos / u128::from(count);
        let wall = began.elapsed();
        let (thread, process) = (machine::thread_cpu() - thread, machine::process_cpu() - process);
        println!(
            "| {} | {} | {} | {} | {} | {} |",
            (lot + 1) * count,
            per(wall.as_nanos()),
            per(thread.as_nanos()),
            per(process.as_nanos()),
            (job.logged - logged) / count,
            machine::resident_bytes() / 1_000_000
        );
    }
    let process = machine::process_cpu();
    job.state.flush().during("sync")?;
    std::thread::sleep(SETTLE);
    println!(
        "\nafterwards, in the background: {:.1?} of CPU; {} MB on disk",
        machine::process_cpu() - process,
        machine::bytes_below(&folder) / 1_000_000
    );
    Ok(())
}

struct Job {
    state: TaskState,
    random: ChaCha8Rng,
    next_offset: u64,
    cursor: Vec<u8>,
    log: RecordWriter,
    logged: u64,
}

impl Job {
    fn open_accounts(&mut self, accounts: u64) -> Result<()> {
        for number in 0..accounts {
            self.state.mark();
            self.write(PROFILES, &account(number), PROFILE_BYTES)?;
            self.write(ACCOUNTS, &account(number), ACCOUNT_BYTES)?;
            if number % PAYMENTS_PER_TRANSACTION == 0 {
                self.commit()?;
            }
        }
        self.commit()
    }

    fn pay(&mut self, payments: std::ops::Range<u64>, accounts: u64) -> Result<()> {
        for number in payments {
            self.state.mark();
            let [debit, credit] = [0, 1].map(|_| account(self.random.random_range(0..accounts)));
            let identity = identity(number);
            if self.read(SEEN, &identity)? {
                return Err("a new payment was seen before".into());
            }
            self.write(SEEN, &identity, SEEN_BYTES)?;
            if number % SWEEP_INTERVAL == 0 {
                self.sweep()?;
            }
            for (store, key, bytes) in [
                (PROFILES, &credit, PROFILE_BYTES),
                (ACCOUNTS, &debit, ACCOUNT_BYTES),
                (ACCOUNTS, &credit, ACCOUNT_BYTES),
            ] {
                if !self.read(store, key)? {
                    return Err("an account is gone".into());
                }
                self.write(store, key, bytes)?;
            }
            if number % PAYMENTS_PER_TRANSACTION == 0 {
                self.commit()?;
            }
        }
        self.commit()
    }

    fn read(&mut self, store: &'static str, key: &[u8]) -> Result<bool> {
        Ok(std::hint::black_box(self.state.get(store, key).during("read")?).is_some())
    }

    fn write(&mut self, store: &'static str, key: &[u8], bytes: usize) -> Result<()> {
        let mut value = vec![0; bytes];
        // Half of a value changes from payment to payment, as in life.
        self.random.fill(&mut value[..bytes / 2]);
        self.state.put(store, key, value).during("write")
    }

    fn sweep(&mut self) -> Result<()> {
        let entries = self.state.scan(SEEN, &self.cursor, SWEEP_ENTRIES).during("sweep")?;
        let is_last = entries.len() < SWEEP_ENTRIES;
        self.cursor = entries.into_iter().next_back().filter(|_| !is_last).map(|(key, _)| key).unwrap_or_default();
        Ok(())
    }

    /// As a worker does it: the changes for the log, and then for the store.
    fn commit(&mut self) -> Result<()> {
        let mut send = |record: &[u8]| {
            self.logged += std::hint::black_box(record).len() as u64;
            self.next_offset += 1;
            Ok::<_, StoreError>(())
        };
        self.log.begin(StateLogPolicy::default().record_bytes_max);
        for change in self.state.changes() {
            self.log.push(change, &mut send).during("encode")?;
        }
        self.log.finish(CHECKPOINT, &mut send).during("encode")?;
        self.state.apply(CHECKPOINT, self.next_offset).during("apply")
    }
}

fn account(number: u64) -> Vec<u8> {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    format!("acc-{scattered:08}-{number:07}").into_bytes()
}

fn identity(number: u64) -> Vec<u8> {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("bank-a\0acc-{:07}\0{scattered:016x}", number % 99_991).into_bytes()
}
