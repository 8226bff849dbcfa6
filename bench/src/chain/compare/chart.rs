//! The chart: two groups of bars, written as SVG by hand.

use std::fmt::Write as _;

use crate::chain::compare::process::Engine;
use crate::chain::compare::report::{Medians, Report};

const WIDTH: usize = 760;
const LABEL_WIDTH: usize = 230;
const VALUE_WIDTH: usize = 90;
const BAR_HEIGHT: usize = 22;
const ROW_HEIGHT: usize = 30;
const HEADING_HEIGHT: usize = 44;

/// One group: a heading, and a bar with its value for each engine.
struct Group {
    heading: &'static str,
    figure: fn(Medians) -> f64,
    digits: usize,
}

const GROUPS: [Group; 2] = [
    Group { heading: "Payments per second (more is better)", figure: |medians| medians.payments_per_s, digits: 0 },
    Group {
        heading: "Processor time of the engine, µs a payment (less is better)",
        figure: |medians| medians.engine_us,
        digits: 1,
    },
];

pub(super) fn render(report: &Report) -> String {
    let engines: Vec<(Engine, Medians)> =
        report.engines().into_iter().filter_map(|engine| Some((engine, report.medians(engine)?))).collect();
    let height = GROUPS.len() * (HEADING_HEIGHT + engines.len() * ROW_HEIGHT) + 16;
    let mut out = String::new();
    let _infallible = write(&mut out, &engines, height);
    out
}

fn write(out: &mut String, engines: &[(Engine, Medians)], height: usize) -> std::fmt::Result {
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
    )?;
    let mut top = 0;
    for group in &GROUPS {
        writeln!(out, "<text x=\"12\" y=\"{}\" font-weight=\"bold\">{}</text>", top + 28, group.heading)?;
        top += HEADING_HEIGHT;
        let most = engines.iter().map(|(_, medians)| (group.figure)(*medians)).fold(f64::MIN_POSITIVE, f64::max);
        for (engine, medians) in engines {
            let value = (group.figure)(*medians);
            let width = value / most * (WIDTH - LABEL_WIDTH - VALUE_WIDTH) as f64;
            let (text_top, digits) = (top + 16, group.digits);
            writeln!(
                out,
                "<text x=\"{}\" y=\"{text_top}\" text-anchor=\"end\">{}</text>\n\
                 <rect x=\"{LABEL_WIDTH}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{}\"/>\n\
                 <text x=\"{:.1}\" y=\"{text_top}\">{value:.digits$}</text>",
                LABEL_WIDTH - 10,
                engine.title(),
                colour(*engine),
                LABEL_WIDTH as f64 + width + 8.0,
            )?;
            top += ROW_HEIGHT;
        }
    }
    writeln!(out, "</svg>")
}

fn colour(engine: Engine) -> &'static str {
    match engine {
        Engine::Tidemill => "#1f6feb",
        Engine::Rocksdb | Engine::Memory | Engine::Hash => "#8b949e",
        Engine::Copy => "#d0d7de",
    }
}
