//! How many bytes went with an image: what dockerd says that it has deleted, and how large that was.

use std::collections::BTreeSet;
use std::fmt;

use rollback_core::error::BackendError;
use sha2::{Digest, Sha256};

use crate::client::Client;
use crate::{error, fingerprint};

/// The layers of an image that may go. Layers that another image has too stay with it, and are not
/// counted.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// What the engine calls each by, the lowest first: each says all that is below it.
    chain: Vec<String>,
    /// Sizes in bytes of those that are not empty, the highest first. Which of several are the empty
    /// ones dockerd does not say.
    sizes: Vec<u64>,
}

impl Layers {
    fn new(contents: &[String], sizes: impl IntoIterator<Item = u64>) -> Self {
        let mut chain: Vec<String> = Vec::new();
        for content in contents {
            chain.push(match chain.last() {
                None => content.clone(),
                Some(below) => {
                    let both = format!("{below} {content}");
                    format!("sha256:{}", fingerprint::hex(&Sha256::digest(both)))
                }
            });
        }
        let sizes = sizes.into_iter().filter(|size| *size > 0).collect();
        Self { chain, sizes }
    }

    /// How many bytes these took that were deleted: at least so many, where it is not certain.
    pub(crate) fn freed(&self, deleted: &BTreeSet<String>) -> Freed {
        let gone = self.chain.iter().filter(|layer| deleted.contains(*layer));
        let gone = gone.count();
        let empty = self.chain.len().saturating_sub(self.sizes.len());
        let counted = match gone == self.chain.len() {
            true => self.sizes.len(),
            false => gone.saturating_sub(empty),
        };
        Freed(self.sizes.iter().take(counted).sum())
    }
}

/// So many bytes of the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Freed(pub(crate) u64);

impl std::ops::AddAssign for Freed {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

impl fmt::Display for Freed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0 / 100_000;
        write!(f, "{}.{} MB", tenths / 10, tenths % 10)
    }
}

impl Client {
    /// What an image is made of; nothing of one that is gone.
    pub(crate) async fn layers(&self, image: &str) -> Result<Layers, BackendError> {
        let Some(inspected) = self.image(image).await? else {
            return Ok(Layers::default());
        };
        let history = match self.docker.image_history(image).await {
            Ok(history) => history,
            Err(e) if error::status(&e) == Some(404) => return Ok(Layers::default()),
            Err(e) => return Err(self.failed("cannot ask for the image's layers", image, e)),
        };
        let sizes = history
            .iter()
            .map(|step| u64::try_from(step.size).unwrap_or(0));
        let contents = inspected.root_fs.and_then(|fs| fs.layers);
        Ok(Layers::new(&contents.unwrap_or_default(), sizes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_stay_are_not_counted() {
        let content = |n: u8| format!("sha256:{}", format!("{n:02x}").repeat(32));
        let layers = Layers::new(&[content(1), content(2), content(3)], [0, 5, 0, 70, 800]);
        let all: BTreeSet<String> = layers.chain.iter().cloned().collect();
        assert_eq!(layers.freed(&all), Freed(875));
        let top = BTreeSet::from([layers.chain[2].clone(), content(9)]);
        assert_eq!(layers.freed(&top), Freed(5));
        assert_eq!(layers.freed(&BTreeSet::new()), Freed(0));
        // One of them is empty: it may be the one that went.
        let layers = Layers::new(&[content(1), content(2), content(3)], [70, 800]);
        let top = BTreeSet::from([layers.chain[2].clone()]);
        assert_eq!(layers.freed(&top), Freed(0));
        assert_eq!(Freed(12_345_678).to_string(), "12.3 MB");
    }
}
