//! Health checks for rollback: HTTP, TCP and command.
