//! The engines as processes: started, killed, stopped, robbed of their disk.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{During, Result};
use crate::machine::repository;
use crate::restart::setup::Setup;

const STOP_DEADLINE: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Engine {
    Tidemill,
    Streams,
}

/// One of the processes that share the work of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Instance {
    A,
    B,
}

/// A running engine. Its standard input is open as long as this lives, and it stops when that is closed.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) started_at: Instant,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tidemill => "tidemill",
            Self::Streams => "streams",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Tidemill => "Tidemill",
            Self::Streams => "Kafka Streams",
        }
    }

    pub(crate) fn start(self, setup: &Setup, instance: Instance) -> Result<Process> {
        let log = File::options().create(true).append(true).open(setup.log(self)).during("open the engine's log")?;
        let mut command = match self {
            Self::Tidemill => tidemill(setup, instance)?,
            Self::Streams => streams(setup, instance),
        };
        let started_at = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .during(&format!("start {}", self.title()))?;
        let stdin = child.stdin.take();
        Ok(Process { child, stdin, started_at })
    }

    /// What a machine without the store looks like.
    pub(crate) fn wipe(self, setup: &Setup) -> Result<()> {
        fs::remove_dir_all(setup.state_dir(self)).during("remove the stores")
    }
}

impl Instance {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl Process {
    /// `kill -9`. Returns when the process is gone.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill().during("kill")?;
        self.child.wait().during("wait for a killed process")?;
        Ok(())
    }

    /// A planned stop.
    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.stdin.take());
        let asked_at = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("an engine ended with {status}; its log says why").into()),
                None if asked_at.elapsed() > STOP_DEADLINE => {
                    self.child.kill()?;
                    return Err(format!("an engine did not stop within {STOP_DEADLINE:?}").into());
                }
                None => std::thread::sleep(TICK),
            }
        }
    }

    /// An error if the engine has ended on its own.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("an engine ended on its own with {status}; its log says why").into()),
        }
    }
}

fn tidemill(setup: &Setup, instance: Instance) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("worker");
    command.args(["--bootstrap", &setup.bootstrap, "--registry", &setup.registry, "--run", &setup.run]);
    command.arg("--folder").arg(&setup.folder);
    command.args(["--tasks", &setup.tasks.to_string(), "--threads", &setup.threads.to_string()]);
    command.args(["--commit-ms", &setup.commit_ms.to_string(), "--instance", instance.name()]);
    Ok(command)
}

fn peer_folder() -> PathBuf {
    repository().join("target/bench-peer")
}

/// Compiles the peer and fetches its libraries.
pub(crate) fn build_peer() -> Result<()> {
    let pom = repository().join("bench/peer/pom.xml");
    let status =
        Command::new("mvn").args(["-q", "-B", "-f"]).arg(pom).arg("process-classes").status().during("run mvn")?;
    if status.success() { Ok(()) } else { Err("mvn could not build bench/peer; its output is above".into()) }
}

fn streams(setup: &Setup, instance: Instance) -> Command {
    let folder = peer_folder();
    let class_path = format!("{}:{}/*", folder.join("classes").display(), folder.join("lib").display());
    let mut command = Command::new("java");
    command.args(["-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
    command.args(["-cp", &class_path, "tidemill.bench.RestartPeer", "--bootstrap", &setup.bootstrap]);
    command.args(["--prefix", &format!("{}-streams", setup.run), "--input", &setup.input()]);
    command.args(["--output", &setup.output(Engine::Streams), "--threads", &setup.threads.to_string()]);
    command.args(["--commit-ms", &setup.commit_ms.to_string(), "--instance", instance.name()]);
    command.arg("--state-dir").arg(setup.state_dir(Engine::Streams).join(instance.name()));
    command
}
