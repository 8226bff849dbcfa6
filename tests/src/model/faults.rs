//! What the adversary may do to the broker and to the network between it and its clients. Every fault here has been seen
//! on a real broker, or follows from the protocol.

use std::time::Duration;

use tidemill_runtime::broker::TopicPartition;

use super::coordinator::{Identity, Target};
use super::log::{ProducerId, TransactionEnd};
use super::refusal::Refusal;
use super::{ModelKafka, Place};

/// What becomes of the next request to end a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndFault {
    /// It is late: the client hears nothing, and it can be delivered at any time after.
    HoldRequest,
    /// It is carried out, and the client does not hear of it.
    LoseAnswer,
    /// It is carried out, and a copy can be delivered at any time after.
    Duplicate,
}

/// Where a hanging transaction hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    /// No marker is ever written.
    Everywhere,
    /// The group's positions are committed, and the partitions have no markers.
    LogsOnly,
}

/// A request that the network still has.
#[derive(Clone, Debug)]
pub(super) struct HeldEnd {
    pub(super) identity: Identity,
    pub(super) end: TransactionEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldOutcome {
    /// It ended the transaction that was open, which need not be the one it was meant for.
    Ended,
    /// It was repeating what had happened already.
    AlreadyEnded,
    Refused(Refusal),
}

impl ModelKafka {
    /// Forgets every committed position of the group, as a broker was once seen to do after a crash.
    pub fn forget_offsets(&self, group: &str) {
        self.shared.lock().offsets_mut(group).forget();
    }

    /// Replaces every committed position of the group.
    pub fn rewind_offsets(&self, group: &str, rewrite: impl FnMut(&TopicPartition, u64) -> u64) {
        self.shared.lock().offsets_mut(group).rewrite(rewrite);
    }

    /// Kills the broker and brings it back at once: every connection is lost, and the coordinator ends transactions without
    /// their markers on some of the partitions, for as long as it is blind. What is lost follows from the seed.
    pub fn restart(&self, blind_for: Duration, seed: u64) {
        self.shared.lock().restart(blind_for, seed);
    }

    /// The next commit of this id is acknowledged and complete for the coordinator, and its markers are never written. The
    /// same producer cannot write to those partitions any more, and does not survive the abort that follows; a new one
    /// opens as if nothing had happened.
    pub fn hang(&self, transactional_id: &str, hang: Hang) {
        self.shared.lock().coordinator.entry(transactional_id).hang = Some(hang);
    }

    /// Ends a hanging transaction by an abort marker everywhere it is open; says where that was. Nothing is done to what
    /// a coordinator will still end by itself.
    pub fn abort_hanging(&self, producer: ProducerId) -> Vec<Place> {
        let hanging = self.open_everywhere().into_iter().filter(|open| open.producer == producer && open.is_hanging);
        let places: Vec<Place> = hanging.map(|open| open.place).collect();
        places.iter().for_each(|place| self.abort_at(place, producer));
        places
    }

    /// Writes one abort marker, and asks nobody whether the coordinator knows better. To do so in some of a transaction's
    /// places and not in others tears it.
    pub fn abort_at(&self, place: &Place, producer: ProducerId) {
        let mut core = self.shared.lock();
        let target = match place {
            Place::Offsets(group) => Target::Offsets(group.clone()),
            Place::Partition(partition) => match core.topics.locate(partition) {
                Ok(id) => Target::Partition(id),
                Err(_deleted) => return,
            },
        };
        core.write_marker_at(&target, producer, 0, TransactionEnd::Abort);
    }

    /// Fences the member of this slot although nobody took its name: after a crash of the broker a static member's own
    /// rejoin does that. What the broker takes for the successor holds the tasks until its session times out or a new
    /// member takes the slot. Says whether there was a member.
    pub fn fence_member(&self, group: &str, slot: &str) -> bool {
        let mut core = self.shared.lock();
        let now = core.now;
        core.group(group).fence_slot(slot, now)
    }

    /// Removes the member of this slot: its session times out now, or an operator removes it. Says whether there was one.
    pub fn expire_member(&self, group: &str, slot: &str) -> bool {
        self.shared.lock().group(group).remove_slot(slot)
    }

    /// Arms a fault for the next request of this id to end its transaction. Several wait in a row, one per request.
    pub fn disturb_end(&self, transactional_id: &str, fault: EndFault) {
        self.shared.lock().coordinator.entry(transactional_id).end_faults.push_back(fault);
    }

    /// Requests that were held back or doubled and not yet delivered: whose, and to which end.
    pub fn held_ends(&self) -> Vec<(String, TransactionEnd)> {
        let core = self.shared.lock();
        core.coordinator.held.iter().map(|held| (held.identity.transactional_id.clone(), held.end)).collect()
    }

    /// Delivers request `index` of [`ModelKafka::held_ends`]. It counts unless the epoch was raised meanwhile.
    ///
    /// # Panics
    /// If there is no such request.
    pub fn deliver_end(&self, index: usize) -> HeldOutcome {
        let mut core = self.shared.lock();
        let HeldEnd { identity, end } = core.coordinator.held.remove(index);
        let was_open = core.is_ongoing(&identity.transactional_id);
        match core.end(&identity, end) {
            Ok(()) if was_open => HeldOutcome::Ended,
            Ok(()) => HeldOutcome::AlreadyEnded,
            Err(refusal) => HeldOutcome::Refused(refusal),
        }
    }

    /// Writes marker `index` of [`ModelKafka::pending_markers`].
    ///
    /// # Panics
    /// If there is no such marker.
    pub fn settle_marker(&self, index: usize) {
        let mut core = self.shared.lock();
        let marker = core.pending().nth(index).map(|(id, index, _)| (id.clone(), index));
        let (transactional_id, index) = marker.expect("there are as many markers as pending_markers lists");
        core.write_marker(&transactional_id, index);
    }

    /// Writes all pending markers, each time the one that `choose` takes of so many. A number that is too high counts
    /// from the start again.
    pub fn settle_markers(&self, mut choose: impl FnMut(usize) -> usize) {
        loop {
            let count = self.shared.lock().pending().count();
            if count == 0 {
                return;
            }
            self.settle_marker(choose(count) % count);
        }
    }
}
