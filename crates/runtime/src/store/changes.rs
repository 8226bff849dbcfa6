//! Changes of keys in memory: found by a hash that the caller has computed once, undone back to a mark, and in key order
//! for the stores that are scanned.
//!
//! Everything about a change lies in one arena, side by side: a change costs no allocation of its own, and looking one up
//! costs two cache lines that are far away, that of the table and that of the arena. Entries stay in the order in which
//! their keys were first written, whatever the hash is: the same changes give the same bytes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::BuildHasher;

use hashbrown::HashTable;

/// Separates the name of a store from the key in it. Store names hold no such byte.
pub const SEPARATOR: u8 = 0;

/// A key and what became of it: its value, or `None` where it was deleted.
pub type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// A change with a memory of its own.
pub type OwnedChange = (Vec<u8>, Option<Vec<u8>>);

const DELETED: usize = usize::MAX;

/// Where an entry begins in the arena, in units of [`UNIT_BYTES`].
pub type Place = u32;

/// With this, 32 bits name a place in 32 GiB.
const UNIT_BYTES: usize = 8;

/// Begins each entry in the arena; the key follows, and behind it the first value, if it has not been replaced by a
/// longer one. Packed, so that most entries and their keys lie in one or two cache lines.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    key_len: usize,
    value_at: usize,
    /// [`DELETED`] for none.
    value_len: usize,
}

const ENTRY_BYTES: usize = 2 * size_of::<u64>() + size_of::<u32>();
/// Of the word that holds where the value is, and above it the length of the key, which every store limits to 16 bits.
const VALUE_AT_BITS: u32 = 48;

/// What a change since the mark replaced.
#[derive(Clone, Copy, Debug)]
struct Replaced {
    place: Place,
    entry: Entry,
}

/// The entries of one store in key order: runs that are each sorted, the oldest first.
#[derive(Debug)]
struct Order {
    prefix: Vec<u8>,
    runs: Vec<Vec<Place>>,
    /// Entries before this one are in the runs.
    seen: usize,
}

#[derive(Debug, Default)]
pub struct Changes {
    arena: Vec<u8>,
    /// In the order in which they were first written, which is also that of the arena.
    places: Vec<Place>,
    by_hash: HashTable<Place>,
    replaced: Vec<Replaced>,
    /// Length of the arena and number of entries at the mark.
    mark: (usize, usize),
    orders: Vec<Order>,
}

/// Computes the hashes of one process. Seeded anew for each: keys come from outside.
#[derive(Clone, Debug, Default)]
pub struct KeyHasher(foldhash::fast::RandomState);

impl KeyHasher {
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.0.hash_one(key)
    }
}

impl Changes {
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Memory that the changes take.
    pub fn bytes(&self) -> usize {
        // Once in the list, once in the table, and there with a byte of the hash.
        const PLACE_BYTES: usize = 2 * size_of::<Place>() + 1;
        self.arena.len() + self.places.len() * PLACE_BYTES
    }

    pub fn clear(&mut self) {
        self.arena.clear();
        self.places.clear();
        self.by_hash.clear();
        self.orders.clear();
        self.mark();
    }

    /// What became of the key: `None` if it was not changed.
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<Option<&[u8]>> {
        self.find(hash, key).map(|place| self.value(self.entry(place)))
    }

