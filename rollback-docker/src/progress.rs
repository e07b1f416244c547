//! [`Layers`]: how far a pull is, from what dockerd says of each layer.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::models::CreateImageInfo;
use rollback_core::context::TransferProgress;
use tokio::time::Instant;

/// How often it is told at most: dockerd says something of each layer ten times a second.
const EVERY: Duration = Duration::from_millis(250);

/// The layers that one pull fetches; those that are here already are none of them.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    all: BTreeMap<String, TransferProgress>,
    told: Option<(Instant, TransferProgress)>,
}

impl Layers {
    /// Takes in what was said next; what is to be told now, if anything is.
    pub(crate) fn hear(
        &mut self,
        said: &CreateImageInfo,
        now: Instant,
    ) -> Option<TransferProgress> {
        self.take(said);
        let too_soon = |(then, _): &(Instant, _)| now.duration_since(*then) < EVERY;
        if self.told.as_ref().is_some_and(too_soon) {
            return None;
        }
        self.tell(now)
    }

    /// What is to be told at the end, if it was not yet.
    pub(crate) fn end(&mut self, now: Instant) -> Option<TransferProgress> {
        self.tell(now)
    }

    fn take(&mut self, said: &CreateImageInfo) {
        let (Some(id), Some(status)) = (&said.id, said.status.as_deref()) else {
            return;
        };
        let number = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        let detail = said.progress_detail.as_ref();
        let current = number(detail.and_then(|d| d.current));
        let total = number(detail.and_then(|d| d.total));
        match status {
            "Downloading" => {
                // Not every registry says how large a layer is.
                let layer = TransferProgress::new(current, total.max(current));
                self.all.insert(id.clone(), layer);
            }
            // A small one comes between two reports: how large it was shows when it is unpacked.
            "Verifying Checksum" | "Download complete" | "Extracting" | "Pull complete" => {
                let layer = self.all.entry(id.clone()).or_default();
                layer.total = layer.total.max(total);
                layer.done = layer.total;
            }
            _ => {}
        }
    }

    fn tell(&mut self, now: Instant) -> Option<TransferProgress> {
        let sum = |of: fn(&TransferProgress) -> u64| {
            self.all.values().map(of).fold(0, u64::saturating_add)
        };
        let all = TransferProgress::new(sum(|l| l.done), sum(|l| l.total));
        let known = self.told.as_ref().is_some_and(|(_, told)| *told == all);
        if known || all.total == 0 {
            return None;
        }
        self.told = Some((now, all));
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(id: &str, status: &str, current: i64, total: i64) -> CreateImageInfo {
        let detail = serde_json::json!({"current": current, "total": total});
        let said = serde_json::json!({"id": id, "status": status, "progressDetail": detail});
        serde_json::from_value(said).unwrap_or_default()
    }

    #[test]
    fn layers_are_summed_up_and_told_a_few_times_a_second() {
        let (mut layers, start) = (Layers::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let is = |done, total| Some(TransferProgress::new(done, total));
        assert_eq!(
            layers.hear(&said("v1", "Pulling from api", 0, 0), at(0)),
            None
        );
        assert_eq!(layers.hear(&said("a", "Already exists", 0, 0), at(0)), None);
        assert_eq!(
            layers.hear(&said("b", "Downloading", 10, 100), at(0)),
            is(10, 100)
        );
        assert_eq!(layers.hear(&said("b", "Downloading", 50, 100), at(1)), None);
        assert_eq!(layers.hear(&said("c", "Downloading", 5, 30), at(249)), None);
        assert_eq!(
            layers.hear(&said("c", "Downloading", 9, 30), at(250)),
            is(59, 130)
        );
        assert_eq!(
            layers.hear(&said("b", "Download complete", 0, 0), at(300)),
            None
        );
        // Nobody knew how large these are.
        assert_eq!(layers.hear(&said("d", "Extracting", 1, 7), at(301)), None);
        assert_eq!(
            layers.hear(&said("e", "Downloading", 3, -1), at(600)),
            is(119, 140)
        );
        assert_eq!(
            layers.hear(&said("c", "Pull complete", 0, 0), at(601)),
            None
        );
        assert_eq!(layers.end(at(601)), is(140, 140));
        assert_eq!(layers.end(at(602)), None, "told once");
    }
}
