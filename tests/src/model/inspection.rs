//! What can be seen of the broker from outside: transactions, markers, owners. For the simulation's checks, and for tests
//! of the commands that show the same of a real broker.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill_runtime::broker::TopicPartition;

use super::ModelKafka;
use super::coordinator::{Marker, Target, Transaction, TransactionState};
use super::core::Core;
use super::log::{ProducerId, TransactionEnd};

/// Where a transaction is open, and where a marker ends it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Partition(TopicPartition),
    /// The positions of a group.
    Offsets(String),
}

/// A transactional id as its coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionView {
    pub transactional_id: String,
    pub producer: ProducerId,
    pub epoch: u32,
    pub state: TransactionState,
    /// Where it is or was taking part; empty once it is complete.
    pub places: Vec<Place>,
}

/// A transaction as the place sees it in which it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAt {
    pub place: Place,
    pub producer: ProducerId,
    /// `None` for a producer whose id nobody knows any more.
    pub transactional_id: Option<String>,
    /// First offset; `None` for positions of a group.
    pub start_offset: Option<u64>,
    /// No coordinator is going to end it: it stays until somebody does.
    pub is_hanging: bool,
}

/// A marker that is still to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkerView {
    pub transactional_id: String,
    pub end: TransactionEnd,
    pub place: Place,
}

impl Core {
    /// Markers to be written: of which id, at which index of its list.
    pub(super) fn pending(&self) -> impl Iterator<Item = (&String, usize, &Marker)> {
        self.coordinator.transactions.iter().flat_map(|(id, transaction)| {
            let markers = transaction.markers.iter().enumerate();
            markers.map(move |(index, marker)| (id, index, marker))
        })
    }

    pub(super) fn is_ongoing(&self, transactional_id: &str) -> bool {
        let transaction = self.coordinator.transactions.get(transactional_id);
        transaction.is_some_and(|transaction| transaction.state == TransactionState::Ongoing)
    }

    /// `None` for a topic that was deleted.
    fn place(&self, target: &Target) -> Option<Place> {
        match target {
            Target::Partition(partition) => self.topics.name(*partition).map(Place::Partition),
            Target::Offsets(group) => Some(Place::Offsets(group.clone())),
        }
    }

    fn view(&self, transactional_id: &str, transaction: &Transaction) -> TransactionView {
        let partitions = transaction.partitions.iter().copied().map(Target::Partition);
        let targets = partitions.chain(transaction.groups.iter().cloned().map(Target::Offsets));
        TransactionView {
            transactional_id: transactional_id.to_owned(),
            producer: transaction.producer,
            epoch: transaction.epoch,
            state: transaction.state,
            places: targets.filter_map(|target| self.place(&target)).collect(),
        }
    }

    fn open_at(&self, target: &Target, producer: ProducerId, start_offset: Option<u64>) -> Option<OpenAt> {
        let known = self.coordinator.of_producer(producer);
        Some(OpenAt {
            place: self.place(target)?,
            producer,
            transactional_id: known.map(|(id, _)| id.clone()),
            start_offset,
            is_hanging: !known.is_some_and(|(_, transaction)| transaction.covers(target)),
        })
    }
}

impl ModelKafka {
    /// Every transactional id.
    pub fn transactions(&self) -> Vec<TransactionView> {
        let core = self.shared.lock();
        core.coordinator.transactions.iter().map(|(id, transaction)| core.view(id, transaction)).collect()
    }

    /// Every transaction that is open somewhere, once per place, by place.
    pub fn open_everywhere(&self) -> Vec<OpenAt> {
        let core = self.shared.lock();
        let in_logs = core.topics.logs().flat_map(|(id, log)| {
            log.open()
                .filter_map(|(producer, _, start)| core.open_at(&Target::Partition(id), producer, Some(start)))
                .collect::<Vec<_>>()
        });
        let in_offsets = core.offsets().iter().flat_map(|(group, offsets)| {
            let target = Target::Offsets(group.clone());
            offsets.producers().filter_map(|(producer, _)| core.open_at(&target, producer, None)).collect::<Vec<_>>()
        });
        in_logs.chain(in_offsets).collect()
    }

    /// Markers that are to be written, in the order in which [`ModelKafka::settle_marker`] counts them.
    pub fn pending_markers(&self) -> Vec<MarkerView> {
        let core = self.shared.lock();
        let view = |(id, _, marker): (&String, usize, &Marker)| {
            let TransactionState::Prepare(end) = core.coordinator.transactions.get(id)?.state else { return None };
            let place = core.place(&marker.target)?;
            Some(MarkerView { transactional_id: id.clone(), end, place })
        };
        core.pending().filter_map(view).collect()
    }

    /// Who the broker believes owns which task of the group, by slot. A member that does not know of its removal may see
    /// that otherwise.
    pub fn owners(&self, group: &str) -> BTreeMap<u32, String> {
        let core = self.shared.lock();
        core.groups().get(group).map(|group| group.owners()).unwrap_or_default()
    }

    /// How many rebalances the group has been through.
    pub fn generation(&self, group: &str) -> u64 {
        let core = self.shared.lock();
        core.groups().get(group).map_or(0, |group| group.generation())
    }

    /// When the broker is going to do something by itself: end a session or a transaction, write a marker. So that a
    /// simulation can turn its clock to where something happens.
    pub fn next_due(&self) -> Option<Duration> {
        self.shared.lock().next_due()
    }
}
