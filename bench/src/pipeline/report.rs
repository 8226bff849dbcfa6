//! The report: each figure measured, in the order of the questions.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::machine;
use crate::pipeline::profile::{Profile, SECONDS};
use crate::pipeline::throughput::Throughput;
use crate::pipeline::{PipelineOptions, Steady};

pub(super) struct Report<'a> {
    pub(super) options: &'a PipelineOptions,
    pub(super) started_at: Timestamp,
    pub(super) throughput: Throughput,
    pub(super) steady: Vec<Steady>,
    pub(super) profile: Option<Profile>,
}

impl Report<'_> {
    pub(super) fn render(&self) -> String {
        let mut out = String::new();
        let _infallible = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# The default topology\n")?;
        writeln!(
            out,
            "Written by `make bench-default`; how it is measured is in [bench/README.md](../../bench/README.md). All processors \
             and all hops\nof `topology.toml` on Kafka, one process with {} workers, {} payers.\n",
            self.options.workers, self.options.accounts
        )?;
        self.write_throughput(out)?;
        self.write_steady(out)?;
        self.write_behind(out)?;
        self.write_profile(out)?;
        self.write_place(out)
    }

    fn write_throughput(&self, out: &mut String) -> std::fmt::Result {
        let Throughput { payments, seconds, engine_us, broker_us, rss_mib, load_average } = &self.throughput;
        writeln!(out, "## Throughput\n")?;
        writeln!(
            out,
            "{} payments wait when the engine is started, without sinks. From the first outcome that can be read to the \
             last;\n`tidemill reconcile` adds up afterwards. Processor time is µs a payment.\n",
            self.options.payments
        )?;
        writeln!(out, "| payments/s | engine µs | broker µs | peak RSS, MiB | payments | s | load average before |")?;
        writeln!(out, "|---|---|---|---|---|---|---|")?;
        writeln!(
            out,
            "| {:.0} | {engine_us:.0} | {broker_us:.0} | {rss_mib} | {payments} | {seconds:.1} | {load_average} |\n",
            *payments as f64 / seconds
        )
    }

    fn write_steady(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Latency\n")?;
        writeln!(
            out,
            "From the creation of a payment to its outcome in the hands of a `read_committed` reader, by `tidemill verify`, \
             which\nfollows each payment to its end; everything held. Processor time counts the wait for the last outcome.\n"
        )?;
        writeln!(
            out,
            "| | payments/s | p50, ms | p95, ms | p99, ms | longest, ms | engine µs | broker µs | payments | load average before |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
        for Steady { sinks, rate, verified, engine_us, broker_us, load_average, .. } in &self.steady {
            let latency = verified.latency_ms;
            writeln!(
                out,
                "| {} | {rate} | {} | {} | {} | {} | {engine_us:.0} | {broker_us:.0} | {} | {load_average} |",
                sinks.title(),
                latency.p50,
                latency.p95,
                latency.p99,
                latency.max,
                verified.payments
            )?;
        }
        writeln!(out)
    }

    fn write_behind(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## How far read models are behind\n")?;
        writeln!(
            out,
            "Once a second while those payments come in. Seconds are the offsets at most, at the rate at which the sink's topics \
             grew.\n"
        )?;
        writeln!(
            out,
            "| sink | payments/s | offsets, median | offsets, at most | seconds, at most |\n|---|---|---|---|---|"
        )?;
        for (steady, behind) in self.steady.iter().flat_map(|steady| steady.behind.iter().map(move |one| (steady, one)))
        {
            writeln!(
                out,
                "| {} | {} | {} | {} | {:.2} |",
                behind.sink, steady.rate, behind.offsets_median, behind.offsets_max, behind.seconds_max
            )?;
        }
        writeln!(out)
    }

    fn write_profile(&self, out: &mut String) -> std::fmt::Result {
        let Some(Profile { steps }) = &self.profile else { return Ok(()) };
        writeln!(out, "## Where the time goes\n")?;
        writeln!(
            out,
            "Sampled for {SECONDS} s in another run with payments that wait; µs are the share of the engine's processor time \
             above. A\nsample counts for the innermost step on its stack. The [flame graph](default.svg) has all of them.\n"
        )?;
        writeln!(out, "| step | share | µs a payment |\n|---|---|---|")?;
        for (step, share) in steps {
            writeln!(out, "| {step} | {:.1} % | {:.1} |", share * 100.0, share * self.throughput.engine_us)?;
        }
        writeln!(out)
    }

    fn write_place(&self, out: &mut String) -> std::fmt::Result {
        let commit = machine::first_line("git", &["rev-parse", "--short", "HEAD"]);
        let java = machine::first_line("java", &["-version"]);
        let time = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M").to_string();
        writeln!(out, "## Where\n")?;
        writeln!(out, "- {}; broker, databases, engine and reader on it together", machine::describe())?;
        writeln!(out, "- Apache Kafka 4.3.1, one node (`dev/stack`, `TIDEMILL_STACK_JIT=c2`); {java}")?;
        writeln!(out, "- Tidemill at commit {commit}, release build")?;
        writeln!(out, "- {} to {} UTC", time(self.started_at), time(Timestamp::now()))
    }
}
