//! How long files and functions are. A file beyond the soft limit is worth a look; the hard limits fail.

use crate::finding::Finding;
use crate::source::Source;

const FILE_LINES_SOFT: usize = 400;
const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;

pub(crate) fn check(path: &str, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = source.line_count();
    if lines > FILE_LINES_MAX {
        findings.push(Finding::error(
            path,
            1,
            format!("{lines} lines, at most {FILE_LINES_MAX}: split it by what it does"),
        ));
    } else if lines > FILE_LINES_SOFT {
        findings.push(Finding::warning(path, 1, format!("{lines} lines, should be at most {FILE_LINES_SOFT}")));
    }
    for start in source.words("fn") {
        let Some(end) = body_end(source, start) else { continue };
        let (first, last) = (source.line_of(start), source.line_of(end - 1));
        let length = (first..=last).filter(|line| !source.is_data_line(*line)).count();
        if length > FUNCTION_LINES_MAX {
            let message = format!("function of {length} lines, at most {FUNCTION_LINES_MAX}");
            findings.push(Finding::error(path, first, message));
        }
    }
    findings
}

/// The end of the body of the function whose `fn` is at `start`; none for a declaration or a function pointer.
fn body_end(source: &Source, start: usize) -> Option<usize> {
    let bytes = source.code.as_bytes();
    let mut at = start + "fn".len();
    if !bytes.get(at)?.is_ascii_whitespace() {
        return None;
    }
    loop {
        match bytes.get(at)? {
            b'(' | b'[' => at = source.closing(at)?,
            b'{' => return source.closing(at),
            b';' => return None,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Severity, lines};

    fn function_of(lines: usize) -> String {
        format!("fn f() {{\n{}}}\n", "    a();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_has_a_limit() {
        let at_limit = Source::parse(&function_of(FUNCTION_LINES_MAX));
        assert_eq!(lines(&check("a.rs", &at_limit)), Vec::<String>::new());
        let above = Source::parse(&format!("\n{}", function_of(FUNCTION_LINES_MAX + 1)));
        assert_eq!(lines(&check("a.rs", &above)), ["2: function of 71 lines, at most 70"]);
    }

    #[test]
    fn rows_of_text_do_not_count() {
        let table = format!("fn f() {{\n    rows(\"\n{}\");\n}}\n", "a b c\n".repeat(100));
        assert_eq!(lines(&check("a.rs", &Source::parse(&table))), Vec::<String>::new());
    }

    #[test]
    fn a_file_has_two_limits() {
        let cases =
            [(400, None), (401, Some(Severity::Warning)), (700, Some(Severity::Warning)), (701, Some(Severity::Error))];
        for (length, severity) in cases {
            let findings = check("a.rs", &Source::parse(&"use a;\n".repeat(length)));
            assert_eq!(findings.first().map(|finding| finding.severity), severity, "{length} lines");
        }
    }

    #[test]
    fn generics_and_pointers_are_understood() {
        let body = "    a();\n".repeat(80);
        let generic =
            format!("fn f<A, B: Into<C> >(a: [u8; 3]) -> Result<A, B>\nwhere\n    A: X<Y = Z>,\n{{\n{body}}}\n");
        assert_eq!(check("a.rs", &Source::parse(&generic)).len(), 1);
        let pointer = format!("struct S {{ f: fn(u8) -> u8, g: fn() }}\nmod m {{\n{body}}}\n");
        assert_eq!(lines(&check("a.rs", &Source::parse(&pointer))), Vec::<String>::new());
    }
}
