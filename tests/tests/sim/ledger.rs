//! The pipeline under test: transfers are counted per payer, become instructions for accounts, and move balances.
//!
//! Three hops with a new key each: a request by its payer, the debit by its account, the credit by its account. Some
//! requests are dead letters, some are refused after state was written, so that undoing shows.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tidemill_core::processor::{Answer, MovesMoney, Signature};
use tidemill_core::{
    AnyEvent, Class, CodeSpec, Context, DecodeError, Event, EventCodec, EventDecoder, EventKind, EventTime, Flow,
    Framing, KeySpace, Outcome, PortSpec, Processor, ProcessorSpec, RawEvent, Reject, Settings, StateError, StateValue,
    Store, StoreSpec,
};
use tidemill_runtime::registry::{RegistryError, SchemaRegistry};
use tidemill_topology::Topology;
use tidemill_topology::plan::{
    self, Cleanup, CommitPolicy, Input, Link, OnError, ParkingLimits, Pipeline, Role, Stage, Topic, Unit,
};

use crate::faults::Fault;
use crate::scheduler::Sim;

pub(crate) const TASKS: u32 = 4;
pub(crate) const REQUESTS: &str = "requests";
pub(crate) const INSTRUCTIONS: &str = "instructions";
pub(crate) const ENTRIES: &str = "entries";
pub(crate) const BALANCES: &str = "balances";
pub(crate) const REQUESTS_DLQ: &str = "requests.dlq";
pub(crate) const INSTRUCTIONS_DLQ: &str = "instructions.dlq";
pub(crate) const REQUESTS_PARKED: &str = "requests.parked";
pub(crate) const REDRIVE: &str = "sim.main.redrive";
pub(crate) const TASKS_TOPIC: &str = "sim.main.tasks";
pub(crate) const STATE: &str = "sim.main.state";
pub(crate) const SESSION: Duration = Duration::from_millis(1_500);
const TRANSACTION_TIMEOUT: Duration = Duration::from_millis(3_000);

/// Bytes of the Confluent frame before a value.
const FRAME_BYTES: usize = 5;
const SCHEMA: &str = "\"bytes\"";

const MENDED_AMOUNT: i64 = 4;

/// What comes in. One that moves nothing is a dead letter, behind which its payer waits; one whose amount ends in 7 is
/// refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) payer: u8,
    pub(crate) debit: u8,
    pub(crate) credit: u8,
    pub(crate) amount: i64,
}

impl Request {
    pub(crate) fn is_dead(&self) -> bool {
        self.amount == 0
    }

    /// What becomes of it in the end.
    pub(crate) fn fate(&self) -> Fate {
        match (self.is_dead(), self.id % 3) {
            (false, _) => Fate::Passes,
            (true, 0) => Fate::Discarded,
            (true, 1) => Fate::Mended,
            (true, _) => Fate::MendedLate,
        }
    }

    /// As the operator sends it back.
    pub(crate) fn mended(&self) -> Self {
        Self { amount: MENDED_AMOUNT, ..*self }
    }

    /// As it is carried out in the end; `None` if it is given up.
    pub(crate) fn settled(&self) -> Option<Self> {
        match self.fate() {
            Fate::Passes => Some(*self),
            Fate::Discarded => None,
            Fate::Mended | Fate::MendedLate => Some(self.mended()),
        }
    }

    pub(crate) fn dead_letters(&self) -> usize {
        match self.fate() {
            Fate::Passes => 0,
            Fate::Discarded | Fate::Mended => 1,
            Fate::MendedLate => 2,
        }
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.amount % 10 == 7
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a request can be encoded")
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Passes,
    /// A dead letter that is given up.
    Discarded,
    /// A dead letter that is mended and sent back.
    Mended,
    /// One that is sent back as it is first, and fails once more.
    MendedLate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Leg {
    Debit,
    Credit,
}

/// One half of a transfer, on its way to its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Instruction {
    pub(crate) id: u64,
    pub(crate) payer: u8,
    /// How many transfers of the payer there were, this one included.
    pub(crate) payer_seq: u64,
    pub(crate) leg: Leg,
    pub(crate) account: u8,
    pub(crate) contra: u8,
    pub(crate) amount: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) account: u8,
    pub(crate) contra: u8,
    /// 0 for an instruction that was refused.
    pub(crate) seq: u64,
    pub(crate) amount: i64,
    pub(crate) balance: i64,
}

