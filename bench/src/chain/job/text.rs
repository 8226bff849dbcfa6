//! Names and ids: short texts that live no longer than their record and should not cost an allocation.

use std::fmt;

use crate::chain::job::json;

/// A UUID has 36.
const INLINE_BYTES_MAX: usize = 38;

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Text(Kept);

#[derive(Clone, PartialEq, Eq)]
enum Kept {
    /// ASCII that stands in JSON as it is. Bytes behind `length` are zero.
    Plain {
        length: u8,
        bytes: [u8; INLINE_BYTES_MAX],
    },
    Other(Box<str>),
}

impl Text {
    pub(super) const EMPTY: Self = Self(Kept::Plain { length: 0, bytes: [0; INLINE_BYTES_MAX] });

    /// Any text.
    pub(super) fn new(text: &str) -> Self {
        if json::plain_length(text.as_bytes()) == text.len() {
            Self::plain(text.as_bytes())
        } else {
            Self(Kept::Other(text.into()))
        }
    }

    /// A text as [`json::Scanner::text`] returns it.
    pub(super) fn plain(text: &[u8]) -> Self {
        let mut bytes = [0; INLINE_BYTES_MAX];
        match bytes.get_mut(..text.len()) {
            Some(inline) => {
                inline.copy_from_slice(text);
                Self(Kept::Plain { length: text.len() as u8, bytes })
            }
            None => Self(Kept::Other(String::from_utf8_lossy(text).into())),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Kept::Plain { length, bytes } => &bytes[..usize::from(*length)],
            Kept::Other(text) => text.as_bytes(),
        }
    }

    /// Appends the text as a JSON string.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Kept::Plain { .. } => {
                out.push(b'"');
                out.extend_from_slice(self.bytes());
                out.push(b'"');
            }
            Kept::Other(text) => json::write_escaped(text, out),
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.bytes()), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_kept_and_written_as_json_wants_it() {
        for text in ["", "a-000001", "with \"quotes\"", "back\\slash", "tab\t", "Zürich", &"long".repeat(20)] {
            let kept = Text::new(text);
            assert_eq!(kept.bytes(), text.as_bytes());
            let mut written = Vec::new();
            kept.write_json(&mut written);
            assert_eq!(serde_json::from_slice::<String>(&written).expect("JSON"), text);
        }
    }
}
