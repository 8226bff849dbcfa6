//! The topics of the chain: one input for all engines, and of the others one set for each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tidemill_runtime::broker::{Broker, BrokerErrorKind, NewTopic};
use tidemill_runtime::kafka::KafkaBroker;

use crate::failure::{During, Result};

/// A topic that was deleted is gone a little later.
const DELETION_DEADLINE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);

/// Where the job runs and under which names.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// Kafka, as `dev/stack env` prints it
    #[arg(long, env = "TIDEMILL_BOOTSTRAP")]
    pub(crate) bootstrap: String,
    /// Begins the names of an engine's topics and groups
    #[arg(long)]
    pub(crate) prefix: String,
    #[command(flatten)]
    pub(crate) input: Input,
}

/// The payments, which all engines share.
#[derive(Clone, Debug, Args)]
pub(crate) struct Input {
    /// The topic of the payments
    #[arg(long = "input", default_value = "bench.payments")]
    pub(crate) topic: String,
    /// Partitions of the payments, and so of every topic
    #[arg(long, default_value_t = 8)]
    pub(crate) partitions: u32,
}

#[derive(Args)]
pub(crate) struct TopicsOptions {
    #[command(flatten)]
    place: Place,
    /// Deletes every topic of the prefix, those that the engine made for itself among them. Its groups' positions stay:
    /// the next run needs another prefix
    #[arg(long)]
    delete: bool,
}

pub(crate) fn run(options: &TopicsOptions) -> Result<()> {
    let place = &options.place;
    let broker = place.broker()?;
    if options.delete { place.delete(broker.as_ref()) } else { place.create(broker.as_ref()) }
}

impl Place {
    pub(crate) fn broker(&self) -> Result<Arc<dyn Broker>> {
        connect(&self.bootstrap)
    }

    pub(crate) fn instructions(&self) -> String {
        format!("{}.instructions", self.prefix)
    }

    pub(crate) fn entries(&self) -> String {
        format!("{}.entries", self.prefix)
    }

    pub(crate) fn rejected(&self) -> String {
        format!("{}.rejected", self.prefix)
    }

    pub(crate) fn balances(&self) -> String {
        format!("{}.balances", self.prefix)
    }

    /// What the plain copy writes.
    pub(crate) fn copy(&self) -> String {
        format!("{}.copy", self.prefix)
    }

    pub(crate) fn create_copy(&self, broker: &dyn Broker) -> Result<()> {
        create(broker, &self.copy(), self.input.partitions, "delete", &[])
    }

    /// Creates what an engine writes.
    pub(crate) fn create(&self, broker: &dyn Broker) -> Result<()> {
        // One clock for the entries of all engines, whatever their payments say.
        create(
            broker,
            &self.entries(),
            self.input.partitions,
            "delete",
            &[("message.timestamp.type", "LogAppendTime")],
        )?;
        create(broker, &self.instructions(), self.input.partitions, "delete", &[])?;
        create(broker, &self.rejected(), self.input.partitions, "delete", &[])?;
        create(broker, &self.balances(), self.input.partitions, "compact", &[])
    }

    /// Deletes every topic of the prefix.
    pub(crate) fn delete(&self, broker: &dyn Broker) -> Result<()> {
        // Kafka Streams puts a hyphen after its application's name.
        let ours = [format!("{}.", self.prefix), format!("{}-", self.prefix)];
        for topic in broker.topics().during("list the topics")? {
            if ours.iter().any(|prefix| topic.name.starts_with(prefix)) {
                broker.delete_topic(&topic.name).during("delete a topic")?;
            }
        }
        Ok(())
    }
}

pub(crate) fn connect(bootstrap: &str) -> Result<Arc<dyn Broker>> {
    Ok(KafkaBroker::connect(bootstrap, &[].into()).during("open a client")?)
}

/// Creates the topic of the payments anew.
pub(crate) fn renew_input(broker: &dyn Broker, input: &Input) -> Result<()> {
    if broker.topics().during("list the topics")?.iter().any(|topic| topic.name == input.topic) {
        broker.delete_topic(&input.topic).during("delete the old payments")?;
    }
    create(broker, &input.topic, input.partitions, "delete", &[])
}

/// Waits for a topic of that name to be gone if it has been deleted.
fn create(broker: &dyn Broker, name: &str, partitions: u32, cleanup: &str, config: &[(&str, &str)]) -> Result<()> {
    let mut settings: BTreeMap<String, String> =
        config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    settings.insert("cleanup.policy".to_owned(), cleanup.to_owned());
    // Records are as old as their payments say.
    settings.insert("retention.ms".to_owned(), "-1".to_owned());
    let topic = NewTopic { name: name.to_owned(), partitions, replication: 1, config: settings };
    let started_at = Instant::now();
    loop {
        match broker.create_topic(&topic) {
            Err(error) if error.kind == BrokerErrorKind::AlreadyExists && started_at.elapsed() < DELETION_DEADLINE => {
                std::thread::sleep(TICK);
            }
            result => return result.during(&format!("create topic {name}")),
        }
    }
}