/// The state of an account, and the last one published of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) number: u8,
    pub(crate) seq: u64,
    pub(crate) balance: i64,
}

pub(crate) fn key_of(prefix: char, number: u8) -> Vec<u8> {
    format!("{prefix}{number}").into_bytes()
}

/// The event that lies in a topic.
pub(crate) fn decode<E: DeserializeOwned>(value: &[u8]) -> E {
    let datum = value.get(FRAME_BYTES..).expect("the frame of a value");
    postcard::from_bytes(datum).expect("an event of this kind")
}

macro_rules! event {
    ($event:ident, $name:literal, $key:expr) => {
        impl $event {
            const KIND: EventKind = EventKind { name: $name, keyed_by: KeySpace::Named("account") };
        }

        impl Event for $event {
            fn kind(&self) -> EventKind {
                Self::KIND
            }

            fn key(&self, out: &mut Vec<u8>) -> bool {
                let key: fn(&Self) -> u8 = $key;
                out.extend_from_slice(&key_of('a', key(self)));
                true
            }

            fn event_time(&self) -> EventTime {
                EventTime::from_millis(1)
            }

            fn encode(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
                let bytes = postcard::to_stdvec(self).map_err(|error| DecodeError::new(error.to_string()))?;
                out.extend_from_slice(&bytes);
                Ok(())
            }

            fn into_any(self: Box<Self>) -> Box<dyn Any> {
                self
            }

            fn as_any(&self) -> &dyn Any {
                self
            }
        }
    };
}

event!(Instruction, "instruction", |instruction| instruction.account);
event!(Entry, "entry", |entry| entry.account);
event!(Account, "account", |account| account.number);

struct InstructionDecoder;

impl EventDecoder for InstructionDecoder {
    fn decode(&self, bytes: &[u8]) -> Result<AnyEvent, DecodeError> {
        let instruction: Instruction =
            postcard::from_bytes(bytes).map_err(|error| DecodeError::new(error.to_string()))?;
        Ok(Box::new(instruction))
    }
}

const fn codec(kind: EventKind, decoder: fn(&str) -> Result<Box<dyn EventDecoder>, DecodeError>) -> EventCodec {
    EventCodec {
        kind,
        framing: Framing::Confluent,
        schema: SCHEMA,
        version: 1,
        compatibility: "NONE",
        summary: "Of the simulation.",
        decoder,
    }
}

pub(crate) static CODECS: [EventCodec; 3] = [
    codec(Instruction::KIND, |_| Ok(Box::new(InstructionDecoder))),
    codec(Entry::KIND, |_| Err(DecodeError::new("nobody reads it here"))),
    codec(Account::KIND, |_| Err(DecodeError::new("nobody reads it here"))),
];

static NOTHING_MOVES: CodeSpec = CodeSpec {
    code: "nothing_moves",
    class: Class::Validation,
    summary: "The amount is nothing.",
    remedy: "Name an amount.",
};

static UNLUCKY: CodeSpec =
    CodeSpec { code: "unlucky", class: Class::Business, summary: "The amount ends in 7.", remedy: "Name another." };

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Count(pub(crate) u64);

impl StateValue for Count {
    const VERSION: u8 = 1;
}

impl StateValue for Account {
    const VERSION: u8 = 1;
}

pub(crate) const COUNTS: Store<Count> = Store::new("counts");
/// There for every other transfer of a payer, deleted by the next one.
pub(crate) const ODD_ONES: Store<Count> = Store::new("odd_ones");
pub(crate) const ACCOUNTS: Store<Account> = Store::new("accounts");

struct CountTransfer;

impl Processor for CountTransfer {
    fn process(&self, _event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let payer = context.record.key.unwrap_or_default().to_vec();
        let request: Request = postcard::from_bytes(context.record.value.unwrap_or_default())
            .map_err(|error| Reject::new(&NOTHING_MOVES).because(error.to_string()))?;
        let Count(before) = COUNTS.get(context.state, &payer)?.unwrap_or_default();
        COUNTS.put(context.state, &payer, &Count(before + 1))?;
        if request.is_dead() {
            return Err(Reject::new(&NOTHING_MOVES));
        }
        match ODD_ONES.get(context.state, &payer)? {
            Some(_) => ODD_ONES.delete(context.state, &payer)?,
            None => ODD_ONES.put(context.state, &payer, &Count(request.id))?,
        }
        let Request { id, payer, debit, credit, amount } = request;
        let payer_seq = before + 1;
        let instruction = Instruction { id, payer, payer_seq, leg: Leg::Debit, account: debit, contra: credit, amount };
        context.effects.emit("instructions", Box::new(instruction) as AnyEvent);
        Ok(Flow::Done(Outcome::Applied))
    }
}

