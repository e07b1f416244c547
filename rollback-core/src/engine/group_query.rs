//! The groups of a stack, as the history has them.

use std::collections::BTreeMap;

use super::groups::{Group, newest, no_such, read};
use crate::engine::RollbackEngine;
use crate::error::Error;
use crate::id::{GroupId, StackName};

impl RollbackEngine {
    /// One group.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::error::ErrorKind::NotFound) if there is none of that id;
    /// [`Store`](crate::error::ErrorKind::Store) if its records cannot be read.
    pub async fn group(&self, id: &GroupId) -> Result<Group, Error> {
        let found = read(self.inner(), id, &BTreeMap::new()).await?;
        found.ok_or_else(|| no_such(id))
    }

    /// The newest groups of a stack, newest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`NotRegistered`](crate::error::ErrorKind::NotRegistered) without such a stack; [`Store`](crate::error::ErrorKind::Store)
    /// if its records cannot be read.
    pub async fn groups(&self, stack: &StackName, limit: usize) -> Result<Vec<Group>, Error> {
        let stack = self.inner().stack(stack)?;
        let mut groups = Vec::new();
        if limit > 0 {
            let enough = |group: &Group| {
                groups.push(group.clone());
                groups.len() >= limit
            };
            newest(self.inner(), stack, enough).await?;
        }
        Ok(groups)
    }
}
