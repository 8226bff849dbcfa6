//! The command under measurement, as a process.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{During, Result};
use crate::machine::repository;
use crate::pipeline::{PipelineOptions, Sinks};

const PIPELINE: &str = "payments";
const STOP_DEADLINE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(50);

/// The command with a topology: the repository's, or the same without its sinks.
pub(super) struct Tidemill {
    program: PathBuf,
    topology: PathBuf,
    folder: PathBuf,
    pub(super) sinks: Sinks,
}

/// A `tidemill run`.
pub(super) struct Engine(Child);

impl Tidemill {
    pub(super) fn new(options: &PipelineOptions, sinks: Sinks) -> Result<Self> {
        let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("tidemill"));
        let program = options.tidemill.clone().map_or_else(beside, Ok).during("find `tidemill`")?;
        let topology = match sinks {
            Sinks::On => repository().join("topology.toml"),
            Sinks::Off => without_sinks(&options.folder)?,
        };
        Ok(Self { program, topology, folder: options.folder.clone(), sinks })
    }

    pub(super) fn apply(&self) -> Result<()> {
        self.run(&["apply", "--yes"]).map(drop)
    }

    /// Runs a command to its end, and returns what it says on standard output.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String> {
        let what = format!("tidemill {}", arguments.join(" "));
        let output = self.command(arguments).stderr(self.log()?).output().during(&what)?;
        let said = String::from_utf8(output.stdout).during(&what)?;
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("{what} ended with {}: {said}", output.status).into())
        }
    }

    /// Writes what `tidemill generate` makes into a topic; lines that no producer could send are left out.
    pub(super) fn produce(&self, generate: &[&str], topic: &str, key: &str) -> Result<()> {
        let mut generated = self.command(generate).stdout(Stdio::piped()).spawn().during("tidemill generate")?;
        let lines = generated.stdout.take().ok_or("a child without standard output")?;
        let mut produce = self.command(&["produce", topic, "--key", key]);
        let status = produce.stdin(lines).stderr(self.log()?).status().during("tidemill produce")?;
        generated.wait().during("tidemill generate")?;
        // 0, or some lines were skipped.
        match status.code() {
            Some(0 | PARTIAL) => Ok(()),
            _ => Err(format!("tidemill produce ended with {status}").into()),
        }
    }

    pub(super) fn start(&self, workers: u32) -> Result<Engine> {
        let child = self.command(&["run", "--workers", &workers.to_string()]).stderr(self.log()?).spawn();
        child.map(Engine).during("tidemill run")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--topology").arg(&self.topology).args(["--broker", "kafka"]);
        command.args(["--set", &format!("pipeline.state_dir={}", self.folder.join("state").display())]);
        command.args(["--set", "pipeline.http_address=127.0.0.1:0"]);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn log(&self) -> Result<File> {
        let path = self.folder.join(format!("{PIPELINE}.log"));
        File::options().create(true).append(true).open(path).during("open the log")
    }
}

/// Some of what was to be done is done, as docs/reference/cli.md has it.
const PARTIAL: i32 = 3;

impl Engine {
    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Asks for an orderly end, and waits for it.
    pub(super) fn stop(mut self) -> Result<()> {
        Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().during("stop the engine")?;
        let started_at = Instant::now();
        while started_at.elapsed() < STOP_DEADLINE {
            if let Some(status) = self.0.try_wait()? {
                return if status.success() { Ok(()) } else { Err(format!("the engine ended with {status}").into()) };
            }
            std::thread::sleep(TICK);
        }
        Err("the engine does not stop".into())
    }
}

impl Drop for Engine {
    /// A measurement that failed leaves nothing running.
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ended_already = self.0.wait();
    }
}

fn without_sinks(folder: &std::path::Path) -> Result<PathBuf> {
    let text = fs::read_to_string(repository().join("topology.toml")).during("read the topology")?;
    let mut document: toml::Table = text.parse().during("read the topology")?;
    document.remove("sink");
    let file = folder.join("without-sinks.toml");
    fs::write(&file, document.to_string()).during("write the topology")?;
    Ok(file)
}
