//! The suite for stores of tasks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::conformance::{Check, Random, checks, run_checks};
use crate::store::changes::OwnedChange;
use crate::store::{Pair, StoreError, StoreFactory, TaskStore};

const IDENTITY: &str = "cluster/pipeline/unit/0";

/// A factory, and a directory of its own that does not exist yet.
pub struct StoreUnderTest {
    pub stores: Box<dyn StoreFactory>,
    pub directory: PathBuf,
}

/// Runs the whole suite; `open` is called once per check.
///
/// # Panics
/// If a check failed, naming all that did.
pub fn run(open: &dyn Fn() -> StoreUnderTest) {
    const CHECKS: &[Check<StoreUnderTest>] = checks!(
        suite: a_new_store_is_empty, returns_what_was_applied, scans_in_order,
        takes_any_key_and_value, remembers_over_a_reopen, belongs_to_one_identity, a_discarded_store_starts_empty,
        agrees_with_a_model);
    run_checks(&[CHECKS], &|_| open());
}

/// What a log of changes comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub pairs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Model {
    pub fn apply(&mut self, changes: &[OwnedChange]) {
        for (key, value) in changes {
            match value {
                Some(value) => self.pairs.insert(key.clone(), value.clone()),
                None => self.pairs.remove(key),
            };
        }
    }

    /// Asserts that the store holds exactly this, by `get` and by `scan`.
    ///
    /// # Panics
    /// If it does not.
    pub fn assert_is(&self, store: &dyn TaskStore) {
        let found = store.scan(b"", &[0xff; 40], usize::MAX).expect("the store can be scanned");
        let expected: Vec<Pair> = self.pairs.clone().into_iter().collect();
        assert!(found == expected, "a scan returns {} pairs, the model has {}", found.len(), expected.len());
        for (key, value) in &self.pairs {
            assert_eq!(store.get(key).expect("the store can be read").as_ref(), Some(value), "key {key:?}");
        }
    }
}

/// Changes of a few keys, now and then with a value that is large.
pub fn random_changes(random: &mut Random) -> Vec<OwnedChange> {
    let change = |random: &mut Random| {
        let key = format!("balances\0{:03}", random.below(200)).into_bytes();
        let value = (random.below(5) > 0).then(|| {
            let length = if random.below(50) == 0 { 20_000 } else { random.below(200) };
            vec![random.number() as u8; length]
        });
        (key, value)
    };
    (0..=random.below(20)).map(|_| change(random)).collect()
}

/// Applies changes to a store, the last one of each key.
///
/// # Errors
/// Those of the store.
pub fn apply(store: &dyn TaskStore, changes: &[OwnedChange], next_offset: u64) -> Result<(), StoreError> {
    let last: BTreeMap<&[u8], Option<&[u8]>> =
        changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
    store.apply(&mut last.into_iter(), next_offset)
}

impl StoreUnderTest {
    fn open(&self) -> Arc<dyn TaskStore> {
        self.stores.open(&self.directory, IDENTITY).expect("the store opens")
    }
}

fn put(key: &[u8], value: &[u8]) -> OwnedChange {
    (key.to_vec(), Some(value.to_vec()))
}

mod suite {
    use super::*;

    pub(super) fn a_new_store_is_empty(under_test: &StoreUnderTest) {
        let store = under_test.open();
        assert_eq!(store.next_offset(), 0);
        assert_eq!(store.get(b"key").expect("the store can be read"), None);
        Model::default().assert_is(store.as_ref());
    }

    pub(super) fn returns_what_was_applied(under_test: &StoreUnderTest) {
        let store = under_test.open();
        apply(store.as_ref(), &[put(b"a", b"1"), put(b"b", b"2")], 7).expect("it is applied");
        assert_eq!(store.next_offset(), 7);
        apply(store.as_ref(), &[put(b"a", b"3"), (b"b".to_vec(), None)], 9).expect("it is applied");
        assert_eq!(store.next_offset(), 9);
        assert_eq!(store.get(b"a").expect("the store can be read").as_deref(), Some(&b"3"[..]));
        assert_eq!(store.get(b"b").expect("the store can be read"), None);
        apply(store.as_ref(), &[], 11).expect("an offset alone is applied");
        assert_eq!(store.next_offset(), 11);
    }

