//! Bugs that tests switch on, to see whether they are caught. Exists only with the feature `sabotage`; without it
//! `sabotaged!` is the word `false`, and nothing of this is in the program.
//!
//! One bug at a time, for the thread that switched it on: a simulation runs all its threads on one.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use crate::broker::{Outgoing, Producer, Result, TopicPartition};
use crate::dead_letter::{OwnedHeader, borrowed};

macro_rules! bugs {
    ($($bug:ident $name:literal $what:literal),+ $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $what] $bug),+
        }

        impl Bug {
            pub const ALL: &[Self] = &[$(Self::$bug),+];

            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name),+
                }
            }

            /// What the engine does wrong.
            pub fn what(self) -> &'static str {
                match self {
                    $(Self::$bug => $what),+
                }
            }
        }
    };
}

bugs! {
    PositionsBeforeOutputs "positions_before_outputs" "Commits positions and state first, and the outputs in a second transaction.",
    ApplyBeforeCommit "apply_before_commit" "Writes staged state to the local store before the commit.",
    SkipFence "skip_fence" "Commits without the membership that fences it.",
    KeepStagedState "keep_staged_state" "Keeps the staged state when a transaction is aborted.",
    KeepLatest "keep_latest" "Keeps the current values that wait for the end of a transaction when it is aborted.",
    KeepRestOfBatch "keep_rest_of_batch" "Goes on with the rest of a batch after reading went back.",
    NoSeekAfterAbort "no_seek_after_abort" "Reads on after an abort instead of going back.",
    AcceptRereads "accept_rereads" "Processes records again that are read again.",
    RestoreOffByOne "restore_off_by_one" "Catches up from one record behind the store's offset.",
    ApplyOffByOne "apply_off_by_one" "Notes a committed state one record too far.",
    TrustGroupOffsets "trust_group_offsets" "Goes on from the group's committed offsets instead of the state log's positions.",
    NoSettling "no_settling" "Does not fence the dead owner of a task, nor waits for what it left open.",
    CatchUpOnce "catch_up_once" "Does not read the state log again after the dead owner was fenced.",
    NoSuccession "no_succession" "Opens a producer without asking what its predecessor left open.",
    AbortInDoubt "abort_in_doubt" "Aborts its transaction although a connection was lost.",
    ReuseProducer "reuse_producer" "Goes on with a producer whose commit timed out.",
    UnknownIsAborted "unknown_is_aborted" "Takes a commit without an answer for aborted.",
    UnknownIsCommitted "unknown_is_committed" "Takes a commit without an answer for committed.",
    NoClaim "no_claim" "Writes no claim when it takes a task over.",
    ReleaseEarly "release_early" "Tells the group that a task is free before its work is committed.",
    NoVacancy "no_vacancy" "Leaves a task alone that the group has given to nobody.",
    UnansweredRelease "unanswered_release" "Does not answer a revocation when the release of the tasks fails.",
    ForgetOwned "forget_owned" "Does not start the tasks it owns when an attempt to take them up again fails.",
    ReadFailureIsReject "read_failure_is_reject" "Takes a store that cannot be read for a fault of the record.",
    ForgetFrozen "forget_frozen" "Does not look at the changes that are on their way to the disk.",
    CleanEarly "clean_early" "Takes a pass over the state for complete when it has looked at its first entries.",
    SkipCleaned "skip_cleaned" "Follows a log that was cleaned past the place where its store stands.",
    CarryStale "carry_stale" "Carries what is on the disk although it was changed since.",
    StandbyUncommitted "standby_uncommitted" "Lets a standby apply what is not committed.",
    StandbyAhead "standby_ahead" "Notes what a standby has applied one record too far.",
    StandbySkips "standby_skips" "Lets a standby begin one record behind its store's offset.",
    ForgetUndo "forget_undo" "Leaves the state as a rejected record had changed it.",
    ForgetParked "forget_parked" "Lets later records of a parked key pass.",
    FreeEarly "free_early" "Frees a parked key when its head is resolved, before what waits is released.",
    ReleaseAnyOrder "release_any_order" "Releases what is parked in the order in which it is met.",
    LoseRecord "lose_record" "Goes on behind some records that were read without processing them.",
    LoseOutput "lose_output" "Leaves out some of the records that a transaction writes.",
    ForgetReleasing "forget_releasing" "Stops releasing what is parked at the next commit.",
}

thread_local! {
    static ACTIVE: Cell<Option<Bug>> = const { Cell::new(None) };
    static GROUP: RefCell<String> = const { RefCell::new(String::new()) };
    static HELD: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
}

/// Runs `act` with the bug, on this thread. `group` is the one that workers should be members of.
pub fn with<T>(bug: Option<Bug>, group: &str, act: impl FnOnce() -> T) -> T {
    let before = ACTIVE.replace(bug);
    GROUP.replace(group.to_owned());
    HELD.with_borrow_mut(Vec::clear);
    let result = act();
    ACTIVE.set(before);
    result
}

pub(crate) fn is_on(bug: Bug) -> bool {
    ACTIVE.get() == Some(bug)
}

/// A record that [`Bug::PositionsBeforeOutputs`] holds back.
struct Held {
    id: String,
    topic: String,
    partition: u32,
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<OwnedHeader>,
}

/// Whether the record of transaction `id` is held back.
pub(crate) fn hold(id: &str, record: &Outgoing<'_>) -> bool {
    if !is_on(Bug::PositionsBeforeOutputs) || record.topic.ends_with(".state") {
        return false;
    }
    HELD.with_borrow_mut(|held| {
        held.push(Held {
            id: id.to_owned(),
            topic: record.topic.to_owned(),
            partition: record.partition,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec)))
                .collect(),
        });
    });
    true
}

/// Whether [`Bug::LoseOutput`] leaves the record out, which is the so many-th of its transaction.
pub(crate) fn loses(record: &Outgoing<'_>, number: u64) -> bool {
    is_on(Bug::LoseOutput) && !record.topic.ends_with(".state") && number % 16 == 7
}

pub(crate) fn forget_held(id: &str) {
    HELD.with_borrow_mut(|held| held.retain(|record| record.id != id));
}

/// Writes what was held back in a transaction of its own.
pub(crate) fn write_held(id: &str, producer: &mut dyn Producer, deadline: Duration) -> Result<()> {
    let mine: Vec<Held> = HELD.with_borrow_mut(|held| held.extract_if(.., |record| record.id == id).collect());
    if mine.is_empty() {
        return Ok(());
    }
    producer.begin()?;
    for record in &mine {
        producer.send(&Outgoing {
            topic: &record.topic,
            partition: record.partition,
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &borrowed(&record.headers),
        })?;
    }
    producer.flush(deadline)?;
    producer.commit(deadline)
}

/// Where [`Bug::SkipFence`] sends positions: to the group, as somebody who is no member.
pub(crate) fn send_unfenced(
    producer: &mut dyn Producer,
    offsets: &[(TopicPartition, u64)],
    deadline: Duration,
) -> Result<()> {
    GROUP.with_borrow(|group| producer.send_group_offsets(group, offsets, deadline))
}
