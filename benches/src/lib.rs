//! Shared measurement.
