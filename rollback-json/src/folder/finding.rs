//! Finding records by the beginning of their ids: from the names of their files alone.

use std::collections::{BTreeMap, HashMap, HashSet};

use rollback_core::error::StoreError;
use rollback_core::history::Sequence;
use rollback_core::id::DeploymentId;

use super::{Folder, Found, each_name};
use crate::index::{Index, Row};
use crate::layout::id_of;

/// Up to so many records are read for their numbers rather than an index.
const FEW: usize = 32;

/// A record that was found by its name, and the shard that it is in.
pub(crate) type Named = (u64, DeploymentId);

/// Texts that ids are looked for by.
#[derive(Debug)]
pub(crate) struct Beginnings {
    /// Where each stands in the question, by its length: an id is looked up once for each length,
    /// however many texts there are.
    places: BTreeMap<usize, HashMap<String, Vec<usize>>>,
    /// What was asked, in the order that it is answered in.
    texts: Vec<String>,
}

impl Beginnings {
    pub(crate) fn new(texts: &[&str]) -> Self {
        let mut places: BTreeMap<usize, HashMap<String, Vec<usize>>> = BTreeMap::new();
        for (place, text) in texts.iter().enumerate() {
            let of_length = places.entry(text.len()).or_default();
            of_length.entry((*text).to_owned()).or_default().push(place);
        }
        Self {
            places,
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    pub(crate) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The places of those that [`DeploymentId::begins`] says yes to.
    fn of<'a>(&'a self, id: &'a DeploymentId) -> impl Iterator<Item = usize> + 'a {
        self.places.iter().flat_map(move |(length, places)| {
            let whole = id.as_str().get(..*length);
            let random = id.random().get(..*length).filter(|r| Some(*r) != whole);
            let named = whole.into_iter().chain(random);
            named.filter_map(|text| places.get(text)).flatten().copied()
        })
    }
}

impl Folder {
    /// For each text the records whose ids begin with it.
    pub(crate) fn beginning(&mut self, texts: &Beginnings) -> Result<Vec<Vec<Named>>, StoreError> {
        let (state, _) = self.state_for_reading();
        let mut found = vec![Vec::new(); texts.texts().len()];
        let mut note = |shard: u64, id: &DeploymentId| {
            for place in texts.of(id) {
                found[place].push((shard, id.clone()));
            }
        };
        for shard in self.shards()? {
            self.ids(shard)?.iter().for_each(|id| note(shard, id));
        }
        if let Some(opened) = &state.pending.opened {
            note(opened.shard, &opened.deployment);
        }
        for named in &mut found {
            named.retain(|(_, id)| !state.pending.forgets(id));
            named.sort();
            named.dedup();
        }
        Ok(found)
    }

    /// The numbers of records, by which several that begin alike are put in order.
    pub(crate) fn numbered(
        &mut self,
        named: Vec<Named>,
    ) -> Result<Vec<(Sequence, DeploymentId)>, StoreError> {
        let (state, _) = self.state_for_reading();
        let mut found = Vec::new();
        if named.len() > FEW {
            let overlay = self.overlay(&state);
            let ids: HashSet<&DeploymentId> = named.iter().map(|(_, id)| id).collect();
            for shard in self.shards()? {
                let meant = |row: &Row| ids.contains(&row.id);
                let all = Sequence(u64::MAX);
                let rows = self.rows(shard, (&state, &overlay), all, usize::MAX, meant)?;
                found.extend(rows.into_iter().map(|row| (row.sequence, row.id)));
            }
            return Ok(found);
        }
        for (shard, id) in named {
            match self.get(&state, shard, &id) {
                Found::Record(d) => found.push((d.sequence(), id)),
                // It is there, and nobody can say where in the order.
                Found::Unreadable(_) => found.push((Sequence(0), id)),
                Found::Nothing => {}
            }
        }
        Ok(found)
    }

    /// The ids of a shard's records, as their files are named. Each new name has a line in the
    /// index: as long as that says no more, they are the same.
    fn ids(&mut self, shard: u64) -> Result<&[DeploymentId], StoreError> {
        let mark = self
            .has_index(shard)
            .then(|| self.indices.get(&shard).map(Index::mark));
        let mark = mark.flatten();
        let known = self.ids.get(&shard);
        if mark.is_none() || known.is_none_or(|(of, _)| Some(of) != mark.as_ref()) {
            let mut ids = Vec::new();
            each_name(&self.place.shard(shard), |name| ids.extend(id_of(name)))?;
            self.ids.insert(shard, (mark.unwrap_or_default(), ids));
        }
        Ok(self.ids.get(&shard).map_or(&[], |(_, ids)| ids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_means_the_ids_that_begin_with_it() {
        let texts = [
            "deploy-2026",
            "a3f2",
            "a3f2b901c4d5e6f7",
            "deploy-20260315-143022-a3f2b901c4d5e6f7",
            "a3f2",
            "0123",
            "",
            "de",
            "deploy-20260315-143022-a3f2b901c4d5e6f7-and-more",
        ];
        let beginnings = Beginnings::new(&texts);
        for id in [
            "deploy-20260315-143022-a3f2b901c4d5e6f7",
            "deploy-20250315-143022-deadbeefdeadbeef",
        ] {
            let id: DeploymentId = id.parse().unwrap();
            let mut found: Vec<usize> = beginnings.of(&id).collect();
            found.sort_unstable();
            let all = texts.iter().enumerate();
            let all = all
                .filter(|(_, text)| id.begins(text))
                .map(|(place, _)| place);
            assert_eq!(found, all.collect::<Vec<_>>(), "{id}");
        }
    }
}
