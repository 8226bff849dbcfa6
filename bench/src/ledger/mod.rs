//! What the ledger itself costs: `post_ledger` on one task's state in memory, without broker and without the bytes of
//! records.
//!
//! A transfer is two records, as in a running pipeline: the payment at its payer and the instruction at its payee. Each
//! goes through [`chain::run`] with the engine's own state of a task, so that undoing, the identity of every payment,
//! receipts and the sweeps of both are in the figure. A batch ends as a transaction does, with its changes applied.
//! Making the payments is outside of it, and so is encoding what is written.

mod load;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use tidemill_core::chain::{self, Ended, Surroundings};
use tidemill_core::context::{Schemas, UnknownSchema};
use tidemill_core::reference::References;
use tidemill_core::{
    AnyEvent, Effects, EventDecoder, EventTime, Headers, Origin, Outcome, Processor, RecordView, ReferenceTable,
    Settings,
};
use tidemill_processors::post_ledger;
use tidemill_processors::post_ledger::payment_limits::PAYMENT_LIMITS;
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::store::StoreFactory;
use tidemill_runtime::store::memory::MemoryStores;
use tidemill_runtime::store::write_behind::{Background, WriteBehind};
use tidemill_runtime::task::state::TaskState;
use tidemill_runtime::threads::SystemThreads;
use tidemill_schemas::{AccountStatus, Instruction};

use crate::failure::{During, Result};
use crate::machine;
use load::Load;

const CHECKPOINT: &[u8] = &[0; 300];

