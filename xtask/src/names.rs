//! Names that say nothing.

use crate::finding::Finding;
use crate::source::Source;

/// What such a thing is called instead depends on what it does; that is the point.
const EMPTY_WORDS: &[&str] = &["util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"];

/// What introduces a name that the project itself chooses. Names from outside are used as they are.
const DEFINING: &[&str] = &["fn", "struct", "enum", "trait", "mod", "type", "const", "static", "let", "macro_rules!"];

pub(crate) fn check_path(path: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = path
        .split(['/', '.'])
        .filter_map(empty_word)
        .map(|word| Finding::error(path, 1, format!("'{word}' in a path says nothing about what is in there")))
        .collect();
    if let Some(name) = path.strip_prefix("docs/decisions/")
        && !is_decision_name(name)
    {
        findings.push(Finding::error(path, 1, "a decision is called NNNN-title.md"));
    }
    findings
}

pub(crate) fn check_definitions(path: &str, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for keyword in DEFINING {
        for at in source.words(keyword) {
            let rest = source.code[at + keyword.len()..].trim_start();
            let rest = rest.strip_prefix("mut ").unwrap_or(rest);
            let end = rest.find(|character: char| !character.is_alphanumeric() && character != '_');
            let name = &rest[..end.unwrap_or(rest.len())];
            if let Some(word) = empty_word(name) {
                let message = format!("'{name}': '{word}' says nothing about what it does");
                findings.push(Finding::error(path, source.line_of(at), message));
            }
        }
    }
    findings
}

fn empty_word(name: &str) -> Option<&'static str> {
    let words = words_of(name);
    EMPTY_WORDS.iter().find(|empty| words.iter().any(|word| word == *empty)).copied()
}

/// The lowercase words of `snake_case`, `kebab-case` and `CamelCase`.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lowercase = false;
    for character in name.chars() {
        let starts_word = character.is_uppercase() && after_lowercase;
        if starts_word || matches!(character, '_' | '-') {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| character.is_alphanumeric()) {
            word.extend(character.to_lowercase());
        }
        after_lowercase = character.is_lowercase();
    }
    words
}

fn is_decision_name(name: &str) -> bool {
    let Some((number, title)) = name.strip_suffix(".md").and_then(|stem| stem.split_once('-')) else { return false };
    let numbered = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
    let titled = title.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    numbered && titled && !title.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    #[test]
    fn paths() {
        let cases = [
            ("crates/core/src/money.rs", 0),
            ("crates/core/src/util.rs", 1),
            ("crates/common/src/money.rs", 1),
            ("connectors/src/pool_manager.rs", 1),
            ("docs/misc-notes.md", 1),
            ("docs/utility.md", 0),
            ("docs/decisions/0001-embedded-broker.md", 0),
            ("docs/decisions/1-embedded.md", 1),
            ("docs/decisions/0001_embedded.md", 1),
            ("docs/decisions/0001-.md", 1),
            ("docs/decisions/notes.txt", 1),
        ];
        for (path, expected) in cases {
            assert_eq!(check_path(path).len(), expected, "{path}");
        }
    }

    #[test]
    fn definitions() {
        let text = "fn retry_helper() {}\nstruct StateManager;\nmod utils {}\nlet mut misc = 1;\n\
                    fn a(m: redis::ConnectionManager) { m.helper() }\n// fn helper() {}\nfn commonly() {}\n";
        assert_eq!(
            lines(&check_definitions("a.rs", &Source::parse(text))),
            [
                "1: 'retry_helper': 'helper' says nothing about what it does",
                "2: 'StateManager': 'manager' says nothing about what it does",
                "3: 'utils': 'utils' says nothing about what it does",
                "4: 'misc': 'misc' says nothing about what it does",
            ]
        );
    }
}
