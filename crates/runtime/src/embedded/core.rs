//! The broker's whole state and every change of it: synchronous, without threads, and told the time by its caller.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use crate::broker::{BrokerError, BrokerErrorKind, NewTopic, Result, TopicPartition, Watermarks};
use crate::embedded::OpenError;
use crate::embedded::block::PendingBlocks;
use crate::embedded::catalog::{Catalog, record_bytes_max};
use crate::embedded::frame::{Frame, FrameBlock, GroupPosition};
use crate::embedded::group::{Groups, MemberId};
use crate::embedded::journal::{AppendError, Journal, JournalOptions};

/// A transactional id at one epoch. Another producer of the same id makes it stale.
#[derive(Clone, Debug)]
pub(crate) struct ProducerEpoch {
    id: String,
    epoch: u64,
}

/// Tasks for which a transaction may only commit while this member owns them without a break since it said so.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    pub(crate) group: String,
    pub(crate) member: MemberId,
    pub(crate) tenure: u64,
    pub(crate) tasks: Vec<u32>,
}

/// Everything that a producer wants written as one frame.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    /// By number of topic and partition.
    pub(crate) blocks: BTreeMap<(u32, u32), PendingBlocks>,
    pub(crate) positions: Vec<GroupPosition>,
    pub(crate) fences: Vec<Fence>,
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct TransactionalId {
    epoch: u64,
    timeout: Duration,
    open_since: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) catalog: Catalog,
    pub(crate) groups: Groups,
    pub(crate) journal: Journal,
    /// Producers live and die with this process, so their epochs need not be in the journal.
    transactional_ids: HashMap<String, TransactionalId>,
}

impl Core {
    pub(crate) fn open(directory: &Path, options: JournalOptions) -> std::result::Result<Self, OpenError> {
        let mut catalog = Catalog::default();
        let journal = Journal::open(directory, options, &mut |frame, place| catalog.apply(frame, place))?;
        Ok(Self { catalog, groups: Groups::default(), journal, transactional_ids: HashMap::new() })
    }

    /// Takes in what another process has written since.
    pub(crate) fn refresh(&mut self) -> std::result::Result<(), OpenError> {
        let Self { catalog, journal, .. } = self;
        journal.refresh(&mut |frame, place| catalog.apply(frame, place))
    }

    /// Ends transactions and memberships whose time is up. Says whether there were memberships.
    pub(crate) fn tick(&mut self, now: Duration) -> bool {
        for transactional_id in self.transactional_ids.values_mut() {
            let open_for = transactional_id.open_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
            if open_for > transactional_id.timeout {
                transactional_id.epoch += 1;
                transactional_id.open_since = None;
            }
        }
        self.groups.expire(now)
    }

    pub(crate) fn create_topic(&mut self, topic: &NewTopic) -> Result<()> {
        let refused = |kind, message: String| Err(BrokerError::new(kind, "create_topic", message));
        let NewTopic { name, partitions, config, .. } = topic;
        if self.catalog.topic_id(name).is_some() {
            return refused(BrokerErrorKind::AlreadyExists, format!("topic `{name}` exists"));
        }
        if name.is_empty() || *partitions == 0 {
            let message = format!("topic `{name}` with {partitions} partitions needs a name and at least 1 partition");
            return refused(BrokerErrorKind::Misconfigured, message);
        }
        if let Err(message) = record_bytes_max(config) {
            return refused(BrokerErrorKind::Misconfigured, format!("topic `{name}`: {message}"));
        }
        let id = self.catalog.next_topic();
        let frame = Frame::TopicCreated { id, name: name.clone(), partitions: *partitions, config: config.clone() };
        self.append(frame, &[], "create_topic")
    }

    pub(crate) fn delete_topic(&mut self, name: &str) -> Result<()> {
        let id = self.topic_id(name, "delete_topic")?;
        self.append(Frame::TopicDeleted { id }, &[], "delete_topic")
    }

    pub(crate) fn topic_id(&self, name: &str, during: &'static str) -> Result<u32> {
        self.catalog.topic_id(name).ok_or_else(|| {
            BrokerError::new(BrokerErrorKind::NotFound, during, format!("topic `{name}` does not exist"))
        })
    }

    /// The numbers of topic and partition, if they exist.
    pub(crate) fn locate(&self, partition: &TopicPartition, during: &'static str) -> Result<(u32, u32)> {
        let topic = self.topic_id(&partition.topic, during)?;
        match self.catalog.partition(topic, partition.partition) {
            Some(_) => Ok((topic, partition.partition)),
            None => {
                let message = format!("topic `{}` has no partition {}", partition.topic, partition.partition);
                Err(BrokerError::new(BrokerErrorKind::NotFound, during, message))
            }
        }
    }

    pub(crate) fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks> {
        let (topic, number) = self.locate(partition, "watermarks")?;
        let found = self.catalog.partition(topic, number);
        let (low, high) = found.map_or((0, 0), |partition| (partition.low, partition.end));
        Ok(Watermarks { low, high })
    }

