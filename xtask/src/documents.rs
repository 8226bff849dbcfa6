//! Markdown: one title each, and links that lead somewhere.

use std::collections::BTreeSet;

use crate::files::RepositoryFile;
use crate::finding::Finding;

pub(crate) fn check(files: &[RepositoryFile]) -> Vec<Finding> {
    let paths = all_paths(files);
    files
        .iter()
        .filter(|file| file.path.ends_with(".md"))
        .flat_map(|file| check_document(&Document::parse(file), &paths, files))
        .collect()
}

/// Files and the folders they lie in.
fn all_paths(files: &[RepositoryFile]) -> BTreeSet<&str> {
    let mut paths = BTreeSet::from([""]);
    for file in files {
        paths.insert(&file.path);
        paths.extend(file.path.match_indices('/').map(|(at, _)| &file.path[..at]));
    }
    paths
}

struct Document<'a> {
    path: &'a str,
    /// Line number and text, code left out.
    prose: Vec<(usize, String)>,
}

impl<'a> Document<'a> {
    fn parse(file: &'a RepositoryFile) -> Self {
        let mut prose = Vec::new();
        let mut fence: Option<&str> = None;
        for (index, line) in file.content.lines().enumerate() {
            let marker = ["```", "~~~"].into_iter().find(|marker| line.trim_start().starts_with(marker));
            match (fence, marker) {
                (None, Some(opened)) => fence = Some(opened),
                (Some(opened), Some(closing)) if opened == closing => fence = None,
                (None, None) => prose.push((index + 1, without_code(line))),
                _ => {}
            }
        }
        Self { path: &file.path, prose }
    }

    fn headings(&self) -> impl Iterator<Item = (usize, &str)> {
        self.prose.iter().filter(|(_, line)| line.starts_with('#')).map(|(number, line)| (*number, line.as_str()))
    }
}

/// Blanks the inside of `code`, so that an example of a link is none. Headings keep theirs: it is part of the anchor.
fn without_code(line: &str) -> String {
    if line.starts_with('#') {
        return line.to_owned();
    }
    line.split('`')
        .enumerate()
        .map(|(index, part)| if index % 2 == 0 { part } else { "" })
        .collect::<Vec<_>>()
        .join("`")
}

fn check_document(document: &Document<'_>, paths: &BTreeSet<&str>, files: &[RepositoryFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let titles: Vec<usize> =
        document.headings().filter(|(_, line)| line.starts_with("# ")).map(|(number, _)| number).collect();
    if titles.is_empty() {
        findings.push(Finding::error(document.path, 1, "no title: one line that begins with '# '"));
    }
    for line in titles.iter().skip(1) {
        findings.push(Finding::error(document.path, *line, "a second title: a document has one"));
    }
    for (line, text) in &document.prose {
        if ["TODO", "FIXME"].iter().any(|marker| text.contains(marker)) {
            findings.push(Finding::error(document.path, *line, "a leftover marker: finish it or leave it out"));
        }
        for target in link_targets(text) {
            if let Some(message) = broken(document, target, paths, files) {
                findings.push(Finding::error(document.path, *line, message));
            }
        }
    }
    findings
}

/// What stands in `](…)`, without a title.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, _)| {
        let rest = &line[at + 2..];
        let target = &rest[..rest.find(')')?];
        target.split_whitespace().next()
    })
}

fn broken(document: &Document<'_>, target: &str, paths: &BTreeSet<&str>, files: &[RepositoryFile]) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (place, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if place.is_empty() { document.path.to_owned() } else { resolve(document.path, place)? };
    if !paths.contains(path.as_str()) {
        return Some(format!("the link to '{target}' leads nowhere"));
    }
    let linked = files.iter().find(|file| file.path == path && path.ends_with(".md"))?;
    let has_anchor = Document::parse(linked).headings().any(|(_, heading)| anchor_of(heading) == anchor);
    (!anchor.is_empty() && !has_anchor).then(|| format!("'{path}' has no heading for '#{anchor}'"))
}

/// The path, from the root, of a link in the document at `from`. None when it leaves the repository.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// As the usual renderers make them: lowercase, hyphens for blanks, punctuation left out.
fn anchor_of(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .chars()
        .filter(|character| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_'))
        .map(|character| if character == ' ' { '-' } else { character.to_ascii_lowercase() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    fn found(content: &str) -> Vec<String> {
        let file = |path: &str, content: &str| RepositoryFile { path: path.to_owned(), content: content.to_owned() };
        lines(&check(&[
            file("docs/guides/a.md", content),
            file("docs/b.md", "# B\n\n## The `second` part, of two\n"),
            file("src/lib.rs", ""),
        ]))
    }

    #[test]
    fn titles() {
        assert_eq!(found("text\n"), ["1: no title: one line that begins with '# '"]);
        assert_eq!(found("# A\n\n## B\n\n# C\n"), ["5: a second title: a document has one"]);
        assert_eq!(found("# A\n```\n# a comment of a shell\n```\n"), Vec::<String>::new());
    }

    #[test]
    fn links() {
        let cases = [
            ("[a](../b.md)", ""),
            ("[a](../../src/lib.rs) and [b](../../src)", ""),
            ("[a](https://example.org/x.md) [b](mailto:a@example.org)", ""),
            ("[a](../b.md#the-second-part-of-two)", ""),
            ("[a](#here)", "'docs/guides/a.md' has no heading for '#here'"),
            ("[a](../b.md#third)", "'docs/b.md' has no heading for '#third'"),
            ("[a](b.md)", "the link to 'b.md' leads nowhere"),
            ("![a](../c.png \"title\")", "the link to '../c.png' leads nowhere"),
            ("an example: `[a](b.md)`", ""),
        ];
        for (line, message) in cases {
            let expected: Vec<String> = if message.is_empty() { vec![] } else { vec![format!("3: {message}")] };
            assert_eq!(found(&format!("# A\n\n{line}\n")), expected, "{line}");
        }
    }

    #[test]
    fn markers() {
        assert_eq!(
            found("# A\n\nTODO: write\n`TODO` is banned\n"),
            ["3: a leftover marker: finish it or leave it out"]
        );
    }
}
