//! The transaction coordinator, protocol v1: one producer id per transactional id, epochs that fence, and ends that are
//! decided at once but written marker by marker.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::core::Core;
use super::faults::{EndFault, Hang, HeldEnd};
use super::log::{ProducerId, TransactionEnd};
use super::refusal::Refusal;
use super::topics::PartitionId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionState {
    Empty,
    Ongoing,
    /// Decided, with markers still to be written.
    Prepare(TransactionEnd),
    Complete(TransactionEnd),
}

/// A transactional id at one epoch: what a client holds.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) transactional_id: String,
    pub(super) producer: ProducerId,
    pub(super) epoch: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Partition(PartitionId),
    Offsets(String),
}

#[derive(Clone, Debug)]
pub(super) struct Marker {
    pub(super) target: Target,
    /// `None` waits for the simulation.
    due: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) producer: ProducerId,
    pub(super) epoch: u32,
    pub(super) state: TransactionState,
    timeout: Duration,
    expires_at: Duration,
    pub(super) partitions: BTreeSet<PartitionId>,
    pub(super) groups: BTreeSet<String>,
    pub(super) markers: Vec<Marker>,
    pub(super) end_faults: VecDeque<EndFault>,
    pub(super) hang: Option<Hang>,
}

impl Transaction {
    fn check_epoch(&self, identity: &Identity) -> Result<(), Refusal> {
        match self.epoch == identity.epoch && self.producer == identity.producer {
            true => Ok(()),
            false => Err(Refusal::ProducerFenced),
        }
    }

    /// Whether the coordinator will end what is open at this target.
    pub(super) fn covers(&self, target: &Target) -> bool {
        match self.state {
            TransactionState::Ongoing => match target {
                Target::Partition(partition) => self.partitions.contains(partition),
                Target::Offsets(group) => self.groups.contains(group),
            },
            TransactionState::Prepare(_) => self.markers.iter().any(|marker| marker.target == *target),
            TransactionState::Empty | TransactionState::Complete(_) => false,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Coordinator {
    pub(super) transactions: BTreeMap<String, Transaction>,
    next_producer: ProducerId,
    pub(super) held: Vec<HeldEnd>,
}

impl Coordinator {
    pub(super) fn entry(&mut self, transactional_id: &str) -> &mut Transaction {
        if !self.transactions.contains_key(transactional_id) {
            self.next_producer += 1;
            let transaction = Transaction {
                producer: self.next_producer,
                epoch: 0,
                state: TransactionState::Empty,
                timeout: Duration::ZERO,
                expires_at: Duration::ZERO,
                partitions: BTreeSet::new(),
                groups: BTreeSet::new(),
                markers: Vec::new(),
                end_faults: VecDeque::new(),
                hang: None,
            };
            self.transactions.insert(transactional_id.to_owned(), transaction);
        }
        self.transactions.get_mut(transactional_id).expect("it was just inserted")
    }

    /// A transactional id that is known, at the epoch of the client.
    fn current(&mut self, identity: &Identity) -> Result<&mut Transaction, Refusal> {
        let transaction = self.transactions.get_mut(&identity.transactional_id).ok_or(Refusal::ProducerFenced)?;
        transaction.check_epoch(identity)?;
        Ok(transaction)
    }

    pub(super) fn of_producer(&self, producer: ProducerId) -> Option<(&String, &Transaction)> {
        self.transactions.iter().find(|(_, transaction)| transaction.producer == producer)
    }

    /// When a transaction times out or a marker falls due, whichever is first.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let due = |transaction: &Transaction| {
            let expiry = (transaction.state == TransactionState::Ongoing).then_some(transaction.expires_at);
            transaction.markers.iter().filter_map(|marker| marker.due).chain(expiry).min()
        };
        self.transactions.values().filter_map(due).min()
    }
}

impl Core {
    /// `InitProducerId`: fences every earlier producer of the id and ends what it left open. While that takes its time
    /// the client has to ask again.
    pub(super) fn open_producer(&mut self, transactional_id: &str, timeout: Duration) -> Result<Identity, Refusal> {
        let transaction = self.coordinator.entry(transactional_id);
        if transaction.state == TransactionState::Ongoing {
            self.fence(transactional_id);
        }
        let transaction = self.coordinator.entry(transactional_id);
        if matches!(transaction.state, TransactionState::Prepare(_)) {
            return Err(Refusal::ConcurrentTransactions);
        }
        transaction.epoch += 1;
        transaction.state = TransactionState::Empty;
        transaction.timeout = timeout;
        let Transaction { producer, epoch, .. } = *transaction;
        Ok(Identity { transactional_id: transactional_id.to_owned(), producer, epoch })
    }

