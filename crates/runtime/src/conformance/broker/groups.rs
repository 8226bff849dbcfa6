//! Membership: one owner per task at any time, and no commit by who is not one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Environment, POLL, begin_with, eventually, kind};
use crate::broker::{BrokerErrorKind, Member, MemberEvent, TopicPartition};

const TASKS: u32 = 4;

/// A member and what it believes to own.
struct Worker {
    member: Box<dyn Member>,
    tasks: BTreeSet<u32>,
}

impl Worker {
    fn join(environment: &Environment, topic: &str, slot: &str) -> Self {
        let member = environment.broker().member(&environment.member_options(topic, slot)).expect("a member joins");
        Self { member, tasks: BTreeSet::new() }
    }

    fn poll(&mut self) -> Option<MemberEvent> {
        self.member.poll(POLL).expect("the membership holds")
    }

    /// Acts on an event and says so.
    fn follow(&mut self, event: &MemberEvent) {
        match event {
            MemberEvent::Assigned(tasks) => self.tasks.extend(tasks),
            MemberEvent::Revoked(tasks) | MemberEvent::Lost(tasks) => self.tasks.retain(|task| !tasks.contains(task)),
        }
        self.member.acknowledge(event).expect("the event is acknowledged");
    }
}

/// Lets all workers poll until they own as many tasks as `shares` says, and asserts that no task ever has two owners.
fn settle(environment: &Environment, workers: &mut [&mut Worker], shares: &[usize]) {
    let started_at = Instant::now();
    let patience = environment.deadline() + 2 * environment.under_test.session_timeout;
    loop {
        for worker in workers.iter_mut() {
            if let Some(event) = worker.poll() {
                worker.follow(&event);
            }
        }
        let owned: Vec<u32> = workers.iter().flat_map(|worker| worker.tasks.iter().copied()).collect();
        let distinct: BTreeSet<u32> = owned.iter().copied().collect();
        assert_eq!(owned.len(), distinct.len(), "a task has two owners");
        let mut found: Vec<usize> = workers.iter().map(|worker| worker.tasks.len()).collect();
        found.sort_unstable();
        if found == shares {
            return;
        }
        assert!(started_at.elapsed() < patience, "the shares are {found:?}, not {shares:?}, after {patience:?}");
    }
}

pub(super) fn the_first_member_gets_every_task(environment: &Environment) {
    let topic = environment.topic("tasks", TASKS);
    let mut worker = Worker::join(environment, &topic, "a");
    settle(environment, &mut [&mut worker], &[4]);
    assert_eq!(worker.tasks, BTreeSet::from([0, 1, 2, 3]));
    assert_eq!(worker.poll(), None);
}

pub(super) fn tasks_move_only_after_the_revocation_is_acknowledged(environment: &Environment) {
    let topic = environment.topic("tasks", TASKS);
    let mut first = Worker::join(environment, &topic, "a");
    settle(environment, &mut [&mut first], &[4]);
    let mut second = Worker::join(environment, &topic, "b");
    let mut revocation = None;
    eventually("tasks are revoked from the first", environment.deadline(), || {
        assert_eq!(second.poll().map(|event| second.follow(&event)), None, "nothing is free yet");
        revocation = first.poll();
        revocation.is_some()
    });
    let revocation = revocation.expect("it arrived");
    let MemberEvent::Revoked(revoked) = &revocation else { panic!("{revocation:?} is not a revocation") };
    assert_eq!(revoked.len(), 2);
    for _ in 0..10 {
        assert_eq!(second.poll(), None, "the first still holds them");
    }
    first.follow(&revocation);
    settle(environment, &mut [&mut first, &mut second], &[2, 2]);
    assert_eq!(second.tasks, revoked.iter().copied().collect());
}

pub(super) fn tasks_of_a_member_that_leaves_come_back(environment: &Environment) {
    let topic = environment.topic("tasks", TASKS);
    let mut first = Worker::join(environment, &topic, "a");
    let mut second = Worker::join(environment, &topic, "b");
    settle(environment, &mut [&mut first, &mut second], &[2, 2]);
    let kept = first.tasks.clone();
    drop(second);
    settle(environment, &mut [&mut first], &[4]);
    assert!(first.tasks.is_superset(&kept));
}

pub(super) fn tasks_of_a_member_that_leaves_for_good_come_back(environment: &Environment) {
    let topic = environment.topic("tasks", TASKS);
    let mut first = Worker::join(environment, &topic, "a");
    let mut second = Worker::join(environment, &topic, "b");
    settle(environment, &mut [&mut first, &mut second], &[2, 2]);
    second.member.leave().expect("the group lets it go");
    settle(environment, &mut [&mut first], &[4]);
    let mut again = Worker::join(environment, &topic, "b");
    settle(environment, &mut [&mut first, &mut again], &[2, 2]);
}

