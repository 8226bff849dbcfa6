//! What a figure depends on besides the code: processor, memory, load, versions.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The kernel counts processor time of processes in hundredths of a second, on all its architectures.
const TICKS_PER_S: f64 = 100.0;

/// One line about the processor, its cores and the memory.
pub(crate) fn describe() -> String {
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory_kib = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let memory_gib = memory_kib.unwrap_or(0).div_ceil(1 << 20);
    let system = first_line("uname", &["-sr"]);
    format!("{model}, {cores} cores, {memory_gib} GiB, {system}")
}

/// Processes that ran or wanted to, over the last minute. On a busy machine every figure is too high.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// Time that the calling thread has spent on a processor: what an act costs whatever else the machine does.
pub(crate) fn thread_cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

/// Time that all threads of this process have spent on processors.
///
/// Threads that have ended count with a resolution of the kernel's clock tick.
pub(crate) fn process_cpu() -> Duration {
    Duration::from_secs_f64(cpu_seconds(std::process::id()))
}

/// Processor time that a process has used, of all its threads; 0 for one that is gone.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program may hold anything, but for the last parenthesis.
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS_PER_S
}

/// The most memory that a process has had.
pub(crate) fn peak_rss_mib(pid: u32) -> u64 {
    let text = field(&format!("/proc/{pid}/status"), "VmHWM").unwrap_or_default();
    text.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Memory of this process.
pub(crate) fn resident_bytes() -> u64 {
    let text = field("/proc/self/status", "VmRSS").unwrap_or_default();
    text.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

/// The first line that a program prints, on either stream; `unknown` where it cannot be run.
pub(crate) fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(repository()).output();
    let Ok(output) = output else { return "unknown".to_owned() };
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").to_owned()
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Bytes that the files below a folder take on disk: holes take none.
pub(crate) fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes_of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(bytes_of).sum()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
