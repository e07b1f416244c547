//! Docker image swap for rollback: one container, replaced and put back.
