//! Runs the built program in a folder of its own, which holds copies of what lies in the root of the repository.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;
use tempfile::TempDir;

/// Where the pipelines of these tests serve health and metrics: no two may share a port, and hardly anybody asks.
const ANY_PORT: [&str; 2] = ["--set", "pipeline.http_address=127.0.0.1:0"];

pub(crate) struct Tidemill {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A program that runs. It is killed when this is dropped.
pub(crate) struct Started {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: BufReader<std::process::ChildStderr>,
    read: String,
}

impl Tidemill {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let copy = |name: &str| {
            let target = folder.path().join(name);
            fs::create_dir_all(target.parent().expect("it lies in the folder")).expect("can be created");
            fs::copy(repository().join(name), target).unwrap_or_else(|error| panic!("{name}: {error}"));
        };
        copy("topology.toml");
        for example in fs::read_dir(repository().join("examples")).expect("there are examples") {
            let example = example.expect("can be listed").file_name().into_string().expect("is UTF-8");
            if repository().join("examples").join(&example).is_dir() {
                copy(&format!("examples/{example}/topology.toml"));
            }
        }
        Self { folder, variables: Vec::new() }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// What was set last.
    pub(crate) fn variable(&self, name: &str) -> String {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("{name} is not set")).1.clone()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.folder().join(name), content).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// `program` in the folder, without what the environment of the tests would tell it.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEMILL_")) {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).current_dir(self.folder());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Ended {
        self.run_all(&line.split(' ').collect::<Vec<_>>())
    }

    pub(crate) fn run_all(&self, args: &[&str]) -> Ended {
        self.start_all(args).ended()
    }

    /// Runs with `input` on standard input.
    pub(crate) fn feed(&self, line: &str, input: &[u8]) -> Ended {
        let mut command = self.command(BINARY);
        let mut child = command.args(line.split(' ')).stdin(Stdio::piped()).spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("is piped");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let ended = Started::new(child).ended();
        // A program that refuses its input closes it before the end.
        let _closed_early = writer.join().expect("the writer ends");
        ended
    }

    pub(crate) fn start(&self, line: &str) -> Started {
        self.start_all(&line.split(' ').collect::<Vec<_>>())
    }

    pub(crate) fn start_all(&self, args: &[&str]) -> Started {
        let is_open = args.first() == Some(&"run") && !args.iter().any(|arg| arg.starts_with("pipeline.http_address"));
        let any_port: &[&str] = if is_open { &ANY_PORT } else { &[] };
        let child = self.command(BINARY).args(args).args(any_port).spawn();
        Started::new(child.expect("the program starts"))
    }
}

impl Started {
    fn new(mut child: Child) -> Self {
        let mut stdout = child.stdout.take().expect("is piped");
        let stdout = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).expect("can be read");
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let stderr = BufReader::new(child.stderr.take().expect("is piped"));
        Self { child, stdout: Some(stdout), stderr, read: String::new() }
    }

    /// Waits for a line on standard error that holds `text`.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let bytes = self.stderr.read_line(&mut line).expect("can be read");
            self.read.push_str(&line);
            assert!(bytes > 0, "it ended without saying `{text}`: {}", self.read);
        }
    }

    /// The next line on standard error that holds `text`; `None` once the program has ended.
    pub(crate) fn line_with(&mut self, text: &str) -> Option<String> {
        loop {
            let mut line = String::new();
            let bytes = self.stderr.read_line(&mut line).expect("can be read");
            self.read.push_str(&line);
            match bytes {
                0 => return None,
                _ if line.contains(text) => return Some(line),
                _ => {}
            }
        }
    }

    /// Waits until lines on standard error have held all of these, in whatever order.
    pub(crate) fn wait_for_all(&mut self, texts: &[String]) {
        let mut missing: Vec<&String> = texts.iter().collect();
        let mut line = String::new();
        while !missing.is_empty() {
            line.clear();
            let bytes = self.stderr.read_line(&mut line).expect("can be read");
            self.read.push_str(&line);
            assert!(bytes > 0, "it ended without saying {missing:?}: {}", self.read);
            missing.retain(|text| !line.contains(*text));
        }
    }

    /// `INT`, `TERM` or `KILL`.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success(), "{signal} could not be sent");
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the program can be asked").is_some()
    }

    pub(crate) fn ended(mut self) -> Ended {
        let mut stderr = std::mem::take(&mut self.read);
        let mut rest = Vec::new();
        self.stderr.read_to_end(&mut rest).expect("can be read");
        stderr.push_str(&String::from_utf8_lossy(&rest));
        let stdout = self.stdout.take().expect("is taken once").join().expect("the reader ends");
        let status = self.child.wait().expect("the program ends");
        Ended { code: status.code(), stdout, stderr }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It has ended already unless a test failed.
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

impl Ended {
    /// Standard output of a program that was to end well.
    pub(crate) fn text(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.stdout
    }

    /// The one JSON document on standard output of a program that was to end well.
    pub(crate) fn json(self) -> Value {
        parse(&self.text())
    }

    /// One JSON document per line.
    pub(crate) fn json_lines(self) -> Vec<Value> {
        self.text().lines().map(parse).collect()
    }
}

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_tidemill");

pub(crate) fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in: {text}"))
}

pub(crate) fn repository() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).expect("the package lies in the repository").to_owned()
}

/// Printed, and taken from `TIDEMILL_TEST_SEED` to see a failure twice.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("TIDEMILL_TEST_SEED").ok();
    let seed = given.map_or_else(rand::random, |text| text.parse().expect("TIDEMILL_TEST_SEED is a number"));
    println!("TIDEMILL_TEST_SEED={seed}");
    seed
}
