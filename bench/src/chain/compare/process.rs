//! The engines as processes: started, watched, measured.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::chain::compare::{CompareOptions, Run, Span};
use crate::chain::topics::{Input, Place};
use crate::failure::{During, Result};
use crate::machine::{cpu_seconds, peak_rss_mib, repository};

const RUN_DEADLINE: Duration = Duration::from_secs(1_800);
/// What a virtual machine needs to be warm.
const WARM_UP_S: f64 = 10.0;
/// A warm figure rests on at least this much.
const WARM_S_MIN: f64 = 3.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Engine {
    Tidemill,
    /// Kafka Streams with RocksDB
    Rocksdb,
    /// Kafka Streams with its stores in memory
    Memory,
    /// Kafka Streams with hash maps behind its store interface
    Hash,
    /// The plain copy
    Copy,
}

/// When an engine ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum End {
    /// When all payments are done
    Drained,
    Never,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tidemill => "tidemill",
            Self::Rocksdb => "rocksdb",
            Self::Memory => "memory",
            Self::Hash => "hash",
            Self::Copy => "copy",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Tidemill => "Tidemill",
            Self::Rocksdb => "Kafka Streams, RocksDB",
            Self::Memory => "Kafka Streams, in-memory stores",
            Self::Hash => "Kafka Streams, hash maps",
            Self::Copy => "plain copy",
        }
    }

    pub(crate) fn is_streams(self) -> bool {
        matches!(self, Self::Rocksdb | Self::Memory | Self::Hash)
    }

    /// The copy does not do the job, so there is nothing to verify.
    pub(crate) fn is_verified(self) -> bool {
        self != Self::Copy
    }
}

/// A running engine and what it says.
pub(super) struct Process {
    engine: Engine,
    child: Child,
    broker_pid: Option<u32>,
    lines: Receiver<String>,
}

impl Process {
    pub(super) fn start(engine: Engine, place: &Place, options: &CompareOptions, end: End) -> Result<Self> {
        let mut command = if engine.is_streams() { streams(engine, options) } else { tidemill(engine, end)? };
        let Input { topic, partitions } = &place.input;
        command.args(["--bootstrap", &place.bootstrap, "--prefix", &place.prefix, "--input", topic]);
        command.args(["--threads", &options.threads.to_string(), "--commit-ms", &options.commit_ms.to_string()]);
        if !engine.is_streams() {
            command.args(["--partitions", &partitions.to_string()]);
        }
        if engine.is_verified() {
            command.arg("--state-dir").arg(options.folder.join(&place.prefix));
        }
        if engine.is_streams() {
            command.args(["--stores", engine.name(), "--end", end.name()]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .during(&format!("start {}", engine.title()))?;
        let log = options.folder.join(format!("{}.log", place.prefix));
        let log = File::create(log).during("open the engine's log")?;
        let (said, lines) = channel();
        let outputs: [Option<Box<dyn std::io::Read + Send>>; 2] = [
            child.stdout.take().map(|output| Box::new(output) as Box<dyn std::io::Read + Send>),
            child.stderr.take().map(|output| Box::new(output) as Box<dyn std::io::Read + Send>),
        ];
        for output in outputs.into_iter().flatten() {
            let (said, mut log) = (said.clone(), log.try_clone()?);
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                    // The log is for people, and nobody listens when the measurement is over.
                    let _ignored = std::io::Write::write_all(&mut log, format!("{line}\n").as_bytes());
                    let _unheard = said.send(line);
                }
            });
        }
        Ok(Self { engine, child, broker_pid: options.broker_pid, lines })
    }

    /// Waits for the result.
    pub(super) fn measure(mut self, load_average: String) -> Result<Run> {
        let broker_before_s = self.broker_pid.map_or(0.0, cpu_seconds);
        let mut warm_from: Option<Span> = None;
        loop {
            let Ok(line) = self.lines.recv_timeout(RUN_DEADLINE) else {
                let status = self.child.try_wait()?;
                self.kill()?;
                return Err(format!("no result came ({status:?}); the engine's log may say why").into());
            };
            let mut span = Span {
                engine_cpu_s: cpu_seconds(self.child.id()),
                broker_cpu_s: self.broker_pid.map_or(0.0, cpu_seconds) - broker_before_s,
                ..Span::default()
            };
            let Some((word, rest)) = line.split_once(' ') else { continue };
            let number = |name: &str| {
                let found = rest.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
                found.and_then(|text| text.parse::<f64>().ok()).unwrap_or_default()
            };
            (span.payments, span.seconds) = (number("payments") as u64, number("seconds"));
            match word {
                "PROGRESS" if warm_from.is_none() && span.seconds >= WARM_UP_S => warm_from = Some(span),
                "RESULT" => {
                    let rss_mib = peak_rss_mib(self.child.id());
                    let status = self.child.wait().during("wait for the engine")?;
                    if !status.success() {
                        return Err(format!("{} ended with {status}", self.engine.title()).into());
                    }
                    let warm = warm_from.map(|from| span.since(from)).filter(|warm| warm.seconds >= WARM_S_MIN);
                    return Ok(Run { engine: self.engine, all: span, warm, rss_mib, load_average });
                }
                _ => {}
            }
        }
    }

    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill().during("kill")?;
        self.child.wait().during("wait for a killed process")?;
        Ok(())
    }
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Never => "never",
        }
    }
}

impl Span {
    fn since(self, from: Self) -> Self {
        Self {
            payments: self.payments - from.payments,
            seconds: self.seconds - from.seconds,
            engine_cpu_s: self.engine_cpu_s - from.engine_cpu_s,
            broker_cpu_s: self.broker_cpu_s - from.broker_cpu_s,
        }
    }
}

fn tidemill(engine: Engine, end: End) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("chain");
    match engine {
        Engine::Copy => command.arg("copy"),
        _ => command.args(["run", "--end", end.name()]),
    };
    Ok(command)
}

fn streams(engine: Engine, options: &CompareOptions) -> Command {
    let folder = repository().join("target/bench-peer");
    let class_path = format!("{}:{}/*", folder.join("classes").display(), folder.join("lib").display());
    // Entries that are kept for a day lie on the heap unless RocksDB has them.
    let kept_mib = if engine == Engine::Rocksdb { 0 } else { (options.payments * 320) >> 20 };
    let heap = format!("{}m", 704 + kept_mib);
    let mut command = Command::new("java");
    command.args([&format!("-Xms{heap}"), &format!("-Xmx{heap}"), "-XX:+UseParallelGC"]);
    command.args([
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
        "-cp",
        &class_path,
        "tidemill.bench.chain.ChainPeer",
    ]);
    command
}
