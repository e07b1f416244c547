//! A figure: a median, the median of its baseline, and their ratio.

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

/// One row of the report.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    /// The median, in `unit`.
    value: f64,
    unit: &'static str,
    /// The raw operation's median, in `unit`.
    baseline: f64,
    ratio: f64,
}

/// Measures two operations in turns, so that what slows the machine slows both.
pub(crate) async fn compare<A, B>(
    name: &str,
    rounds: usize,
    mut ours: impl FnMut(usize) -> A,
    mut raw: impl FnMut(usize) -> B,
) -> Figure
where
    A: Future<Output = ()>,
    B: Future<Output = ()>,
{
    let warm_up = rounds / 10 + 1;
    let (mut values, mut baselines) = (Vec::new(), Vec::new());
    for round in 0..rounds + warm_up {
        let began = Instant::now();
        ours(round).await;
        let value = began.elapsed();
        let began = Instant::now();
        raw(round).await;
        let baseline = began.elapsed();
        if round >= warm_up {
            values.push(value);
            baselines.push(baseline);
        }
    }
    let (value, baseline) = (median(values), median(baselines));
    Figure {
        name: name.to_owned(),
        value,
        unit: "ms",
        baseline,
        ratio: value / baseline,
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1_000.0
}

pub(crate) fn print(figures: &[Figure]) {
    println!(
        "{:<66} {:>10} {:>10} {:>8}",
        "figure (medians in ms)", "rollback", "raw", "ratio"
    );
    for f in figures {
        println!(
            "{:<66} {:>10.3} {:>10.3} {:>7.2}x",
            f.name, f.value, f.baseline, f.ratio
        );
    }
}

pub(crate) fn write(figures: &[Figure], path: &Path) {
    let report = serde_json::json!({ "figures": figures });
    std::fs::write(path, serde_json::to_vec_pretty(&report).unwrap()).unwrap();
}
