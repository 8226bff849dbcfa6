//! A catalogue with the shapes of the real one, so that findings read as they do in practice; settings are checked by
//! one processor and one sink only.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidemill_core::event::EventDecoder;
use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::settings::SettingsError;
use tidemill_core::sink::SinkPosition;
use tidemill_core::{
    AnyEvent, Context, DecodeError, Diagnostic, EventCodec, EventKind, Flow, Framing, KeySpace, PortSpec, Processor,
    ProcessorSpec, RawEvent, ReferenceSpec, ReferenceTable, Reject, Settings, Sink, SinkBatch, SinkError, SinkSpec,
    StoreSpec,
};
use tidemill_topology::{Catalog, Compiled, Options, compile};

pub(crate) const CATALOG: Catalog<'static> = Catalog { processors: PROCESSORS, codecs: CODECS, sinks: SINKS };

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The one place where tests call the compiler.
pub(crate) fn compile_text(file: &str, text: &str, options: &Options<'_>) -> Result<Compiled, Vec<Diagnostic>> {
    compile(file, text, &CATALOG, options)
}

/// One finding after the other, as the command line shows them.
pub(crate) fn show(findings: &[Diagnostic]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

/// Compares with the file at `path`, or writes it when UPDATE_GOLDEN=1.
pub(crate) fn golden(path: &Path, actual: &str) -> Result<(), String> {
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        return std::fs::write(path, actual).map_err(|error| format!("{}: {error}", path.display()));
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return Ok(());
    }
    Err(format!("{} differs (UPDATE_GOLDEN=1 accepts):\n{actual}", path.display()))
}

const fn kind(name: &'static str, key: &'static str) -> EventKind {
    EventKind { name, keyed_by: KeySpace::Named(key) }
}

const REQUEST: EventKind = EventKind { name: "payment_request", keyed_by: KeySpace::Any };
const PAYMENT: EventKind = kind("payment", "counterparty");
const SCREENED: EventKind = kind("screened_payment", "account");
const PROFILED: EventKind = kind("profiled_payment", "account");
const SCORED: EventKind = kind("scored_payment", "account");
const PRICED: EventKind = kind("priced_payment", "account");
const COMMAND: EventKind = kind("account_command", "account");
const LABEL: EventKind = kind("fraud_label", "counterparty");
const STATUS: EventKind = kind("payment_status", "account");
const DECISION: EventKind = kind("decision", "account");
const ALERT: EventKind = EventKind { name: "alert", keyed_by: KeySpace::Any };
const ENTRY: EventKind = kind("ledger_entry", "account");
const BALANCE: EventKind = kind("account_balance", "account");
const INSTRUCTION: EventKind = kind("instruction", "account");
const ACCOUNT_STATUS: EventKind = kind("account_status", "account");
const NOTIFICATION: EventKind = kind("notification", "customer");
const RULES: EventKind = kind("fraud_rules", "rule_set");
const SCHEDULE: EventKind = kind("fee_schedule", "fee_schedule");
const QUOTE: EventKind = kind("fx_quote", "quote");
const LIMIT: EventKind = kind("payment_limit", "payment_limit");
const CALENDAR: EventKind = kind("posting_calendar", "calendar");
const PREFERENCES: EventKind = kind("customer_preferences", "customer");

const fn codec(kind: EventKind) -> EventCodec {
    EventCodec {
        kind,
        framing: Framing::Confluent,
        schema: "{}",
        version: 1,
        compatibility: "BACKWARD",
        summary: "",
        decoder: no_decoder,
    }
}

fn no_decoder(_: &str) -> Result<Box<dyn EventDecoder>, DecodeError> {
    Err(DecodeError::new("nothing is decoded in these tests"))
}

