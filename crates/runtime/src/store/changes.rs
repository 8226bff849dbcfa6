//! Changes of keys in memory: found by a hash that the caller has computed once, undone back to a mark, and in key order
//! for the stores that are scanned.
//!
//! Keys and values lie one after another in an arena, so that a change costs no allocation of its own, and entries stay
//! in the order in which their keys were first written, whatever the hash is: the same changes give the same bytes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;

use hashbrown::HashTable;

/// Separates the name of a store from the key in it. Store names hold no such byte.
pub const SEPARATOR: u8 = 0;

/// A key and what became of it: its value, or `None` where it was deleted.
pub type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// A change with a memory of its own.
pub type OwnedChange = (Vec<u8>, Option<Vec<u8>>);

const DELETED: usize = usize::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    key_at: usize,
    key_len: usize,
    value_at: usize,
    /// [`DELETED`] for none.
    value_len: usize,
}

/// What a change since the mark replaced.
#[derive(Clone, Copy, Debug)]
struct Replaced {
    entry: u32,
    value_at: usize,
    value_len: usize,
}

/// The entries of one store in key order: runs that are each sorted, the oldest first.
#[derive(Debug)]
struct Order {
    prefix: Vec<u8>,
    runs: Vec<Vec<u32>>,
    /// Entries before this one are in the runs.
    seen: usize,
}

#[derive(Debug, Default)]
pub struct Changes {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    by_hash: HashTable<u32>,
    replaced: Vec<Replaced>,
    /// Length of the arena and of the entries at the mark.
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
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory that the changes take.
    pub fn bytes(&self) -> usize {
        const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<u32>() + 1;
        self.arena.len() + self.entries.len() * ENTRY_BYTES
    }

    pub fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
        self.by_hash.clear();
        self.orders.clear();
        self.mark();
    }

    /// What became of the key: `None` if it was not changed.
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<Option<&[u8]>> {
        let entry = self.entries[self.find(hash, key)? as usize];
        Some(self.value(&entry))
    }

    /// In the order in which the keys were first written.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Change<'_>)> {
        self.entries.iter().map(|entry| (entry.hash, (self.key(entry), self.value(entry))))
    }

    /// In key order.
    pub fn sorted(&self) -> impl Iterator<Item = Change<'_>> {
        let mut order: Vec<u32> = (0..self.entries.len() as u32).collect();
        order.sort_unstable_by(|one, other| self.key_of(*one).cmp(self.key_of(*other)));
        order.into_iter().map(|entry| self.change(entry))
    }

    /// Notes a change. What it replaces can be brought back by [`Changes::undo`], until the next mark.
    pub fn put(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>) {
        let value_len = value.map_or(DELETED, <[u8]>::len);
        if let Some(number) = self.find(hash, key) {
            let entry = &mut self.entries[number as usize];
            // A value of no length that was written right after the mark stands where the mark is: noted once too often is no harm.
            let is_marked = entry.value_at <= self.mark.0;
            if is_marked {
                let Entry { value_at, value_len, .. } = *entry;
                self.replaced.push(Replaced { entry: number, value_at, value_len });
            }
            let fits =
                !is_marked && entry.value_len != DELETED && value.is_some_and(|value| value.len() <= entry.value_len);
            entry.value_len = value_len;
            if !fits {
                entry.value_at = self.arena.len();
                self.arena.extend_from_slice(value.unwrap_or_default());
            } else if let Some(value) = value {
                let at = entry.value_at;
                self.arena[at..at + value.len()].copy_from_slice(value);
            }
            return;
        }
        let key_at = self.arena.len();
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(value.unwrap_or_default());
        let number = self.entries.len() as u32;
        self.entries.push(Entry { hash, key_at, key_len: key.len(), value_at: key_at + key.len(), value_len });
        let Self { by_hash, entries, .. } = self;
        by_hash.insert_unique(hash, number, |number| entries[*number as usize].hash);
    }

    /// From here on changes can be undone.
    pub fn mark(&mut self) {
        self.replaced.clear();
        self.mark = (self.arena.len(), self.entries.len());
    }

    /// Back to the mark, which stays where it is.
    pub fn undo(&mut self) {
        let (arena_len, entries_len) = self.mark;
        while let Some(Replaced { entry, value_at, value_len }) = self.replaced.pop() {
            let entry = &mut self.entries[entry as usize];
            (entry.value_at, entry.value_len) = (value_at, value_len);
        }
        for number in entries_len..self.entries.len() {
            let hash = self.entries[number].hash;
            if let Ok(found) = self.by_hash.find_entry(hash, |candidate| *candidate as usize == number) {
                found.remove();
            }
        }
        self.entries.truncate(entries_len);
        self.arena.truncate(arena_len);
        for order in self.orders.iter_mut().filter(|order| order.seen > entries_len) {
            order.seen = entries_len;
            order.runs.iter_mut().for_each(|run| run.retain(|entry| (*entry as usize) < entries_len));
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
        self.orders.iter().any(|order| order.prefix == prefix && order.seen == self.entries.len())
    }

    /// The same by runs that are kept elsewhere, of [`Changes::sorted_run`].
    pub fn scan_runs(&self, runs: &[Vec<u32>], after: &[u8], limit: usize) -> Vec<OwnedChange> {
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (run, entries) in runs.iter().enumerate() {
            let from = entries.partition_point(|entry| self.key_of(*entry) <= after);
            if let Some(entry) = entries.get(from) {
                heads.push(Reverse((self.key_of(*entry), run, from)));
            }
        }
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(Reverse((key, run, at))) = heads.pop() else { break };
            let entries = &runs[run];
            found.push((key.to_vec(), self.change(entries[at]).1.map(<[u8]>::to_vec)));
            if let Some(entry) = entries.get(at + 1) {
                heads.push(Reverse((self.key_of(*entry), run, at + 1)));
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
                run.sort_by(|one, other| self.key_of(*one).cmp(self.key_of(*other)));
            }
            runs.push(run);
        }
        self.orders[number] = Order { prefix: prefix.to_vec(), runs, seen: self.entries.len() };
    }

    /// Entries of the store from number `from` on, in key order.
    pub fn sorted_run(&self, prefix: &[u8], from: usize) -> Vec<u32> {
        let entries = from as u32..self.entries.len() as u32;
        let mut run: Vec<u32> = entries.filter(|entry| self.key_of(*entry).starts_with(prefix)).collect();
        run.sort_unstable_by(|one, other| self.key_of(*one).cmp(self.key_of(*other)));
        run
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.by_hash.find(hash, |number| self.key_of(*number) == key).copied()
    }

    fn change(&self, number: u32) -> Change<'_> {
        let entry = &self.entries[number as usize];
        (self.key(entry), self.value(entry))
    }

    fn key_of(&self, number: u32) -> &[u8] {
        self.key(&self.entries[number as usize])
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        &self.arena[entry.key_at..entry.key_at + entry.key_len]
    }

    fn value(&self, entry: &Entry) -> Option<&[u8]> {
        (entry.value_len != DELETED).then(|| &self.arena[entry.value_at..entry.value_at + entry.value_len])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
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