struct MoveBalance;

impl Processor for MoveBalance {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let instruction = event.downcast::<Instruction>().map_err(|event| Reject::unexpected(&event))?;
        let Instruction { id, payer, payer_seq, leg, account: number, contra, amount } = instruction;
        let key = context.record.key.unwrap_or_default().to_vec();
        let before = ACCOUNTS.get(context.state, &key)?.unwrap_or_default();
        let signed = if leg == Leg::Debit { -amount } else { amount };
        let account = Account { number, seq: before.seq + 1, balance: before.balance + signed };
        ACCOUNTS.put(context.state, &key, &account)?;
        if amount % 10 == 7 {
            return Err(Reject::new(&UNLUCKY).about(Box::new(instruction)));
        }
        let Account { seq, balance, .. } = account;
        context
            .effects
            .emit("entries", Box::new(Entry { id, account: number, contra, seq, amount: signed, balance }) as AnyEvent);
        context.effects.emit_latest("balances", Box::new(account) as AnyEvent);
        if leg == Leg::Debit {
            let credit =
                Instruction { id, payer, payer_seq, leg: Leg::Credit, account: contra, contra: number, amount };
            context.effects.emit("instructions", Box::new(credit) as AnyEvent);
        }
        Ok(Flow::Done(Outcome::Posted))
    }

    fn on_reject(&self, reject: &Reject, context: &mut Context<'_>) -> Result<Answer, StateError> {
        let Some(refused) = reject.subject().and_then(|event| event.downcast_ref::<Instruction>()) else {
            return Ok(Answer::NotMine);
        };
        let Instruction { id, account, contra, .. } = *refused;
        let entry = Entry { id, account, contra, seq: 0, amount: 0, balance: 0 };
        context.effects.emit("entries", Box::new(entry) as AnyEvent);
        Ok(Answer::Given)
    }
}

static COUNT_TRANSFER: ProcessorSpec = ProcessorSpec {
    name: "count_transfer",
    summary: "Counts the transfers of each payer.",
    signatures: &[Signature { takes: RawEvent::KIND, gives: None }],
    stores: &[
        StoreSpec { name: "counts", keyed_by: KeySpace::Any, summary: "Transfers of each payer." },
        StoreSpec { name: "odd_ones", keyed_by: KeySpace::Any, summary: "Every other transfer." },
    ],
    ports: &[PortSpec { name: "instructions", kind: Instruction::KIND, summary: "Debits." }],
    references: &[],
    codes: &[],
    decodes: None,
    moves_money: MovesMoney::No,
    example: "",
    build: |_| Ok(Box::new(CountTransfer)),
};

static MOVE_BALANCE: ProcessorSpec = ProcessorSpec {
    name: "move_balance",
    summary: "Moves balances.",
    signatures: &[Signature { takes: Instruction::KIND, gives: None }],
    stores: &[StoreSpec { name: "accounts", keyed_by: KeySpace::Any, summary: "Every account." }],
    ports: &[
        PortSpec { name: "instructions", kind: Instruction::KIND, summary: "Credits." },
        PortSpec { name: "entries", kind: Entry::KIND, summary: "Every movement." },
        PortSpec { name: "balances", kind: Account::KIND, summary: "The last balance of each account." },
    ],
    references: &[],
    codes: &[],
    decodes: None,
    moves_money: MovesMoney::Yes,
    example: "",
    build: |_| Ok(Box::new(MoveBalance)),
};