#[derive(Args)]
pub(crate) struct LedgerOptions {
    #[arg(long, default_value_t = 100_000)]
    accounts: u32,
    /// Transfers that are timed, for each size of batch
    #[arg(long, default_value_t = 1_000_000)]
    transfers: u32,
    /// Transfers to a batch; may be given several times
    #[arg(long = "batch", default_values_t = [1, 10, 100, 1_000, 8_192])]
    batches: Vec<u32>,
    /// Who pays
    #[arg(long, value_enum, default_value_t = Payers::Uniform)]
    payers: Payers,
    /// Who receives
    #[arg(long, value_enum, default_value_t = Payees::Uniform)]
    payees: Payees,
    /// What accounts may pay
    #[arg(long, value_enum, default_value_t = Limits::None)]
    limits: Limits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Limits {
    /// Whatever they have
    None,
    /// So much a payment, a day and a month, which nobody reaches
    Three,
}

impl Limits {
    /// Settings of `post_ledger`.
    fn settings(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Three => include_str!("limits.toml"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Payers {
    /// Any account, all alike
    Uniform,
    /// One account, whoever is paid
    One,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Payees {
    /// Any account, all alike
    Uniform,
    /// One merchant, whoever pays
    One,
}

pub(crate) fn run(options: &LedgerOptions) -> Result<()> {
    println!("{}, load average {}\n", machine::describe(), machine::load_average());
    let LedgerOptions { accounts, payers, payees, limits, transfers, .. } = options;
    println!(
        "{accounts} accounts, payers: {payers:?}, payees: {payees:?}, limits: {limits:?}, {transfers} transfers\n"
    );
    println!("| transfers a batch | transfers/s of one core | CPU, ns a transfer | wall, ns a transfer | RSS, MB |");
    println!("|---|---|---|---|---|");
    for batch in &options.batches {
        let took = measure(options, (*batch).max(1))?;
        let per_transfer = |time: Duration| time.as_nanos() / u128::from(options.transfers.max(1));
        println!(
            "| {batch} | {:.0} | {} | {} | {} |",
            f64::from(options.transfers) / took.cpu.as_secs_f64(),
            per_transfer(took.cpu),
            per_transfer(took.wall),
            took.resident_bytes / 1_000_000
        );
    }
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct Took {
    cpu: Duration,
    wall: Duration,
    resident_bytes: u64,
}

fn measure(options: &LedgerOptions, batch: u32) -> Result<Took> {
    let mut load = Load::new(options);
    let mut ledger = Ledger::new(options.limits.settings())?;
    for request in load.accounts() {
        ledger.take(request)?;
    }
    ledger.commit()?;
    // A quarter beforehand, so that no figure is that of empty tables.
    pay(&mut ledger, &mut load, options.transfers / 4, batch)?;
    let mut took = pay(&mut ledger, &mut load, options.transfers, batch)?;
    took.resident_bytes = machine::resident_bytes();
    if ledger.posted != u64::from(options.transfers / 4) + u64::from(options.transfers) || ledger.refused > 0 {
        return Err(format!("{} transfers were posted, {} records refused", ledger.posted, ledger.refused).into());
    }
    Ok(took)
}

fn pay(ledger: &mut Ledger, load: &mut Load, transfers: u32, batch: u32) -> Result<Took> {
    /// Made at once, so that looking at the clock costs nothing even where batches are small.
    const MADE_AT_ONCE: u32 = 8_192;
    let mut took = Took::default();
    let mut left = transfers;
    while left > 0 {
        let payments = load.payments(left.min(MADE_AT_ONCE));
        left -= left.min(MADE_AT_ONCE);
        let (cpu, began) = (machine::thread_cpu(), Instant::now());
        let mut in_batch = 0;
        for payment in payments {
            ledger.take(payment)?;
            in_batch += 1;
            if in_batch == batch {
                ledger.deliver()?;
                ledger.commit()?;
                in_batch = 0;
            }
        }
        ledger.deliver()?;
        ledger.commit()?;
        took.cpu += machine::thread_cpu() - cpu;
        took.wall += began.elapsed();
    }
    Ok(took)
}

struct Ledger {
    processors: Vec<Box<dyn Processor>>,
    limits: Table,
    state: TaskState,
    effects: Effects,
    instructions: Vec<AnyEvent>,
    next_offset: u64,
    posted: u64,
    refused: u64,
}

impl Ledger {
    fn new(limits: &str) -> Result<Self> {
        let background = Background { threads: Arc::new(SystemThreads), clock: Arc::new(SystemClock::default()) };
        let store = MemoryStores::default().open("bench".as_ref(), "bench/ledger/0").during("open a store")?;
        let settings = Settings(limits.parse().during("read the settings")?);
        let refused = |errors| format!("settings: {errors:?}");
        let processor = (post_ledger::SPEC.build)(&settings).map_err(refused)?;
        let limits = (post_ledger::SPEC.references[0].build)(&settings).map_err(refused)?;
        Ok(Self {
            processors: vec![processor],
            limits: Table(limits),
            // Never written out: all of it stays in the tables that a task keeps in memory.
            state: TaskState::new(WriteBehind::new(store, usize::MAX, background)),
            effects: Effects::default(),
            instructions: Vec::new(),
            next_offset: 0,
            posted: 0,
            refused: 0,
        })
    }

    /// Takes one record through the chain. Instructions wait for [`Ledger::deliver`]; all else is dropped, as the engine
    /// drops it once it is encoded.
    fn take(&mut self, event: AnyEvent) -> Result<()> {
        let record = RecordView {
            origin: Origin { topic: "bench", partition: 0, offset: self.next_offset },
            event_time: EventTime::default(),
            key: None,
            value: None,
            headers: Headers::new(&[]),
        };
        self.next_offset += 1;
        let around = Surroundings { task: 0, references: &self.limits, schemas: &NoSchemas };
        let ended = chain::run(&self.processors, event, record, &mut self.state, &mut self.effects, around);
        match ended.during("the state")? {
            Ended::Done(Outcome::Posted) => self.posted += 1,
            Ended::Done(Outcome::Applied) => {}
            _ => self.refused += 1,
        }
        for effect in self.effects.drain() {
            if effect.event.is::<Instruction>() {
                self.instructions.push(effect.event);
            } else {
                self.refused += u64::from(effect.event.downcast_ref::<AccountStatus>().is_some_and(|s| s.code != "ok"));
                drop(std::hint::black_box(effect));
            }
        }
        Ok(())
    }

    fn deliver(&mut self) -> Result<()> {
        let mut instructions = std::mem::take(&mut self.instructions);
        for instruction in instructions.drain(..) {
            self.take(instruction)?;
        }
        self.instructions = instructions;
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.state.apply(CHECKPOINT, self.next_offset).during("apply")
    }
}

/// The only table that the ledger reads.
struct Table(Box<dyn ReferenceTable>);

impl References for Table {
    fn get(&self, name: &'static str) -> Option<&dyn ReferenceTable> {
        (name == PAYMENT_LIMITS).then_some(self.0.as_ref())
    }
}

struct NoSchemas;

impl Schemas for NoSchemas {
    fn decoder(&self, _schema_id: u32) -> std::result::Result<&dyn EventDecoder, UnknownSchema> {
        Err(UnknownSchema::NotRegistered)
    }
}
