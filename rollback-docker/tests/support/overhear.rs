//! [`Overhear`]: everything that these crates trace.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Notes the fields of each span and event of these crates, at every level.
#[derive(Debug, Clone, Default)]
pub struct Overhear(Arc<Mutex<String>>);

impl Overhear {
    /// For this whole process.
    pub fn begin() -> Self {
        let own = Self::default();
        tracing::subscriber::set_global_default(own.clone()).unwrap();
        own
    }

    /// All that was said up to now.
    pub fn heard(&self) -> String {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.clone()
    }

    fn note(&self, name: &str, record: impl FnOnce(&mut dyn Visit)) {
        let mut line = Line(name.to_owned());
        record(&mut line);
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push_str(&line.0);
        heard.push('\n');
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Subscriber for Overhear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("rollback")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.note(span.metadata().name(), |visit| span.record(visit));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        self.note("", |visit| values.record(visit));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.note(event.metadata().name(), |visit| event.record(visit));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
