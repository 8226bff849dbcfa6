//! What must not stand in the code, and where.

use crate::finding::Finding;
use crate::source::{Source, words_in};

/// A word that is not allowed in code.
struct Ban {
    word: &'static str,
    scope: Scope,
    reason: &'static str,
}

#[derive(Clone, Copy)]
enum Scope {
    Everywhere,
    /// The payment logic and the contracts it is written against, without their tests.
    Pure,
    /// The payment logic alone, without its tests.
    Processors,
}

/// A place where a banned word is right.
struct Exception {
    path: &'static str,
    word: &'static str,
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[Exception {
    path: "processors/src/strict_json.rs",
    word: "f64",
    reason: "serde hands a number with a fraction over as one; it is refused unseen",
}];

const NO_FLOATS: &str = "money is whole minor units, checked; there are no floats near it";
const NO_CLOCK: &str = "time comes in through the context: the same input must give the same result";
const NO_CHANCE: &str = "randomness comes in through the context: the same input must give the same result";
const NO_IO: &str = "a processor does no I/O";
const UNFINISHED: &str = "finish it or leave it out";

const BANS: &[Ban] = &[
    Ban { word: "todo!", scope: Scope::Everywhere, reason: UNFINISHED },
    Ban { word: "unimplemented!", scope: Scope::Everywhere, reason: UNFINISHED },
    Ban { word: "dbg!", scope: Scope::Everywhere, reason: "a trace of debugging" },
    Ban { word: "#[ignore", scope: Scope::Everywhere, reason: "a test that does not run proves nothing" },
    Ban { word: "#[should_panic", scope: Scope::Everywhere, reason: "passes for any panic: assert what is returned" },
    Ban { word: "f32", scope: Scope::Pure, reason: NO_FLOATS },
    Ban { word: "f64", scope: Scope::Pure, reason: NO_FLOATS },
    Ban { word: "SystemTime", scope: Scope::Pure, reason: NO_CLOCK },
    Ban { word: "Instant::now", scope: Scope::Pure, reason: NO_CLOCK },
    Ban { word: "Timestamp::now", scope: Scope::Pure, reason: NO_CLOCK },
    Ban { word: "Zoned::now", scope: Scope::Pure, reason: NO_CLOCK },
    Ban { word: "rand::", scope: Scope::Pure, reason: NO_CHANCE },
    Ban { word: "RandomState", scope: Scope::Processors, reason: NO_CHANCE },
    Ban { word: "std::env", scope: Scope::Processors, reason: NO_IO },
    Ban { word: "std::fs", scope: Scope::Processors, reason: NO_IO },
    Ban { word: "std::net", scope: Scope::Processors, reason: NO_IO },
    Ban { word: "std::process", scope: Scope::Processors, reason: NO_IO },
    Ban { word: "std::thread", scope: Scope::Processors, reason: NO_IO },
];

const MARKERS: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

/// Whether a file is compiled only for tests. A module of tests within a file is seen in the file itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Production,
    Test,
}

pub(crate) fn check(path: &str, source: &Source, purpose: Purpose) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ban in BANS {
        if is_excepted(path, ban.word) {
            continue;
        }
        for at in source.words(ban.word).filter(|at| ban.scope.covers(path, source, purpose, *at)) {
            findings.push(Finding::error(path, source.line_of(at), format!("`{}`: {}", ban.word, ban.reason)));
        }
    }
    for marker in MARKERS {
        for at in words_in(&source.comments, marker) {
            findings.push(Finding::error(path, source.line_of(at), format!("a leftover {marker}: {UNFINISHED}")));
        }
    }
    findings.extend(idle_matches(path, source));
    findings
}

impl Scope {
    fn covers(self, path: &str, source: &Source, purpose: Purpose, at: usize) -> bool {
        let folders: &[&str] = match self {
            Self::Everywhere => return true,
            Self::Pure => &["processors/src/", "crates/core/src/"],
            Self::Processors => &["processors/src/"],
        };
        purpose == Purpose::Production && folders.iter().any(|folder| path.starts_with(folder)) && !source.is_test(at)
    }
}

/// An exception outlives its cause unless somebody looks.
pub(crate) fn check_exceptions(sources: &[(String, Source)]) -> Vec<Finding> {
    EXCEPTIONS.iter().filter_map(|exception| check_exception(exception, sources)).collect()
}