    pub(super) fn scans_in_order(under_test: &StoreUnderTest) {
        let store = under_test.open();
        let keys: [&[u8]; 7] = [b"b", b"a", b"a\0", b"a\xff", b"ab", b"c", b"a\0\0"];
        apply(store.as_ref(), &keys.map(|key| put(key, key)), 1).expect("it is applied");
        type Case<'a> = (&'a [u8], &'a [u8], usize, &'a [&'a [u8]]);
        let cases: [Case<'_>; 6] = [
            (b"", b"\xff", 10, &[b"a", b"a\0", b"a\0\0", b"ab", b"a\xff", b"b", b"c"]),
            (b"a", b"b", 10, &[b"a\0", b"a\0\0", b"ab", b"a\xff"]),
            (b"a", b"c", 2, &[b"a\0", b"a\0\0"]),
            (b"a", b"c", 0, &[]),
            (b"b", b"b", 10, &[]),
            (b"c", b"a", 10, &[]),
        ];
        for (after, before, limit, expected) in cases {
            let found = store.scan(after, before, limit).expect("the store can be scanned");
            let last = store.last_key(after, before).expect("the store can be asked");
            if found.len() < limit {
                assert_eq!(last.as_deref(), expected.last().copied(), "after {after:?} before {before:?}");
            }
            let keys: Vec<&[u8]> = found.iter().map(|(key, _)| key.as_slice()).collect();
            assert_eq!(keys, expected, "after {after:?} before {before:?} limit {limit}");
            assert!(found.iter().all(|(key, value)| key == value));
        }
    }

    pub(super) fn takes_any_key_and_value(under_test: &StoreUnderTest) {
        let store = under_test.open();
        let long = vec![7; 30_000];
        let large = vec![9; 2_000_000];
        let pairs: [(&[u8], &[u8]); 6] = [
            (b"", b"empty key"),
            (b"\0", b""),
            (b"\0checkpoint", b"1"),
            (b"o", b"2"),
            (&long, b"3"),
            (b"large", &large),
        ];
        apply(store.as_ref(), &pairs.map(|(key, value)| put(key, value)), 5).expect("it is applied");
        for (key, value) in pairs {
            assert!(store.get(key).expect("the store can be read").as_deref() == Some(value), "a key of {}", key.len());
        }
        assert_eq!(store.next_offset(), 5);
    }

    pub(super) fn remembers_over_a_reopen(under_test: &StoreUnderTest) {
        let mut random = Random::printed();
        let mut model = Model::default();
        for round in 0..6 {
            let store = under_test.open();
            assert_eq!(store.next_offset(), round * 20);
            model.assert_is(store.as_ref());
            for number in 0..20 {
                let changes = random_changes(&mut random);
                model.apply(&changes);
                apply(store.as_ref(), &changes, round * 20 + number + 1).expect("it is applied");
            }
            if round % 2 == 0 {
                store.sync().expect("it is synced");
            }
        }
    }

    pub(super) fn belongs_to_one_identity(under_test: &StoreUnderTest) {
        drop(under_test.open());
        match under_test.stores.open(&under_test.directory, "another") {
            Err(StoreError::Foreign { found, expected, .. }) => {
                assert_eq!((found.as_str(), expected.as_str()), (IDENTITY, "another"));
            }
            other => panic!("{:?} for a store of another", other.err()),
        }
        drop(under_test.open());
    }

    pub(super) fn a_discarded_store_starts_empty(under_test: &StoreUnderTest) {
        under_test.stores.discard(&under_test.directory).expect("what does not exist is discarded");
        let store = under_test.open();
        apply(store.as_ref(), &[put(b"a", b"1")], 1).expect("it is applied");
        drop(store);
        under_test.stores.discard(&under_test.directory).expect("it is discarded");
        let store = under_test.stores.open(&under_test.directory, "another").expect("it is anybody's");
        assert_eq!((store.next_offset(), store.get(b"a").expect("the store can be read")), (0, None));
    }

    pub(super) fn agrees_with_a_model(under_test: &StoreUnderTest) {
        let mut random = Random::printed();
        let mut model = Model::default();
        let store = under_test.open();
        for next_offset in 1..=400 {
            let changes = random_changes(&mut random);
            model.apply(&changes);
            apply(store.as_ref(), &changes, next_offset).expect("it is applied");
        }
        model.assert_is(store.as_ref());
    }
}
