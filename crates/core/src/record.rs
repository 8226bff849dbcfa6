//! A record as it lies in a topic, seen without a copy.

use std::fmt;

use crate::time::EventTime;

/// Where a record was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub offset: u64,
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}@{}", self.topic, self.partition, self.offset)
    }
}

impl fmt::Debug for Origin<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Header names and values in the order of the record; a name may occur more than once.
#[derive(Clone, Copy, Default, Debug)]
pub struct Headers<'a> {
    entries: &'a [(&'a str, Option<&'a [u8]>)],
}

impl<'a> Headers<'a> {
    pub fn new(entries: &'a [(&'a str, Option<&'a [u8]>)]) -> Self {
        Self { entries }
    }

    /// The last value under `name`, which is the one Kafka calls *the* value of a header.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.entries.iter().rev().find(|(candidate, _)| *candidate == name).and_then(|(_, value)| *value)
    }

    /// Like [`Headers::get`], for headers that hold text. Bytes that are not UTF-8 count as absent.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + '_ {
        self.entries.iter().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// One record, borrowed from the batch it arrived in. `value == None` is a tombstone.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    pub origin: Origin<'a>,
    pub event_time: EventTime,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}
