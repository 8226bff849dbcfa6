//! A frame: one change of the broker, whole or not at all.
//!
//! On disk it is a prelude of 16 bytes (length of the header, length of the body, checksum of the header, checksum of the
//! prelude's first 12 bytes), the header, and the body: the blocks of a transaction one after another. Each block has its
//! checksum in the header, so that header and blocks together are covered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::embedded::block::BlockSummary;

pub(crate) const PRELUDE_BYTES: usize = 16;

/// What a frame says. Its encoding is the journal's format: a change of it needs another format number in the segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Frame {
    TopicCreated { id: u32, name: String, partitions: u32, config: BTreeMap<String, String> },
    TopicDeleted { id: u32 },
    Transaction { blocks: Vec<FrameBlock>, positions: Vec<GroupPosition> },
    RecordsDeleted { topic: u32, partition: u32, before: u64 },
    GroupDeleted { group: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FrameBlock {
    pub(crate) topic: u32,
    pub(crate) partition: u32,
    pub(crate) records: u32,
    pub(crate) length: u32,
    pub(crate) checksum: u32,
    pub(crate) timestamp_max: i64,
}

impl FrameBlock {
    pub(crate) fn new(topic: u32, partition: u32, summary: BlockSummary) -> Self {
        let BlockSummary { records, length, checksum, timestamp_max } = summary;
        Self { topic, partition, records, length, checksum, timestamp_max }
    }
}

/// The position of a group in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupPosition {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) next_offset: u64,
}

/// What lies at a place of a segment.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// The frame, its whole length, and where in it the body starts.
    Whole { frame: Frame, length: usize, body_start: usize },
    /// The beginning of a frame whose rest was never written.
    Cut,
    /// Something that was not written here.
    Damaged(&'static str),
}

/// Encodes a frame with the bytes of its blocks. `None` if it is larger than a frame can be.
pub(crate) fn encode<'a>(frame: &Frame, bodies: impl Iterator<Item = &'a [u8]>) -> Option<(Vec<u8>, usize)> {
    let mut bytes = postcard::to_extend(frame, vec![0; PRELUDE_BYTES]).ok()?;
    let body_start = bytes.len();
    for body in bodies {
        bytes.extend_from_slice(body);
    }
    let header_length = u32::try_from(body_start - PRELUDE_BYTES).ok()?;
    let body_length = u32::try_from(bytes.len() - body_start).ok()?;
    let header_checksum = crc32fast::hash(&bytes[PRELUDE_BYTES..body_start]);
    bytes[0..4].copy_from_slice(&header_length.to_le_bytes());
    bytes[4..8].copy_from_slice(&body_length.to_le_bytes());
    bytes[8..12].copy_from_slice(&header_checksum.to_le_bytes());
    let prelude_checksum = crc32fast::hash(&bytes[0..12]);
    bytes[12..16].copy_from_slice(&prelude_checksum.to_le_bytes());
    Some((bytes, body_start))
}

/// Decodes the frame at the beginning of `bytes`, which hold everything up to the end of the segment.
pub(crate) fn decode(bytes: &[u8]) -> Decoded {
    if bytes.len() < PRELUDE_BYTES {
        return Decoded::Cut;
    }
    // A file that grew before its bytes arrived reads as zeros up to its end.
    if bytes[..PRELUDE_BYTES] == [0; PRELUDE_BYTES] && bytes.iter().all(|byte| *byte == 0) {
        return Decoded::Cut;
    }
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if word(12) != crc32fast::hash(&bytes[0..12]) {
        return Decoded::Damaged("the checksum of a frame's prelude is wrong");
    }
    let body_start = PRELUDE_BYTES + word(0) as usize;
    let length = body_start + word(4) as usize;
    if length > bytes.len() {
        return Decoded::Cut;
    }
    let is_last = length == bytes.len();
    match check(&bytes[PRELUDE_BYTES..body_start], &bytes[body_start..length], word(8)) {
        Ok(frame) => Decoded::Whole { frame, length, body_start },
        Err(_) if is_last => Decoded::Cut,
        Err(message) => Decoded::Damaged(message),
    }
}

fn check(header: &[u8], body: &[u8], header_checksum: u32) -> Result<Frame, &'static str> {
    if crc32fast::hash(header) != header_checksum {
        return Err("the checksum of a frame's header is wrong");
    }
    let frame: Frame = postcard::from_bytes(header).map_err(|_| "a frame's header cannot be read")?;
    let Frame::Transaction { blocks, .. } = &frame else { return Ok(frame) };
    let mut rest = body;
    for block in blocks {
        let Some((bytes, after)) = rest.split_at_checked(block.length as usize) else {
            return Err("a frame's blocks are longer than the frame");
        };
        if crc32fast::hash(bytes) != block.checksum {
            return Err("the checksum of a block is wrong");
        }
        rest = after;
    }
    Ok(frame)
}
