//! A trail shows every change that is made to it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill_audit::{Action, Checkpoint, CheckpointError, Entry, FindingKind, Head, Keys, Outcome, Place, Verifier};

const TRAIL: &str = "ops.audit.v1";

fn action(number: u64) -> Action {
    Action {
        actor: "ops@desk".to_owned(),
        verb: "dlq.apply".to_owned(),
        object: format!("payments.requested.v1.dlq/{number}"),
        outcome: if number.is_multiple_of(3) { Outcome::Refused } else { Outcome::Done },
        reason: "the producer has mended its amounts".to_owned(),
        plan_hash: number.is_multiple_of(2).then(|| "00ff".to_owned()),
        counts: BTreeMap::from([("replayed".to_owned(), number), ("refused".to_owned(), 0)]),
        detail: String::new(),
    }
}

fn trail(entries: u64) -> Vec<Entry> {
    let mut head = Head::default();
    let mut trail = Vec::new();
    for number in 1..=entries {
        let entry = head.next(action(number), 1_000 + i64::try_from(number).expect("a small number"));
        head = Head::of(&entry).expect("it was just sealed");
        trail.push(entry);
    }
    trail
}

fn verify(records: &[Vec<u8>], times: &[i64]) -> Verifier {
    let mut verifier = Verifier::default();
    for (offset, (record, timestamp_ms)) in (0..).zip(records.iter().zip(times)) {
        verifier.see(Place { offset, timestamp_ms: *timestamp_ms, is_bare: true }, Some(record));
    }
    verifier
}

fn of(trail: &[Entry]) -> Verifier {
    let records: Vec<Vec<u8>> = trail.iter().map(Entry::encode).collect();
    verify(&records, &trail.iter().map(|entry| entry.at_ms).collect::<Vec<_>>())
}

fn kinds(verifier: &Verifier) -> Vec<FindingKind> {
    verifier.findings().iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_whole_trail_has_no_findings_and_says_what_it_covers() {
    let entries = trail(20);
    let verifier = of(&entries);
    assert_eq!(kinds(&verifier), []);
    let coverage = verifier.coverage();
    assert_eq!((coverage.entries, coverage.first_at_ms, coverage.last_at_ms), (20, Some(1_001), Some(1_020)));
    assert_eq!(coverage.head.hash_text(), entries[19].hash);
}

#[test]
fn what_is_taken_out_put_in_or_moved_is_found() {
    let entries = trail(8);
    let mut gap = entries.clone();
    gap.remove(3);
    assert_eq!(kinds(&of(&gap)), [FindingKind::Gap]);
    let mut twice = entries.clone();
    twice.insert(4, entries[3].clone());
    assert_eq!(kinds(&of(&twice)), [FindingKind::Reordered]);
    let mut moved = entries.clone();
    moved.swap(2, 3);
    assert_eq!(kinds(&of(&moved)), [FindingKind::Gap, FindingKind::Reordered]);
    let mut replaced = entries.clone();
    let before = Head::of(&entries[3]).expect("it was sealed");
    replaced[4] = before.next(Action { reason: "another reason".to_owned(), ..action(5) }, entries[4].at_ms);
    assert_eq!(kinds(&of(&replaced)), [FindingKind::Unchained], "the next one follows what was there before");
}

#[test]
fn the_end_of_a_trail_is_held_by_a_checkpoint() {
    let entries = trail(8);
    let keys = Keys::from_seed([7; 32]);
    let whole = of(&entries);
    let checkpoint = Checkpoint::sign(TRAIL, whole.coverage().head, 5, &keys);
    let line = serde_json::to_string(&checkpoint).expect("it is JSON");
    let opened = Checkpoint::open(&line, &keys.public_text()).expect("it was signed with this key");
    assert_eq!(opened.compare(TRAIL, &whole), None);
    let cut = of(&entries[..6]);
    assert_eq!(kinds(&cut), [], "the chain alone cannot know");
    assert_eq!(opened.compare(TRAIL, &cut).map(|finding| finding.kind), Some(FindingKind::Checkpoint));
    // A chain that was written anew from some entry on is whole in itself.
    let mut forged = entries[..6].to_vec();
    for number in 7..=8 {
        let head = Head::of(&forged[forged.len() - 1]).expect("it was sealed");
        forged.push(head.next(Action { reason: "nothing to see".to_owned(), ..action(number) }, 2_000));
    }
    assert_eq!(kinds(&of(&forged)), []);
    assert_eq!(opened.compare(TRAIL, &of(&forged)).map(|finding| finding.kind), Some(FindingKind::Checkpoint));

    let other = Keys::from_seed([8; 32]);
    assert_eq!(Checkpoint::open(&line, &other.public_text()), Err(CheckpointError::Foreign));
    let altered = line.replace("\"sequence\":8", "\"sequence\":7");
    assert_eq!(Checkpoint::open(&altered, &keys.public_text()), Err(CheckpointError::Signature));
    assert_eq!(Keys::parse(&keys.secret_text()).map(|keys| keys.public_text()), Ok(keys.public_text()));
}

proptest! {
    /// Whatever bit is flipped, in whatever entry.
    #[test]
    fn any_flipped_bit_is_found(entry in 0_usize..6, place in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let entries = trail(6);
        let mut records: Vec<Vec<u8>> = entries.iter().map(Entry::encode).collect();
        let times: Vec<i64> = entries.iter().map(|entry| entry.at_ms).collect();
        let byte = place.index(records[entry].len());
        records[entry][byte] ^= 1 << bit;
        prop_assert_ne!(verify(&records, &times).findings().len(), 0);
    }
}
