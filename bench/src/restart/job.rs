//! The job of the restart benchmark: a deposit changes an account, the account's new balance is written.
//!
//! The bytes are those of `peer/src/main/java/tidemill/bench/Account.java`.

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    AnyEvent, Class, CodeSpec, Context, DecodeError, Event, EventCodec, EventDecoder, EventKind, EventTime, Flow,
    Framing, KeySpace, Processor, ProcessorSpec, RawEvent, Reject, Settings, StoreSpec,
};

pub(crate) const STORE: &str = "accounts";
/// Balance, sequence and last deposit, then the profile.
pub(crate) const ACCOUNT_BYTES: usize = 24 + PROFILE_BYTES;
const PROFILE_BYTES: usize = 20 * 8;
/// The Confluent wire format's zero byte and schema id.
const WIRE_HEADER_BYTES: usize = 5;

pub(crate) static PROCESSORS: &[&ProcessorSpec] = &[&KEEP_BALANCE];
pub(crate) static CODECS: &[EventCodec] = &[BALANCE_CHANGED];

/// Name and key of an account.
pub(crate) fn account_name(number: u64) -> String {
    format!("a-{number:07}")
}

/// The value of a deposit: its number and an amount in minor units.
pub(crate) fn deposit(number: u64, amount_minor: i64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[8..].copy_from_slice(&amount_minor.to_be_bytes());
    bytes
}

static DEPOSIT_UNREADABLE: CodeSpec = CodeSpec {
    code: "deposit_unreadable",
    class: Class::Decode,
    summary: "The deposit does not have 16 bytes, or no key.",
    remedy: "Only the benchmark writes to this topic; delete it and start again.",
};

static KEEP_BALANCE: ProcessorSpec = ProcessorSpec {
    name: "keep_balance",
    summary: "Adds a deposit to its account and passes the new balance on.",
    signatures: &[Signature { takes: RawEvent::KIND, gives: Some(BalanceChanged::KIND) }],
    stores: &[StoreSpec { name: STORE, keyed_by: KeySpace::Any, summary: "Accounts by name." }],
    ports: &[],
    references: &[],
    codes: &[DEPOSIT_UNREADABLE],
    decodes: None,
    moves_money: MovesMoney::No,
    example: "",
    build,
};

const BALANCE_CHANGED: EventCodec = EventCodec {
    kind: BalanceChanged::KIND,
    framing: Framing::Confluent,
    schema: r#"{"type":"record","name":"BalanceChanged","fields":[{"name":"account","type":"string"},{"name":"deposit","type":"long"},{"name":"seq","type":"long"},{"name":"balance_minor","type":"long"}]}"#,
    version: 1,
    compatibility: "BACKWARD",
    summary: "The balance of an account after a deposit.",
    decoder: |_| Ok(Box::new(Decoder)),
};

struct KeepBalance;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BalanceChanged {
    pub(crate) account: String,
    pub(crate) deposit: i64,
    pub(crate) seq: i64,
    pub(crate) balance_minor: i64,
    time: EventTime,
}

struct Decoder;

fn build(_settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    Ok(Box::new(KeepBalance))
}

impl Processor for KeepBalance {
    fn process(&self, _event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let unreadable = || Reject::new(&DEPOSIT_UNREADABLE);
        let key = context.record.key.ok_or_else(unreadable)?;
        let name = std::str::from_utf8(key).map_err(|_| unreadable())?;
        let deposit: &[u8; 16] = context.record.value.and_then(|value| value.try_into().ok()).ok_or_else(unreadable)?;
        let (number, amount) = (number_at(deposit, 0), number_at(deposit, 8));
        let mut account = match context.state.get(STORE, key)? {
            Some(bytes) => bytes.to_vec(),
            None => opened(number),
        };
        let balance_minor = number_at(&account, 0).checked_add(amount).ok_or_else(unreadable)?;
        let seq = number_at(&account, 8) + 1;
        account[..8].copy_from_slice(&balance_minor.to_be_bytes());
        account[8..16].copy_from_slice(&seq.to_be_bytes());
        account[16..24].copy_from_slice(&number.to_be_bytes());
        context.state.put(STORE, key, account)?;
        let time = context.record.event_time;
        let changed = BalanceChanged { account: name.to_owned(), deposit: number, seq, balance_minor, time };
        Ok(Flow::Continue(Box::new(changed)))
    }
}

