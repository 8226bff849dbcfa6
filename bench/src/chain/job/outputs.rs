//! What the chain writes: bare JSON, always with the same fields in the same order.

use std::borrow::Cow;

use serde::Deserialize;
use tidemill_core::{AnyEvent, DecodeError, EventCodec, EventDecoder, EventKind, EventTime, Framing, PortSpec};

use crate::chain::job::account::Account;
use crate::chain::job::event::json_event;
use crate::chain::job::json::{Scanner, write_number};
use crate::chain::job::text::Text;

pub(super) const ENTRIES: PortSpec =
    PortSpec { name: "entries", kind: Entry::KIND, summary: "One line in an account's book." };
pub(super) const INSTRUCTIONS: PortSpec =
    PortSpec { name: "instructions", kind: Instruction::KIND, summary: "What the credit account is to be given." };
pub(super) const REJECTED: PortSpec =
    PortSpec { name: "rejected", kind: Rejected::KIND, summary: "A payment that is not carried out, and why." };
pub(super) const BALANCES: PortSpec =
    PortSpec { name: "balances", kind: Balance::KIND, summary: "The latest balance of an account." };

pub(super) const ENTRY_CODEC: EventCodec = codec(Entry::KIND, ENTRIES.summary, unread);
pub(super) const INSTRUCTION_CODEC: EventCodec =
    codec(Instruction::KIND, INSTRUCTIONS.summary, |_| Ok(Box::new(InstructionDecoder)));
pub(super) const REJECTED_CODEC: EventCodec = codec(Rejected::KIND, REJECTED.summary, unread);
pub(super) const BALANCE_CODEC: EventCodec = codec(Balance::KIND, BALANCES.summary, unread);

type MakeDecoder = fn(&str) -> Result<Box<dyn EventDecoder>, DecodeError>;

const fn codec(kind: EventKind, summary: &'static str, decoder: MakeDecoder) -> EventCodec {
    EventCodec { kind, framing: Framing::Bare, schema: "", version: 1, compatibility: "", summary, decoder }
}

fn unread(_schema: &str) -> Result<Box<dyn EventDecoder>, DecodeError> {
    Err(DecodeError::new("the chain writes this and does not read it"))
}

#[derive(Clone, Copy, Debug)]
pub(super) enum EntryKind {
    Debit,
    Fee,
    Credit,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) payment: Text,
    pub(super) account: Text,
    pub(super) kind: EntryKind,
    pub(super) amount_minor: i64,
    /// The account after the entry.
    pub(super) after: Account,
    pub(super) time: EventTime,
}

json_event!(Entry: "entry", key: |entry| &entry.account, time: |entry| entry.time, json: |entry, out| {
    let kind: &[u8] = match entry.kind {
        EntryKind::Debit => b",\"kind\":\"debit\",\"amount\":",
        EntryKind::Fee => b",\"kind\":\"fee\",\"amount\":",
        EntryKind::Credit => b",\"kind\":\"credit\",\"amount\":",
    };
    out.extend_from_slice(b"{\"payment\":");
    entry.payment.write_json(out);
    out.extend_from_slice(b",\"account\":");
    entry.account.write_json(out);
    out.extend_from_slice(b",\"seq\":");
    write_number(entry.after.seq, out);
    out.extend_from_slice(kind);
    write_number(entry.amount_minor, out);
    out.extend_from_slice(b",\"balance\":");
    write_number(entry.after.posted_minor, out);
    out.push(b'}');
});

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) payment: Text,
    pub(super) account: Text,
    pub(super) amount_minor: i64,
    /// Not in the value: it is the timestamp of the record.
    pub(super) time: EventTime,
}

json_event!(
    Instruction: "instruction",
    key: |instruction| &instruction.account,
    time: |instruction| instruction.time,
    json: |instruction, out| {
        out.extend_from_slice(b"{\"payment\":");
        instruction.payment.write_json(out);
        out.extend_from_slice(b",\"account\":");
        instruction.account.write_json(out);
        out.extend_from_slice(b",\"amount\":");
        write_number(instruction.amount_minor, out);
        out.push(b'}');
    }
);

#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) payment: Text,
    /// Empty where it could not be read.
    pub(super) debit_account: Text,
    pub(super) code: &'static str,
    pub(super) time: EventTime,
}

