//! Git ref swap for rollback: release directories and an atomic current link.
