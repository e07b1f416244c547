//! Reading the body of an answer, no further than is of use.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use rollback_core::error::Chain;
use rollback_core::health::Unhealthy;

/// Most of a body that is read, in bytes: 64 KiB.
pub const MAX_BODY: usize = 64 * 1024;

/// What was read of a body.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) bytes: Vec<u8>,
    /// Whether it ends there.
    pub(crate) whole: bool,
}

/// Whether the body has this text. Reads no further than the text, or [`MAX_BODY`].
pub(crate) async fn has_text(
    mut body: Incoming,
    wanted: &str,
    read: &mut Read,
) -> Result<bool, Unhealthy> {
    let wanted = wanted.as_bytes();
    let mut searched = 0;
    loop {
        if contains(&read.bytes[searched..], wanted) {
            return Ok(true);
        }
        // The next piece may complete what this one began; no more needs a second look.
        searched = read.bytes.len().saturating_sub(wanted.len());
        if read.bytes.len() >= MAX_BODY {
            return Ok(false);
        }
        let more = read.more(&mut body, MAX_BODY).await;
        more.map_err(|e| Unhealthy::new(format!("the body cannot be read: {}", Chain::of(&e))))?;
        if read.whole {
            return Ok(contains(&read.bytes[searched..], wanted));
        }
    }
}

/// The first bytes of a body, at most so many. What has not come by the time allowed, or at all, is
/// missing: it only explains a no that was said already.
pub(crate) async fn head(mut body: Incoming, most: usize, allowed: Duration) -> Read {
    let mut read = Read::default();
    let reading = async {
        while read.bytes.len() < most && !read.whole {
            if read.more(&mut body, most).await.is_err() {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(allowed, reading).await;
    read
}

impl Read {
    /// Reads the next piece, up to so many bytes in all.
    async fn more(&mut self, body: &mut Incoming, most: usize) -> Result<(), hyper::Error> {
        match body.frame().await.transpose()? {
            None => self.whole = true,
            Some(frame) => {
                let data = frame.into_data().unwrap_or_default();
                let room = most.saturating_sub(self.bytes.len());
                self.bytes.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        Ok(())
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || text.windows(wanted.len()).any(|w| w == wanted)
}
