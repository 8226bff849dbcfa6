//! A balance as the text fields of its hash.

use tidemill_core::money::decimal;
use tidemill_core::sink::SinkBody;
use tidemill_core::{Currency, SinkError, SinkRecord};
use tidemill_schemas::AccountBalance;

use crate::{KIND_NOT_TAKEN, VALUE_REFUSED};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Balance<'a> {
    pub(super) account: &'a str,
    pub(super) version: u64,
    pub(super) available: String,
    pub(super) pending: String,
    pub(super) currency: &'a str,
    pub(super) last_updated: String,
}

/// `None` for a tombstone: the ledger closes accounts, it never deletes them.
pub(super) fn of_record(index: usize, record: &SinkRecord) -> Result<Option<Balance<'_>>, SinkError> {
    let event = match &record.body {
        SinkBody::Tombstone => return Ok(None),
        SinkBody::DeadLetter { .. } | SinkBody::Resolution { .. } | SinkBody::Audit { .. } => {
            let message = "what is no event has no balance".to_owned();
            return Err(SinkError::Refused { index, code: KIND_NOT_TAKEN.code, message });
        }
        SinkBody::Event(event) => event,
    };
    let Some(balance) = event.downcast_ref::<AccountBalance>() else {
        let message = format!("events of kind {} have no balance", event.kind().name);
        return Err(SinkError::Refused { index, code: KIND_NOT_TAKEN.code, message });
    };
    let Some(currency) = Currency::parse(&balance.currency) else {
        let message = "currency: not an ISO 4217 code with a minor unit".to_owned();
        return Err(SinkError::Refused { index, code: VALUE_REFUSED.code, message });
    };
    Ok(Some(Balance {
        account: &balance.account_id,
        version: record.offset,
        available: decimal(i128::from(balance.available_minor), currency.exponent()),
        pending: decimal(i128::from(balance.pending_minor), currency.exponent()),
        currency: currency.code(),
        last_updated: balance.event_time.to_string(),
    }))
}
