//! What an engine wrote, against what it should have written: recomputed from the payments, in memory, by code that shares
//! nothing with the engine's.

mod audit;
mod expected;
mod ids;
mod rules;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

use clap::Args;
use tidemill_core::RecordView;
use tidemill_runtime::broker::{Broker, TopicPartition, read_all};

use crate::chain::topics::Place;
use crate::chain::verify::audit::Audit;
use crate::chain::verify::expected::Expected;
use crate::failure::Result;

#[derive(Args)]
pub(crate) struct VerifyOptions {
    #[command(flatten)]
    place: Place,
}

/// Everything that is not as it should be, counted; the first of each sort in words.
#[derive(Debug, Default)]
pub(super) struct Differences {
    shown: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

const SHOWN_PER_SORT_MAX: u64 = 5;

impl Differences {
    fn add(&mut self, sort: &'static str, what: impl FnOnce() -> String) {
        let count = self.counts.entry(sort).or_default();
        *count += 1;
        if *count <= SHOWN_PER_SORT_MAX {
            self.shown.push(format!("{sort}: {}", what()));
        }
    }
}

pub(crate) fn run(options: &VerifyOptions) -> Result<()> {
    let started_at = Instant::now();
    let summary = check(options.place.broker()?.as_ref(), &options.place)?;
    println!("VERIFIED {summary} in {:.1} s", started_at.elapsed().as_secs_f64());
    Ok(())
}

/// What the payments came to, if the engine of this prefix has carried them out as it should.
pub(crate) fn check(broker: &dyn Broker, place: &Place) -> Result<String> {
    let mut expected = Expected::default();
    let mut differences = Differences::default();
    let partitions = place.input.partitions;
    visit(broker, &place.input.topic, partitions, |record| expected.payment(record, &mut differences))?;
    let summary = expected.summary();
    let mut audit = Audit::new(expected, partitions);
    visit(broker, &place.rejected(), partitions, |record| audit.rejected(record, &mut differences))?;
    visit(broker, &place.entries(), partitions, |record| audit.entry(record, &mut differences))?;
    visit(broker, &place.balances(), partitions, |record| audit.balance(record, &mut differences))?;
    audit.finish(&mut differences);
    for difference in &differences.shown {
        eprintln!("{difference}");
    }
    if differences.counts.is_empty() {
        return Ok(summary);
    }
    let counts: Vec<String> = differences.counts.iter().map(|(sort, count)| format!("{count} × {sort}")).collect();
    Err(format!("the results of `{}` are wrong: {}", place.prefix, counts.join(", ")).into())
}

/// Shows every committed record of the topic, partition by partition.
fn visit(broker: &dyn Broker, topic: &str, partitions: u32, mut act: impl FnMut(&RecordView<'_>)) -> Result<()> {
    for partition in 0..partitions {
        read_all(broker, &TopicPartition::new(topic, partition), |record| {
            act(record);
            Ok::<_, tidemill_runtime::broker::BrokerError>(ControlFlow::Continue(()))
        })?;
    }
    Ok(())
}
