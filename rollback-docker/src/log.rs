//! [`LogTail`]: the end of a container's log.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::{Stream, StreamExt};
use rollback_core::masking::{Part, Secrets};

use crate::client::Client;

/// Longest wait for the log of a task that may be on another node.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);

/// Most of a log that is kept, in bytes, from the end: 16 KiB.
const MAX_LOG: usize = 16 * 1024;

/// The end of a log. To be read only without what is secret.
pub(crate) struct LogTail {
    text: String,
    part: Part,
}

impl Default for LogTail {
    fn default() -> Self {
        let (text, part) = (String::new(), Part::Whole);
        Self { text, part }
    }
}

impl LogTail {
    /// Reads a log to its end, or to where it breaks off: no log is no error.
    pub(crate) async fn read(log: impl Stream<Item = Result<LogOutput, Error>>) -> Self {
        let (mut log, mut tail) = (std::pin::pin!(log), Self::default());
        while let Some(chunk) = log.next().await {
            match chunk {
                Ok(chunk) => tail.push(&chunk.to_string()),
                Err(_) => {
                    tail.breaks_off();
                    break;
                }
            }
        }
        tail
    }

    fn breaks_off(&mut self) {
        self.part = match self.part {
            Part::Whole | Part::Head => Part::Head,
            Part::Tail | Part::Middle => Part::Middle,
        };
    }

    fn push(&mut self, chunk: &str) {
        self.text.push_str(chunk);
        if self.text.len() > MAX_LOG {
            let mut cut = self.text.len() - MAX_LOG;
            while !self.text.is_char_boundary(cut) {
                cut += 1;
            }
            self.text.drain(..cut);
            self.part = Part::Tail;
        }
    }

    /// What it says, without these.
    pub(crate) fn without(&self, secrets: &Secrets) -> String {
        secrets.tell(&self.text, self.part)
    }
}

impl Client {
    /// The last lines that a container wrote. Best effort: no log is no error.
    pub(crate) async fn log_tail(&self, id: &str, lines: u32) -> LogTail {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        LogTail::read(self.docker.logs(id, Some(options))).await
    }

    /// The same of a task of a service, on whichever node it ran: one that is away may not answer.
    pub(crate) async fn task_log_tail(&self, id: &str, lines: u32) -> LogTail {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let log = LogTail::read(self.docker.task_logs(id, Some(options)));
        tokio::time::timeout(LOG_TIMEOUT, log)
            .await
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_secret_that_a_cut_went_through_was_told() {
        let tail = |chunks: &[&str]| {
            let mut tail = LogTail::default();
            chunks.iter().for_each(|chunk| tail.push(chunk));
            tail.without(&Secrets::default())
        };
        assert_eq!(tail(&["no table\n", "users"]), "no table\nusers");
        let long = "x".repeat(MAX_LOG - 10);
        assert_eq!(
            tail(&["token hunter2\n", &long, "\n", "users\n"]),
            format!("{long}\nusers\n")
        );
    }

    #[tokio::test]
    async fn the_beginning_of_a_secret_was_told_where_the_log_broke_off_within_it() {
        let told = async |text: String| {
            let message = text.into();
            let log = [
                Ok(LogOutput::StdOut { message }),
                Err(Error::RequestTimeoutError),
            ];
            let tail = LogTail::read(futures_util::stream::iter(log)).await;
            tail.without(&Secrets::default().found("hunter2"))
        };
        assert_eq!(told("no hunt".into()).await, "no ***");
        let long = format!("{}\nno hunt", "x".repeat(MAX_LOG));
        assert_eq!(told(long).await, "no ***");
    }
}
