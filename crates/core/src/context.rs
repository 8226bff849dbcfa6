//! All that a processor may know besides its event and its settings.

use crate::effects::Effects;
use crate::event::EventDecoder;
use crate::record::RecordView;
use crate::reference::References;
use crate::state::State;

/// Decoders for values in the Confluent wire format. The engine has asked the registry before the processor runs.
pub trait Schemas {
    /// The decoder for a registered schema id.
    fn decoder(&self, schema_id: u32) -> Result<&dyn EventDecoder, UnknownSchema>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownSchema {
    /// The registry does not know the id.
    NotRegistered,
    /// The id stands for a schema of another kind of event.
    NotUsable,
}

pub struct Context<'a> {
    /// The record the chain started with.
    pub record: RecordView<'a>,
    /// Number of the task, which is the number of the partition.
    pub task: u32,
    pub state: &'a mut dyn State,
    pub effects: &'a mut Effects,
    pub references: &'a dyn References,
    pub schemas: &'a dyn Schemas,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Context({})", self.record.origin)
    }
}
