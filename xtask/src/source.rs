//! A Rust file with its comments and literals told apart from its code.
//!
//! No parser: enough of the lexer to know what is code, so that a rule never trips over a word in a string.

/// The code of the file: comments, and the insides of strings and characters, are blanks. Offsets and lines are those
/// of the original.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) code: String,
    /// The comments of the file, everything else blank.
    pub(crate) comments: String,
    line_starts: Vec<usize>,
    test_ranges: Vec<(usize, usize)>,
    /// Lines that lie wholly inside one string literal: data, such as the rows of a table.
    data_lines: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

impl Source {
    pub(crate) fn parse(text: &str) -> Self {
        let parts = classify(text.as_bytes());
        let code = keep(text, &parts, Part::Code);
        let comments = keep(text, &parts, Part::Comment);
        let mut line_starts = vec![0];
        line_starts.extend(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1));
        let data_lines = line_starts
            .iter()
            .enumerate()
            .map(|(line, start)| {
                let end = line_starts.get(line + 1).copied().unwrap_or(text.len());
                end > *start && parts[*start..end].iter().all(|part| *part == Part::Literal)
            })
            .collect();
        let mut source = Self { code, comments, line_starts, test_ranges: Vec::new(), data_lines };
        source.test_ranges = source.find_test_ranges();
        source
    }

    /// The line, from 1, of a byte offset.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    pub(crate) fn line_count(&self) -> usize {
        let trailing = usize::from(self.line_starts.last() == Some(&self.code.len()));
        self.line_starts.len() - trailing
    }

    pub(crate) fn is_data_line(&self, line: usize) -> bool {
        self.data_lines.get(line - 1).copied().unwrap_or(false)
    }

    /// Whether the offset lies in a `#[cfg(test)]` module.
    pub(crate) fn is_test(&self, offset: usize) -> bool {
        self.test_ranges.iter().any(|(start, end)| (*start..*end).contains(&offset))
    }

    /// Offsets at which `word` stands in the code as a word of its own.
    pub(crate) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        words_in(&self.code, word)
    }

    /// The offset after the bracket that closes the one at `open`.
    pub(crate) fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0usize;
        for (at, byte) in self.code.bytes().enumerate().skip(open) {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn find_test_ranges(&self) -> Vec<(usize, usize)> {
        let mut ranges = Vec::new();
        for (start, _) in self.code.match_indices("#[cfg(test)]") {
            let Some(open) = self.code[start..].find(['{', ';']).map(|at| start + at) else { continue };
            if self.code.as_bytes()[open] == b'{'
                && let Some(end) = self.closing(open)
            {
                ranges.push((start, end));
            }
        }
        ranges
    }
}

/// The files, without `.rs`, that `#[cfg(test)] mod name;` in the file at `path` declares.
pub(crate) fn declared_test_files(path: &str, source: &Source) -> Vec<String> {
    let folder = match path.rsplit_once('/') {
        Some((folder, "lib.rs" | "main.rs" | "mod.rs")) => folder,
        _ => path.trim_end_matches(".rs"),
    };
    let attribute = "#[cfg(test)]";
    let declared = source.code.match_indices(attribute).filter_map(|(at, _)| {
        let item = source.code[at + attribute.len()..].trim_start();
        let (name, _) = item.strip_prefix("mod ")?.split_once(';')?;
        name.chars().all(is_word).then(|| format!("{folder}/{name}"))
    });
    declared.collect()
}

/// Offsets at which `word` stands in `text` with no letter, digit or underscore on either side.
pub(crate) fn words_in<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let starts_as_word = word.starts_with(is_word);
    let ends_as_word = word.ends_with(is_word);
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = text[..*at].chars().next_back().is_some_and(is_word);
        let after = text[at + word.len()..].chars().next().is_some_and(is_word);
        !(starts_as_word && before || ends_as_word && after)
    })
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn keep(text: &str, parts: &[Part], wanted: Part) -> String {
    text.char_indices()
        .map(|(at, character)| {
            if parts[at] == wanted || character == '\n' {
                return character.to_string();
            }
            " ".repeat(character.len_utf8())
        })
        .collect()
}