impl BalanceChanged {
    const KIND: EventKind = EventKind { name: "balance_changed", keyed_by: KeySpace::Named("account") };

    /// Reads the value of a record, as either engine writes it.
    pub(crate) fn of_value(value: &[u8]) -> Result<Self, DecodeError> {
        let datum = value.get(WIRE_HEADER_BYTES..).ok_or_else(|| DecodeError::new("the value is too short"))?;
        Self::of_datum(datum)
    }

    #[cfg(test)]
    pub(crate) fn sample(account: &str, deposit: i64, seq: i64) -> Self {
        Self { account: account.to_owned(), deposit, seq, balance_minor: seq, time: EventTime::default() }
    }

    fn of_datum(mut datum: &[u8]) -> Result<Self, DecodeError> {
        let length = usize::try_from(take_long(&mut datum)?).map_err(|_| DecodeError::new("a negative length"))?;
        let (account, rest) = datum.split_at_checked(length).ok_or_else(|| DecodeError::new("the account is cut"))?;
        datum = rest;
        let account = std::str::from_utf8(account).map_err(|_| DecodeError::new("the account is not text"))?.to_owned();
        let (deposit, seq) = (take_long(&mut datum)?, take_long(&mut datum)?);
        let balance_minor = take_long(&mut datum)?;
        Ok(Self { account, deposit, seq, balance_minor, time: EventTime::default() })
    }
}

impl Event for BalanceChanged {
    fn kind(&self) -> EventKind {
        Self::KIND
    }

    fn key(&self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.account.as_bytes());
        true
    }

    fn event_time(&self) -> EventTime {
        self.time
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        put_long(out, self.account.len() as i64);
        out.extend_from_slice(self.account.as_bytes());
        for value in [self.deposit, self.seq, self.balance_minor] {
            put_long(out, value);
        }
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl EventDecoder for Decoder {
    fn decode(&self, bytes: &[u8]) -> Result<AnyEvent, DecodeError> {
        Ok(Box::new(BalanceChanged::of_datum(bytes)?))
    }
}

/// The profile stands for all that a real account holds; like that, it does not compress to nothing.
fn opened(seed: i64) -> Vec<u8> {
    let mut account = vec![0; ACCOUNT_BYTES];
    let mut state = seed as u64;
    for chunk in account[24..].chunks_exact_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(word ^ (word >> 31)).to_be_bytes());
    }
    account
}

fn number_at(bytes: &[u8], at: usize) -> i64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(number)
}

/// Avro's zigzag number of variable length.
fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn take_long(bytes: &mut &[u8]) -> Result<i64, DecodeError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or_else(|| DecodeError::new("a number is cut"))?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(DecodeError::new("a number is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balance_is_read_as_it_was_written() {
        for number in [0, 1, 63, 64, 127, 128, -1, -64, -65, i64::MAX, i64::MIN] {
            let account = account_name(1_234_567);
            let written =
                BalanceChanged { account, deposit: number, seq: 2, balance_minor: number, time: EventTime::default() };
            let mut value = vec![0; WIRE_HEADER_BYTES];
            written.encode(&mut value).expect("it can be encoded");
            assert_eq!(BalanceChanged::of_value(&value).expect("it can be read"), written);
            assert!(BalanceChanged::of_value(&value[..value.len() - 1]).is_err());
        }
    }

    #[test]
    fn an_account_has_the_size_that_the_report_counts_with() {
        assert_eq!(opened(7).len(), ACCOUNT_BYTES);
        assert_ne!(opened(7), opened(8));
    }
}
