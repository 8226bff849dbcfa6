//! JSON as the topics of the chain hold it almost always: objects of texts and whole numbers, nothing escaped, all ASCII.
//!
//! The scanner takes that and gives up on everything else, valid or not. Whoever uses it then asks `serde_json`, which
//! knows the rest of the language: so nothing is taken here that would not be taken there.

/// Reads one value from left to right. `None` from any method: this is not for the scanner.
pub(super) struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    pub(super) fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    /// An object that is not empty. `member` is called with each name and reads its value.
    pub(super) fn object(&mut self, mut member: impl FnMut(&'a [u8], &mut Self) -> Option<()>) -> Option<()> {
        self.token(b'{')?;
        loop {
            let name = self.text()?;
            self.token(b':')?;
            member(name, self)?;
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// A text, without its quotation marks.
    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        self.token(b'"')?;
        let (text, rest) = self.rest.split_at(plain_length(self.rest));
        self.rest = rest.strip_prefix(b"\"")?;
        Some(text)
    }

    /// A whole number that is not negative.
    pub(super) fn number(&mut self) -> Option<i64> {
        self.skip_space();
        let length = self.rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let (digits, rest) = self.rest.split_at(length);
        if digits.is_empty() || (digits[0] == b'0' && length > 1) {
            return None;
        }
        self.rest = rest;
        digits.iter().try_fold(0_i64, |number, digit| number.checked_mul(10)?.checked_add(i64::from(digit - b'0')))
    }

    /// Nothing may follow but white space.
    pub(super) fn end(&mut self) -> Option<()> {
        self.skip_space();
        self.rest.is_empty().then_some(())
    }

    fn token(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    fn next(&mut self) -> Option<u8> {
        self.skip_space();
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn skip_space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }
}

/// How many bytes come before the first that ends a text or does not stand in one as it is: a quotation mark, a backslash,
/// a control character, or anything beyond ASCII. Eight bytes at a time.
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // The highest bit of each byte that is zero; bytes above the lowest of them may be wrong.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let mut rest = bytes;
    while let Some((chunk, behind)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let quotes = zeros(word ^ (ONES * u64::from(b'"')));
        let backslashes = zeros(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        let special = (quotes | backslashes | controls | word) & HIGHS;
        if special != 0 {
            return bytes.len() - rest.len() + (special.trailing_zeros() / 8) as usize;
        }
        rest = behind;
    }
    let is_special = |byte: &u8| *byte == b'"' || *byte == b'\\' || *byte < 0x20 || *byte > 0x7f;
    bytes.len() - rest.len() + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// Appends any text as a JSON string.
pub(super) fn write_escaped(text: &str, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, and a text is always JSON.
    let _infallible = serde_json::to_writer(out, text);
}

pub(super) fn write_number(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plain_text_ends_where_it_should(bytes in proptest::collection::vec(0x18_u8..0x84, 0..40)) {
            let is_special = |byte: &u8| *byte == b'"' || *byte == b'\\' || *byte < 0x20 || *byte > 0x7f;
            let expected = bytes.iter().position(is_special).unwrap_or(bytes.len());
            prop_assert_eq!(plain_length(&bytes), expected);
        }

        /// A number that the scanner takes is the number that `serde_json` reads.
        #[test]
        fn numbers(text in "[0-9]{1,20}") {
            let value = format!("{text} ");
            let mut scanner = Scanner::new(value.as_bytes());
            if let Some(number) = scanner.number() {
                prop_assert_eq!(serde_json::from_str::<i64>(&text).ok(), Some(number));
                prop_assert_eq!(scanner.end(), Some(()));
            } else {
                prop_assert!(serde_json::from_str::<i64>(&text).is_err());
            }
        }
    }

    #[test]
    fn objects() {
        let cases = [
            (r#"{"a":"b"}"#, true),
            (" {\n\"a\" : \"b\" , \"c\":\"d\"}\t", true),
            ("", false),
            ("{}", false),
            (r#"{"a":"b"}x"#, false),
            (r#"{"a":"b"} {}"#, false),
            (r#"{"a":"b","#, false),
            (r#"{"a":"b",}"#, false),
            (r#"{"a":"b" "c":"d"}"#, false),
            (r#"{"a":"b\n"}"#, false),
            (r#"{"a":"b"#, false),
            (r#"["a"]"#, false),
            (r#"{a:"b"}"#, false),
        ];
        for (value, is_taken) in cases {
            let mut scanner = Scanner::new(value.as_bytes());
            let taken = scanner.object(|_, scanner| scanner.text().map(drop)).and_then(|()| scanner.end());
            assert_eq!(taken.is_some(), is_taken, "{value}");
        }
    }
}