const CODECS: &[EventCodec] = &[
    codec(REQUEST),
    codec(PAYMENT),
    codec(SCREENED),
    codec(LABEL),
    codec(STATUS),
    codec(DECISION),
    codec(ALERT),
    codec(ENTRY),
    codec(BALANCE),
    codec(INSTRUCTION),
    codec(ACCOUNT_STATUS),
    codec(NOTIFICATION),
    codec(RULES),
    codec(SCHEDULE),
    codec(QUOTE),
    codec(LIMIT),
    codec(CALENDAR),
    codec(PREFERENCES),
];

const fn step(takes: EventKind, gives: Option<EventKind>) -> Signature {
    Signature { takes, gives }
}

const fn port(name: &'static str, kind: EventKind) -> PortSpec {
    PortSpec { name, kind, summary: "" }
}

const fn store(name: &'static str, key: &'static str) -> StoreSpec {
    StoreSpec { name, keyed_by: KeySpace::Named(key), summary: "" }
}

const fn reference(name: &'static str, kind: EventKind) -> ReferenceSpec {
    ReferenceSpec { name, kind, summary: "", build: |_| Ok(Box::new(NoTable)) }
}

/// Without state, ports or settings of its own.
const PLAIN: ProcessorSpec = ProcessorSpec {
    name: "",
    summary: "",
    signatures: &[],
    stores: &[],
    ports: &[],
    references: &[],
    codes: &[],
    decodes: None,
    moves_money: MovesMoney::No,
    example: "",
    build: |_| Ok(Box::new(PassOn)),
};

