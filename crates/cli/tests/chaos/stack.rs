//! A stack of its own: Kafka, registry, Postgres and Redis, which may be killed without asking.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const TICK: Duration = Duration::from_millis(50);
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// Of the parts and of the proxy.
pub(crate) struct Ports {
    pub(crate) kafka: u16,
    pub(crate) controller: u16,
    pub(crate) proxied: u16,
    pub(crate) proxy: u16,
    pub(crate) registry: u16,
    pub(crate) postgres: u16,
    pub(crate) redis: u16,
}

pub(crate) struct Stack {
    folder: PathBuf,
    pub(crate) ports: Ports,
}

impl Ports {
    /// Seven that are free now: all are held before the first is let go.
    fn free() -> Self {
        let held: Vec<TcpListener> = (0..7).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let mut ports = held.iter().map(|listener| listener.local_addr().expect("is bound").port());
        let mut next = || ports.next().expect("there are seven");
        Self {
            kafka: next(),
            controller: next(),
            proxied: next(),
            proxy: next(),
            registry: next(),
            postgres: next(),
            redis: next(),
        }
    }
}

impl Stack {
    pub(crate) fn start(folder: &Path) -> Self {
        let stack = Self { folder: folder.to_owned(), ports: Ports::free() };
        stack.up();
        stack
    }

    fn run(&self, verb: &str) -> Result<(), String> {
        let ports = &self.ports;
        let mut command = Command::new(crate::repository().join("dev/stack"));
        command.arg(verb).env("TIDEMILL_STACK_DIR", &self.folder).env("TIDEMILL_STACK_MODE", "native");
        for (name, port) in [
            ("KAFKA", ports.kafka),
            ("KAFKA_CONTROLLER", ports.controller),
            ("KAFKA_PROXIED", ports.proxied),
            ("KAFKA_PROXY", ports.proxy),
            ("REGISTRY", ports.registry),
            ("POSTGRES", ports.postgres),
            ("REDIS", ports.redis),
        ] {
            command.env(format!("TIDEMILL_{name}_PORT"), port.to_string());
        }
        let output = command.output().map_err(|error| format!("dev/stack cannot be started: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(format!("dev/stack {verb}: {said}")) }
    }

    /// Starts what is not up.
    pub(crate) fn up(&self) {
        self.run("up").unwrap_or_else(|message| panic!("{message}"));
    }

    /// `kill -9`.
    pub(crate) fn kill(&self, component: &str) {
        kill_process(self.pid(component), Signal::KILL).expect("it can be killed");
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&self, component: &str) {
        let pid = self.pid(component);
        kill_process(pid, Signal::TERM).expect("it can be asked");
        let started_at = Instant::now();
        // A process that nobody waits for stays in the table once it has ended.
        let runs = || fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).is_ok_and(|line| !line.is_empty());
        while runs() {
            assert!(started_at.elapsed() < STOP_DEADLINE, "{component} does not stop");
            std::thread::sleep(TICK);
        }
    }

    /// As `dev/stack` has written it down.
    fn pid(&self, component: &str) -> Pid {
        let file = self.folder.join(component).join("pid");
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        text.trim().parse().ok().and_then(Pid::from_raw).expect("a pid")
    }

    /// Where the broker listens for those who come by way of the proxy.
    pub(crate) fn behind_proxy(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.proxied))
    }

    /// The variables of the default topology.
    pub(crate) fn variables(&self) -> [(&'static str, String); 5] {
        let ports = &self.ports;
        [
            ("TIDEMILL_BROKER", "kafka".to_owned()),
            ("TIDEMILL_BOOTSTRAP", format!("127.0.0.1:{}", ports.kafka)),
            ("TIDEMILL_REGISTRY", format!("http://127.0.0.1:{}/apis/ccompat/v7", ports.registry)),
            ("TIDEMILL_POSTGRES", format!("postgres://postgres@127.0.0.1:{}/tidemill", ports.postgres)),
            ("TIDEMILL_REDIS", format!("redis://127.0.0.1:{}", ports.redis)),
        ]
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // What a failed test leaves behind is stopped, and its logs are kept for the person who looks into it.
        let verb = if std::thread::panicking() { "down" } else { "wipe" };
        if let Err(message) = self.run(verb) {
            eprintln!("{message}");
        }
    }
}