    /// Makes the present producer of the id a past one and aborts its transaction.
    pub(super) fn fence(&mut self, transactional_id: &str) {
        self.coordinator.entry(transactional_id).epoch += 1;
        self.decide(transactional_id, TransactionEnd::Abort);
    }

    /// `AddPartitionsToTxn`.
    pub(super) fn add_partitions(&mut self, identity: &Identity, partitions: &[PartitionId]) -> Result<(), Refusal> {
        let transaction = self.coordinator.current(identity)?;
        if matches!(transaction.state, TransactionState::Prepare(_)) {
            return Err(Refusal::ConcurrentTransactions);
        }
        for partition in partitions {
            let log = self.topics.log(*partition)?;
            let is_open =
                log.open().any(|(producer, epoch, _)| (producer, epoch) == (identity.producer, identity.epoch));
            if is_open && !transaction.covers(&Target::Partition(*partition)) {
                return Err(Refusal::NotAcknowledged);
            }
        }
        self.begin(identity)?.partitions.extend(partitions);
        Ok(())
    }

    /// `AddOffsetsToTxn`.
    pub(super) fn add_offsets(&mut self, identity: &Identity, group: &str) -> Result<(), Refusal> {
        if matches!(self.coordinator.current(identity)?.state, TransactionState::Prepare(_)) {
            return Err(Refusal::ConcurrentTransactions);
        }
        self.begin(identity)?.groups.insert(group.to_owned());
        Ok(())
    }

    /// The coordinator's transaction begins with the first thing that is added to it.
    fn begin(&mut self, identity: &Identity) -> Result<&mut Transaction, Refusal> {
        let (now, sweep) = (self.now, self.options.timeout_sweep);
        let transaction = self.coordinator.current(identity)?;
        if transaction.state != TransactionState::Ongoing {
            transaction.state = TransactionState::Ongoing;
            transaction.partitions.clear();
            transaction.groups.clear();
            let expires_at = now.saturating_add(transaction.timeout);
            let late = expires_at.as_nanos().checked_rem(sweep.as_nanos()).unwrap_or(0) as u64;
            let wait = if late == 0 { Duration::ZERO } else { sweep - Duration::from_nanos(late) };
            transaction.expires_at = expires_at.saturating_add(wait);
        }
        Ok(transaction)
    }

    /// A request of a client to end its transaction, with whatever the network does to it.
    pub(super) fn request_end(&mut self, identity: &Identity, end: TransactionEnd) -> Result<(), Refusal> {
        let held = HeldEnd { identity: identity.clone(), end };
        match self.coordinator.current(identity)?.end_faults.pop_front() {
            None => self.end(identity, end),
            Some(EndFault::HoldRequest) => {
                self.coordinator.held.push(held);
                Err(Refusal::RequestTimedOut)
            }
            Some(EndFault::LoseAnswer) => self.end(identity, end).and(Err(Refusal::RequestTimedOut)),
            Some(EndFault::Duplicate) => {
                self.coordinator.held.push(held);
                self.end(identity, end)
            }
        }
    }

    /// `EndTxn`. With protocol v1 all transactions of a producer have one epoch, so a request that comes late may well end
    /// a later one than was meant.
    pub(super) fn end(&mut self, identity: &Identity, end: TransactionEnd) -> Result<(), Refusal> {
        match self.coordinator.current(identity)?.state {
            TransactionState::Ongoing => {
                self.decide(&identity.transactional_id, end);
                Ok(())
            }
            TransactionState::Prepare(decided) if decided == end => Err(Refusal::ConcurrentTransactions),
            TransactionState::Complete(decided) if decided == end => Ok(()),
            TransactionState::Empty | TransactionState::Prepare(_) | TransactionState::Complete(_) => {
                Err(Refusal::InvalidTxnState)
            }
        }
    }

