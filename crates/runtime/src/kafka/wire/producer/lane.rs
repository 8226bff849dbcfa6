//! What is on its way to one partition: records that are not sealed yet, and batches that are not acknowledged.

use std::collections::VecDeque;

use crate::broker::{Outgoing, TopicPartition};
use crate::kafka::wire::producer::batch::{Compression, Draft, Identity, Sealed};

/// A batch is sealed at this size, before compression: far below the 1 MB that a topic takes by default, so that only a
/// record that is too large by itself is refused.
const BATCH_BYTES_MAX: usize = 256 * 1024;

pub(super) struct Lane {
    pub(super) partition: TopicPartition,
    /// As the protocol counts.
    pub(super) number: i32,
    draft: Draft,
    /// Not acknowledged, in their order. The first `sent` of them have been sent.
    batches: VecDeque<Sealed>,
    sent: usize,
    /// Requests whose answers are still to come.
    pub(super) awaited: usize,
    /// The leader has refused a batch for now. What was sent behind it will be refused as well, and all of it is sent
    /// again in its order.
    is_refused: bool,
    /// Of the next batch to be sealed; begins at 0 in every transaction.
    sequence: i32,
    /// After the last record that was acknowledged.
    pub(super) next_offset: Option<u64>,
}

impl Lane {
    pub(super) fn new(partition: TopicPartition, number: i32) -> Self {
        Self {
            partition,
            number,
            draft: Draft::default(),
            batches: VecDeque::new(),
            sent: 0,
            awaited: 0,
            is_refused: false,
            sequence: 0,
            next_offset: None,
        }
    }

    /// Returns the bytes that were added to what waits.
    pub(super) fn push(&mut self, record: &Outgoing<'_>, identity: Identity, compression: Compression) -> usize {
        let before = self.draft.bytes();
        self.draft.push(record);
        let added = self.draft.bytes() - before;
        if self.draft.bytes() >= BATCH_BYTES_MAX {
            self.seal(identity, compression);
        }
        added
    }

    pub(super) fn seal(&mut self, identity: Identity, compression: Compression) {
        if !self.draft.is_empty() {
            let sealed = self.draft.seal(identity, self.sequence, compression);
            self.sequence += sealed.count;
            self.batches.push_back(sealed);
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.batches.is_empty() && self.draft.is_empty()
    }

    /// The next batch that may be sent now.
    pub(super) fn take_unsent(&mut self) -> Option<Sealed> {
        if self.is_refused && self.awaited > 0 {
            return None;
        }
        if self.is_refused {
            self.is_refused = false;
            self.sent = 0;
        }
        let batch = self.batches.get(self.sent)?.clone();
        self.sent += 1;
        self.awaited += 1;
        Some(batch)
    }

    /// The leader has the oldest of the batches that were sent. Without an offset it had it already.
    pub(super) fn acknowledge(&mut self, base_offset: Option<u64>) {
        let Some(batch) = self.batches.pop_front() else { return };
        self.sent = self.sent.saturating_sub(1);
        if let Some(base_offset) = base_offset {
            self.next_offset = Some(base_offset + u64::from(batch.count.unsigned_abs()));
        }
    }

    pub(super) fn refuse(&mut self) {
        self.is_refused = true;
    }

    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Forgets the transaction.
    pub(super) fn reset(&mut self) {
        self.draft.discard();
        self.batches.clear();
        self.sent = 0;
        self.awaited = 0;
        self.is_refused = false;
        self.sequence = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity { producer_id: 1, epoch: 0 };

    fn lane_with(batches: usize) -> Lane {
        let mut lane = Lane::new(TopicPartition::new("topic", 0), 0);
        (0..batches).for_each(|_| write(&mut lane));
        lane
    }

    fn write(lane: &mut Lane) {
        let record =
            Outgoing { topic: "topic", partition: 0, timestamp_ms: 1, key: None, value: Some(b"v"), headers: &[] };
        lane.push(&record, IDENTITY, Compression::None);
        lane.seal(IDENTITY, Compression::None);
    }

    fn answer(lane: &mut Lane, is_taken: Option<u64>) {
        lane.awaited -= 1;
        match is_taken {
            Some(offset) => lane.acknowledge(Some(offset)),
            None => lane.refuse(),
        }
    }

    #[test]
    fn what_was_refused_and_all_behind_it_is_sent_again_in_order_once_nothing_is_under_way() {
        let mut lane = lane_with(3);
        let first: Vec<_> = std::iter::from_fn(|| lane.take_unsent()).map(|batch| batch.bytes).collect();
        assert_eq!((first.len(), lane.awaited), (3, 3));
        answer(&mut lane, Some(10));
        answer(&mut lane, None);
        assert!(lane.take_unsent().is_none(), "the third is still under way");
        answer(&mut lane, None);
        let again: Vec<_> = std::iter::from_fn(|| lane.take_unsent()).map(|batch| batch.bytes).collect();
        assert_eq!(again, first[1..], "the same bytes, with the same sequence numbers");
        answer(&mut lane, Some(11));
        answer(&mut lane, Some(12));
        assert!(lane.is_idle());
        assert_eq!(lane.next_offset, Some(13));
    }

    #[test]
    fn sequence_numbers_begin_anew_with_every_transaction() {
        let sequence = |lane: &mut Lane| {
            let bytes = lane.take_unsent().expect("a batch").bytes;
            i32::from_be_bytes(bytes[53..57].try_into().expect("four bytes"))
        };
        let mut lane = lane_with(2);
        assert_eq!((sequence(&mut lane), sequence(&mut lane)), (0, 1));
        lane.reset();
        assert!(lane.is_idle() && lane.take_unsent().is_none());
        write(&mut lane);
        assert_eq!(sequence(&mut lane), 0);
    }
}
