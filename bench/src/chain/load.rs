//! Writes the payments.

use std::time::{Duration, Instant};

use clap::Args;
use tidemill_core::partition::partition_of;
use tidemill_runtime::broker::{Broker, Outgoing, Producer, ProducerOptions};

use crate::chain::payments::{Payments, Record};
use crate::chain::topics::{Input, connect, renew_input};
use crate::failure::{During, Result};

const FLUSH_DEADLINE: Duration = Duration::from_secs(300);
/// 2026-01-05T08:00:00Z.
const FIRST_CREATED_AT_MS: i64 = 1_767_600_000_000;

/// How event time goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Load {
    /// For speed: a millisecond a payment
    A,
    /// For windows: 1.9 seconds a payment, so that minutes slide and entries expire
    B,
}

#[derive(Args)]
pub(crate) struct LoadOptions {
    /// Kafka, as `dev/stack env` prints it
    #[arg(long, env = "TIDEMILL_BOOTSTRAP")]
    bootstrap: String,
    /// Made anew
    #[command(flatten)]
    input: Input,
    #[arg(long, default_value = "a")]
    load: Load,
    /// Records to write; 5 million for load a and 60,000 for load b when absent
    #[arg(long)]
    payments: Option<u64>,
    #[arg(long, default_value_t = 100_000)]
    accounts: u64,
}

impl Load {
    fn step_ms(self) -> i64 {
        match self {
            Self::A => 1,
            Self::B => 1_900,
        }
    }

    pub(crate) fn payments(self) -> u64 {
        match self {
            Self::A => 5_000_000,
            Self::B => 60_000,
        }
    }
}

pub(crate) fn run(options: &LoadOptions) -> Result<()> {
    let count = options.payments.unwrap_or_else(|| options.load.payments());
    write(connect(&options.bootstrap)?.as_ref(), &options.input, options.load, count, options.accounts)
}

/// Writes so many payments into a new topic.
pub(crate) fn write(broker: &dyn Broker, input: &Input, load: Load, count: u64, accounts: u64) -> Result<()> {
    renew_input(broker, input)?;
    let mut producer = broker.producer(&ProducerOptions::Idempotent).during("open a producer")?;
    let mut payments = Payments::new(accounts);
    let started_at = Instant::now();
    let mut now_ms = FIRST_CREATED_AT_MS;
    for _ in 0..count {
        send(producer.as_mut(), input, &payments.next(now_ms))?;
        now_ms += load.step_ms();
    }
    producer.flush(FLUSH_DEADLINE).during("write the payments")?;
    eprintln!("{count} payments written to {} in {:.1} s", input.topic, started_at.elapsed().as_secs_f64());
    Ok(())
}

/// As every producer of the world would: partition by key, time by payment.
pub(crate) fn send(producer: &mut dyn Producer, input: &Input, record: &Record) -> Result<()> {
    let key = record.debit_account.as_bytes();
    let outgoing = Outgoing {
        topic: &input.topic,
        partition: partition_of(key, input.partitions),
        timestamp_ms: record.created_at_ms,
        key: Some(key),
        value: Some(record.value.as_bytes()),
        headers: &[],
    };
    producer.send(&outgoing).during("write a payment")
}
