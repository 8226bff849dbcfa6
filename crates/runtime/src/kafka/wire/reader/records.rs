//! Record batches, format 2, as leaders hand them out.
//!
//! Source: `DefaultRecordBatch` and `DefaultRecord` of Apache Kafka, and <https://kafka.apache.org/documentation/#recordbatch>.

use std::io::Read;

/// Everything before the records.
const HEADER_BYTES: usize = 61;
/// Base offset and length, which the length does not count.
const UNCOUNTED_BYTES: usize = 12;
const CHECKSUMMED_FROM: usize = 21;
const MAGIC: u8 = 2;
/// A longer batch is not one.
const DECOMPRESSED_BYTES_MAX: u64 = 1 << 30;

const CODEC: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// The head of a batch, and its records as they are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch<'a> {
    pub(super) base_offset: i64,
    last_offset_delta: i32,
    attributes: i16,
    base_timestamp_ms: i64,
    timestamp_ms_max: i64,
    pub(super) producer_id: i64,
    pub(super) count: i32,
    records: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) offset: i64,
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    /// Not looked at yet.
    pub(super) headers: Fields<'a>,
    pub(super) header_count: i64,
}

/// What a transaction ended with, or something else that the broker wrote for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Abort,
    Other,
}

/// Why bytes are no batch. Never quotes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) &'static str);

type Result<T> = std::result::Result<T, Unreadable>;

impl<'a> Batch<'a> {
    /// The first batch of `bytes`, and how many bytes it takes; `None` where it is cut off, as the last one of an answer
    /// may be.
    pub(super) fn first(bytes: &'a [u8]) -> Result<Option<(Self, usize)>> {
        if bytes.len() < HEADER_BYTES {
            return Ok(None);
        }
        let mut fields = Fields(bytes);
        let base_offset = i64::from_be_bytes(fields.array()?);
        let length =
            usize::try_from(i32::from_be_bytes(fields.array()?)).map_err(|_| Unreadable("a negative length"))?;
        let size = length + UNCOUNTED_BYTES;
        let _leader_epoch: [u8; 4] = fields.array()?;
        let [magic] = fields.array()?;
        if magic != MAGIC {
            return Err(Unreadable("a format that is not 2"));
        }
        if size < HEADER_BYTES {
            return Err(Unreadable("a length shorter than its head"));
        }
        if bytes.len() < size {
            return Ok(None);
        }
        let _checksum: [u8; 4] = fields.array()?;
        let attributes = i16::from_be_bytes(fields.array()?);
        let last_offset_delta = i32::from_be_bytes(fields.array()?);
        let base_timestamp_ms = i64::from_be_bytes(fields.array()?);
        let timestamp_ms_max = i64::from_be_bytes(fields.array()?);
        let producer_id = i64::from_be_bytes(fields.array()?);
        let _epoch: [u8; 2] = fields.array()?;
        let _sequence: [u8; 4] = fields.array()?;
        let count = i32::from_be_bytes(fields.array()?);
        let records = &bytes[HEADER_BYTES..size];
        let batch = Self {
            base_offset,
            last_offset_delta,
            attributes,
            base_timestamp_ms,
            timestamp_ms_max,
            producer_id,
            count,
            records,
        };
        Ok(Some((batch, size)))
    }

    /// Whether `bytes`, which begin with a whole batch, are what was written.
    pub(super) fn check(bytes: &[u8]) -> Result<()> {
        let mut fields = Fields(bytes.get(CHECKSUMMED_FROM - 4..).unwrap_or_default());
        let checksum = u32::from_be_bytes(fields.array()?);
        match crc32c::crc32c(fields.0) == checksum {
            true => Ok(()),
            false => Err(Unreadable("a checksum that is not the one of its content")),
        }
    }

