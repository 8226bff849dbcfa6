//! The chain: how an entry is added to it, and how a whole one is judged.

use std::fmt;

use crate::entry::{Action, Entry};
use crate::hex;

/// The end of a chain: what the next entry follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// 0 for an empty chain.
    pub sequence: u64,
    pub hash: [u8; 32],
}

impl Head {
    /// The end of the chain whose last entry this is; `None` if its hash is none.
    pub fn of(last: &Entry) -> Option<Self> {
        Some(Self { sequence: last.sequence, hash: hex::decode(&last.hash)? })
    }

    pub fn hash_text(&self) -> String {
        hex::encode(&self.hash)
    }

    /// The entry that follows. The chain ends with it once it is written.
    pub fn next(&self, action: Action, at_ms: i64) -> Entry {
        Entry::seal(action, self.sequence + 1, at_ms, self.hash)
    }
}

/// Where an entry lies, and what the record around it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub offset: u64,
    pub timestamp_ms: i64,
    /// An entry lies in a record without key and headers.
    pub is_bare: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// Not an entry, or not as it was written.
    Altered,
    /// Entries are missing before this one.
    Gap,
    /// It stands behind one that it should stand before, or for a second time.
    Reordered,
    /// Its number is right, but it follows another entry than the one before it.
    Unchained,
    /// A checkpoint says otherwise.
    Checkpoint,
}

impl FindingKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Gap => "gap",
            Self::Reordered => "reordered",
            Self::Unchained => "unchained",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// Something that does not belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub offset: u64,
    pub kind: FindingKind,
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at offset {}: {}", self.kind.name(), self.offset, self.message)
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    pub entries: u64,
    pub first_at_ms: Option<i64>,
    pub last_at_ms: Option<i64>,
    pub head: Head,
}

/// Follows a chain from its beginning.
#[derive(Debug, Default)]
pub struct Verifier {
    coverage: Coverage,
    findings: Vec<Finding>,
    /// Hash by sequence number, for checkpoints: entry 1 is the first.
    hashes: Vec<String>,
}

impl Verifier {
    /// Looks at the next record of the trail. After one that does not belong it goes on with what that one says, so that
    /// one change gives one finding.
    pub fn see(&mut self, place: Place, value: Option<&[u8]>) {
        let entry = match value.map(Entry::decode) {
            Some(Ok(entry)) => entry,
            Some(Err(error)) => {
                self.report(place, FindingKind::Altered, error.to_string());
                return self.skip();
            }
            None => return self.report(place, FindingKind::Altered, "it is empty".to_owned()),
        };
        let expected = self.coverage.head;
        if !place.is_bare || place.timestamp_ms != entry.at_ms {
            let message = "the record around it has a key, headers or another time".to_owned();
            self.report(place, FindingKind::Altered, message);
        }
        match entry.sequence.cmp(&(expected.sequence + 1)) {
            std::cmp::Ordering::Greater => {
                let missing = entry.sequence - expected.sequence - 1;
                self.report(place, FindingKind::Gap, format!("{missing} entries are missing before it"));
            }
            std::cmp::Ordering::Less => {
                let message = format!("number {} comes after number {}", entry.sequence, expected.sequence);
                return self.report(place, FindingKind::Reordered, message);
            }
            std::cmp::Ordering::Equal => {
                if !self.is_lost() && entry.previous_hash != expected.hash_text() {
                    let message =
                        format!("number {} follows another entry than number {}", entry.sequence, entry.sequence - 1);
                    self.report(place, FindingKind::Unchained, message);
                }
            }
        }
        let missing = usize::try_from(entry.sequence).unwrap_or(usize::MAX).saturating_sub(1);
        if missing < self.hashes.len() + MISSING_MAX {
            self.hashes.resize(missing, String::new());
            self.hashes.push(entry.hash.clone());
        }
        self.coverage.entries += 1;
        self.coverage.first_at_ms.get_or_insert(entry.at_ms);
        self.coverage.last_at_ms = Some(entry.at_ms);
        if let Some(head) = Head::of(&entry) {
            self.coverage.head = head;
        }
    }

    /// The hash of entry `sequence`, if it was seen.
    pub fn hash(&self, sequence: u64) -> Option<&str> {
        let index = usize::try_from(sequence.checked_sub(1)?).ok()?;
        self.hashes.get(index).map(String::as_str).filter(|hash| !hash.is_empty())
    }

    pub fn coverage(&self) -> Coverage {
        self.coverage
    }

    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    fn report(&mut self, place: Place, kind: FindingKind, message: String) {
        self.findings.push(Finding { offset: place.offset, kind, message });
    }

    /// Counts an entry that cannot be relied on, so that the one behind it is no gap: that one is taken at its word.
    fn skip(&mut self) {
        self.coverage.head = Head { sequence: self.coverage.head.sequence + 1, hash: LOST };
        self.hashes.push(String::new());
    }

    /// Whether the hash of the entry before is not known.
    fn is_lost(&self) -> bool {
        self.coverage.head.hash == LOST
    }
}

/// Stands for a hash that nobody knows any more. SHA-256 gives it for nothing that anybody has found.
const LOST: [u8; 32] = [0xff; 32];
/// A number further ahead than this is not believed.
const MISSING_MAX: usize = 1_000_000;
