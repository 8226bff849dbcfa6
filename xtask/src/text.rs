//! What holds for every text file.

use crate::finding::Finding;

/// Files that people write; others (golden outputs, inputs of tests) are whatever they have to be.
const WRITTEN: &[&str] = &["rs", "toml", "md", "sh", "yml", "yaml", "avsc", "sql", "service", "xml"];
const WRITTEN_WITHOUT_EXTENSION: &[&str] = &["Makefile", "Dockerfile", "dev/stack", ".ci/run"];

/// Folders in which machines, not projects, keep things.
const MACHINE_FOLDERS: &[&str] = &["work", "home", "root", "Users"];

pub(crate) fn check(path: &str, content: &str) -> Vec<Finding> {
    if !is_written(path) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in content.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        if line.ends_with([' ', '\t', '\r']) {
            findings.push(Finding::error(path, number, "white space at the end of the line"));
        }
        // A line of a Makefile's recipe has to begin with one.
        let recipe = path.ends_with("Makefile") && line.starts_with('\t');
        if line.contains('\t') && !recipe {
            findings.push(Finding::error(path, number, "a tab"));
        }
        if let Some(folder) = machine_path(line) {
            findings.push(Finding::error(path, number, format!("'{folder}' is a path of one machine")));
        }
        if !path.ends_with(".rs")
            && !path.ends_with(".md")
            && ["TODO", "FIXME"].iter().any(|marker| line.contains(marker))
        {
            findings.push(Finding::error(path, number, "a leftover marker: finish it or leave it out"));
        }
    }
    if !content.is_empty() && !content.ends_with('\n') {
        findings.push(Finding::error(path, content.lines().count(), "the last line does not end"));
    }
    findings
}

fn is_written(path: &str) -> bool {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|extension| WRITTEN.contains(&extension)) || WRITTEN_WITHOUT_EXTENSION.contains(&path)
}

/// An absolute path below a machine's own folders: at the start of a word, so that the path of a URL is none.
fn machine_path(line: &str) -> Option<String> {
    MACHINE_FOLDERS.iter().map(|folder| format!("/{folder}/")).find(|folder| {
        line.match_indices(folder.as_str()).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            before.is_none_or(|character| !(character.is_alphanumeric() || "._-/}~*".contains(character)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    #[test]
    fn white_space() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("a.rs", "a\nb\n", &[]),
            ("a.rs", "a \nb\n", &["1: white space at the end of the line"]),
            ("a.toml", "a\tb\n", &["1: a tab"]),
            ("Makefile", "a:\n\tb\n", &[]),
            ("Makefile", "a:\n\tb\n c\td\n", &["3: a tab"]),
            ("a.md", "a", &["1: the last line does not end"]),
            ("a.md", "", &[]),
            ("tests/golden/input", "a \t", &[]),
            ("a.sql", "-- TODO index\n", &["1: a leftover marker: finish it or leave it out"]),
        ];
        for (path, content, expected) in cases {
            assert_eq!(lines(&check(path, content)), *expected, "{path}: {content:?}");
        }
    }

    #[test]
    fn paths_of_one_machine() {
        for folder in MACHINE_FOLDERS {
            let found = lines(&check("a.rs", &format!("read(\"/{folder}/x\")\n")));
            assert_eq!(found, [format!("1: '/{folder}/' is a path of one machine")]);
        }
        for line in ["https://example.org/home/page", "$ROOT/work/x", "/usr/lib", "crates/root/x", "/homeless/x"] {
            let found = lines(&check("a.rs", &format!("{line}\n")));
            assert_eq!(found, Vec::<String>::new(), "{line}");
        }
    }
}
