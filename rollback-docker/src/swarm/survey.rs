//! [`Survey`]: what stands at the Swarm, as one verb works from it.

use rollback_core::backend::{Handle, Instance};
use rollback_core::context::Context;
use rollback_core::error::BackendError;
use rollback_core::history::Fence;
use rollback_core::release::Release;

use super::config::SwarmConfig;
use super::marks::read_fence;
use super::record::{Kept, Record, TOKEN};
use super::service::Seen;
use crate::client::Client;

/// The service and the records of its instances, looked at once.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) service: Option<Seen>,
    /// The oldest first.
    pub(super) records: Vec<Record>,
    pub(super) token: Option<Kept>,
}

impl Survey {
    pub(super) async fn take(client: &Client, config: &SwarmConfig) -> Result<Self, BackendError> {
        let workload = config.workload.to_string();
        let configs = client.configs(&workload).await?.into_iter();
        let (tokens, records): (Vec<Kept>, Vec<Kept>) = configs
            .filter_map(Kept::new)
            .partition(|kept| kept.label(TOKEN).is_some());
        let mut records: Vec<Record> = records.into_iter().filter_map(Record::read).collect();
        records.sort_by(|a, b| a.age().cmp(&b.age()));
        Ok(Self {
            service: Seen::look(client, &workload, &config.service).await?,
            records,
            token: tokens.into_iter().next(),
        })
    }

    /// The newest token at the Swarm: that which is kept, or which the service bears. Of two
    /// histories, between which there is no order, that which is kept: it is written first.
    pub(super) fn published(&self) -> Option<Fence> {
        let kept = self.token.as_ref().and_then(|token| token.label(TOKEN));
        let kept = kept.and_then(|text| read_fence(text));
        let of_live = self.service.as_ref().and_then(|s| s.marks.as_ref());
        let of_live = of_live.and_then(|marks| marks.fence.clone());
        match (kept, of_live) {
            (Some(kept), Some(of_live)) if !kept.admits(&of_live) => Some(of_live),
            (kept, of_live) => kept.or(of_live),
        }
    }

    pub(super) fn live_handle(&self) -> Option<Handle> {
        self.service.as_ref().map(Seen::handle)
    }

    /// The record of what is live, if it is as it was recorded.
    pub(super) fn of_live(&self) -> Option<&Record> {
        let live = self.service.as_ref()?;
        let mut own = self.own(live);
        own.find(|r| live.is_like(r))
    }

    /// The records that what is live was once like, the newest first.
    pub(super) fn own<'a>(&'a self, live: &Seen) -> impl Iterator<Item = &'a Record> {
        let handle = live.handle();
        let records = self.records.iter().rev();
        records.filter(move |r| r.handle == handle)
    }

    /// The record of exactly this instance.
    pub(super) fn of(&self, instance: &Instance) -> Option<&Record> {
        let digest = instance.release.digest();
        let mut records = self.records.iter().rev();
        records.find(|r| r.handle == instance.handle && r.release.digest() == digest)
    }

    /// The records of a release, whichever instance, the newest first.
    pub(super) fn alike<'a>(
        &'a self,
        wanted: &Release,
    ) -> impl Iterator<Item = &'a Record> + Clone {
        let digest = wanted.digest();
        let records = self.records.iter().rev();
        records.filter(move |r| r.release.digest() == digest)
    }

    /// Whether a record may not go for what this history knows.
    pub(super) fn is_needed(&self, cx: &Context, record: &Record) -> bool {
        record.is_elsewhere(cx) || self.live_handle().as_ref() == Some(&record.handle)
    }
}
