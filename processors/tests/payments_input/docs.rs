//! `docs/reference/payments-input.md` says what the code does.

use std::path::Path;

use crate::{codes, driver, record};

/// The opening line of a fenced block after the backticks, and its lines.
fn fenced_blocks(text: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((info, body.join("\n")));
        }
    }
    blocks
}

fn reference() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/payments-input.md");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_snippet_ends_as_the_page_says() {
    let text = reference();
    let blocks = fenced_blocks(&text);
    assert!(blocks.len() >= 5, "the page has lost its snippets");
    for (info, body) in blocks {
        let mut words = info.split(' ');
        assert_eq!(words.next(), Some("json"), "{body}");
        let (mut content_type, mut expected) = ("", "passed");
        for word in words {
            match word.split_once('=') {
                Some(("reject", code)) => expected = code,
                Some(("content-type", value)) => content_type = value,
                _ => panic!("`{word}` says nothing to this test"),
            }
        }
        assert_eq!(driver().send(&record(body.as_str(), content_type)).code(), expected, "{body}");
    }
}

#[test]
fn the_table_of_codes_is_that_of_the_processors() {
    let text = reference();
    let table = text.split("\n## Codes").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section Codes");
    let documented: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> =
        codes().iter().map(|code| format!("| `{}` | {} | {} |", code.code, code.summary, code.remedy)).collect();
    assert_eq!(documented, expected);
}
