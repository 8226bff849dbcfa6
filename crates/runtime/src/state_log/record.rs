//! A record of the state log: a version, changes one after another, the checkpoint if it is the last of its transaction,
//! and the length of the checkpoint, so that it can be read without the changes.
//!
//! ```text
//! version u8 | operation … | checkpoint | length of the checkpoint, u32, little-endian
//! ```
//!
//! An operation begins with a number: 0 names a store, which gets the next number of the record, from 0; otherwise it is
//! `1 + 2 × store + (1 if it deletes)`, followed by the key and, unless it deletes, the value. Numbers are LEB128; names,
//! keys and values come after their lengths. Kafka's checksum covers the record.

use crate::store::changes::{Change, SEPARATOR};
use crate::task::checkpoint::{Checkpoint, CheckpointError};

const VERSION: u8 = 1;
const NAMES_A_STORE: u64 = 0;
const LENGTH_BYTES: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not in this format.
    #[error("{0}; run the version of Tidemill that wrote it, or begin a new pipeline and replay its inputs into it")]
    Format(String),
    /// In this format, and not as it was written.
    #[error("a record of the state log is not as it was written: {0}")]
    Damaged(&'static str),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Writes the records of one transaction and task. Reused from transaction to transaction.
#[derive(Debug, Default)]
pub struct RecordWriter {
    bytes: Vec<u8>,
    /// Names of stores and their places in `names`, by their numbers in the open record.
    stores: Vec<std::ops::Range<usize>>,
    names: Vec<u8>,
    record_bytes_max: usize,
    /// Bytes of the records that are finished.
    finished_bytes: u64,
}

impl RecordWriter {
    /// Begins the first record of a transaction.
    pub fn begin(&mut self, record_bytes_max: usize) {
        self.record_bytes_max = record_bytes_max;
        self.finished_bytes = 0;
        self.clear();
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.push(VERSION);
        self.stores.clear();
        self.names.clear();
    }

    /// Bytes of the transaction so far.
    pub fn written_bytes(&self) -> u64 {
        self.finished_bytes + self.bytes.len() as u64
    }

    /// Appends a change. Hands a record to `send` before it if the open one is full.
    pub fn push<E>(
        &mut self,
        (full_key, value): Change<'_>,
        send: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.bytes.len() >= self.record_bytes_max {
            self.bytes.extend_from_slice(&0_u32.to_le_bytes());
            send(&self.bytes)?;
            self.finished_bytes += self.bytes.len() as u64;
            self.clear();
        }
        let name_length = full_key.iter().position(|byte| *byte == SEPARATOR).unwrap_or(full_key.len());
        let (name, rest) = full_key.split_at(name_length);
        let store = self.number_of(name);
        push_number(&mut self.bytes, 1 + 2 * store + u64::from(value.is_none()));
        push_part(&mut self.bytes, rest.get(1..).unwrap_or_default());
        if let Some(value) = value {
            push_part(&mut self.bytes, value);
        }
        Ok(())
    }

    /// Ends the transaction's last record with the checkpoint.
    pub fn finish<E>(&mut self, checkpoint: &[u8], send: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.bytes.extend_from_slice(checkpoint);
        self.bytes.extend_from_slice(&(checkpoint.len() as u32).to_le_bytes());
        send(&self.bytes)
    }

    /// There are few stores, and most changes are of one that was named lately.
    fn number_of(&mut self, name: &[u8]) -> u64 {
        let known = self.stores.iter().position(|range| self.names[range.clone()] == *name);
        let number = known.unwrap_or_else(|| {
            let start = self.names.len();
            self.names.extend_from_slice(name);
            self.stores.push(start..self.names.len());
            push_number(&mut self.bytes, NAMES_A_STORE);
            push_part(&mut self.bytes, name);
            self.stores.len() - 1
        });
        number as u64
    }
}

/// A record as it lies in the log.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord<'a> {
    operations: &'a [u8],
    /// Ends the transaction.
    pub checkpoint: Option<&'a [u8]>,
}

impl<'a> LogRecord<'a> {
    /// `key` and `value` of the record. The format before this one had a record per key.
    pub fn decode(key: Option<&[u8]>, value: Option<&'a [u8]>) -> Result<Self, LogError> {
        let (None, Some(value)) = (key, value) else {
            return Err(LogError::Format("the state log holds a record per key, the format of version 0".to_owned()));
        };
        match value.first() {
            Some(&VERSION) => {}
            Some(version) => {
                return Err(LogError::Format(format!(
                    "the state log holds records of version {version}, not {VERSION}"
                )));
            }
            None => return Err(LogError::Damaged("it is empty")),
        }
        let cut = LogError::Damaged("it is cut off");
        let Some((rest, length)) = value[1..].split_last_chunk::<LENGTH_BYTES>() else { return Err(cut) };
        let length = u32::from_le_bytes(*length) as usize;
        let Some(end) = rest.len().checked_sub(length) else { return Err(cut) };
        let (operations, checkpoint) = rest.split_at(end);
        Ok(Self { operations, checkpoint: (length > 0).then_some(checkpoint) })
    }

    /// The checkpoint, decoded; `None` if another record of the transaction follows.
    pub fn decode_checkpoint(&self) -> Result<Option<Checkpoint>, LogError> {
        Ok(self.checkpoint.map(Checkpoint::decode).transpose()?)
    }

