//! Effects: what a processor wants done. The engine performs them in the one transaction of the record, or not at all.

use crate::event::AnyEvent;

/// One record to be written.
#[derive(Debug)]
pub struct Effect {
    /// A port that the processor's spec declares; the topology file says which topic it leads to.
    pub port: &'static str,
    pub event: AnyEvent,
    pub write: Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Every one is written.
    Append,
    /// Only the last one per key and transaction is written: for topics that hold a current value.
    Latest,
}

/// The effects of one record, in the order in which they were asked for.
#[derive(Debug, Default)]
pub struct Effects {
    list: Vec<Effect>,
    /// Evidence: stays when the record is rejected.
    kept: Vec<Effect>,
}

impl Effects {
    /// Writes a record, unless this input is rejected.
    pub fn emit(&mut self, port: &'static str, event: impl Into<AnyEvent>) {
        self.list.push(Effect { port, event: event.into(), write: Write::Append });
    }

    /// Writes the current value of its key, at most once per transaction, unless this input is rejected.
    pub fn emit_latest(&mut self, port: &'static str, event: impl Into<AnyEvent>) {
        self.list.push(Effect { port, event: event.into(), write: Write::Latest });
    }

    /// Writes a record even when this input is rejected later in the chain: for decisions and other evidence.
    pub fn emit_evidence(&mut self, port: &'static str, event: impl Into<AnyEvent>) {
        self.kept.push(Effect { port, event: event.into(), write: Write::Append });
    }

    /// Called by the engine when the chain rejected the record: only evidence stays.
    pub fn reject(&mut self) {
        self.list.clear();
    }

    /// Hands over all effects, evidence first, and leaves none.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.kept.drain(..).chain(self.list.drain(..))
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.list.is_empty()
    }
}
