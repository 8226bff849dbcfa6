//! A block: records of one partition, encoded one after another. It is the unit of reading and of checking.
//!
//! A record is timestamp, key length, value length, number of headers, key, value, then each header with its two lengths;
//! integers are little-endian, and a length of `u32::MAX` stands for null.

use std::sync::Arc;

use crate::broker::{Outgoing, RecordBatch};

/// A block is closed by the record that brings it to this size, so that starting in its middle stays cheap.
const BLOCK_BYTES_TARGET: usize = 64 * 1024;

const NULL: u32 = u32::MAX;

/// What is known of a block before it lies in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockSummary {
    pub(crate) records: u32,
    pub(crate) length: u32,
    pub(crate) checksum: u32,
    pub(crate) timestamp_max: i64,
}

/// Records of one partition that are not yet in the journal.
#[derive(Debug, Default)]
pub(crate) struct PendingBlocks {
    pub(crate) bytes: Vec<u8>,
    closed: Vec<BlockSummary>,
    start: usize,
    records: u32,
    timestamp_max: i64,
}

impl PendingBlocks {
    pub(crate) fn push(&mut self, record: &Outgoing<'_>) {
        encode(&mut self.bytes, record);
        self.timestamp_max =
            if self.records == 0 { record.timestamp_ms } else { self.timestamp_max.max(record.timestamp_ms) };
        self.records += 1;
        if self.bytes.len() - self.start >= BLOCK_BYTES_TARGET {
            self.close();
        }
    }

    /// The blocks in order; their bytes lie one after another in `bytes`.
    pub(crate) fn summaries(&mut self) -> &[BlockSummary] {
        if self.records > 0 {
            self.close();
        }
        &self.closed
    }

    fn close(&mut self) {
        let block = &self.bytes[self.start..];
        self.closed.push(BlockSummary {
            records: self.records,
            length: block.len() as u32,
            checksum: crc32fast::hash(block),
            timestamp_max: self.timestamp_max,
        });
        self.start = self.bytes.len();
        self.records = 0;
    }
}

/// Bytes that `record` takes in a block.
pub(crate) fn encoded_length(record: &Outgoing<'_>) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| 8 + name.len() + value.map_or(0, <[u8]>::len)).sum();
    20 + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers
}

fn encode(bytes: &mut Vec<u8>, record: &Outgoing<'_>) {
    bytes.extend_from_slice(&record.timestamp_ms.to_le_bytes());
    push_length(bytes, record.key);
    push_length(bytes, record.value);
    bytes.extend_from_slice(&(record.headers.len() as u32).to_le_bytes());
    bytes.extend_from_slice(record.key.unwrap_or_default());
    bytes.extend_from_slice(record.value.unwrap_or_default());
    for (name, value) in record.headers {
        push_length(bytes, Some(name.as_bytes()));
        push_length(bytes, *value);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(value.unwrap_or_default());
    }
}

fn push_length(bytes: &mut Vec<u8>, part: Option<&[u8]>) {
    let length = part.map_or(NULL, |part| part.len() as u32);
    bytes.extend_from_slice(&length.to_le_bytes());
}

/// A record inside a block. `None` from any function here means that the block is not what was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockRecord<'a> {
    pub(crate) timestamp_ms: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [u8],
}

impl<'a> BlockRecord<'a> {
    /// The record that starts at `position`, and the position of the next.
    pub(crate) fn at(block: &'a [u8], position: usize) -> Option<(Self, usize)> {
        let mut rest = block.get(position..)?;
        let timestamp_ms = i64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
        let key_length = take_u32(&mut rest)?;
        let value_length = take_u32(&mut rest)?;
        let headers_count = take_u32(&mut rest)?;
        let key = take_part(&mut rest, key_length)?;
        let value = take_part(&mut rest, value_length)?;
        let headers = rest;
        for _ in 0..headers_count {
            take_header(&mut rest)?;
        }
        let headers = &headers[..headers.len() - rest.len()];
        Some((Self { timestamp_ms, key, value, headers }, block.len() - rest.len()))
    }

    /// What was aborted takes no offsets here, so none is passed over.
    pub(crate) fn push_to(&self, batch: &mut RecordBatch, topic: &Arc<str>, partition: u32, offset: u64) {
        let mut rest = self.headers;
        let headers = std::iter::from_fn(|| take_header(&mut rest));
        batch.push(topic, partition, offset, 0, self.timestamp_ms, self.key, self.value, headers);
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?))
}

fn take_part<'a>(rest: &mut &'a [u8], length: u32) -> Option<Option<&'a [u8]>> {
    if length == NULL { Some(None) } else { take(rest, length as usize).map(Some) }
}

fn take_header<'a>(rest: &mut &'a [u8]) -> Option<(&'a str, Option<&'a [u8]>)> {
    let name_length = take_u32(rest)?;
    let value_length = take_u32(rest)?;
    let name = std::str::from_utf8(take(rest, name_length as usize)?).ok()?;
    Some((name, take_part(rest, value_length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_or_changed_block_never_panics() {
        let mut pending = PendingBlocks::default();
        let headers: [(&str, Option<&[u8]>); 2] = [("a", None), ("b", Some(b"\xff"))];
        let record =
            Outgoing { topic: "t", partition: 0, timestamp_ms: 7, key: None, value: Some(b"value"), headers: &headers };
        pending.push(&record);
        let summary = pending.summaries()[0];
        assert_eq!((summary.records, summary.timestamp_max), (1, 7));
        assert_eq!(encoded_length(&record), pending.bytes.len());
        let block = pending.bytes.clone();
        assert_eq!(BlockRecord::at(&block, 0).expect("the record is whole").1, block.len());
        for length in 0..block.len() {
            assert!(BlockRecord::at(&block[..length], 0).is_none(), "cut to {length}");
        }
        for index in 0..block.len() {
            let mut changed = block.clone();
            changed[index] ^= 0x80;
            let _survives = BlockRecord::at(&changed, 0);
        }
    }
}
