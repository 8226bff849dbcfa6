//! What a fee schedule says of a fee beside its amount.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Who is short of a fee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeeCharge {
    /// The payer gives it on top of the amount.
    #[default]
    OnTop,
    /// It is taken out of the amount, so less arrives.
    Deducted,
}

/// What becomes of a fee when its payment is refunded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeeRefund {
    #[default]
    Kept,
    /// All of it goes back with the first refund.
    Returned,
    /// So much of it as of what has arrived is given back, in whole minor units and rounded down; all of it with the last.
    ProRata,
}

/// Fixed with the price of a payment, so that no schedule is asked for again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeTerms {
    pub charge: FeeCharge,
    pub refund: FeeRefund,
}

impl FeeCharge {
    pub const ALL: [Self; 2] = [Self::OnTop, Self::Deducted];

    pub fn name(self) -> &'static str {
        match self {
            Self::OnTop => "on_top",
            Self::Deducted => "deducted",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|charge| charge.name() == name)
    }
}

impl FeeRefund {
    pub const ALL: [Self; 3] = [Self::Kept, Self::Returned, Self::ProRata];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Returned => "returned",
            Self::ProRata => "pro_rata",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refund| refund.name() == name)
    }
}

/// Text on the wire, so that a reader need not know all of them.
macro_rules! serde_as_text {
    ($type:ident) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = String::deserialize(deserializer)?;
                Self::parse(&name).ok_or_else(|| serde::de::Error::custom("no such word"))
            }
        }
    };
}

serde_as_text!(FeeCharge);
serde_as_text!(FeeRefund);
