//! The example `history`, typed as people type it, on either store.
#![allow(clippy::unwrap_used, clippy::panic)]

/// Each of these, which take a store's kind, as a test on either.
macro_rules! on_both_stores {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test("sqlite").await;
            })*
        }

        mod on_json {
            $(#[tokio::test]
            async fn $test() {
                super::$test("json").await;
            })*
        }
    };
}

mod abandoned;
mod as_json;
mod beginning;
mod catalog_file;
mod cleanup;
mod degraded;
mod given_up;
mod goals;
mod in_flight;
mod interrupting;
mod left;
mod narrow;
mod nowhere;
mod pty;
mod readers;
mod reading;
mod rules;
mod session;
mod short_ids;
mod stack;
mod status;
mod undo;
mod withheld;