    /// Shows each change, in the order in which they were made.
    pub fn for_each_change<E: From<LogError>>(
        &self,
        mut visit: impl FnMut(Change<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = self.operations;
        let mut names: Vec<&[u8]> = Vec::new();
        // The key with the name of store `named` in front.
        let (mut full_key, mut named) = (Vec::new(), None);
        while !rest.is_empty() {
            let operation = take_number(&mut rest)?;
            if operation == NAMES_A_STORE {
                names.push(take_part(&mut rest)?);
                continue;
            }
            let (store, deletes) = ((operation - 1) / 2, (operation - 1) % 2 == 1);
            let name = usize::try_from(store).ok().and_then(|store| names.get(store));
            let name = name.ok_or(LogError::Damaged("it changes a store that it does not name"))?;
            if named != Some(store) {
                full_key.clear();
                full_key.extend_from_slice(name);
                full_key.push(SEPARATOR);
                named = Some(store);
            }
            full_key.truncate(name.len() + 1);
            full_key.extend_from_slice(take_part(&mut rest)?);
            let value = if deletes { None } else { Some(take_part(&mut rest)?) };
            visit((&full_key, value))?;
        }
        Ok(())
    }
}

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn push_part(bytes: &mut Vec<u8>, part: &[u8]) {
    push_number(bytes, part.len() as u64);
    bytes.extend_from_slice(part);
}

fn take_number(rest: &mut &[u8]) -> Result<u64, LogError> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let Some((byte, after)) = rest.split_first() else { break };
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(LogError::Damaged("a number has no end"))
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], LogError> {
    let length = take_number(rest)?;
    let parts = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let (part, after) = parts.ok_or(LogError::Damaged("a part is longer than the record"))?;
    *rest = after;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (Vec<u8>, Option<Vec<u8>>);

    fn written(changes: &[Owned], checkpoint: &[u8], record_bytes_max: usize) -> Vec<Vec<u8>> {
        let mut writer = RecordWriter::default();
        let mut records: Vec<Vec<u8>> = Vec::new();
        let mut send = |record: &[u8]| {
            records.push(record.to_vec());
            Ok::<_, LogError>(())
        };
        writer.begin(record_bytes_max);
        for (key, value) in changes {
            writer.push((key, value.as_deref()), &mut send).expect("nothing fails here");
        }
        writer.finish(checkpoint, &mut send).expect("nothing fails here");
        records
    }

    fn read(records: &[Vec<u8>]) -> (Vec<Owned>, Vec<Option<Vec<u8>>>) {
        let (mut changes, mut checkpoints) = (Vec::new(), Vec::new());
        for record in records {
            let record = LogRecord::decode(None, Some(record)).expect("a record");
            let visit = |(key, value): Change<'_>| {
                changes.push((key.to_vec(), value.map(<[u8]>::to_vec)));
                Ok::<_, LogError>(())
            };
            record.for_each_change(visit).expect("changes");
            checkpoints.push(record.checkpoint.map(<[u8]>::to_vec));
        }
        (changes, checkpoints)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            changes in proptest::collection::vec(
                ("[a-c]{1,3}", proptest::collection::vec(any::<u8>(), 0..200), proptest::option::of("[a-z]{0,300}")),
                0..60,
            ),
            record_bytes_max in 1_usize..3_000,
        ) {
            let full = |(store, key, value): (String, Vec<u8>, Option<String>)| {
                ([store.as_bytes(), &[SEPARATOR], &key].concat(), value.map(String::into_bytes))
            };
            let changes: Vec<Owned> = changes.into_iter().map(full).collect();
            let records = written(&changes, b"checkpoint", record_bytes_max);
            let (found, checkpoints) = read(&records);
            prop_assert_eq!(found, changes);
            let (last, others) = checkpoints.split_last().expect("at least one record");
            prop_assert_eq!(last.as_deref(), Some(&b"checkpoint"[..]));
            prop_assert!(others.iter().all(Option::is_none));
        }

        #[test]
        fn a_damaged_record_never_panics(place in 0_usize..200, bit in 0_u8..8, length in 0_usize..200) {
            let changes = [(b"a\0key".to_vec(), Some(vec![7; 150])), (b"b\0key".to_vec(), None)];
            let mut record = written(&changes, b"checkpoint", 1_000).swap_remove(0);
            let place = place % record.len();
            record[place] ^= 1 << bit;
            record.truncate(length.max(1));
            if let Ok(record) = LogRecord::decode(None, Some(&record)) {
                let _survives = record.for_each_change(|_| Ok::<_, LogError>(()));
            }
        }
    }

    #[test]
    fn another_format_is_refused_by_name() {
        let record = written(&[], b"checkpoint", 1_000).swap_remove(0);
        let mut later = record.clone();
        later[0] = 9;
        type Case<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a str);
        let cases: [Case<'_>; 4] = [
            (Some(b"\0checkpoint"), Some(&record), "version 0"),
            (Some(b"counts\0ebb"), None, "version 0"),
            (None, Some(&later), "version 9"),
            (None, Some(b""), "empty"),
        ];
        for (key, value, expected) in cases {
            let error = LogRecord::decode(key, value).expect_err("it is refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
