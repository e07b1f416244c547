//! Several workloads that move as one, typed as people type it.

mod back;
mod catalog;
mod in_flight;
mod moving;
mod reading;
mod shop;
mod wrong;