    /// In the order in which the keys were first written.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Change<'_>)> {
        self.places.iter().map(|place| (self.entry(*place).hash, self.change(*place)))
    }

    /// In key order.
    pub fn sorted(&self) -> impl Iterator<Item = Change<'_>> {
        // Store by store, because many begin their keys with a time: those lie in order already, and a stable sort that
        // meets nothing else in between makes use of it.
        let mut stores: BTreeMap<&[u8], Vec<Place>> = BTreeMap::new();
        for place in &self.places {
            stores.entry(store_of(self.key(*place))).or_default().push(*place);
        }
        for places in stores.values_mut() {
            places.sort_by(|one, other| self.key(*one).cmp(self.key(*other)));
        }
        stores.into_values().flatten().map(|place| self.change(place))
    }

    /// Notes a change. What it replaces can be brought back by [`Changes::undo`], until the next mark.
    pub fn put(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>) {
        match self.find(hash, key) {
            Some(place) => self.replace(place, value),
            None => self.add(hash, key, value),
        }
    }

    fn replace(&mut self, place: Place, value: Option<&[u8]>) {
        let mut entry = self.entry(place);
        // A value of no length that was written right after the mark stands where the mark is: noted once too often is no harm.
        let is_marked = entry.value_at <= self.mark.0;
        if is_marked {
            self.replaced.push(Replaced { place, entry });
        }
        let fits =
            !is_marked && entry.value_len != DELETED && value.is_some_and(|value| value.len() <= entry.value_len);
        entry.value_len = value.map_or(DELETED, <[u8]>::len);
        if !fits {
            entry.value_at = self.arena.len();
            self.arena.extend_from_slice(value.unwrap_or_default());
        } else if let Some(value) = value {
            self.arena[entry.value_at..entry.value_at + value.len()].copy_from_slice(value);
        }
        self.set_entry(place, entry);
    }

    fn add(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>) {
        self.arena.resize(self.arena.len().next_multiple_of(UNIT_BYTES), 0);
        let at = self.arena.len();
        let place = (at / UNIT_BYTES) as Place;
        let value_at = at + ENTRY_BYTES + key.len();
        let entry = Entry { hash, key_len: key.len(), value_at, value_len: value.map_or(DELETED, <[u8]>::len) };
        self.arena.extend_from_slice(&entry.to_bytes());
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(value.unwrap_or_default());
        self.places.push(place);
        let Self { by_hash, arena, .. } = self;
        by_hash.insert_unique(hash, place, |place| Entry::at(arena, *place).hash);
    }

    /// From here on changes can be undone.
    pub fn mark(&mut self) {
        self.replaced.clear();
        self.mark = (self.arena.len(), self.places.len());
    }

    /// Back to the mark, which stays where it is.
    pub fn undo(&mut self) {
        let (arena_len, count) = self.mark;
        while let Some(Replaced { place, entry }) = self.replaced.pop() {
            self.set_entry(place, entry);
        }
        for place in self.places.split_off(count) {
            let hash = self.entry(place).hash;
            if let Ok(found) = self.by_hash.find_entry(hash, |candidate| *candidate == place) {
                found.remove();
            }
        }
        self.arena.truncate(arena_len);
        for order in self.orders.iter_mut().filter(|order| order.seen > count) {
            order.seen = count;
            order.runs.iter_mut().for_each(|run| run.retain(|place| (*place as usize) * UNIT_BYTES < arena_len));
        }
    }

    /// Up to `limit` changes of the store whose name and separator are `prefix`, with keys greater than `after`, in key
    /// order.
    pub fn scan(&mut self, prefix: &[u8], after: &[u8], limit: usize) -> Vec<OwnedChange> {
        self.arrange(prefix);
        self.scan_arranged(prefix, after, limit)
    }

    /// The same by an order that was made before, as of the last [`Changes::arrange`].
    pub fn scan_arranged(&self, prefix: &[u8], after: &[u8], limit: usize) -> Vec<OwnedChange> {
        let order = self.orders.iter().find(|order| order.prefix == prefix);
        self.scan_runs(order.map_or(&[], |order| order.runs.as_slice()), after, limit)
    }

    /// Whether all changes of the store are in order.
    pub fn is_arranged(&self, prefix: &[u8]) -> bool {
        self.orders.iter().any(|order| order.prefix == prefix && order.seen == self.places.len())
    }

    /// The same by runs that are kept elsewhere, of [`Changes::sorted_run`].
    pub fn scan_runs(&self, runs: &[Vec<Place>], after: &[u8], limit: usize) -> Vec<OwnedChange> {
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (run, places) in runs.iter().enumerate() {
            let from = places.partition_point(|place| self.key(*place) <= after);
            if let Some(place) = places.get(from) {
                heads.push(Reverse((self.key(*place), run, from)));
            }
        }
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(Reverse((key, run, at))) = heads.pop() else { break };
            let places = &runs[run];
            found.push((key.to_vec(), self.change(places[at]).1.map(<[u8]>::to_vec)));
            if let Some(place) = places.get(at + 1) {
                heads.push(Reverse((self.key(*place), run, at + 1)));
            }
        }
        found
    }

    /// Sorts what was added to the store since the last time. Runs of like size are merged, so that there are few of them
    /// and each entry is moved a logarithmic number of times.
    pub fn arrange(&mut self, prefix: &[u8]) {
        let number = self.orders.iter().position(|order| order.prefix == prefix).unwrap_or_else(|| {
            self.orders.push(Order { prefix: prefix.to_vec(), runs: Vec::new(), seen: 0 });
            self.orders.len() - 1
        });
        let Order { seen, .. } = self.orders[number];
        let mut run = self.sorted_run(prefix, seen);
        let mut runs = std::mem::take(&mut self.orders[number].runs);
        if !run.is_empty() {
            while let Some(before) = runs.pop_if(|before| before.len() <= 2 * run.len()) {
                run.extend(before);
                // Two sorted halves: a stable sort finds them and only merges.
                run.sort_by(|one, other| self.key(*one).cmp(self.key(*other)));
            }
            runs.push(run);
        }
        self.orders[number] = Order { prefix: prefix.to_vec(), runs, seen: self.places.len() };
    }

    /// Entries of the store from number `from` on, in key order.
    pub fn sorted_run(&self, prefix: &[u8], from: usize) -> Vec<Place> {
        let places = self.places[from..].iter().copied();
        let mut run: Vec<Place> = places.filter(|place| self.key(*place).starts_with(prefix)).collect();
        run.sort_unstable_by(|one, other| self.key(*one).cmp(self.key(*other)));
        run
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<Place> {
        self.by_hash.find(hash, |place| self.key(*place) == key).copied()
    }

    fn change(&self, place: Place) -> Change<'_> {
        (self.key(place), self.value(self.entry(place)))
    }

    fn key(&self, place: Place) -> &[u8] {
        let key_at = place as usize * UNIT_BYTES + ENTRY_BYTES;
        &self.arena[key_at..key_at + self.entry(place).key_len]
    }

    fn value(&self, entry: Entry) -> Option<&[u8]> {
        (entry.value_len != DELETED).then(|| &self.arena[entry.value_at..entry.value_at + entry.value_len])
    }

    fn entry(&self, place: Place) -> Entry {
        Entry::at(&self.arena, place)
    }

    fn set_entry(&mut self, place: Place, entry: Entry) {
        let at = place as usize * UNIT_BYTES;
        self.arena[at..at + ENTRY_BYTES].copy_from_slice(&entry.to_bytes());
    }
}

