//! A figure: a median, the median of its baseline, and their ratio.

use std::future::Future;
use std::time::{Duration, Instant};

use serde::Serialize;

/// One row of the report.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    /// The median, in `unit`.
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// The raw operation's median, in `unit`.
    pub(crate) baseline: f64,
    pub(crate) ratio: f64,
    /// What the ratio has to keep to, if anything: "<= 2"; or the value, with its unit: "<= 5 ms".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bound: Option<String>,
    /// The quartiles of the rounds' own ratios: how far to trust `ratio`. For people only.
    #[serde(skip)]
    pub(crate) spread: (f64, f64),
}

impl Figure {
    /// Says what the ratio must not exceed; the value, if a unit is given.
    #[must_use]
    pub(crate) fn at_most(self, bound: &str) -> Self {
        let bound = Some(format!("<= {bound}"));
        Self { bound, ..self }
    }

    /// Says what the ratio must reach.
    #[must_use]
    pub(crate) fn at_least(self, bound: &str) -> Self {
        let bound = Some(format!(">= {bound}"));
        Self { bound, ..self }
    }
}

/// What times are shown in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Micros,
    Millis,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Micros => "us",
            Self::Millis => "ms",
        }
    }

    fn of(self, time: Duration) -> f64 {
        match self {
            Self::Micros => time.as_secs_f64() * 1e6,
            Self::Millis => time.as_secs_f64() * 1e3,
        }
    }
}

/// Measures two operations in turns, so that what slows the machine slows both. Who goes first
/// changes every round: neither always finds the disk as the other left it.
///
/// Each gives the time of what it measures, so that its preparations are left out.
pub(crate) async fn compare<A, B>(
    name: impl Into<String>,
    unit: Unit,
    rounds: usize,
    mut ours: impl FnMut(usize) -> A,
    mut raw: impl FnMut(usize) -> B,
) -> Figure
where
    A: Future<Output = Duration>,
    B: Future<Output = Duration>,
{
    let warm_up = warm_up(rounds);
    let (mut values, mut baselines, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds + warm_up {
        let (value, baseline) = if round % 2 == 0 {
            let value = ours(round).await;
            (value, raw(round).await)
        } else {
            let baseline = raw(round).await;
            (ours(round).await, baseline)
        };
        if round >= warm_up {
            values.push(unit.of(value));
            baselines.push(unit.of(baseline));
            ratios.push(value.as_secs_f64() / baseline.as_secs_f64());
        }
    }
    let (value, baseline) = (at(&mut values, 0.5), at(&mut baselines, 0.5));
    Figure {
        name: name.into(),
        value,
        unit: unit.name(),
        baseline,
        ratio: value / baseline,
        bound: None,
        spread: (at(&mut ratios, 0.25), at(&mut ratios, 0.75)),
    }
}

/// Rounds that are run first and not counted.
pub(crate) fn warm_up(rounds: usize) -> usize {
    rounds / 10 + 1
}

/// The time that a future takes.
pub(crate) async fn timed<T>(what: impl Future<Output = T>) -> (Duration, T) {
    let began = Instant::now();
    let value = what.await;
    (began.elapsed(), value)
}

/// The time that a step takes which blocks.
pub(crate) fn clocked(what: impl FnOnce()) -> Duration {
    let began = Instant::now();
    what();
    began.elapsed()
}

/// The median of an operation that has no baseline, in microseconds.
pub(crate) async fn median<A>(rounds: usize, mut what: impl FnMut(usize) -> A) -> f64
where
    A: Future<Output = Duration>,
{
    let mut times = Vec::new();
    for round in 0..rounds + warm_up(rounds) {
        let time = what(round).await;
        if round >= warm_up(rounds) {
            times.push(Unit::Micros.of(time));
        }
    }
    at(&mut times, 0.5)
}

/// The value below which this part of all values lies.
fn at(values: &mut [f64], part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss
    )]
    let index = (values.len() as f64 * part) as usize;
    values[index]
}