    pub(super) fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    pub(super) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub(super) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Puts the records into `plain`, in place of what it holds.
    pub(super) fn unpack(&self, plain: &mut Vec<u8>) -> Result<()> {
        plain.clear();
        let unreadable = |_| Unreadable("records that cannot be decompressed");
        match self.attributes & CODEC {
            0 => plain.extend_from_slice(self.records),
            1 => {
                let decoder = flate2::read::GzDecoder::new(self.records);
                decoder.take(DECOMPRESSED_BYTES_MAX).read_to_end(plain).map_err(unreadable)?;
            }
            2 => snappy(self.records, plain)?,
            3 => {
                let decoder = lz4_flex::frame::FrameDecoder::new(self.records);
                decoder.take(DECOMPRESSED_BYTES_MAX).read_to_end(plain).map_err(unreadable)?;
            }
            4 => {
                let decoder = zstd::stream::read::Decoder::new(self.records).map_err(unreadable)?;
                decoder.take(DECOMPRESSED_BYTES_MAX).read_to_end(plain).map_err(unreadable)?;
            }
            _ => return Err(Unreadable("a codec that is not known")),
        }
        Ok(())
    }

    /// Reads a record of this batch from its unpacked records.
    pub(super) fn record<'r>(&self, fields: &mut Fields<'r>) -> Result<Record<'r>> {
        let length = usize::try_from(fields.varint()?).map_err(|_| Unreadable("a record of negative length"))?;
        let mut record = Fields(fields.bytes(length)?);
        let [_attributes] = record.array()?;
        let timestamp_delta = record.varint()?;
        let offset_delta = record.varint()?;
        let key = record.sized()?;
        let value = record.sized()?;
        let header_count = record.varint()?;
        let timestamp_ms = match self.attributes & LOG_APPEND_TIME {
            0 => self.base_timestamp_ms.wrapping_add(timestamp_delta),
            _ => self.timestamp_ms_max,
        };
        let offset = self.base_offset.wrapping_add(offset_delta);
        Ok(Record { offset, timestamp_ms, key, value, headers: record, header_count })
    }

    /// What a control batch says. Its records are never compressed.
    pub(super) fn control(&self) -> Result<Control> {
        const ABORT: i16 = 0;
        let record = self.record(&mut Fields(self.records))?;
        let mut key = Fields(record.key.unwrap_or_default());
        let _version: [u8; 2] = key.array()?;
        let kind = i16::from_be_bytes(key.array()?);
        Ok(if kind == ABORT { Control::Abort } else { Control::Other })
    }
}

/// Bytes that are read from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Unreadable("less than it should hold"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(length).ok_or(Unreadable("less than it should hold"))?;
        self.0 = rest;
        Ok(first)
    }

    fn varint(&mut self) -> Result<i64> {
        let mut value = 0_u64;
        for (index, byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index as u32);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Unreadable("a number without an end"))
    }

    /// -1 stands for nothing.
    fn sized(&mut self) -> Result<Option<&'a [u8]>> {
        match usize::try_from(self.varint()?) {
            Ok(length) => self.bytes(length).map(Some),
            Err(_) => Ok(None),
        }
    }

    pub(super) fn header(&mut self) -> Result<(&'a str, Option<&'a [u8]>)> {
        let name = self.sized()?.unwrap_or_default();
        // Names of headers are text by the protocol.
        Ok((std::str::from_utf8(name).unwrap_or_default(), self.sized()?))
    }
}

/// Kafka's clients write snappy in the frames of xerial's `snappy-java`; others write one block.
fn snappy(packed: &[u8], plain: &mut Vec<u8>) -> Result<()> {
    const FRAMED: &[u8] = b"\x82SNAPPY\0";
    const FRAME_HEAD_BYTES: usize = 16;
    let mut block = |packed: &[u8]| {
        let unpacked = snap::raw::Decoder::new().decompress_vec(packed);
        plain.extend_from_slice(&unpacked.map_err(|_| Unreadable("records that cannot be decompressed"))?);
        Ok(())
    };
    if !packed.starts_with(FRAMED) {
        return block(packed);
    }
    let mut fields = Fields(packed);
    fields.bytes(FRAME_HEAD_BYTES)?;
    while !fields.0.is_empty() {
        let length = usize::try_from(u32::from_be_bytes(fields.array()?)).unwrap_or(usize::MAX);
        block(fields.bytes(length)?)?;
    }
    Ok(())
}