fn check_exception(exception: &Exception, sources: &[(String, Source)]) -> Option<Finding> {
    let Exception { path, word, reason } = exception;
    let used = sources.iter().any(|(found, source)| found == path && source.words(word).next().is_some());
    (!used).then(|| {
        Finding::error("xtask/src/rules.rs", 1, format!("no `{word}` in {path} any more ({reason}): delete it"))
    })
}

fn is_excepted(path: &str, word: &str) -> bool {
    EXCEPTIONS.iter().any(|exception| exception.path == path && exception.word == word)
}

/// `matches!(…);` as a statement looks like an assertion and asserts nothing.
fn idle_matches(path: &str, source: &Source) -> Vec<Finding> {
    let is_statement = |at: usize| {
        let before = source.code[..at].trim_end();
        let open = at + "matches!".len();
        before.ends_with([';', '{', '}'])
            && source.code[open..].starts_with('(')
            && source.closing(open).is_some_and(|end| source.code[end..].trim_start().starts_with(';'))
    };
    source
        .words("matches!")
        .filter(|at| is_statement(*at))
        .map(|at| {
            Finding::error(path, source.line_of(at), "`matches!` as a statement asserts nothing: wrap it in `assert!`")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    fn found(path: &str, text: &str) -> Vec<String> {
        lines(&check(path, &Source::parse(text), Purpose::Production))
    }

    #[test]
    fn every_ban_bites_in_its_scope() {
        for ban in BANS {
            let text = format!("fn a() {{ {} }}\n", ban.word);
            let expected = [format!("1: `{}`: {}", ban.word, ban.reason)];
            assert_eq!(found("processors/src/a.rs", &text), expected);
            let outside = usize::from(matches!(ban.scope, Scope::Everywhere));
            assert_eq!(found("crates/cli/src/a.rs", &text).len(), outside, "{}", ban.word);
        }
    }

    #[test]
    fn core_is_pure_but_may_read_the_environment() {
        assert_eq!(found("crates/core/src/a.rs", "let t = SystemTime::UNIX_EPOCH;\n").len(), 1);
        assert_eq!(found("crates/core/src/a.rs", "use std::env;\n").len(), 0);
    }

    #[test]
    fn tests_comments_and_strings_are_free() {
        let text =
            "// f64 is banned\nconst A: &str = \"f64 todo!\";\n#[cfg(test)]\nmod tests {\n    type A = f64;\n}\n";
        assert_eq!(found("processors/src/a.rs", text), Vec::<String>::new());
    }

    #[test]
    fn files_of_tests_are_free_of_what_is_for_production() {
        let source = Source::parse("use std::fs;\n#[ignore]\n");
        assert_eq!(check("processors/src/fixture.rs", &source, Purpose::Test).len(), 1);
        assert_eq!(check("processors/src/fixture.rs", &source, Purpose::Production).len(), 2);
    }

    #[test]
    fn an_exception_must_be_needed() {
        let exception = Exception { path: "a.rs", word: "f64", reason: "why" };
        let used = [("a.rs".to_owned(), Source::parse("fn a(_: f64) {}"))];
        let unused = [("b.rs".to_owned(), Source::parse("fn a(_: f64) {}"))];
        assert_eq!(check_exception(&exception, &used), None);
        assert!(check_exception(&exception, &unused).is_some());
    }

    #[test]
    fn markers_are_found_in_comments() {
        let text = "a(); // TODO later\n/* FIXME */\nlet a = \"XXX\"; // not a HACKATHON\n";
        assert_eq!(
            found("a.rs", text),
            ["1: a leftover TODO: finish it or leave it out", "2: a leftover FIXME: finish it or leave it out"]
        );
    }

    #[test]
    fn idle_matches_are_found() {
        let message = "`matches!` as a statement asserts nothing: wrap it in `assert!`";
        let cases = [
            ("fn f() { matches!(a, B(_)); }", true),
            ("fn f() {\n a();\n matches!(\n a,\n B\n );\n}", true),
            ("fn f() { assert!(matches!(a, B)); }", false),
            ("fn f() -> bool { matches!(a, B) }", false),
            ("fn f() { let a = matches!(a, B); }", false),
        ];
        for (text, idle) in cases {
            let messages: Vec<String> = check("a.rs", &Source::parse(text), Purpose::Production)
                .into_iter()
                .map(|found| found.message)
                .collect();
            assert_eq!(messages, if idle { vec![message] } else { vec![] }, "{text}");
        }
    }
}
