//! Which segment an account is in: noted on the way of the requests that say so.

use serde::{Deserialize, Serialize};
use tidemill_core::{State, StateError, StateValue, Store};
use tidemill_schemas::AccountCommand;
use tidemill_schemas::account::AccountAction;

/// Keyed by account. An account in no segment has none.
pub(crate) const FEE_SEGMENTS: Store<Segment> = Store::new("fee_segments");

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(super) segment: String,
}

impl StateValue for Segment {
    const VERSION: u8 = 1;
}

/// A request that the ledger then refuses is undone here, too.
pub(super) fn note(command: &AccountCommand, state: &mut dyn State) -> Result<(), StateError> {
    let AccountAction::ChangeSegment { segment } = &command.action else { return Ok(()) };
    match segment {
        Some(segment) => FEE_SEGMENTS.put(state, command.account.as_bytes(), &Segment { segment: segment.clone() }),
        None => FEE_SEGMENTS.delete(state, command.account.as_bytes()),
    }
}

pub(super) fn of(account: &str, state: &mut dyn State) -> Result<Option<String>, StateError> {
    Ok(FEE_SEGMENTS.get(state, account.as_bytes())?.map(|found| found.segment))
}
