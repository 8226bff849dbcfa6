//! An independent reader of everything that is committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemill_runtime::broker::{Broker, Isolation, Reader, RecordBatch, TopicPartition};

use crate::ledger::{
    BALANCES, ENTRIES, INSTRUCTIONS, INSTRUCTIONS_DLQ, REDRIVE, REQUESTS, REQUESTS_DLQ, REQUESTS_PARKED, STATE, TASKS,
};

/// A record as it lies in its topic.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) offset: u64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Seen {
    /// The header of that name, which is there.
    pub(crate) fn text(&self, name: &str) -> &str {
        let found =
            self.headers.iter().find(|(candidate, _)| candidate == name).and_then(|(_, value)| value.as_deref());
        std::str::from_utf8(found.unwrap_or_else(|| panic!("no header {name}"))).expect("text")
    }
}

pub(crate) const TOPICS: [&str; 9] =
    [REQUESTS, INSTRUCTIONS, ENTRIES, BALANCES, REQUESTS_DLQ, INSTRUCTIONS_DLQ, REQUESTS_PARKED, REDRIVE, STATE];

pub(crate) struct Observer {
    reader: Box<dyn Reader>,
    /// By topic, then by partition.
    seen: BTreeMap<&'static str, Vec<Vec<Seen>>>,
}

impl Observer {
    pub(crate) fn new(broker: &Arc<dyn Broker>) -> Self {
        let mut reader = broker.reader(Isolation::ReadCommitted).expect("a reader");
        for topic in TOPICS {
            for partition in 0..TASKS {
                reader.assign(&TopicPartition::new(topic, partition), 0).expect("the partition exists");
            }
        }
        let seen = TOPICS.iter().map(|topic| (*topic, vec![Vec::new(); TASKS as usize])).collect();
        Self { reader, seen }
    }

    /// Reads what has been committed since the last time.
    pub(crate) fn read(&mut self) {
        let mut batch = RecordBatch::default();
        loop {
            self.reader.poll(&mut batch, 10_000, Duration::ZERO).expect("records can be read");
            if batch.is_empty() {
                return;
            }
            for (index, meta) in batch.metas().iter().enumerate() {
                let headers = batch.headers(index);
                let view = batch.view(index, &headers);
                let seen = Seen {
                    offset: meta.offset,
                    key: view.key.map(<[u8]>::to_vec),
                    value: view.value.map(<[u8]>::to_vec),
                    headers: headers
                        .iter()
                        .map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec)))
                        .collect(),
                };
                let partitions = self.seen.get_mut(&*meta.topic).expect("a topic that was assigned");
                partitions[meta.partition as usize].push(seen);
            }
        }
    }

    pub(crate) fn partitions(&self, topic: &str) -> &[Vec<Seen>] {
        &self.seen[topic]
    }

    pub(crate) fn count(&self, topic: &str) -> usize {
        self.seen[topic].iter().map(Vec::len).sum()
    }
}
