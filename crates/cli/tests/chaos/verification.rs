//! `tidemill verify` with processes of its own, as somebody runs it on their cluster; here its processes come by way of the
//! proxy, and its own reader does not.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_tidemill");
const TICK: Duration = Duration::from_millis(50);
const END_DEADLINE: Duration = Duration::from_secs(60);

/// The folder and the variables that the program is run with.
pub(crate) struct Tidemill<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) variables: &'a [(&'static str, String)],
}

impl Tidemill<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(BINARY);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEMILL_")) {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).current_dir(self.folder);
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) {
        let output = self.command().args(args).output().expect("the program starts");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn verify(&self, args: &[String]) -> Verification {
        let mut command = self.command();
        command.args(["verify", "--json", "--dir", "verify"]).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut stdout = child.stdout.take().expect("is piped");
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).expect("is UTF-8");
            text
        });
        let stderr = BufReader::new(child.stderr.take().expect("is piped"));
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let heard = Arc::clone(&events);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if !line.contains("\"progress\"") {
                    println!("  verify: {line}");
                }
                let event = serde_json::from_str(&line).unwrap_or(Value::Null);
                heard.lock().expect("nobody panics here").push(event);
            }
        });
        Verification { child, stdout: Some(stdout), events }
    }
}

/// It is ended, with all processes that it has started, when this is dropped.
pub(crate) struct Verification {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    events: Arc<Mutex<Vec<Value>>>,
}

impl Verification {
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the program can be asked").is_some()
    }

    /// Waits for payments to flow.
    pub(crate) fn wait_until_loaded(&mut self) {
        let is_loaded = |event: &Value| ["progress", "fault"].iter().any(|name| event["event"] == *name);
        while !self.events.lock().expect("nobody panics here").iter().any(is_loaded) && !self.has_ended() {
            std::thread::sleep(TICK);
        }
    }

    /// The verdict, and whether it says that everything holds.
    pub(crate) fn verdict(mut self) -> (Value, bool) {
        let text = self.stdout.take().expect("is taken once").join().expect("the reader ends");
        let status = self.child.wait().expect("the program ends");
        let verdict = serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{status}, {error} in: {text}"));
        (verdict, status.success())
    }
}

impl Drop for Verification {
    fn drop(&mut self) {
        let signal = |pid: u32, signal| {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            // Most have ended already.
            let _ended_already = pid.map(|pid| kill_process(pid, signal));
        };
        if self.has_ended() {
            return;
        }
        signal(self.child.id(), Signal::TERM);
        let started_at = Instant::now();
        while !self.has_ended() && started_at.elapsed() < END_DEADLINE {
            std::thread::sleep(TICK);
        }
        if !self.has_ended() {
            let events = self.events.lock().map(|events| events.clone()).unwrap_or_default();
            let started = events.iter().filter(|event| event["event"] == "instance");
            let pids = started.filter_map(|event| event["pid"].as_u64()).filter_map(|pid| u32::try_from(pid).ok());
            pids.for_each(|pid| signal(pid, Signal::KILL));
            signal(self.child.id(), Signal::KILL);
            let _ended = self.child.wait();
        }
    }
}
