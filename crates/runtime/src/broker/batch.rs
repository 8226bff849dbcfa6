//! A batch of records in one arena, so that reading costs no allocation per record.

use std::ops::Range;
use std::sync::Arc;

use tidemill_core::{EventTime, Headers, Origin, RecordView};

/// Where a record of the batch lies.
#[derive(Clone, Debug)]
pub struct RecordMeta {
    pub topic: Arc<str>,
    pub partition: u32,
    pub offset: u64,
    /// Offsets right before it that hold nothing to read: markers of transactions, and what was aborted. Counted from the
    /// record before it, or from where reading began.
    pub passed_over: u64,
    pub timestamp_ms: i64,
    key: Option<Range<u32>>,
    value: Option<Range<u32>>,
    headers: Range<u32>,
}

/// Records in the order in which they were read. Reused from poll to poll.
#[derive(Debug, Default)]
pub struct RecordBatch {
    arena: Vec<u8>,
    records: Vec<RecordMeta>,
    /// Name and value of each header, all records together.
    headers: Vec<(Range<u32>, Option<Range<u32>>)>,
}

impl RecordBatch {
    pub fn clear(&mut self) {
        self.arena.clear();
        self.records.clear();
        self.headers.clear();
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of keys, values and headers.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    pub fn metas(&self) -> &[RecordMeta] {
        &self.records
    }

    /// Appends one record. A batch holds less than 4 GiB.
    #[allow(clippy::too_many_arguments, reason = "a record has this many parts")]
    pub fn push<'h>(
        &mut self,
        topic: &Arc<str>,
        partition: u32,
        offset: u64,
        passed_over: u64,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>,
    ) {
        let key = key.map(|bytes| self.store(bytes));
        let value = value.map(|bytes| self.store(bytes));
        let first = self.headers.len() as u32;
        for (name, content) in headers {
            let name = self.store(name.as_bytes());
            let content = content.map(|bytes| self.store(bytes));
            self.headers.push((name, content));
        }
        let headers = first..self.headers.len() as u32;
        self.records.push(RecordMeta {
            topic: Arc::clone(topic),
            partition,
            offset,
            passed_over,
            timestamp_ms,
            key,
            value,
            headers,
        });
    }

    /// Headers of record `index`, borrowed; the view of the record wants them as a slice.
    pub fn headers(&self, index: usize) -> Vec<(&str, Option<&[u8]>)> {
        let range = self.records[index].headers.clone();
        self.headers[range.start as usize..range.end as usize]
            .iter()
            .map(|(name, value)| {
                let name = std::str::from_utf8(self.slice(name)).unwrap_or_default();
                (name, value.as_ref().map(|value| self.slice(value)))
            })
            .collect()
    }

    /// Record `index`, with the headers that [`RecordBatch::headers`] returned for it.
    pub fn view<'a>(&'a self, index: usize, headers: &'a [(&'a str, Option<&'a [u8]>)]) -> RecordView<'a> {
        let meta = &self.records[index];
        RecordView {
            origin: Origin { topic: &meta.topic, partition: meta.partition, offset: meta.offset },
            event_time: EventTime::from_millis(meta.timestamp_ms),
            key: meta.key.as_ref().map(|range| self.slice(range)),
            value: meta.value.as_ref().map(|range| self.slice(range)),
            headers: Headers::new(headers),
        }
    }

    fn store(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        start..self.arena.len() as u32
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        &self.arena[range.start as usize..range.end as usize]
    }
}
