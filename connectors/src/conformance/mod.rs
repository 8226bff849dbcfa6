//! What every sink must do, as one suite of cases that each sink's tests run against the real thing.
//!
//! A sink's test implements [`Lab`] and calls [`check`]; one with a server to kill calls [`check_kills`] as well.
//! A case panics with what it saw.

mod samples;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidemill_core::money::decimal;
use tidemill_core::sink::{BalancesDigest, SinkBody, SinkPosition};
use tidemill_core::{Currency, Sink, SinkBatch, SinkError, SinkSpec};
use tidemill_schemas::AccountBalance;

use samples::topics;
pub use samples::{balance, batch, next, payment_status, sample};

/// A read model under test.
pub trait Lab {
    fn spec(&self) -> &'static SinkSpec;

    /// The sink, not connected yet; several can be open at once.
    fn open(&self) -> Box<dyn Sink>;

    /// The sink of another pipeline over the same inputs.
    fn open_coloured(&self, colour: &str) -> Box<dyn Sink>;

    /// Removes everything, so that the next `apply` starts from nothing.
    fn wipe(&mut self);

    /// All rows and positions in a fixed order, without the times at which they were written.
    fn dump(&mut self) -> Vec<String>;
}

/// A case of the suite, by name.
type Case = (&'static str, fn(&mut dyn Lab));

const CASES: &[Case] = &[
    ("apply can be repeated", apply_can_be_repeated),
    ("reading goes on behind what was written", positions_are_kept),
    ("a batch written again changes nothing", retries_are_exact),
    ("batches that overlap change nothing twice", overlaps_are_exact),
    ("a refused record leaves nothing of its batch", refusal_is_atomic),
    ("an owner who was replaced writes nothing", owners_are_fenced),
    ("an older version never overwrites a newer one", newest_wins),
    ("tombstones and empty batches move positions only", tombstones_pass),
    ("tasks do not touch each other", tasks_are_apart),
    ("a rebuild gives what many small steps gave", rebuild_is_equal),
    ("the audit adds up the newest balance of every account", balances_are_added_up),
    ("a colour has a read model of its own", colours_are_apart),
    ("positions that are moved back change nothing", seeks_are_exact),
];

pub fn check(lab: &mut dyn Lab) {
    for (name, case) in CASES {
        println!("{}: {name}", lab.spec().name);
        lab.wipe();
        case(lab);
    }
}

fn ready(lab: &dyn Lab) -> Box<dyn Sink> {
    let mut sink = lab.open();
    sink.apply().expect("tables can be made");
    sink
}

fn claimed(lab: &dyn Lab, task: u32, owner: &str) -> Box<dyn Sink> {
    let mut sink = ready(lab);
    sink.claim(task, owner).expect("the task can be claimed");
    sink
}

/// Seven accounts, written two or three times; what is compared between sinks is the newest of each, as decimal text.
fn balances_are_added_up(lab: &mut dyn Lab) {
    let mut sink = claimed(lab, 0, "a");
    assert_eq!(lab.open().audit().map(|audit| audit.balances), Ok(Some(BalancesDigest::default())));
    sink.write(&batch(0, 0..20)).expect("writes");
    let mut expected = BalancesDigest::default();
    for record in &batch(0, 13..20).records {
        let SinkBody::Event(event) = &record.body else { continue };
        let balance = event.downcast_ref::<AccountBalance>().expect("a batch of balances");
        let exponent = Currency::parse(&balance.currency).expect("a currency of the list").exponent();
        let text = |minor: i64| decimal(i128::from(minor), exponent);
        expected.add(&balance.account_id, &text(balance.available_minor), &text(balance.pending_minor));
    }
    assert_eq!(expected.accounts, 7);
    assert_eq!(lab.open().audit().map(|audit| audit.balances), Ok(Some(expected)));
}

fn colours_are_apart(lab: &mut dyn Lab) {
    claimed(lab, 0, "a").write(&batch(0, 0..10)).expect("writes");
    let before = lab.dump();
    let mut green = lab.open_coloured("green");
    green.apply().expect("makes its own");
    assert_eq!(lab.open_coloured("green").plan(), Ok(Vec::new()));
    assert_eq!(green.claim(0, "b"), Ok(Vec::new()), "it begins at the beginning");
    green.write(&batch(0, 0..20)).expect("writes");
    assert_eq!(lab.dump(), before, "the first has what it had");
    assert_ne!(lab.open().audit(), green.audit());
    let green = green.read_model().expect("a read model");
    green.make_live().expect("readers can be turned");
    green.make_live().expect("and turned once more");
    assert!(green.remove().is_err(), "the one that is live stays");
    lab.open().read_model().expect("a read model").make_live().expect("readers can be turned back");
    assert!(lab.open().read_model().expect("a read model").remove().is_err(), "the first stays in any case");
    let mut sink = lab.open_coloured("green");
    let green = sink.read_model().expect("a read model");
    green.remove().expect("it can be removed");
    green.remove().expect("what is gone is gone");
    assert_eq!(lab.dump(), before);
    let mut again = lab.open_coloured("green");
    again.apply().expect("can be made anew");
    assert_eq!(again.claim(0, "b"), Ok(Vec::new()), "nothing of it was left");
    again.read_model().expect("a read model").remove().expect("it can be removed");
}

fn seeks_are_exact(lab: &mut dyn Lab) {
    let mut sink = claimed(lab, 0, "a");
    sink.write(&batch(0, 0..20)).expect("writes");
    let before = lab.dump();
    let back = next(0, 5);
    lab.open().read_model().expect("a read model").seek(std::slice::from_ref(&back)).expect("moves");
    assert_eq!(sink.write(&batch(0, 20..25)), Err(SinkError::Fenced { task: 0 }), "whoever had claimed it is fenced");
    assert_eq!(sink.claim(0, "a"), Ok(vec![back]));
    sink.write(&batch(0, 5..20)).expect("writes again");
    assert_eq!(lab.dump(), before);
}

fn apply_can_be_repeated(lab: &mut dyn Lab) {
    ready(lab).apply().expect("applies a second time");
    assert_eq!(lab.open().plan(), Ok(Vec::new()), "nothing is left to do");
}

fn positions_are_kept(lab: &mut dyn Lab) {
    let mut first = ready(lab);
    assert_eq!(first.claim(0, "a"), Ok(Vec::new()), "a new read model starts at the beginning");
    first.write(&batch(0, 0..10)).expect("writes");
    let expected = vec![next(0, 10)];
    assert_eq!(lab.open().claim(0, "a"), Ok(expected.clone()));
    assert_eq!(lab.open().claim(1, "a"), Ok(Vec::new()), "another task has come nowhere");
    assert_eq!(lab.open().positions(), Ok(expected));
}

fn retries_are_exact(lab: &mut dyn Lab) {
    let mut sink = claimed(lab, 0, "a");
    sink.write(&batch(0, 0..20)).expect("writes");
    let once = lab.dump();
    assert!(!once.is_empty(), "the dump shows what was written");
    sink.write(&batch(0, 0..20)).expect("writes again");
    claimed(lab, 0, "b").write(&batch(0, 0..20)).expect("writes as another owner");
    assert_eq!(lab.dump(), once);
}

fn overlaps_are_exact(lab: &mut dyn Lab) {
    let mut sink = claimed(lab, 0, "a");
    sink.write(&batch(0, 0..12)).expect("writes");
    sink.write(&batch(0, 5..20)).expect("writes");
    let overlapped = lab.dump();
    lab.wipe();
    claimed(lab, 0, "a").write(&batch(0, 0..20)).expect("writes");
    assert_eq!(lab.dump(), overlapped);
}

fn refusal_is_atomic(lab: &mut dyn Lab) {
    let mut sink = claimed(lab, 0, "a");
    sink.write(&batch(0, 0..5)).expect("writes");
    let before = lab.dump();
    let mut bad = batch(0, 5..10);
    let unstorable = AccountBalance { currency: "E\0R".to_owned(), ..balance("acc-1", 8) };
    bad.records[3].body = SinkBody::Event(Box::new(unstorable));
    match sink.write(&bad) {
        Err(SinkError::Refused { index: 3, code: "sink_value_refused", message }) => {
            assert!(!message.contains('\0'), "the message holds no value");
        }
        other => panic!("expected record 3 to be refused, got {other:?}"),
    }
    assert_eq!(lab.dump(), before);
    let mut other = lab.open();
    assert_eq!(other.claim(0, "b"), Ok(vec![next(0, 5)]), "the refused batch holds no lock");
    bad.records.remove(3);
    other.write(&bad).expect("writes the others");
    assert_eq!(lab.open().positions(), Ok(vec![next(0, 10)]));
}

fn owners_are_fenced(lab: &mut dyn Lab) {
    let mut old = claimed(lab, 0, "a");
    old.write(&batch(0, 0..5)).expect("writes");
    let mut new = lab.open();
    assert_eq!(new.claim(0, "b"), Ok(vec![next(0, 5)]));
    let before = lab.dump();
    assert_eq!(old.write(&batch(0, 5..9)), Err(SinkError::Fenced { task: 0 }));
    assert_eq!(lab.open().write(&batch(0, 5..9)), Err(SinkError::Fenced { task: 0 }), "nobody writes without a claim");
    assert_eq!(lab.dump(), before);
    new.write(&batch(0, 5..9)).expect("the new owner writes");
    assert_eq!(old.claim(0, "a"), Ok(vec![next(0, 9)]));
    assert_eq!(new.write(&batch(0, 9..10)), Err(SinkError::Fenced { task: 0 }));
    let mut same_name = lab.open();
    same_name.claim(0, "a").expect("claims");
    assert_eq!(old.write(&batch(0, 9..10)), Err(SinkError::Fenced { task: 0 }), "a restart fences its own past");
}

fn newest_wins(lab: &mut dyn Lab) {
    let mut sink = claimed(lab, 0, "a");
    let at = |offsets: &[u64]| {
        let record = |offset: &u64| sample(AccountBalance::KIND, 0, *offset, Box::new(balance("acc", *offset)));
        SinkBatch { task: 0, records: offsets.iter().map(record).collect(), next: Vec::new() }
    };
    sink.write(&at(&[7])).expect("writes");
    let newest = lab.dump();
    sink.write(&at(&[3])).expect("writes an older one");
    sink.write(&at(&[7, 5])).expect("writes an older one after the newer in one batch");
    assert_eq!(lab.dump(), newest);
    sink.write(&at(&[8])).expect("writes a newer one");
    assert_ne!(lab.dump(), newest);
}

fn tombstones_pass(lab: &mut dyn Lab) {
    let mut sink = claimed(lab, 0, "a");
    sink.write(&batch(0, 0..3)).expect("writes");
    let rows = lab.dump().len();
    let mut tombstone = sample(AccountBalance::KIND, 0, 3, Box::new(balance("acc-1", 3)));
    tombstone.body = SinkBody::Tombstone;
    sink.write(&SinkBatch { task: 0, records: vec![tombstone], next: vec![next(0, 4)] }).expect("writes");
    sink.write(&SinkBatch { task: 0, records: Vec::new(), next: vec![next(0, 6)] }).expect("writes");
    assert_eq!(lab.open().positions(), Ok(vec![next(0, 6)]));
    assert_eq!(lab.dump().len(), rows);
}

fn tasks_are_apart(lab: &mut dyn Lab) {
    let mut sink = claimed(lab, 0, "a");
    sink.claim(1, "a").expect("claims a second task");
    sink.write(&batch(0, 0..4)).expect("writes");
    sink.write(&batch(1, 0..7)).expect("writes");
    claimed(lab, 1, "b");
    assert_eq!(sink.write(&batch(1, 7..8)), Err(SinkError::Fenced { task: 1 }));
    sink.write(&batch(0, 4..5)).expect("the other task is still its own");
    assert_eq!(lab.open().positions(), Ok(vec![next(0, 5), next(1, 7)]));
}

fn rebuild_is_equal(lab: &mut dyn Lab) {
    const RECORDS: u64 = 180;
    let mut sink = claimed(lab, 0, "a");
    let (mut start, mut size) = (0, 1);
    while start < RECORDS {
        let end = (start + size).min(RECORDS);
        sink.write(&everything(lab.spec(), start..end)).expect("writes");
        (start, size) = (end, size % 17 + 3);
        if start % 4 == 0 {
            sink = claimed(lab, 0, "b");
        }
    }
    let by_steps = lab.dump();
    lab.wipe();
    claimed(lab, 0, "a").write(&everything(lab.spec(), 0..RECORDS)).expect("writes");
    assert_eq!(lab.dump(), by_steps);
}

/// Records of all kinds that the sink takes, each kind in a topic of its own.
pub fn everything(spec: &SinkSpec, offsets: std::ops::Range<u64>) -> SinkBatch {
    let topics = topics(spec);
    let next =
        topics.iter().map(|topic| SinkPosition { topic: topic.as_str().into(), ..next(0, offsets.end) }).collect();
    let records =
        offsets.flat_map(|offset| spec.consumes.iter().map(move |kind| samples::of_kind(*kind, 0, offset))).collect();
    SinkBatch { task: 0, records, next }
}

/// Writes batches while `kill` takes the server away and brings it back, in the middle of some of them. What is there
/// at the end must be what an undisturbed sink writes. `kill` returns when the server answers again.
pub fn check_kills(lab: &mut dyn Lab, kill: &(dyn Fn() + Sync)) {
    const BATCHES: u64 = 40;
    const RECORDS_PER_BATCH: u64 = 50;
    const KILLS_AT: [u64; 3] = [7, 18, 31];
    const DEADLINE: Duration = Duration::from_secs(60);
    let batch_at =
        |spec: &SinkSpec, index: u64| everything(spec, index * RECORDS_PER_BATCH..(index + 1) * RECORDS_PER_BATCH);
    lab.wipe();
    let mut sink = claimed(lab, 0, "a");
    let (spec, started) = (lab.spec(), Instant::now());
    let mut kills_at = KILLS_AT.into_iter().peekable();
    let mut index = 0;
    while index < BATCHES {
        if kills_at.next_if(|at| *at <= index).is_some() {
            // The last of the few is written again and again: the next kill must find batches that are new.
            write_until_killed(kill, |step| written(&mut *sink, &batch_at(spec, index + step.min(3))));
        } else {
            assert!(written(&mut *sink, &batch_at(spec, index)), "nobody disturbed this write");
        }
        index = resume(&mut *sink, started + DEADLINE) / RECORDS_PER_BATCH;
    }
    assert_eq!(kills_at.next(), None, "every kill was felt");
    let survived = lab.dump();
    lab.wipe();
    let mut undisturbed = claimed(lab, 0, "a");
    for index in 0..BATCHES {
        undisturbed.write(&batch_at(spec, index)).expect("writes");
    }
    assert_eq!(lab.dump(), survived);
}

/// Writes one batch after the other until one fails, which happens no later than with the first after the kill: its
/// connection is gone.
fn write_until_killed(kill: &(dyn Fn() + Sync), mut write: impl FnMut(u64) -> bool) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            kill();
            is_over.store(true, Ordering::Release);
        });
        for step in 0.. {
            let was_over = is_over.load(Ordering::Acquire);
            if !write(step) {
                return;
            }
            assert!(!was_over, "the connection outlived the server");
        }
    });
}

/// Whether the batch is known to be written. Every other answer must be one that the engine can wait out.
fn written(sink: &mut dyn Sink, batch: &SinkBatch) -> bool {
    match sink.write(batch) {
        Ok(()) => true,
        Err(SinkError::Unavailable(_) | SinkError::Fenced { .. }) => false,
        Err(error) => panic!("a dead server is not {error:?}"),
    }
}

/// Claims the task when the server is back, and returns the first offset that is not written.
fn resume(sink: &mut dyn Sink, deadline: Instant) -> u64 {
    loop {
        match sink.claim(0, "a") {
            Ok(positions) => return positions.iter().map(|position| position.next_offset).min().unwrap_or_default(),
            Err(SinkError::Unavailable(message)) => assert!(Instant::now() < deadline, "still away: {message}"),
            Err(error) => panic!("a dead server is not {error:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
