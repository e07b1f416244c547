//! Deployment history in one SQLite file, for rollback.
