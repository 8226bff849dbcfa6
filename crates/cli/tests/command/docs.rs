//! What the documentation tells people to type works, and what it tells them to copy can be read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::tidemill::{BINARY, Tidemill, repository};

/// Pages whose shell blocks are run, each page from top to bottom in one folder.
const RUN: [&str; 5] = [
    "README.md",
    "docs/guides/first-steps.md",
    "docs/guides/bad-day.md",
    "docs/guides/payments.md",
    "docs/guides/reprocess.md",
];
/// A block of nothing but these is for a checkout with its toolchain, not for somebody who has the program.
const OF_A_CHECKOUT: [&str; 5] = ["make ", "cargo ", "git ", "cd ", "dev/stack "];
const SHELL_SECONDS_MAX: &str = "120";

struct Block {
    language: String,
    text: String,
    line: usize,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else { continue };
        let body: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| !line.trim_start().starts_with("```")).collect();
        let language = language.split([' ', ',']).next().unwrap_or_default().to_owned();
        blocks.push(Block { language, text: body.join("\n"), line: number + 1 });
    }
    blocks
}

fn read(page: &Path) -> String {
    fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

fn is_of_a_checkout(block: &Block) -> bool {
    let commands = block.text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut commands = commands.peekable();
    commands.peek().is_some() && commands.all(|line| OF_A_CHECKOUT.iter().any(|start| line.starts_with(start)))
}

/// Runs the block as somebody who has `tidemill` on the path would.
fn run(tidemill: &Tidemill, page: &str, block: &Block) {
    let folder = Path::new(BINARY).parent().expect("the program lies in a folder");
    let path = std::env::join_paths(
        std::iter::once(folder.to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut shell = tidemill.command("timeout");
    shell.args([SHELL_SECONDS_MAX, "bash", "-euo", "pipefail", "-c", &block.text]);
    let output = shell.env("PATH", path.expect("folders can be joined")).output().expect("bash and timeout are there");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{page}:{}: {}\n{}\n{stdout}{stderr}", block.line, output.status, block.text);
}

#[test]
fn shell_blocks_run() {
    for page in RUN {
        let tidemill = Tidemill::new();
        let all = blocks(&read(&repository().join(page)));
        let shell: Vec<&Block> = all.iter().filter(|block| ["bash", "sh"].contains(&block.language.as_str())).collect();
        assert!(!shell.is_empty(), "{page} has lost its commands");
        for block in shell.into_iter().filter(|block| !is_of_a_checkout(block)) {
            run(&tidemill, page, block);
        }
    }
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![repository().join("README.md")];
    let mut folders = vec![repository().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be listed") {
            let path = entry.expect("can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

#[test]
fn blocks_of_toml_and_json_can_be_read() {
    let mut seen = BTreeSet::new();
    for page in pages() {
        for block in blocks(&read(&page)) {
            let wrong = match block.language.as_str() {
                "toml" => block.text.parse::<toml::Table>().err().map(|error| error.to_string()),
                "json" => not_json(&block.text),
                _ => continue,
            };
            assert_eq!(wrong, None, "{}:{}\n{}", page.display(), block.line, block.text);
            seen.insert(block.language);
        }
    }
    assert_eq!(seen, BTreeSet::from(["json".to_owned(), "toml".to_owned()]));
}

/// One document, or one per line.
fn not_json(text: &str) -> Option<String> {
    let error = serde_json::from_str::<serde_json::Value>(text).err()?;
    let is_line = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
    (!text.lines().all(is_line)).then(|| error.to_string())
}
