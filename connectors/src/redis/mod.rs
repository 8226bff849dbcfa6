//! Balances in Redis, for reading one account fast.
//!
//! Redis takes part in no transaction, so a batch is applied idempotently: a script writes a balance only over one of a
//! lower offset, and moves the positions with the last of a batch's balances. The script also compares owner and epoch,
//! so that an owner who has been replaced writes nothing.
//!
//! Positions and claims live in Redis beside the balances. Whatever Redis loses, it loses together: a flushed or older
//! Redis knows no claim, the sink is fenced, claims again, and reads on from the positions that Redis has.
//!
//! A sink with a colour has that behind its prefix. Key `<key_prefix>live` holds the prefix of the pipeline that is live: who
//! reads asks for it first.
//!
//! The script makes up key names from its arguments, which Redis Cluster does not allow; one primary it must be.

mod audit;
mod balance;
mod config;
mod sink;

use tidemill_core::settings::SettingsError;
use tidemill_core::{Settings, Sink, SinkSpec};
use tidemill_schemas::AccountBalance;

pub(crate) const SPEC: SinkSpec = SinkSpec {
    name: "redis",
    summary: "The balance of each account as a hash in Redis.",
    consumes: &[AccountBalance::KIND],
    example: r#"url = "redis://localhost:6379"
key_prefix = "payments:"
"#,
    open,
};

fn open(name: &str, settings: &Settings) -> Result<Box<dyn Sink>, Vec<SettingsError>> {
    let config = config::read(settings)?;
    Ok(Box::new(sink::RedisSink::new(name, config)))
}
