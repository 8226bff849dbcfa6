//! Membership in a unit's group: a consumer of the tasks topic that never reads a record.

use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaRespErr;

use crate::broker::{BrokerError, BrokerErrorKind, Member, MemberEvent, MemberOptions, Result, TopicPartition};
use crate::kafka::context::{background_error, log};
use crate::kafka::errors::{broker_error, kind_of_code};
use crate::kafka::native;
use crate::kafka::partitions::list;
use crate::kafka::settings::Settings;
use crate::kafka::wire::producer::Fence;
use crate::kafka::wire::{Membership, Wire};

/// Closing a member takes 20 to 130 ms.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
const TELL_INTERVAL: Duration = Duration::from_secs(5);

/// Collects what the group decides. Nothing is assigned or given up in the callback: the group waits until the worker
/// has committed and acknowledges.
#[derive(Default)]
struct GroupContext {
    changes: Mutex<VecDeque<MemberEvent>>,
    is_closing: AtomicBool,
}

impl GroupContext {
    fn next_change(&self) -> Option<MemberEvent> {
        self.changes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front()
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level as i32, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        background_error(&error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, change: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let is_assignment = change == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.is_closing.load(Ordering::Relaxed) {
            // Closing waits for the answer to its last revocation, and no worker is left to give it. A change that was
            // still queued when closing had ended is nobody's: librdkafka would never answer the answer to it.
            if consumer.closed() {
                return;
            }
            let answered = match is_assignment {
                true => consumer.incremental_assign(partitions),
                false => consumer.incremental_unassign(partitions),
            };
            if let Err(error) = answered {
                tracing::warn!(%error, "a member that is closing could not answer its group");
            }
            return;
        }
        let tasks = partitions.elements().iter().filter_map(|one| u32::try_from(one.partition()).ok()).collect();
        let event = match (is_assignment, consumer.assignment_lost()) {
            (true, _) => MemberEvent::Assigned(tasks),
            (false, false) => MemberEvent::Revoked(tasks),
            (false, true) => MemberEvent::Lost(tasks),
        };
        self.changes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push_back(event);
    }
}

pub(super) struct KafkaMember {
    /// Present until the member is dropped.
    consumer: Option<BaseConsumer<GroupContext>>,
    wire: Wire,
    group: String,
    slot: String,
    tasks_topic: String,
    /// Tasks that the worker was told are its own and has not given up.
    owned: BTreeSet<u32>,
    unanswered: VecDeque<MemberEvent>,
    is_lost: bool,
    /// When an error that passes was told last. A client that cannot reach its brokers repeats it several times a second.
    told_at: Option<Instant>,
}

impl KafkaMember {
    pub(super) fn join(settings: &Settings, wire: Wire, options: &MemberOptions) -> Result<Self> {
        const DURING: &str = "join the group";
        let consumer: BaseConsumer<GroupContext> = settings
            .member(options)
            .create_with_context(GroupContext::default())
            .map_err(|error| broker_error(DURING, &error))?;
        consumer.subscribe(&[&options.tasks_topic]).map_err(|error| broker_error(DURING, &error))?;
        Ok(Self {
            consumer: Some(consumer),
            wire,
            group: options.group.clone(),
            slot: options.slot.clone(),
            tasks_topic: options.tasks_topic.clone(),
            owned: BTreeSet::new(),
            unanswered: VecDeque::new(),
            is_lost: false,
            told_at: None,
        })
    }

    fn consumer(&self) -> &BaseConsumer<GroupContext> {
        self.consumer.as_ref().expect("it is taken when the member is dropped, and not before")
    }

    /// What fences the offsets of a transaction: to be asked for anew each time, because it changes with every rebalance.
    ///
    /// No task, no commit: the broker does not check the metadata of a consumer that has not joined yet (generation −1),
    /// and would let it move the group's positions.
    pub(super) fn fence(&self) -> Result<ConsumerGroupMetadata> {
        self.check_membership()?;
        self.consumer().group_metadata().ok_or_else(unknown_member)
    }

    /// The same, for a producer that is not librdkafka's.
    pub(super) fn fence_by_name(&self) -> Result<Fence> {
        self.check_membership()?;
        // The client is about to join again, and says so itself if it cannot.
        let (generation, member) = native::membership(self.consumer())
            .ok_or_else(|| BrokerError { kind: BrokerErrorKind::Abortable, ..unknown_member() })?;
        Ok(Fence { group: self.group.clone(), generation, member, instance: Some(self.slot.clone()) })
    }

    fn check_membership(&self) -> Result<()> {
        let refuse = |kind, why: &str| Err(BrokerError::new(kind, "send offsets", why));
        if self.is_lost {
            return refuse(BrokerErrorKind::MemberLost, "the membership is gone");
        }
        if self.owned.is_empty() {
            return refuse(BrokerErrorKind::Abortable, "this member owns no task, so there is nothing it may commit");
        }
        Ok(())
    }

    fn lose(&mut self, why: &str) -> BrokerError {
        self.is_lost = true;
        self.owned.clear();
        BrokerError::new(BrokerErrorKind::MemberLost, "poll the membership", why)
    }

