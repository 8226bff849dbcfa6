//! Record batches, format 2: what lies in a partition of Kafka.
//!
//! Source: `DefaultRecordBatch` and `DefaultRecord` of Apache Kafka, and <https://kafka.apache.org/documentation/#recordbatch>.

use std::io::Write;

use bytes::Bytes;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use crate::broker::Outgoing;

/// Everything before the records.
const HEADER_BYTES: usize = 61;
/// The checksum covers what follows it.
const CHECKSUM_AT: usize = 17;
const CHECKSUMMED_FROM: usize = 21;
/// Base offset and length, which the length does not count.
const UNCOUNTED_BYTES: usize = 12;
const MAGIC: u8 = 2;
const LZ4: u16 = 3;
const TRANSACTIONAL: u16 = 1 << 4;
/// The leader sets it.
const NO_LEADER_EPOCH: i32 = -1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Compression {
    None,
    Lz4,
}

/// Whose transaction a batch belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
}

/// Records of one partition that are not sealed yet. Memory is reused from batch to batch.
#[derive(Debug, Default)]
pub(super) struct Draft {
    records: Vec<u8>,
    count: i32,
    first_timestamp_ms: i64,
    timestamp_ms_max: i64,
}

/// A batch as it is sent, any number of times.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) bytes: Bytes,
    pub(super) count: i32,
}

impl Draft {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes before compression.
    pub(super) fn bytes(&self) -> usize {
        self.records.len()
    }

    pub(super) fn push(&mut self, record: &Outgoing<'_>) {
        if self.count == 0 {
            self.first_timestamp_ms = record.timestamp_ms;
            self.timestamp_ms_max = record.timestamp_ms;
        }
        self.timestamp_ms_max = self.timestamp_ms_max.max(record.timestamp_ms);
        let timestamp_delta = record.timestamp_ms.wrapping_sub(self.first_timestamp_ms);
        let headers = record.headers.iter();
        let header_bytes: usize = headers.map(|(name, value)| sized(Some(name.as_bytes())) + sized(*value)).sum();
        let length = 1
            + varint_bytes(timestamp_delta)
            + varint_bytes(self.count.into())
            + sized(record.key)
            + sized(record.value)
            + varint_bytes(record.headers.len() as i64)
            + header_bytes;
        let out = &mut self.records;
        out.reserve(length + 5);
        put_varint(out, length as i64);
        // Attributes, of which there are none.
        out.push(0);
        put_varint(out, timestamp_delta);
        put_varint(out, self.count.into());
        put_sized(out, record.key);
        put_sized(out, record.value);
        put_varint(out, record.headers.len() as i64);
        for (name, value) in record.headers {
            put_sized(out, Some(name.as_bytes()));
            put_sized(out, *value);
        }
        self.count += 1;
    }

    /// Makes a batch of what there is, and begins anew. Its records have the sequence numbers from `sequence` on.
    pub(super) fn seal(&mut self, identity: Identity, sequence: i32, compression: Compression) -> Sealed {
        let mut batch = Vec::with_capacity(HEADER_BYTES + self.records.len() + 64);
        batch.resize(HEADER_BYTES, 0);
        let codec = match compression {
            Compression::None => 0,
            Compression::Lz4 => LZ4,
        };
        match compression {
            Compression::None => batch.extend_from_slice(&self.records),
            Compression::Lz4 => batch = compressed(batch, &self.records),
        }
        let length = (batch.len() - UNCOUNTED_BYTES) as u32;
        let mut fields = Fields { batch: &mut batch, at: 0 };
        fields.put(0_i64.to_be_bytes());
        fields.put(length.to_be_bytes());
        fields.put(NO_LEADER_EPOCH.to_be_bytes());
        fields.put([MAGIC]);
        fields.at = CHECKSUMMED_FROM;
        fields.put((codec | TRANSACTIONAL).to_be_bytes());
        fields.put((self.count - 1).to_be_bytes());
        fields.put(self.first_timestamp_ms.to_be_bytes());
        fields.put(self.timestamp_ms_max.to_be_bytes());
        fields.put(identity.producer_id.to_be_bytes());
        fields.put(identity.epoch.to_be_bytes());
        fields.put(sequence.to_be_bytes());
        fields.put(self.count.to_be_bytes());
        let checksum = crc32c::crc32c(&batch[CHECKSUMMED_FROM..]);
        batch[CHECKSUM_AT..CHECKSUMMED_FROM].copy_from_slice(&checksum.to_be_bytes());
        let sealed = Sealed { bytes: batch.into(), count: self.count };
        self.discard();
        sealed
    }

