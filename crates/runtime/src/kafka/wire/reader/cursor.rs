//! One partition that is being read: what its leader has sent, and how far it has been handed out.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::PartitionData;

use crate::broker::{RecordBatch, TopicPartition};
use crate::kafka::wire::reader::records::{Batch, Control, Fields, Unreadable};

pub(super) struct Cursor {
    pub(super) partition: TopicPartition,
    /// As the protocol counts.
    pub(super) number: i32,
    /// What was asked for before this has nothing to say about the cursor.
    pub(super) since: u64,
    /// Of the next record to hand out.
    next_offset: i64,
    /// Offsets since the last record that hold nothing for anybody to read.
    passed_over: u64,
    /// Of the next record to ask for.
    pub(super) fetch_offset: i64,
    chunks: VecDeque<Chunk>,
    /// Records of the first batch of the first chunk, unpacked, once that has begun.
    plain: Vec<u8>,
    /// How far in `plain`, and how many records are left; `None` before the batch has begun.
    open: Option<(usize, i32)>,
    /// Where what can be read ended when the leader was last asked.
    end: Option<i64>,
}

/// Batches of one answer.
struct Chunk {
    bytes: Bytes,
    transactions: AbortedTransactions,
}

/// What nobody may read of a chunk.
struct AbortedTransactions {
    /// By producer and first offset, the latest first.
    ahead: Vec<(i64, i64)>,
    /// Producers whose records are being left out.
    skipped: HashSet<i64>,
}

impl Cursor {
    pub(super) fn new(partition: TopicPartition, number: i32, offset: i64, since: u64) -> Self {
        Self {
            partition,
            number,
            since,
            next_offset: offset,
            passed_over: 0,
            fetch_offset: offset,
            chunks: VecDeque::new(),
            plain: Vec::new(),
            open: None,
            end: None,
        }
    }

    /// Bytes that wait to be handed out, as they are stored.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    pub(super) fn reached_end(&self) -> bool {
        self.chunks.is_empty() && self.end.is_some_and(|end| self.next_offset >= end)
    }

    /// Takes what the leader has sent. `end` is where what can be read ends.
    pub(super) fn take(&mut self, data: PartitionData, end: i64) -> Result<(), Unreadable> {
        self.end = Some(end);
        let Some(mut bytes) = data.records.filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        let mut whole = 0;
        while let Some((batch, size)) = Batch::first(&bytes[whole..])? {
            Batch::check(&bytes[whole..whole + size])?;
            whole += size;
            self.fetch_offset = batch.last_offset() + 1;
        }
        bytes.truncate(whole);
        let aborted = data.aborted_transactions.unwrap_or_default();
        let mut aborted: Vec<(i64, i64)> =
            aborted.iter().map(|aborted| (aborted.producer_id.0, aborted.first_offset)).collect();
        aborted.sort_unstable_by_key(|(_, first_offset)| std::cmp::Reverse(*first_offset));
        if whole > 0 {
            let transactions = AbortedTransactions { ahead: aborted, skipped: HashSet::new() };
            self.chunks.push_back(Chunk { bytes, transactions });
        }
        Ok(())
    }

    /// Hands out records until `batch` holds `records_max`, or `bytes_max` of them.
    pub(super) fn pull(
        &mut self,
        batch: &mut RecordBatch,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<(), Unreadable> {
        while let Some(Chunk { bytes, transactions }) = self.chunks.front_mut() {
            let Some((head, size)) = Batch::first(bytes)? else {
                self.chunks.pop_front();
                continue;
            };
            if self.open.is_none() {
                let is_left_out = transactions.leave_out(&head)?;
                if is_left_out || head.last_offset() < self.next_offset {
                    let first = head.base_offset.max(self.next_offset);
                    if is_left_out {
                        self.passed_over += u64::try_from(head.last_offset() + 1 - first).unwrap_or_default();
                    }
                    self.next_offset = self.next_offset.max(head.last_offset() + 1);
                    let _handed_out = bytes.split_to(size);
                    continue;
                }
                head.unpack(&mut self.plain)?;
                self.open = Some((0, head.count));
            }
            let Some((at, mut left)) = self.open else { continue };
            let mut fields = Fields(self.plain.get(at..).unwrap_or_default());
            while left > 0 && batch.len() < records_max && batch.bytes() < bytes_max {
                let record = head.record(&mut fields)?;
                left -= 1;
                if record.offset < self.next_offset {
                    continue;
                }
                let Ok(offset) = u64::try_from(record.offset) else { return Err(Unreadable("a negative offset")) };
                self.next_offset = record.offset + 1;
                let TopicPartition { topic, partition } = &self.partition;
                let mut headers = record.headers;
                let headers = (0..record.header_count).map_while(|_| headers.header().ok());
                let passed_over = std::mem::take(&mut self.passed_over);
                batch.push(
                    topic,
                    *partition,
                    offset,
                    passed_over,
                    record.timestamp_ms,
                    record.key,
                    record.value,
                    headers,
                );
            }
            if left > 0 {
                self.open = Some((self.plain.len() - fields.0.len(), left));
                return Ok(());
            }
            // Compaction may have removed the last records of the batch.
            self.next_offset = self.next_offset.max(head.last_offset() + 1);
            self.open = None;
            let _handed_out = bytes.split_to(size);
        }
        Ok(())
    }
}