    pub(crate) fn delete_records(&mut self, partition: &TopicPartition, before: u64) -> Result<()> {
        const DURING: &str = "delete_records";
        let (topic, number) = self.locate(partition, DURING)?;
        let Watermarks { low, high } = self.watermarks(partition)?;
        if before > high {
            let message = format!("{}-{number} ends at {high}, not at {before}", partition.topic);
            return Err(BrokerError::new(BrokerErrorKind::OffsetOutOfRange, DURING, message));
        }
        if before <= low {
            return Ok(());
        }
        self.append(Frame::RecordsDeleted { topic, partition: number, before }, &[], DURING)
    }

    pub(crate) fn delete_group(&mut self, group: &str) -> Result<()> {
        const DURING: &str = "delete_group";
        if !self.groups.group(group).roster().is_empty() {
            let message = format!("group `{group}` has members");
            return Err(BrokerError::new(BrokerErrorKind::Abortable, DURING, message));
        }
        if !self.catalog.has_positions(group) {
            return Ok(());
        }
        self.append(Frame::GroupDeleted { group: group.to_owned() }, &[], DURING)
    }

    /// Takes the id: whoever had it is fenced, and what it had begun is gone.
    pub(crate) fn open_producer(&mut self, id: &str, timeout: Duration) -> ProducerEpoch {
        let epoch = self.transactional_ids.get(id).map_or(0, |transactional_id| transactional_id.epoch + 1);
        self.transactional_ids.insert(id.to_owned(), TransactionalId { epoch, timeout, open_since: None });
        ProducerEpoch { id: id.to_owned(), epoch }
    }

    pub(crate) fn begin(&mut self, producer: &ProducerEpoch, now: Duration) -> Result<()> {
        self.transactional_id(producer, "begin")?.open_since = Some(now);
        Ok(())
    }

    pub(crate) fn check_producer(&mut self, producer: &ProducerEpoch, during: &'static str) -> Result<()> {
        self.transactional_id(producer, during).map(|_| ())
    }

    pub(crate) fn check_fence(&self, fence: &Fence, during: &'static str) -> Result<()> {
        let Fence { group, member, tenure, tasks } = fence;
        let Some(task) = tasks.iter().find(|task| !self.groups.owns(group, *member, *tenure, **task)) else {
            return Ok(());
        };
        let message =
            format!("unknown member: group `{}` gave task {task} to somebody else or revoked it", fence.group);
        Err(BrokerError::new(BrokerErrorKind::Abortable, during, message))
    }

    /// Writes what is staged as one frame. Membership is asked again here: nothing can come between this and the frame.
    pub(crate) fn commit(&mut self, producer: &ProducerEpoch, staged: &mut Staged) -> Result<()> {
        self.check_producer(producer, "commit")?;
        for fence in &staged.fences {
            self.check_fence(fence, "commit")?;
        }
        self.write(staged, BrokerErrorKind::Abortable, "commit")?;
        self.transactional_id(producer, "commit")?.open_since = None;
        Ok(())
    }

    pub(crate) fn abort(&mut self, producer: &ProducerEpoch) -> Result<()> {
        self.transactional_id(producer, "abort")?.open_since = None;
        Ok(())
    }

    /// `on_missing` is the kind of the error if a topic has been deleted since its records were staged.
    pub(crate) fn write(
        &mut self,
        staged: &mut Staged,
        on_missing: BrokerErrorKind,
        during: &'static str,
    ) -> Result<()> {
        let mut blocks = Vec::new();
        let mut bodies = Vec::with_capacity(staged.blocks.len());
        for ((topic, partition), pending) in &mut staged.blocks {
            if self.catalog.partition(*topic, *partition).is_none() {
                let message = "a topic was deleted while records for it were waiting".to_owned();
                return Err(BrokerError::new(on_missing, during, message));
            }
            blocks.extend(pending.summaries().iter().map(|summary| FrameBlock::new(*topic, *partition, *summary)));
            bodies.push(pending.bytes.as_slice());
        }
        if blocks.is_empty() && staged.positions.is_empty() {
            return Ok(());
        }
        self.append(Frame::Transaction { blocks, positions: staged.positions.clone() }, &bodies, during)
    }

    fn append(&mut self, frame: Frame, bodies: &[&[u8]], during: &'static str) -> Result<()> {
        let place = self.journal.append(&frame, bodies).map_err(|error| {
            let kind = match error {
                AppendError::Refused(_) => BrokerErrorKind::Retriable,
                AppendError::Unknown(_) => BrokerErrorKind::Fatal,
            };
            BrokerError::new(kind, during, error.to_string())
        })?;
        self.catalog.apply(frame, place).map_err(|message| BrokerError::new(BrokerErrorKind::Fatal, during, message))
    }

    fn transactional_id(&mut self, producer: &ProducerEpoch, during: &'static str) -> Result<&mut TransactionalId> {
        match self.transactional_ids.get_mut(&producer.id) {
            Some(transactional_id) if transactional_id.epoch == producer.epoch => Ok(transactional_id),
            _ => {
                let message = format!(
                    "transactional id `{}` was taken by another producer, or its transaction timed out",
                    producer.id
                );
                Err(BrokerError::new(BrokerErrorKind::Fenced, during, message))
            }
        }
    }
}