pub(super) fn a_slow_leaver_does_not_throw_its_successor_out(environment: &Environment) {
    let topic = environment.topic("tasks", TASKS);
    let mut old = Worker::join(environment, &topic, "a");
    settle(environment, &mut [&mut old], &[4]);
    let mut new = Worker::join(environment, &topic, "a");
    settle(environment, &mut [&mut new], &[4]);
    // Whether it is told that it is too late is the broker's affair.
    let _told = old.member.leave();
    let started_at = Instant::now();
    while started_at.elapsed() < environment.under_test.session_timeout {
        assert_eq!(new.poll(), None, "the successor keeps its tasks");
    }
    let mut other = Worker::join(environment, &topic, "b");
    settle(environment, &mut [&mut new, &mut other], &[2, 2]);
}

pub(super) fn a_silent_member_loses_its_tasks(environment: &Environment) {
    let topic = environment.topic("tasks", TASKS);
    let mut silent = Worker::join(environment, &topic, "a");
    let mut other = Worker::join(environment, &topic, "b");
    settle(environment, &mut [&mut silent, &mut other], &[2, 2]);
    settle(environment, &mut [&mut other], &[4]);
    // When it wakes it learns of the loss before anything else, and is then taken in again.
    let lost = silent.tasks.clone();
    let mut event = None;
    eventually("the silent member learns of its loss", environment.deadline(), || {
        if let Some(event) = other.poll() {
            other.follow(&event);
        }
        event = silent.poll();
        event.is_some()
    });
    assert_eq!(event, Some(MemberEvent::Lost(lost.into_iter().collect())));
    silent.follow(&event.expect("it arrived"));
    settle(environment, &mut [&mut silent, &mut other], &[2, 2]);
}

pub(super) fn a_slot_taken_again_fences(environment: &Environment) {
    let topic = environment.topic("tasks", TASKS);
    let mut old = Worker::join(environment, &topic, "a");
    settle(environment, &mut [&mut old], &[4]);
    let mut new = Worker::join(environment, &topic, "a");
    settle(environment, &mut [&mut new], &[4]);
    let mut refusal = None;
    eventually("the old member is refused", environment.deadline(), || match old.member.poll(Duration::ZERO) {
        Ok(None) => false,
        Ok(Some(event)) => {
            assert!(matches!(event, MemberEvent::Lost(_)), "{event:?} for a member whose slot was taken");
            old.follow(&event);
            false
        }
        Err(error) => {
            refusal = Some(error.kind);
            true
        }
    });
    assert_eq!(refusal, Some(BrokerErrorKind::MemberLost));
}

pub(super) fn a_removed_member_cannot_commit_offsets(environment: &Environment) {
    let topic = environment.topic("tasks", TASKS);
    let input = TopicPartition::new(environment.topic("in", TASKS), 0);
    let output = TopicPartition::new(environment.topic("out", TASKS), 0);
    let mut removed = Worker::join(environment, &topic, "a");
    settle(environment, &mut [&mut removed], &[4]);
    let mut producer = environment.transactional("a");
    begin_with(producer.as_mut(), &output, &["too late"], environment.deadline());
    let mut successor = Worker::join(environment, &topic, "b");
    settle(environment, &mut [&mut successor], &[4]);
    let offsets = [(input.clone(), 7)];
    let sent = producer.send_offsets(&offsets, removed.member.as_ref(), environment.deadline());
    assert_eq!(kind(sent), Some(BrokerErrorKind::Abortable));
    assert!(producer.commit(environment.deadline()).is_err(), "what was refused a part cannot be committed");
    producer.abort(environment.deadline()).expect("it is aborted");
    assert_eq!(environment.settled(&output), [""; 0]);
    assert_eq!(environment.committed(&input), None);
}

pub(super) fn a_member_commits_offsets(environment: &Environment) {
    let topic = environment.topic("tasks", TASKS);
    let input = TopicPartition::new(environment.topic("in", TASKS), 2);
    let output = TopicPartition::new(environment.topic("out", TASKS), 2);
    let mut worker = Worker::join(environment, &topic, "a");
    settle(environment, &mut [&mut worker], &[4]);
    let mut producer = environment.transactional("a");
    begin_with(producer.as_mut(), &output, &["value"], environment.deadline());
    let offsets = [(input.clone(), 7)];
    producer.send_offsets(&offsets, worker.member.as_ref(), environment.deadline()).expect("the member owns the task");
    producer.commit(environment.deadline()).expect("it commits");
    assert_eq!(environment.settled(&output), ["value"]);
    eventually("the position is committed", environment.deadline(), || environment.committed(&input) == Some(7));
}

pub(super) fn members_beyond_the_tasks_stay_idle(environment: &Environment) {
    let topic = environment.topic("tasks", 2);
    let [mut one, mut two, mut three] = ["a", "b", "c"].map(|slot| Worker::join(environment, &topic, slot));
    settle(environment, &mut [&mut one, &mut two, &mut three], &[0, 1, 1]);
}
