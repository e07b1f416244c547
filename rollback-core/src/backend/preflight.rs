//! [`Preflight`]: what a person should know before anything moves.

/// What a backend has seen that stands in a plan's way, or that a person should know of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preflight {
    /// One sentence each, most important first. Without secrets.
    pub remarks: Vec<String>,
}

impl Preflight {
    /// The same with one more remark.
    #[must_use]
    pub fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remarks.push(remark.into());
        self
    }
}