/// Both stages in one unit, so that one transaction holds the work of both.
pub(crate) fn topology() -> Topology {
    let topic = |name: &str, role, kind, cleanup| Topic {
        name: name.to_owned(),
        role,
        kind,
        partitions: TASKS,
        cleanup,
        config: BTreeMap::new(),
    };
    let topics = [
        topic(REQUESTS, Role::Ingest, None, Cleanup::Delete),
        topic(INSTRUCTIONS, Role::Curated, Some(Instruction::KIND), Cleanup::Delete),
        topic(ENTRIES, Role::Curated, Some(Entry::KIND), Cleanup::Delete),
        topic(BALANCES, Role::Curated, Some(Account::KIND), Cleanup::Compact),
        topic(REQUESTS_DLQ, Role::DeadLetters, None, Cleanup::Delete),
        topic(INSTRUCTIONS_DLQ, Role::DeadLetters, None, Cleanup::Delete),
        topic(REQUESTS_PARKED, Role::Parked, None, Cleanup::Delete),
        topic(REDRIVE, Role::Redrive, None, Cleanup::Delete),
        topic(TASKS_TOPIC, Role::Tasks, None, Cleanup::Delete),
        topic(STATE, Role::StateLog, None, Cleanup::Delete),
    ];
    let stage = |name: &str, input: &str, processor, dlq: &str, ports: &[&str]| Stage {
        name: name.to_owned(),
        on_error: OnError::Stop,
        inputs: vec![Input {
            topic: input.to_owned(),
            chain: vec![Link { processor, settings: Settings::default() }],
            output: None,
            dead_letters: dlq.to_owned(),
            parked: None,
        }],
        ports: ports.iter().map(|port| ((*port).to_owned(), (*port).to_owned())).collect(),
        references: Vec::new(),
        parking: ParkingLimits { keys_max: 100, records_per_key_max: 1_000, age_s_max: 3_600 },
        circuit: None,
    };
    let mut count = stage("count", REQUESTS, &COUNT_TRANSFER, REQUESTS_DLQ, &[INSTRUCTIONS]);
    count.on_error = OnError::Park;
    count.inputs[0].parked = Some(REQUESTS_PARKED.to_owned());
    let stages =
        vec![count, stage("move", INSTRUCTIONS, &MOVE_BALANCE, INSTRUCTIONS_DLQ, &[INSTRUCTIONS, ENTRIES, BALANCES])];
    // So few records to a transaction that some end in the middle of a batch, where a rewind must not skip the rest.
    let commit = CommitPolicy {
        gap_ms_min: 10,
        interval_ms_max: 200,
        records_max: 24,
        bytes_max: 1 << 20,
        transaction_timeout_ms: TRANSACTION_TIMEOUT.as_millis() as u64,
        session_timeout_ms: SESSION.as_millis() as u64,
    };
    Topology {
        pipeline: Pipeline {
            name: "sim".to_owned(),
            version: "1".to_owned(),
            config_hash: "00000000".to_owned(),
            audit_topic: "ops.audit.v1".to_owned(),
            colour: None,
        },
        broker: plan::Broker::Embedded { data_dir: PathBuf::from("nowhere") },
        registry_url: None,
        state_dir: PathBuf::from("nowhere"),
        memory_mib_max: 64,
        http_address: "127.0.0.1:0".to_owned(),
        units: vec![Unit { name: "main".to_owned(), tasks: TASKS, standbys: 0, commit, stages }],
        topics: topics.into_iter().map(|topic| (topic.name.clone(), topic)).collect(),
        sinks: Vec::new(),
        dead_letter_headers: Vec::new(),
    }
}

/// A registry that knows one schema.
pub(crate) struct OneSchema(pub(crate) Arc<Sim>);

impl SchemaRegistry for OneSchema {
    fn register(&self, _subject: &str, _schema: &str) -> Result<u32, RegistryError> {
        Ok(1)
    }

    fn schema(&self, _id: u32) -> Result<String, RegistryError> {
        if self.0.strikes(Fault::RegistryAway, 1) {
            self.0.note("registry", || "away".to_owned());
            return Err(RegistryError::Unavailable("nobody answers".to_owned()));
        }
        Ok(SCHEMA.to_owned())
    }

    fn version(&self, _subject: &str, _id: u32) -> Result<Option<u32>, RegistryError> {
        Ok(None)
    }

    fn latest(&self, _subject: &str) -> Result<Option<(u32, u32, String)>, RegistryError> {
        Ok(Some((1, 1, SCHEMA.to_owned())))
    }

    fn set_compatibility(&self, _subject: &str, _level: &str) -> Result<(), RegistryError> {
        Ok(())
    }

    fn is_compatible(&self, _subject: &str, _schema: &str) -> Result<bool, RegistryError> {
        Ok(true)
    }

    fn describe(&self) -> String {
        "one schema".to_owned()
    }
}
