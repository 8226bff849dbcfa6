//! Takes out of a message what may be of a record: messages of libraries quote what they could not read.

/// Runs of so many digits are numbers of accounts, cards and telephones.
const DIGITS_MAX: usize = 5;
const HIDDEN: &str = "***";

/// The message without what stands between double quotes, without long numbers, and without addresses of mail. Names of
/// fields stand between backticks and stay.
pub(crate) fn redact(message: &str) -> String {
    let mut shown = String::with_capacity(message.len());
    for (index, part) in message.split('"').enumerate() {
        // Every second part stands between quotes, also one that is never closed.
        if index % 2 == 1 {
            shown.push('"');
            shown.push_str(HIDDEN);
            shown.push('"');
            continue;
        }
        for word in part.split_inclusive(char::is_whitespace) {
            push_word(&mut shown, word);
        }
    }
    shown
}

fn push_word(shown: &mut String, word: &str) {
    let bare = word.trim_end();
    if bare.contains('@') && !bare.starts_with('`') {
        shown.push_str(HIDDEN);
    } else {
        push_without_numbers(shown, bare);
    }
    shown.push_str(&word[bare.len()..]);
}

fn push_without_numbers(shown: &mut String, word: &str) {
    let mut digits = String::new();
    for character in word.chars().map(Some).chain([None]) {
        match character {
            Some(digit) if digit.is_ascii_digit() => digits.push(digit),
            other => {
                shown.push_str(if digits.len() > DIGITS_MAX { HIDDEN } else { &digits });
                digits.clear();
                shown.extend(other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_of_a_record_is_hidden() {
        for (message, shown) in [
            ("expected `amount` at line 3 column 18", "expected `amount` at line 3 column 18"),
            (
                "invalid value: string \"Mary Smith\", expected a number",
                "invalid value: string \"***\", expected a number",
            ),
            ("never \"closed", "never \"***\""),
            ("account DE4712345678 is odd", "account DE*** is odd"),
            ("12345 is short, 123456 is not", "12345 is short, *** is not"),
            ("write to mary@example.com please", "write to *** please"),
            ("payments@1", "***"),
            ("", ""),
        ] {
            assert_eq!(redact(message), shown, "{message}");
        }
    }
}
