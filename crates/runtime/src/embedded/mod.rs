//! The embedded broker: one process, durable on local disk, for trying out, tests and simulation.
//!
//! - A transaction is one frame of one journal: all its records for all partitions and all positions of groups, or nothing.
//! - Records get their offsets when they are committed: offsets are dense, and an open or aborted transaction leaves no
//!   trace and holds no reader back. `read_committed` and `read_uncommitted` are therefore the same.
//! - [`Producer::acknowledged`](crate::broker::Producer::acknowledged) is true after the commit of a transaction, or after
//!   the flush of single records; not between flush and commit.
//! - Membership is asked again within the commit, so a member that lost a task cannot commit for it, however late it lost it.
//! - What is committed survives `kill -9`; [`SyncPolicy`] decides about power cuts.
//! - Records that are deleted are no longer seen, but nothing is removed from the disk before [`EmbeddedBroker::wipe`].
//!   Retention and compaction settings of topics are accepted and not acted upon. [`EmbeddedBroker::journal_bytes`] says how large the journal is, `journal_bytes_max` limits it.
//! - A frame never reaches readers in part. A frame that was being written when the process died is cut off at the next
//!   start; damage anywhere else is [`OpenError::Damaged`].

mod block;
mod catalog;
mod core;
mod frame;
mod group;
mod journal;
mod lock;
mod member;
mod producer;
mod reader;
mod shared;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::broker::{
    Broker, BrokerError, BrokerErrorKind, Isolation, Member, MemberOptions, NewTopic, Producer, ProducerOptions,
    Reader, Result, Roster, TopicInfo, TopicPartition, Watermarks,
};
use crate::clock::{Clock, SystemClock};
use crate::embedded::block::BlockRecord;
use crate::embedded::core::Core;
use crate::embedded::journal::{Access, JournalOptions};
use crate::embedded::lock::DirectoryLock;
use crate::embedded::member::EmbeddedMember;
use crate::embedded::producer::EmbeddedProducer;
use crate::embedded::reader::{EmbeddedReader, read_block};
use crate::embedded::shared::Shared;

const JOURNAL: &str = "journal";

/// When a committed frame is forced to the disk itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before the commit returns: survives a power cut, at the price of one sync per commit.
    EveryCommit,
    /// When the operating system sees fit: survives the death of the process, not a power cut.
    OsBuffered,
}

/// What a poll does when there is nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Waits up to its timeout.
    Blocks,
    /// Returns at once: for a simulation, which turns the clock itself.
    ReturnsAtOnce,
}

#[derive(Clone)]
pub struct EmbeddedOptions {
    pub sync: SyncPolicy,
    /// A segment that has reached this is followed by a new one. A larger transaction gets a segment of its own.
    pub segment_bytes_max: u64,
    /// A commit that would make the journal larger than this is refused.
    pub journal_bytes_max: u64,
    /// Bytes that one producer may hold uncommitted.
    pub transaction_bytes_max: usize,
    pub waiting: Waiting,
    pub clock: Arc<dyn Clock>,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            sync: SyncPolicy::OsBuffered,
            segment_bytes_max: 64 * 1024 * 1024,
            journal_bytes_max: u64::MAX,
            transaction_bytes_max: 256 * 1024 * 1024,
            waiting: Waiting::Blocks,
            clock: Arc::new(SystemClock::default()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "embedded_broker_in_use: {path} is in use by process {pid}; stop it, give this one another directory, or open it for reading only"
    )]
    InUse { path: String, pid: String },
    #[error(
        "journal_damaged: {path} at byte {position}: {message}; restore the broker's directory from a copy, or wipe it"
    )]
    Damaged { path: String, position: u64, message: String },
    #[error("embedded_broker_unavailable: {path}: {message}")]
    Unavailable { path: String, message: String },
}

impl From<OpenError> for BrokerError {
    fn from(error: OpenError) -> Self {
        Self::new(BrokerErrorKind::Misconfigured, "open", error.to_string())
    }
}

#[derive(Debug)]
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
    _lock: Option<DirectoryLock>,
}

impl EmbeddedBroker {
    /// Opens the broker in `directory`, which is created if it does not exist.
    pub fn open(directory: &Path, options: EmbeddedOptions) -> std::result::Result<Arc<Self>, OpenError> {
        create_directory(&directory.join(JOURNAL))?;
        let lock = DirectoryLock::take(directory)?;
        Self::open_as(directory, &options, Access::Write, Some(lock))
    }

    /// Opens the broker beside the process that writes it. Serves topics, watermarks, positions and readers, and sees
    /// what is committed meanwhile; everything else is refused.
    pub fn open_read_only(directory: &Path, options: EmbeddedOptions) -> std::result::Result<Arc<Self>, OpenError> {
        Self::open_as(directory, &options, Access::Read, None)
    }