const PROCESSORS: &[&ProcessorSpec] = &[
    &ProcessorSpec { name: "decode_payment", signatures: &[step(RawEvent::KIND, Some(REQUEST))], ..PLAIN },
    &ProcessorSpec {
        name: "validate_payment",
        signatures: &[step(REQUEST, Some(PAYMENT))],
        ports: &[port("status", STATUS)],
        ..PLAIN
    },
    &ProcessorSpec {
        name: "dedupe_payment",
        signatures: &[step(PAYMENT, Some(PAYMENT))],
        stores: &[store("seen_payments", "counterparty")],
        ports: &[port("status", STATUS)],
        ..PLAIN
    },
    &ProcessorSpec {
        name: "profile_counterparty",
        signatures: &[step(PAYMENT, Some(SCREENED)), step(LABEL, None)],
        stores: &[store("counterparty_profiles", "counterparty")],
        ..PLAIN
    },
    &ProcessorSpec {
        name: "profile_payer",
        signatures: &[step(SCREENED, Some(PROFILED))],
        stores: &[store("payer_profiles", "account")],
        ..PLAIN
    },
    &ProcessorSpec {
        name: "score_fraud",
        signatures: &[step(PROFILED, Some(SCORED))],
        ports: &[port("decisions", DECISION), port("alerts", ALERT)],
        references: &[reference("fraud_rules", RULES)],
        ..PLAIN
    },
    &ProcessorSpec {
        name: "charge_fee",
        signatures: &[step(SCORED, Some(PRICED)), step(COMMAND, Some(COMMAND))],
        references: &[reference("fee_schedules", SCHEDULE)],
        build: |settings| check_schedules(settings).map(|()| Box::new(PassOn) as Box<dyn Processor>),
        ..PLAIN
    },
    &ProcessorSpec {
        name: "price_exchange",
        signatures: &[step(PRICED, Some(PRICED))],
        references: &[reference("fx_rates", QUOTE)],
        ..PLAIN
    },
    &ProcessorSpec {
        name: "assign_dates",
        signatures: &[step(PRICED, Some(PRICED)), step(INSTRUCTION, Some(INSTRUCTION))],
        references: &[reference("calendars", CALENDAR)],
        ..PLAIN
    },
    &ProcessorSpec {
        name: "post_ledger",
        signatures: &[step(PRICED, None), step(COMMAND, None), step(INSTRUCTION, None)],
        stores: &[store("accounts", "account")],
        ports: &[
            port("status", STATUS),
            port("entries", ENTRY),
            port("balances", BALANCE),
            port("instructions", INSTRUCTION),
            port("account_status", ACCOUNT_STATUS),
            port("alerts", ALERT),
        ],
        references: &[reference("payment_limits", LIMIT)],
        moves_money: MovesMoney::Yes,
        ..PLAIN
    },
    &ProcessorSpec {
        name: "decode_account",
        signatures: &[step(RawEvent::KIND, Some(COMMAND))],
        ports: &[port("account_status", ACCOUNT_STATUS)],
        ..PLAIN
    },
    &ProcessorSpec {
        name: "fan_out_notifications",
        signatures: &[step(STATUS, None)],
        ports: &[port("notifications", NOTIFICATION)],
        references: &[reference("customer_preferences", PREFERENCES)],
        ..PLAIN
    },
    // Only here, for findings that the real processors give no occasion for.
    &ProcessorSpec { name: "forget_payment", signatures: &[step(PAYMENT, None)], ..PLAIN },
    &ProcessorSpec {
        name: "restate_payment",
        signatures: &[step(PAYMENT, Some(PAYMENT))],
        ports: &[port("status", ENTRY)],
        ..PLAIN
    },
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fees {
    #[serde(default)]
    schedules: Vec<Schedule>,
}

#[derive(Deserialize)]
struct Schedule {
    rounding: String,
}

fn check_schedules(settings: &Settings) -> Result<(), Vec<SettingsError>> {
    let fees: Fees = settings.parse()?;
    let known = |schedule: &Schedule| schedule.rounding == "half_even";
    let wrong = fees.schedules.iter().enumerate().filter(|(_, schedule)| !known(schedule));
    let error = |(index, schedule): (usize, &Schedule)| {
        SettingsError::new(
            format!("schedules[{index}].rounding"),
            format!("`{}` is no rounding mode", schedule.rounding),
        )
        .hint("Write `half_even`.")
    };
    let errors: Vec<SettingsError> = wrong.map(error).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

const SINKS: &[&SinkSpec] = &[
    &SinkSpec { name: "postgres", open: open_by_url, ..SQLITE },
    &SQLITE,
    &SinkSpec { name: "redis", consumes: &[BALANCE], open: open_by_url, ..SQLITE },
];

const SQLITE: SinkSpec = SinkSpec {
    name: "sqlite",
    summary: "",
    consumes: &[STATUS, DECISION, ENTRY, BALANCE, ACCOUNT_STATUS, NOTIFICATION, ALERT],
    example: "",
    open: |_, _| Ok(Box::new(NoSink)),
};

fn open_by_url(_: &str, settings: &Settings) -> Result<Box<dyn Sink>, Vec<SettingsError>> {
    match settings.0.get("url").and_then(toml::Value::as_str) {
        Some(url) if url.starts_with("postgres://") || url.starts_with("redis://") => Ok(Box::new(NoSink)),
        Some(url) => Err(vec![SettingsError::new("url", format!("`{url}` is no address of a database"))]),
        None => Err(vec![SettingsError::new("", "`url` is missing")]),
    }
}

struct PassOn;

impl Processor for PassOn {
    fn process(&self, event: AnyEvent, _context: &mut Context<'_>) -> Result<Flow, Reject> {
        Ok(Flow::Continue(event))
    }
}

struct NoTable;

impl ReferenceTable for NoTable {
    fn apply(&mut self, _key: &[u8], _event: Option<AnyEvent>) -> Result<(), String> {
        Ok(())
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

struct NoSink;

impl Sink for NoSink {
    fn plan(&mut self) -> Result<Vec<String>, SinkError> {
        Ok(Vec::new())
    }

    fn apply(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn positions(&mut self) -> Result<Vec<SinkPosition>, SinkError> {
        Ok(Vec::new())
    }

    fn claim(&mut self, _: u32, _: &str) -> Result<Vec<SinkPosition>, SinkError> {
        Ok(Vec::new())
    }

    fn write(&mut self, _: &SinkBatch) -> Result<(), SinkError> {
        Ok(())
    }
}
