//! Where a unit's content comes from: the sources directory, by reference, or the shelf. All of it
//! blocks.

use rollback_core::backend::Instance;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::release::Release;

use crate::files;
use crate::key::is_unkeyed;
use crate::record::Shelved;
use crate::syntax::check_unit;
use crate::unit::{Unit, as_before};

impl Unit {
    /// The content of a release that is to be placed: shelved, or read once more from its source
    /// if that is unchanged.
    pub(crate) fn content(&self, wanted: &Release) -> Result<Vec<u8>, BackendError> {
        if let Some(content) = self.shelf.content(wanted)? {
            return Ok(content);
        }
        let key = self.shelf.key()?;
        let content = self.read_source(&wanted.artifact().reference).ok();
        content
            .filter(|c| key.made(&wanted.artifact().digest, c))
            .ok_or_else(|| {
                BackendError::new(
                    Kind::Gone,
                    "the unit's content is not on the shelf any more",
                )
                .on(wanted)
                .advice("deploy a unit file that exists")
            })
    }

    /// Reads and checks what a reference names.
    pub(crate) fn resolve(&self, reference: &str) -> Result<Release, BackendError> {
        let content = self.read_source(reference)?;
        check_unit(reference, &content)?;
        let made = self.describe(reference, &content)?;
        // What an earlier version has on record is recognised by the digest that it has there.
        if self.is_known_unkeyed(&content)? {
            return Ok(as_before(&made, &content));
        }
        Ok(made)
    }

    fn is_known_unkeyed(&self, content: &[u8]) -> Result<bool, BackendError> {
        let key = self.shelf.key()?;
        let is = |release: &Release| key.made(&release.artifact().digest, content);
        // A mask, say, is for `prepare` to refuse.
        if let Ok(Some(place)) = self.in_place("")
            && is(&place.instance.release)
        {
            return Ok(is_unkeyed(&place.instance.release.artifact().digest));
        }
        let unkeyed = |(i, _): &(Instance, Shelved)| is_unkeyed(&i.release.artifact().digest);
        Ok(self
            .shelf
            .all()?
            .iter()
            .filter(|shelved| unkeyed(shelved))
            .any(|(i, _)| is(&i.release)))
    }

    fn read_source(&self, reference: &str) -> Result<Vec<u8>, BackendError> {
        let invalid = |why: &str| {
            BackendError::new(
                Kind::InvalidReference,
                format!("this is no unit file's name: {why}"),
            )
            .on(reference.chars().take(80).collect::<String>())
            .advice("name a file in the sources directory")
        };
        if reference.trim().is_empty() || reference.len() > 255 {
            return Err(invalid("it is empty or too long"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
        if !reference.chars().all(plain) || reference.starts_with(['.', '-']) {
            return Err(invalid("use ASCII letters, digits, '.', '_', '@' and '-'"));
        }
        let path = self.config.sources.join(reference);
        files::read(&path)?.ok_or_else(|| {
            BackendError::new(Kind::NotFound, "no such unit file")
                .on(path.display())
                .advice("check the name, or put the file there first")
        })
    }
}
