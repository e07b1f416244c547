//! [`Seal`]: what makes a change by hand show.
//!
//! A record's seal is the SHA-256 of `record`, its sequence and its header, a line each; that of an
//! event is of the seal before it in hexadecimal digits and its body; that of annotations of
//! `annotations`, the record's id and the text; that of a workload of its columns as a JSON array.
//! No seal keeps anybody from sealing anew: they are against accidents, not against forgers.

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal([u8; 32]);

impl Seal {
    /// Of a record that was just opened.
    pub(crate) fn of_record(sequence: i64, header: &str) -> Self {
        Self::of(&["record\n", &sequence.to_string(), "\n", header])
    }

    /// Of the event that follows what this is the seal of.
    pub(crate) fn then(self, body: &str) -> Self {
        let before = base16ct::lower::encode_string(&self.0);
        Self::of(&[&before, "\n", body])
    }

    /// Of what people added to a record.
    pub(crate) fn of_annotations(id: &str, annotations: &str) -> Self {
        Self::of(&["annotations\n", id, "\n", annotations])
    }

    /// Of a workload's row, as a JSON array.
    pub(crate) fn of_workload(row: &str) -> Self {
        Self::of(&[row])
    }

    fn of(parts: &[&str]) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(part.as_bytes());
        }
        Self(digest.finalize().into())
    }
}

impl ToSql for Seal {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(&self.0[..]))
    }
}

impl FromSql for Seal {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        // A value of another length is no seal of anything.
        let bytes = value.as_blob()?;
        Ok(Self(bytes.try_into().unwrap_or([0; 32])))
    }
}
