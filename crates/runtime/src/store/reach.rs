//! How far each store reaches on the disk: its greatest key there.
//!
//! Many keys begin with a time, or with what grows as it does. A new one of those lies behind all others, and is known to
//! be nowhere on the disk without asking: no filter, no index, no block.

use crate::store::changes::{Change, SEPARATOR, store_of};
use crate::store::{StoreError, TaskStore};

/// By store. A key that was deleted counts as well: it is only a bound.
#[derive(Debug, Default)]
pub(crate) struct Reach(Vec<Last>);

#[derive(Debug)]
struct Last {
    /// Name of the store and separator.
    prefix: Vec<u8>,
    key: Vec<u8>,
}

impl Reach {
    /// Whether the key lies behind every key that its store has on the disk, which is asked once for each store.
    pub(crate) fn ends_before(&mut self, key: &[u8], store: &dyn TaskStore) -> Result<bool, StoreError> {
        let prefix = store_of(key);
        let Some(name) = prefix.strip_suffix(&[SEPARATOR]) else { return Ok(false) };
        let known = match self.0.iter().position(|last| last.prefix == prefix) {
            Some(known) => known,
            None => {
                let before = [name, &[SEPARATOR + 1]].concat();
                let last = store.last_key(prefix, &before)?.unwrap_or_else(|| prefix.to_vec());
                self.0.push(Last { prefix: prefix.to_vec(), key: last });
                self.0.len() - 1
            }
        };
        Ok(self.0[known].key.as_slice() < key)
    }

    /// A run is on the disk, of whose stores these are the greatest keys.
    pub(crate) fn extend(&mut self, last_keys: Vec<Vec<u8>>) {
        for key in last_keys {
            let known = self.0.iter_mut().find(|last| last.prefix == store_of(&key));
            if let Some(last) = known.filter(|last| last.key < key) {
                last.key = key;
            }
        }
    }
}

/// Notes the greatest key of each store while changes pass in key order.
#[derive(Debug, Default)]
pub(crate) struct LastKeys<'a>(Vec<&'a [u8]>);

impl<'a> LastKeys<'a> {
    pub(crate) fn note(&mut self, (key, _): &Change<'a>) {
        match self.0.last_mut().filter(|last| store_of(last) == store_of(key)) {
            Some(last) => *last = key,
            None => self.0.push(key),
        }
    }

    pub(crate) fn to_owned(&self) -> Vec<Vec<u8>> {
        self.0.iter().map(|key| key.to_vec()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::StoreFactory;
    use crate::store::memory::MemoryStores;

    #[test]
    fn a_store_ends_before_what_lies_behind_its_last_key() {
        let store = MemoryStores::default().open(Path::new("test"), "test").expect("a store in memory");
        let pairs: [Change<'_>; 3] = [(b"a\x00k5", Some(b"")), (b"ab\x00k9", Some(b"")), (b"b\x00k1", Some(b""))];
        store.apply(&mut pairs.into_iter(), 1).expect("it is applied");
        let mut reach = Reach::default();
        let ends_before = |reach: &mut Reach, key: &[u8]| reach.ends_before(key, store.as_ref()).expect("it reads");
        assert!(!ends_before(&mut reach, b"a\x00k5"));
        assert!(ends_before(&mut reach, b"a\x00k6"), "keys of `ab` and `b` are others");
        assert!(ends_before(&mut reach, b"c\x00anything"), "the store is empty");
        assert!(!ends_before(&mut reach, b"no separator"));
        let mut last_keys = LastKeys::default();
        let run: [Change<'_>; 4] = [(b"a\x00k2", None), (b"a\x00k7", None), (b"b\x00k0", None), (b"d\x00k1", None)];
        run.iter().for_each(|change| last_keys.note(change));
        assert_eq!(last_keys.to_owned(), [b"a\x00k7", b"b\x00k0", b"d\x00k1"]);
        reach.extend(last_keys.to_owned());
        assert!(!ends_before(&mut reach, b"a\x00k7"));
        assert!(ends_before(&mut reach, b"a\x00k8"));
        assert!(!ends_before(&mut reach, b"b\x00k1"), "a run with lesser keys takes nothing back");
    }
}