    /// The next change that concerns the worker. The group also tells of changes without tasks, which want an answer too.
    fn next_event(&mut self) -> Result<Option<MemberEvent>> {
        while let Some(event) = self.consumer().context().next_change() {
            match &event {
                MemberEvent::Assigned(tasks) => self.owned.extend(tasks),
                MemberEvent::Lost(tasks) => self.owned.retain(|task| !tasks.contains(task)),
                MemberEvent::Revoked(_) => {}
            }
            if !tasks_of(&event).is_empty() {
                self.unanswered.push_back(event.clone());
                return Ok(Some(event));
            }
            self.answer(&event)?;
        }
        Ok(None)
    }

    fn answer(&mut self, event: &MemberEvent) -> Result<()> {
        const DURING: &str = "answer the group";
        let partitions: Vec<_> =
            tasks_of(event).iter().map(|task| TopicPartition::new(self.tasks_topic.as_str(), *task)).collect();
        // An explicit position, because there is none to go back to; the partitions stay paused and are never fetched.
        let partitions = list(partitions.iter().map(|partition| (partition, Offset::Offset(0))))?;
        let answered = match event {
            MemberEvent::Assigned(_) => self
                .consumer()
                .incremental_assign(&partitions)
                .and_then(|()| if partitions.count() > 0 { self.consumer().pause(&partitions) } else { Ok(()) }),
            MemberEvent::Revoked(_) | MemberEvent::Lost(_) => self.consumer().incremental_unassign(&partitions),
        };
        answered.map_err(|error| broker_error(DURING, &error))
    }
}

fn unknown_member() -> BrokerError {
    BrokerError::new(BrokerErrorKind::MemberLost, "send offsets", "the group does not know this member")
}

impl Member for KafkaMember {
    fn poll(&mut self, timeout: Duration) -> Result<Option<MemberEvent>> {
        if self.is_lost {
            return Err(self.lose("the membership is gone; a new member must join"));
        }
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(event) = self.next_event()? {
                return Ok(Some(event));
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            match self.consumer().poll(wait).map(|polled| polled.map(|_| ())) {
                // A record in the tasks topic is nobody's.
                None | Some(Ok(())) => {}
                Some(Err(error)) => {
                    if let Some(lost) = loss(&error) {
                        return Err(self.lose(&lost));
                    }
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                    if kind_of_code(code) == BrokerErrorKind::Misconfigured {
                        return Err(broker_error("poll the membership", &error));
                    }
                    // Brokers that are away, a topic that is not known everywhere yet: the client goes on by itself.
                    if self.told_at.is_none_or(|told_at| told_at.elapsed() >= TELL_INTERVAL) {
                        self.told_at = Some(Instant::now());
                        tracing::warn!(%error, "the membership met an error that passes");
                    }
                }
            }
            if Instant::now() >= deadline {
                return self.next_event();
            }
        }
    }

    fn acknowledge(&mut self, event: &MemberEvent) -> Result<()> {
        if self.is_lost {
            return Ok(());
        }
        self.unanswered.retain(|known| known != event);
        if let MemberEvent::Revoked(tasks) = event {
            self.owned.retain(|task| !tasks.contains(task));
        }
        self.answer(event)
    }

    /// librdkafka never takes a static member out of its group. The client is closed first, because it would join again.
    fn leave(self: Box<Self>) -> Result<()> {
        let member = native::member_id(self.consumer());
        let (wire, group, instance) = (self.wire.clone(), self.group.clone(), self.slot.clone());
        drop(self);
        match member {
            Some(member) => wire.leave_group(&Membership { group: &group, instance: &instance, member: &member }),
            None => Ok(()),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        // Closing the consumer waits for the answer to every change that was told.
        self.consumer().context().is_closing.store(true, Ordering::Relaxed);
        let told = std::mem::take(&mut self.unanswered);
        let untold = std::iter::from_fn(|| self.consumer().context().next_change()).collect::<Vec<_>>();
        for event in told.into_iter().chain(untold) {
            if let Err(error) = self.answer(&event) {
                tracing::debug!(%error, "a member that is closing could not answer its group");
            }
        }
        if let Some(consumer) = self.consumer.take() {
            close(consumer);
        }
    }
}

/// Closes on a thread of its own and waits for it no longer than a while: librdkafka was seen to wait for ever when a
/// member lost its membership in the moment in which it was closed.
fn close(consumer: BaseConsumer<GroupContext>) {
    let (done, closed) = channel();
    std::thread::spawn(move || {
        // Changes that wait are answered while the client still serves answers.
        while let Some(Ok(_)) = consumer.poll(Duration::ZERO) {}
        drop(consumer);
        // Nobody listens any more once the wait is over.
        let _unheard = done.send(());
    });
    if closed.recv_timeout(CLOSE_DEADLINE) == Err(RecvTimeoutError::Timeout) {
        tracing::error!(code = "member_close_stuck", "a membership does not close; its client is left to itself");
    }
}

/// After a crash of the broker the client's own rejoin may fence a static member although nobody else used its name; that
/// is fatal for the client, and a new one goes on.
fn loss(error: &KafkaError) -> Option<String> {
    match error {
        KafkaError::MessageConsumptionFatal(code) => Some(format!("the client gave up: {code}")),
        other => {
            let code = other.rdkafka_error_code()?;
            (kind_of_code(code) == BrokerErrorKind::MemberLost).then(|| code.to_string())
        }
    }
}

fn tasks_of(event: &MemberEvent) -> &[u32] {
    let (MemberEvent::Assigned(tasks) | MemberEvent::Revoked(tasks) | MemberEvent::Lost(tasks)) = event;
    tasks
}