    pub(super) fn discard(&mut self) {
        self.records.clear();
        self.count = 0;
    }
}

struct Fields<'a> {
    batch: &'a mut [u8],
    at: usize,
}

impl Fields<'_> {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.batch[self.at..self.at + N].copy_from_slice(&bytes);
        self.at += N;
    }
}

/// Kafka wants frames of independent blocks.
fn compressed(batch: Vec<u8>, records: &[u8]) -> Vec<u8> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, batch);
    encoder.write_all(records).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything")
}

/// Bytes of a length and what it counts; -1 stands for nothing.
fn sized(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_bytes(bytes.len() as i64) + bytes.len())
}

fn put_sized(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn varint_bytes(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use kafka_protocol::records::{Compression as Codec, RecordBatchDecoder};
    use proptest::prelude::*;

    use super::*;

    type Content = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

    fn content() -> impl Strategy<Value = Content> {
        let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
        let headers = proptest::collection::btree_map("[a-z]{1,9}", bytes(), 0..4);
        let headers = headers.prop_map(|headers| headers.into_iter().collect());
        (-5_i64..2_000_000_000_000, bytes(), bytes(), headers)
    }

    fn draft(records: &[Content]) -> Draft {
        let mut draft = Draft::default();
        for (timestamp_ms, key, value, headers) in records {
            let headers: Vec<(&str, Option<&[u8]>)> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            draft.push(&Outgoing {
                topic: "topic",
                partition: 0,
                timestamp_ms: *timestamp_ms,
                key: key.as_deref(),
                value: value.as_deref(),
                headers: &headers,
            });
        }
        draft
    }

    proptest! {
        /// Another decoder of the format reads what was written, and checks the checksum.
        #[test]
        fn a_batch_is_read_as_it_was_written(records in proptest::collection::vec(content(), 1..40), sequence in 0..9_i32) {
            let identity = Identity { producer_id: 77, epoch: 3 };
            for compression in [Compression::None, Compression::Lz4] {
                let sealed = draft(&records).seal(identity, sequence, compression);
                prop_assert_eq!(sealed.count as usize, records.len());
                let unpack = |bytes: &mut Bytes, codec: Codec| match codec {
                    Codec::None => Ok(bytes.clone()),
                    _ => {
                        let mut plain = Vec::new();
                        std::io::copy(&mut lz4_flex::frame::FrameDecoder::new(bytes.as_ref()), &mut plain)?;
                        Ok(plain.into())
                    }
                };
                let mut bytes = sealed.bytes;
                let set = RecordBatchDecoder::decode_with_custom_compression(&mut bytes, Some(unpack));
                let read = set.expect("it can be read").records;
                prop_assert_eq!(read.len(), records.len());
                for (index, (one, (timestamp_ms, key, value, headers))) in read.iter().zip(&records).enumerate() {
                    prop_assert!(one.transactional && !one.control);
                    prop_assert_eq!((one.producer_id, one.producer_epoch), (77, 3));
                    prop_assert_eq!((one.offset, one.sequence), (index as i64, sequence + index as i32));
                    prop_assert_eq!(one.timestamp, *timestamp_ms);
                    prop_assert_eq!(one.key.as_deref(), key.as_deref());
                    prop_assert_eq!(one.value.as_deref(), value.as_deref());
                    let read: Vec<_> = one.headers.iter().map(|(name, value)| (name.to_string(), value.as_ref().map(|value| value.to_vec()))).collect();
                    prop_assert_eq!(&read, headers);
                }
            }
        }
    }

    #[test]
    fn a_draft_begins_anew_after_each_batch() {
        let mut draft = draft(&[(5, None, None, Vec::new())]);
        assert!(!draft.is_empty());
        let identity = Identity { producer_id: 1, epoch: 0 };
        assert_eq!(draft.seal(identity, 0, Compression::Lz4).count, 1);
        assert!(draft.is_empty() && draft.bytes() == 0);
    }
}