    /// Removes everything in the broker in `directory`, which must not be open.
    pub fn wipe(directory: &Path) -> std::result::Result<(), OpenError> {
        let journal = directory.join(JOURNAL);
        create_directory(&journal)?;
        let _lock = DirectoryLock::take(directory)?;
        fs::remove_dir_all(&journal).map_err(|error| unavailable(&journal, &error))
    }

    /// Size of the journal on disk.
    pub fn journal_bytes(&self) -> Result<u64> {
        Ok(self.shared.lock("journal_bytes")?.journal.bytes())
    }

    fn open_as(
        directory: &Path,
        options: &EmbeddedOptions,
        access: Access,
        lock: Option<DirectoryLock>,
    ) -> std::result::Result<Arc<Self>, OpenError> {
        let EmbeddedOptions { sync, segment_bytes_max, journal_bytes_max, .. } = *options;
        let journal = JournalOptions { segment_bytes_max, journal_bytes_max, sync, access };
        let core = Core::open(&directory.join(JOURNAL), journal)?;
        let shared = Arc::new(Shared::new(directory.to_owned(), access, options, core));
        Ok(Arc::new(Self { shared, _lock: lock }))
    }
}

impl Broker for EmbeddedBroker {
    fn member(&self, options: &MemberOptions) -> Result<Box<dyn Member>> {
        Ok(Box::new(EmbeddedMember::join(&self.shared, options)?))
    }

    fn reader(&self, _isolation: Isolation) -> Result<Box<dyn Reader>> {
        Ok(Box::new(EmbeddedReader::new(&self.shared)))
    }

    fn producer(&self, options: &ProducerOptions) -> Result<Box<dyn Producer>> {
        Ok(Box::new(EmbeddedProducer::open(&self.shared, options)?))
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        Ok(self.shared.lock("topics")?.catalog.topics())
    }

    fn create_topic(&self, topic: &NewTopic) -> Result<()> {
        self.shared.lock_to_write("create_topic")?.create_topic(topic)
    }

    fn delete_topic(&self, name: &str) -> Result<()> {
        self.shared.lock_to_write("delete_topic")?.delete_topic(name)
    }

    fn delete_records(&self, partition: &TopicPartition, before: u64) -> Result<()> {
        self.shared.lock_to_write("delete_records")?.delete_records(partition, before)
    }

    fn watermarks(&self, partition: &TopicPartition, _isolation: Isolation) -> Result<Watermarks> {
        self.shared.lock("watermarks")?.watermarks(partition)
    }

    fn offset_for_time(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<Option<u64>> {
        let core = self.shared.lock("offset_for_time")?;
        let (topic, number) = core.locate(partition, "offset_for_time")?;
        let index = core.catalog.partition(topic, number);
        let low = index.map_or(0, |index| index.low);
        let found = index.and_then(|index| index.blocks.iter().find(|block| block.timestamp_max >= timestamp_ms));
        let Some(block) = found.copied() else { return Ok(None) };
        let segment = core.journal.segment(block.segment);
        drop(core);
        let mut bytes = Vec::new();
        if let Some(segment) = segment {
            read_block(&segment, block.position, block.length, block.checksum, &mut bytes)?;
        }
        let (mut offset, mut position) = (block.first_offset, 0);
        while let Some((record, next)) = BlockRecord::at(&bytes, position) {
            if offset >= low && record.timestamp_ms >= timestamp_ms {
                return Ok(Some(offset));
            }
            offset += 1;
            position = next;
        }
        Ok(None)
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, u64)>> {
        let core = self.shared.lock("committed")?;
        let position = |partition: &TopicPartition| Some((partition.clone(), core.catalog.position(group, partition)?));
        Ok(partitions.iter().filter_map(position).collect())
    }

    fn delete_group(&self, group: &str) -> Result<()> {
        self.shared.lock_to_write("delete_group")?.delete_group(group)
    }

    fn roster(&self, group: &str, _tasks_topic: &str) -> Result<Option<Roster>> {
        Ok(Some(self.shared.lock("roster")?.groups.group(group).roster()))
    }

    fn describe(&self) -> String {
        format!("embedded broker in {}", self.shared.directory.display())
    }
}

fn create_directory(path: &PathBuf) -> std::result::Result<(), OpenError> {
    fs::create_dir_all(path).map_err(|error| unavailable(path, &error))
}

fn unavailable(path: &Path, error: &std::io::Error) -> OpenError {
    OpenError::Unavailable { path: path.display().to_string(), message: error.to_string() }
}