fn classify(bytes: &[u8]) -> Vec<Part> {
    let mut parts = vec![Part::Code; bytes.len()];
    let mut at = 0;
    while at < bytes.len() {
        let (part, end) = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => (Part::Comment, line_end(bytes, at)),
            b'/' if bytes.get(at + 1) == Some(&b'*') => (Part::Comment, block_comment_end(bytes, at)),
            b'"' => (Part::Literal, string_end(bytes, at)),
            b'r' if is_raw_string(bytes, at) => (Part::Literal, raw_string_end(bytes, at)),
            b'\'' => (Part::Literal, character_end(bytes, at)),
            _ => (Part::Code, at + 1),
        };
        // The quotes themselves stay in the code, so that an expression that is a literal is still seen as one.
        let inside = if part == Part::Literal && end > at + 2 { at + 1..end - 1 } else { at..end };
        if part != Part::Literal || end > at + 2 {
            parts[inside].fill(part);
        }
        at = end;
    }
    parts
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => {
                depth += 1;
                at += 2;
            }
            Some(b"*/") => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `r"`, `r#"`, `br"`: an `r` that does not end an identifier.
fn is_raw_string(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).map(|previous| bytes[previous]);
    let own_word = match before {
        Some(b'b') => at < 2 || !(bytes[at - 2].is_ascii_alphanumeric() || bytes[at - 2] == b'_'),
        Some(byte) => !(byte.is_ascii_alphanumeric() || byte == b'_'),
        None => true,
    };
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    own_word && bytes.get(at + 1 + hashes) == Some(&b'"')
}

fn raw_string_end(bytes: &[u8], start: usize) -> usize {
    let hashes = bytes[start + 1..].iter().take_while(|byte| **byte == b'#').count();
    let mut at = start + 2 + hashes;
    while at < bytes.len() {
        let closed =
            bytes[at] == b'"' && bytes[at + 1..].iter().take(hashes).filter(|byte| **byte == b'#').count() == hashes;
        if closed {
            return at + 1 + hashes;
        }
        at += 1;
    }
    bytes.len()
}

/// The end of a character literal, or of the quote alone where it begins a lifetime.
fn character_end(bytes: &[u8], start: usize) -> usize {
    if bytes.get(start + 1) == Some(&b'\\') {
        let rest = bytes.get(start + 3..).unwrap_or_default();
        return rest.iter().position(|byte| *byte == b'\'').map_or(bytes.len(), |length| start + 4 + length);
    }
    let width = match bytes.get(start + 1) {
        Some(0xf0..) => 4,
        Some(0xe0..) => 3,
        Some(0xc0..) => 2,
        _ => 1,
    };
    if bytes.get(start + 1 + width) == Some(&b'\'') { start + width + 2 } else { start + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_code() {
        let cases = [
            ("a // b", "a     "),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x\"{")"#, r#"f("    ")"#),
            ("f(r#\"{\"#)", "f(r    #)"),
            ("f('{', '\\'', '\\u{1f}')", "f(' ', '  ', '      ')"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("'ü' + 1", "'  ' + 1"),
        ];
        for (text, code) in cases {
            assert_eq!(Source::parse(text).code, code, "{text}");
        }
    }

    #[test]
    fn test_modules_are_known() {
        let source = Source::parse("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n");
        let found: Vec<bool> = source.words("fn").map(|at| source.is_test(at)).collect();
        assert_eq!(found, [false, true, false]);
    }

    #[test]
    fn test_files_are_known() {
        let text = "#[cfg(test)]\nmod fixture;\nmod real;\n#[cfg(test)]\nmod tests {}\nmod other;\n";
        let source = Source::parse(text);
        assert_eq!(declared_test_files("a/src/lib.rs", &source), ["a/src/fixture"]);
        assert_eq!(declared_test_files("a/src/b.rs", &source), ["a/src/b/fixture"]);
    }

    #[test]
    fn lines_of_a_string_are_data() {
        let source = Source::parse("let a = \"one\ntwo\nthree\";\n");
        let data: Vec<bool> = (1..=3).map(|line| source.is_data_line(line)).collect();
        assert_eq!((source.line_count(), data), (3, vec![false, true, false]));
    }
}
