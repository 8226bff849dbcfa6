//! Reference tables: small compacted topics that every worker holds whole.
//!
//! Entries are effective-dated by event time, so that a replay finds the entry that was in force.

use std::any::Any;

use crate::event::AnyEvent;

/// The in-memory form of one reference table. Built from settings, kept up to date from its topic.
pub trait ReferenceTable: Any + Send {
    /// Takes in one record of the topic; `None` removes the key.
    /// An entry that cannot be used is refused with a message for the operator, and the table stays as it was.
    fn apply(&mut self, key: &[u8], event: Option<AnyEvent>) -> Result<(), String>;

    fn as_any(&self) -> &dyn Any;
}

/// The reference tables of a stage, by name.
pub trait References {
    fn get(&self, name: &'static str) -> Option<&dyn ReferenceTable>;
}

impl dyn References + '_ {
    pub fn table<T: ReferenceTable>(&self, name: &'static str) -> Option<&T> {
        self.get(name)?.as_any().downcast_ref::<T>()
    }
}
