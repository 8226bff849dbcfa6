//! What a payment asks for.

use serde::{Deserialize, Serialize};

/// The type of a payment. Says what the ledger does with it, and which steps before the ledger concern it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentType {
    /// From one account to another.
    #[default]
    Transfer,
    /// Into the ledger, from a settlement account.
    Deposit,
    /// Out of the ledger, to a settlement account.
    Withdrawal,
    /// Sets money aside for a payee: a hold.
    Authorise,
    /// Raises a hold to a new total.
    Increment,
    /// Takes held money.
    Capture,
    /// Gives up what is left of a hold.
    Void,
    /// Takes money without asking for funds, with or without a hold.
    ForcePost,
    /// Undoes one payment whole.
    Reverse,
    /// Gives a payment back, or a part of it.
    Refund,
    /// Takes a payment back from its payee, or a part of it, without asking for funds.
    Chargeback,
    /// Undoes a chargeback, or a part of it.
    ChargebackReversal,
    /// Sells one currency and buys another, by a quote.
    FxExchange,
    /// From several accounts to several, all of it or nothing of it.
    Journal,
    /// Calls off a payment that waits for its time.
    Cancel,
}

impl PaymentType {
    pub const ALL: [Self; 15] = [
        Self::Transfer,
        Self::Deposit,
        Self::Withdrawal,
        Self::Authorise,
        Self::Increment,
        Self::Capture,
        Self::Void,
        Self::ForcePost,
        Self::Reverse,
        Self::Refund,
        Self::Chargeback,
        Self::ChargebackReversal,
        Self::FxExchange,
        Self::Journal,
        Self::Cancel,
    ];

    /// As senders write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
            Self::Authorise => "authorise",
            Self::Increment => "increment",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::ForcePost => "force_post",
            Self::Reverse => "reverse",
            Self::Refund => "refund",
            Self::Chargeback => "chargeback",
            Self::ChargebackReversal => "chargeback_reversal",
            Self::FxExchange => "fx_exchange",
            Self::Journal => "journal",
            Self::Cancel => "cancel",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|payment_type| payment_type.name() == name)
    }

    /// Whether a payer asks for money with it. Only that is counted in profiles and scored: what follows from an
    /// earlier payment was judged with it, and is not the payer's to decide.
    pub fn is_screened(self) -> bool {
        let asks = matches!(self, Self::Transfer | Self::Withdrawal | Self::Authorise | Self::Increment);
        asks || matches!(self, Self::FxExchange | Self::Journal)
    }

    /// Whether it costs a fee: what takes money from a payer for good. The price of an exchange is the spread of its quote.
    pub fn is_priced(self) -> bool {
        matches!(self, Self::Transfer | Self::Withdrawal | Self::Capture | Self::ForcePost)
    }

    /// Whether a schedule that names it may price it: what is charged back can cost whoever gives back.
    pub fn can_be_priced(self) -> bool {
        self.is_priced() || self == Self::Chargeback
    }

    /// Whether it is its payer's own: asked for by the payer, or following from what was.
    pub fn is_of_payer(self) -> bool {
        self.is_screened() || self.is_priced()
    }

    /// Whether it moves money from one account to another, by which it can be given back later. An exchange can only be
    /// undone whole: a part of it would have to be rounded once more.
    pub fn can_be_given_back(self) -> bool {
        let is_plain = matches!(self, Self::Transfer | Self::Deposit | Self::Withdrawal);
        is_plain || matches!(self, Self::Capture | Self::ForcePost | Self::Journal)
    }

    /// Whether it can be asked for ahead of its time.
    pub fn can_be_scheduled(self) -> bool {
        matches!(self, Self::Transfer | Self::Deposit | Self::Withdrawal)
    }
}

/// For fields that are text in their schema, so that a reader need not know all types.
pub(crate) mod as_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::PaymentType;

    pub(crate) fn serialize<S: Serializer>(payment_type: &PaymentType, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(payment_type.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PaymentType, D::Error> {
        let name = String::deserialize(deserializer)?;
        PaymentType::parse(&name).ok_or_else(|| serde::de::Error::custom("no such type of payment"))
    }
}

/// The same for a field that may be null.
pub(crate) mod as_text_or_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::PaymentType;

    pub(crate) fn serialize<S: Serializer>(
        payment_type: &Option<PaymentType>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        payment_type.map(PaymentType::name).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PaymentType>, D::Error> {
        let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        PaymentType::parse(&name).map(Some).ok_or_else(|| serde::de::Error::custom("no such type of payment"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for payment_type in PaymentType::ALL {
            assert_eq!(PaymentType::parse(payment_type.name()), Some(payment_type));
            let json = serde_json::to_string(&payment_type).expect("a name");
            assert_eq!(json, format!("{:?}", payment_type.name()));
        }
        assert_eq!(PaymentType::parse("Transfer"), None);
    }
}
