//! Nothing here: see the example programs.