impl AbortedTransactions {
    /// Whether the batch is nobody's: a marker, or part of an aborted transaction.
    fn leave_out(&mut self, batch: &Batch<'_>) -> Result<bool, Unreadable> {
        while let Some((producer, _)) = self.ahead.pop_if(|(_, first_offset)| *first_offset <= batch.last_offset()) {
            self.skipped.insert(producer);
        }
        if batch.is_control() {
            if batch.control()? == Control::Abort {
                self.skipped.remove(&batch.producer_id);
            }
            return Ok(true);
        }
        Ok(batch.is_transactional() && self.skipped.contains(&batch.producer_id))
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::fetch_response::AbortedTransaction;
    use kafka_protocol::protocol::StrBytes;
    use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

    use super::*;

    const ABORT: &[u8] = &[0, 0, 0, 0];
    const COMMIT: &[u8] = &[0, 0, 0, 1];

    fn record(offset: i64, producer_id: i64, value: &str) -> Record {
        Record {
            transactional: producer_id >= 0,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 0,
            producer_id,
            producer_epoch: 0,
            timestamp_type: TimestampType::Creation,
            offset,
            sequence: offset as i32,
            timestamp: 1_000 + offset,
            key: (offset % 2 == 0).then(|| b"key".to_vec().into()),
            value: Some(value.as_bytes().to_vec().into()),
            headers: [(StrBytes::from_static_str("name"), Some(b"content".to_vec().into()))].into_iter().collect(),
        }
    }

    fn marker(offset: i64, producer_id: i64, kind: &[u8]) -> Record {
        let value = Some(vec![0; 6].into());
        Record {
            control: true,
            key: Some(kind.to_vec().into()),
            value,
            headers: Default::default(),
            ..record(offset, producer_id, "")
        }
    }

    /// Batches by an encoder that is not ours, each with its own codec.
    fn bytes(batches: &[(&[Record], i16)]) -> Bytes {
        let mut all = Vec::new();
        for (records, codec) in batches {
            let options = RecordEncodeOptions { version: 2, compression: Compression::None };
            let mut one = Vec::new();
            RecordBatchEncoder::encode(&mut one, records.iter(), &options).expect("records can be written");
            if *codec != 0 {
                let packed = pack(&one.split_off(61), *codec);
                one.extend_from_slice(&packed);
                one[22] |= *codec as u8;
                let length = one.len() as u32 - 12;
                one[8..12].copy_from_slice(&length.to_be_bytes());
                let checksum = crc32c::crc32c(&one[21..]);
                one[17..21].copy_from_slice(&checksum.to_be_bytes());
            }
            all.extend_from_slice(&one);
        }
        all.into()
    }

    fn pack(plain: &[u8], codec: i16) -> Vec<u8> {
        use std::io::Write;
        match codec {
            1 => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(plain).expect("a vector takes everything");
                encoder.finish().expect("a vector takes everything")
            }
            2 => snap::raw::Encoder::new().compress_vec(plain).expect("it can be packed"),
            3 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(plain).expect("a vector takes everything");
                encoder.finish().expect("a vector takes everything")
            }
            _ => zstd::encode_all(plain, 0).expect("it can be packed"),
        }
    }

    fn cursor(offset: i64) -> Cursor {
        Cursor::new(TopicPartition::new("topic", 3), 3, offset, 1)
    }

    fn data(records: Bytes, aborted: &[(i64, i64)]) -> PartitionData {
        let aborted = aborted.iter().map(|(producer, first_offset)| {
            AbortedTransaction::default().with_producer_id((*producer).into()).with_first_offset(*first_offset)
        });
        PartitionData::default().with_records(Some(records)).with_aborted_transactions(Some(aborted.collect()))
    }

    fn read(cursor: &mut Cursor, records_max: usize) -> Vec<(u64, String)> {
        let mut batch = RecordBatch::default();
        cursor.pull(&mut batch, records_max, usize::MAX).expect("it can be read");
        let seen = (0..batch.len()).map(|index| {
            let headers = batch.headers(index);
            assert_eq!(headers, [("name", Some(&b"content"[..]))]);
            let view = batch.view(index, &headers);
            assert_eq!(view.event_time.millis(), 1_000 + view.origin.offset as i64);
            assert_eq!(view.key.is_some(), view.origin.offset % 2 == 0);
            (view.origin.offset, String::from_utf8_lossy(view.value.unwrap_or_default()).into_owned())
        });
        seen.collect()
    }

    #[test]
    fn every_codec_from_any_offset_in_pieces_of_any_size() {
        for codec in 0..=4 {
            let records: Vec<Record> = (10..20).map(|offset| record(offset, -1, &format!("v{offset}"))).collect();
            let all = bytes(&[(&records[..4], codec), (&records[4..], codec)]);
            for (from, piece) in [(10, 1), (12, 3), (13, 100), (14, 2), (19, 1)] {
                let mut cursor = cursor(from);
                cursor.take(data(all.clone(), &[]), 20).expect("it can be read");
                assert_eq!(cursor.fetch_offset, 20);
                assert!(!cursor.reached_end());
                let mut seen = Vec::new();
                while !cursor.reached_end() {
                    seen.extend(read(&mut cursor, piece));
                }
                let expected: Vec<_> = (from..20).map(|offset| (offset as u64, format!("v{offset}"))).collect();
                assert_eq!(seen, expected, "codec {codec}, from {from}, {piece} at a time");
            }
        }
    }

    #[test]
    fn what_was_aborted_is_left_out_and_what_was_committed_beside_it_is_not() {
        let all = bytes(&[
            (&[record(0, 7, "aborted")], 3),
            (&[record(1, 8, "committed")], 0),
            (&[record(2, 7, "aborted")], 0),
            (&[marker(3, 7, ABORT)], 0),
            (&[record(4, 7, "the next of the same producer")], 0),
            (&[marker(5, 8, COMMIT)], 0),
            (&[marker(6, 7, COMMIT)], 0),
            (&[record(7, -1, "in no transaction")], 0),
            (&[record(8, 7, "aborted again")], 0),
            (&[marker(9, 7, ABORT)], 0),
        ]);
        let mut cursor = cursor(0);
        cursor.take(data(all.clone(), &[(7, 8), (7, 0)]), 10).expect("it can be read");
        let seen: Vec<u64> = read(&mut cursor, 100).into_iter().map(|(offset, _)| offset).collect();
        assert_eq!(seen, [1, 4, 7]);
        assert!(cursor.reached_end(), "markers count as read");
        // Handed out singly, and begun in the middle.
        for (from, expected) in
            [(0, vec![(1, 1), (4, 2), (7, 2)]), (1, vec![(1, 0), (4, 2), (7, 2)]), (6, vec![(7, 1)])]
        {
            let mut cursor = self::cursor(from);
            cursor.take(data(all.clone(), &[(7, 8), (7, 0)]), 10).expect("it can be read");
            let mut batch = RecordBatch::default();
            let mut seen = Vec::new();
            while !cursor.reached_end() {
                batch.clear();
                cursor.pull(&mut batch, 1, usize::MAX).expect("it can be read");
                seen.extend(batch.metas().iter().map(|meta| (meta.offset, meta.passed_over)));
            }
            assert_eq!(seen, expected, "from {from}");
        }
    }

    #[test]
    fn a_batch_that_is_cut_off_is_asked_for_again() {
        let records = [record(0, -1, "whole"), record(1, -1, "cut off")];
        let all = bytes(&[(&records[..1], 0), (&records[1..], 0)]);
        for cut in 1..60 {
            let mut cursor = cursor(0);
            cursor.take(data(all.slice(..all.len() - cut), &[]), 2).expect("what is whole can be read");
            assert_eq!(cursor.fetch_offset, 1);
            assert_eq!(read(&mut cursor, 9).len(), 1);
            assert!(!cursor.reached_end());
        }
    }

    #[test]
    fn a_batch_with_any_bit_flipped_is_refused_and_never_read_as_another() {
        let all = bytes(&[(&[record(0, -1, "value")], 0)]);
        // Offset, length, leader's epoch and magic stand before the checksum.
        for index in 17..all.len() {
            for bit in 0..8 {
                let mut damaged = all.to_vec();
                damaged[index] ^= 1 << bit;
                assert!(cursor(0).take(data(damaged.into(), &[]), 1).is_err(), "byte {index}, bit {bit}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_at_all_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let mut cursor = cursor(0);
            if cursor.take(data(bytes.into(), &[]), 1).is_ok() {
                let _read_or_refused = cursor.pull(&mut RecordBatch::default(), 100, usize::MAX);
            }
        }
    }
}
