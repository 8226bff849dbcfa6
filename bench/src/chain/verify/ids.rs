//! Names as numbers: millions of them are kept.

use std::collections::HashMap;

/// Payment ids. A UUIDv7 is its own number; others are numbered from 1, which no UUIDv7 is.
#[derive(Debug, Default)]
pub(super) struct PaymentIds {
    others: HashMap<String, u128>,
}

impl PaymentIds {
    pub(super) fn number(&mut self, id: &str) -> u128 {
        if let Some(number) = uuid_v7(id) {
            return number;
        }
        let next = self.others.len() as u128 + 1;
        *self.others.entry(id.to_owned()).or_insert(next)
    }

    pub(super) fn name(&self, number: u128) -> String {
        match self.others.iter().find(|(_, other)| **other == number) {
            Some((id, _)) => format!("{id:?}"),
            None => {
                let hex = format!("{number:032x}");
                format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
            }
        }
    }
}

fn uuid_v7(id: &str) -> Option<u128> {
    let is_canonical = id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == b'7',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
    is_canonical.then(|| u128::from_str_radix(&id.replace('-', ""), 16).ok()).flatten()
}

/// Accounts, numbered as they appear.
#[derive(Debug, Default)]
pub(super) struct AccountNames {
    numbers: HashMap<String, usize>,
    names: Vec<String>,
}

impl AccountNames {
    pub(super) fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.numbers.insert(name.to_owned(), self.names.len());
        self.names.push(name.to_owned());
        self.names.len() - 1
    }

    pub(super) fn name(&self, number: usize) -> &str {
        &self.names[number]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_apart_and_named_again() {
        let mut ids = PaymentIds::default();
        let names = ["0198f7a0-7c3e-7abc-8def-0123456789ab", "p-1", "", "0198F7A0-7C3E-7ABC-8DEF-0123456789AB"];
        let numbers = names.map(|name| ids.number(name));
        assert_eq!(numbers, names.map(|name| ids.number(name)));
        for (at, number) in numbers.iter().enumerate() {
            assert!(!numbers[..at].contains(number));
            assert_eq!(ids.name(*number).trim_matches('"'), names[at]);
        }
    }
}