    /// From here on the end is certain; what is left is to write it everywhere.
    fn decide(&mut self, transactional_id: &str, end: TransactionEnd) {
        let hang = match end {
            TransactionEnd::Commit => self.coordinator.entry(transactional_id).hang.take(),
            TransactionEnd::Abort => None,
        };
        let transaction = self.coordinator.entry(transactional_id);
        transaction.state = TransactionState::Prepare(end);
        let (partitions, groups) = (transaction.partitions.clone(), transaction.groups.clone());
        let partitions = partitions.into_iter().map(Target::Partition);
        let groups = groups.into_iter().map(Target::Offsets);
        let targets: Vec<Target> = match hang {
            None => partitions.chain(groups).collect(),
            Some(Hang::LogsOnly) => groups.collect(),
            Some(Hang::Everywhere) => Vec::new(),
        };
        let is_blind = self.is_blind();
        let targets: Vec<Target> = targets.into_iter().filter(|_| !(is_blind && self.skips_marker())).collect();
        let markers = targets.into_iter().map(|target| Marker { target, due: self.marker_due() }).collect();
        self.coordinator.entry(transactional_id).markers = markers;
        self.write_due_markers(transactional_id);
    }

    /// What was decided before a restart ends without its markers on some of the partitions.
    pub(super) fn lose_markers(&mut self) {
        for id in self.coordinator.transactions.keys().cloned().collect::<Vec<_>>() {
            let markers = std::mem::take(&mut self.coordinator.entry(&id).markers);
            let markers = markers.into_iter().filter(|_| !self.skips_marker()).collect();
            self.coordinator.entry(&id).markers = markers;
            self.complete(&id);
        }
    }

    /// Writes marker `index` of the transaction; the last one completes it.
    pub(super) fn write_marker(&mut self, transactional_id: &str, index: usize) {
        let transaction = self.coordinator.entry(transactional_id);
        let TransactionState::Prepare(end) = transaction.state else { return };
        let Transaction { producer, epoch, .. } = *transaction;
        let Marker { target, .. } = transaction.markers.remove(index);
        self.write_marker_at(&target, producer, epoch, end);
        self.complete(transactional_id);
    }

    pub(super) fn write_marker_at(&mut self, target: &Target, producer: ProducerId, epoch: u32, end: TransactionEnd) {
        match target {
            Target::Partition(partition) => {
                // A topic that was deleted meanwhile needs no marker.
                if let Ok(log) = self.topics.log_mut(*partition) {
                    log.write_marker(producer, epoch, end);
                }
            }
            Target::Offsets(group) => self.offsets_mut(group).write_marker(producer, end),
        }
    }

    fn complete(&mut self, transactional_id: &str) {
        let transaction = self.coordinator.entry(transactional_id);
        if let TransactionState::Prepare(end) = transaction.state
            && transaction.markers.is_empty()
        {
            transaction.state = TransactionState::Complete(end);
            transaction.partitions.clear();
            transaction.groups.clear();
        }
    }

    fn write_due_markers(&mut self, transactional_id: &str) {
        let now = self.now;
        let is_due = |marker: &Marker| marker.due.is_some_and(|due| due <= now);
        while let Some(index) = self.coordinator.entry(transactional_id).markers.iter().position(is_due) {
            self.write_marker(transactional_id, index);
        }
        self.complete(transactional_id);
    }

    /// Everything that the coordinator does by itself when its time has come.
    pub(super) fn tick_transactions(&mut self) {
        let now = self.now;
        if self.coordinator.next_due().is_none_or(|due| due > now) {
            return;
        }
        for id in self.coordinator.transactions.keys().cloned().collect::<Vec<_>>() {
            self.write_due_markers(&id);
            let transaction = self.coordinator.entry(&id);
            if transaction.state == TransactionState::Ongoing && transaction.expires_at <= now {
                self.fence(&id);
            }
        }
    }
}
