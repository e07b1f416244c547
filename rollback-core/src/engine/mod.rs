//! The engine.
/// To come.
#[derive(Debug)]
pub struct RollbackEngine;
impl RollbackEngine {
    /// To come.
    pub fn preview(&self) {}
    /// To come.
    pub fn execute(&self) {}
}