json_event!(
    Rejected: "rejected",
    key: |rejected| &rejected.debit_account,
    time: |rejected| rejected.time,
    json: |rejected, out| {
        out.extend_from_slice(b"{\"payment\":");
        rejected.payment.write_json(out);
        out.extend_from_slice(b",\"code\":\"");
        out.extend_from_slice(rejected.code.as_bytes());
        out.extend_from_slice(b"\"}");
    }
);

#[derive(Debug)]
pub(super) struct Balance {
    pub(super) account: Text,
    pub(super) now: Account,
    pub(super) time: EventTime,
}

json_event!(Balance: "balance", key: |balance| &balance.account, time: |balance| balance.time, json: |balance, out| {
    out.extend_from_slice(b"{\"account\":");
    balance.account.write_json(out);
    out.extend_from_slice(b",\"posted\":");
    write_number(balance.now.posted_minor, out);
    out.extend_from_slice(b",\"seq\":");
    write_number(balance.now.seq, out);
    out.push(b'}');
});

struct InstructionDecoder;

impl EventDecoder for InstructionDecoder {
    fn decode(&self, bytes: &[u8]) -> Result<AnyEvent, DecodeError> {
        let instruction = match Instruction::scan(bytes) {
            Some(instruction) => instruction,
            None => Instruction::parse(bytes)?,
        };
        Ok(Box::new(instruction))
    }
}

impl Instruction {
    fn scan(value: &[u8]) -> Option<Self> {
        let mut scanner = Scanner::new(value);
        let (mut payment, mut account, mut amount) = (None, None, None);
        scanner.object(|name, scanner| {
            match name {
                b"payment" => payment = Some(scanner.text()?),
                b"account" => account = Some(scanner.text()?),
                b"amount" => amount = Some(scanner.number()?),
                _ => return None,
            }
            Some(())
        })?;
        scanner.end()?;
        let (payment, account) = (Text::plain(payment?), Text::plain(account?));
        Some(Self { payment, account, amount_minor: amount?, time: EventTime::default() })
    }

    fn parse(value: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Json<'a> {
            #[serde(borrow)]
            payment: Cow<'a, str>,
            #[serde(borrow)]
            account: Cow<'a, str>,
            amount: i64,
        }
        let json: Json<'_> =
            serde_json::from_slice(value).map_err(|_| DecodeError::new("the value is not an instruction"))?;
        Ok(Self {
            payment: Text::new(&json.payment),
            account: Text::new(&json.account),
            amount_minor: json.amount,
            time: EventTime::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use tidemill_core::Event;

    use super::*;

    fn json(event: &dyn Event) -> String {
        let mut value = Vec::new();
        event.encode(&mut value).expect("it has an encoding");
        String::from_utf8(value).expect("text")
    }

    #[test]
    fn values_are_written_as_agreed() {
        let (payment, account, time) = (Text::new("p-1"), Text::new("a-1"), EventTime::default());
        let after = Account { posted_minor: 99, seq: 2 };
        let entry = Entry {
            payment: payment.clone(),
            account: account.clone(),
            kind: EntryKind::Fee,
            amount_minor: -10,
            after,
            time,
        };
        let expected = r#"{"payment":"p-1","account":"a-1","seq":2,"kind":"fee","amount":-10,"balance":99}"#;
        assert_eq!(json(&entry), expected);
        let balance = Balance { account: account.clone(), now: after, time };
        assert_eq!(json(&balance), r#"{"account":"a-1","posted":99,"seq":2}"#);
        let rejected = Rejected { payment, debit_account: account, code: "invalid", time };
        assert_eq!(json(&rejected), r#"{"payment":"p-1","code":"invalid"}"#);
    }

    #[test]
    fn an_instruction_is_read_as_it_was_written() {
        for id in ["p-1", "quoted \"p\"", "ö"] {
            let instruction = Instruction {
                payment: Text::new(id),
                account: Text::new("a-1"),
                amount_minor: 1_234,
                time: EventTime::default(),
            };
            let event = InstructionDecoder.decode(json(&instruction).as_bytes()).expect("an instruction");
            assert_eq!(event.downcast_ref::<Instruction>(), Some(&instruction));
        }
        for value in ["", "{}", r#"{"payment":"p","account":"a"}"#, r#"{"payment":"p","account":"a","amount":1.5}"#] {
            assert!(InstructionDecoder.decode(value.as_bytes()).is_err(), "{value}");
        }
    }
}