impl Entry {
    fn at(arena: &[u8], place: Place) -> Self {
        let at = place as usize * UNIT_BYTES;
        let (hash, rest) = split_word(&arena[at..at + ENTRY_BYTES]);
        let (lengths, rest) = split_word(rest);
        let mut value_len = [0; 4];
        value_len.copy_from_slice(rest);
        let value_len = match u32::from_ne_bytes(value_len) {
            u32::MAX => DELETED,
            length => length as usize,
        };
        let value_at = (lengths & ((1 << VALUE_AT_BITS) - 1)) as usize;
        Self { hash, key_len: (lengths >> VALUE_AT_BITS) as usize, value_at, value_len }
    }

    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let lengths = (self.key_len as u64) << VALUE_AT_BITS | self.value_at as u64;
        let value_len = u32::try_from(self.value_len).unwrap_or(u32::MAX);
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.hash.to_ne_bytes());
        bytes[8..16].copy_from_slice(&lengths.to_ne_bytes());
        bytes[16..].copy_from_slice(&value_len.to_ne_bytes());
        bytes
    }
}

/// The name of the store and its separator, with which the key begins; all of a key that has none.
pub(crate) fn store_of(key: &[u8]) -> &[u8] {
    let end = key.iter().position(|byte| *byte == SEPARATOR).map_or(key.len(), |at| at + 1);
    &key[..end]
}

fn split_word(bytes: &[u8]) -> (u64, &[u8]) {
    let (word, rest) = bytes.split_at(size_of::<u64>());
    let mut number = [0; 8];
    number.copy_from_slice(word);
    (u64::from_ne_bytes(number), rest)
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

    fn assert_same(changes: &mut Changes, model: &Model, hasher: &KeyHasher) {
        assert_eq!(changes.len(), model.len());
        for (key, value) in model {
            assert_eq!(changes.get(hasher.hash(key), key), Some(value.as_deref()), "{key:?}");
        }
        let sorted: Vec<_> = changes.sorted().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
        assert_eq!(sorted, model.clone().into_iter().collect::<Vec<_>>());
        for after in [&b"s\0"[..], b"s\0\x10", b"s\0\x1f"] {
            let of_store = model.range::<[u8], _>((Bound::Excluded(after), Bound::Excluded(&b"s\x01"[..])));
            let expected: Vec<_> = of_store.take(5).map(|(key, value)| (key.clone(), value.clone())).collect();
            assert_eq!(changes.scan_runs(&[changes.sorted_run(b"s\0", 0)], after, 5), expected);
            assert_eq!(changes.scan(b"s\0", after, 5), expected);
            assert_eq!(changes.scan_arranged(b"s\0", after, 5), expected);
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        Put(u8, u8, Option<Vec<u8>>),
        Mark,
        Undo,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..6));
        let put = (b'r'..b'u', 0_u8..32, value).prop_map(|(store, key, value)| Act::Put(store, key, value));
        let act = prop_oneof![12 => put, 2 => Just(Act::Mark), 1 => Just(Act::Undo)];
        proptest::collection::vec(act, 0..120)
    }

    proptest! {
        /// As an ordered map would have it, whatever is undone in between.
        #[test]
        fn changes_are_found_undone_and_ordered(acts in acts()) {
            let (hasher, mut changes) = (KeyHasher::default(), Changes::default());
            let (mut model, mut marked) = (Model::new(), Model::new());
            for act in acts {
                match act {
                    Act::Put(store, key, value) => {
                        let key = [store, SEPARATOR, key];
                        changes.put(hasher.hash(&key), &key, value.as_deref());
                        model.insert(key.to_vec(), value);
                    }
                    Act::Mark => {
                        changes.mark();
                        marked.clone_from(&model);
                    }
                    Act::Undo => {
                        changes.undo();
                        model.clone_from(&marked);
                    }
                }
                assert_same(&mut changes, &model, &hasher);
            }
        }
    }

    #[test]
    fn a_hot_key_takes_its_place_once() {
        let (hasher, mut changes) = (KeyHasher::default(), Changes::default());
        changes.put(hasher.hash(b"s\0hot"), b"s\0hot", Some(&[1; 100]));
        let bytes = changes.bytes();
        for number in 0..1_000 {
            changes.put(hasher.hash(b"s\0hot"), b"s\0hot", Some(&[number as u8; 90]));
        }
        assert_eq!(changes.bytes(), bytes);
    }
}
