//! [`Composition`]: of what a deployment's workload was composed when it was opened.

use serde::{Deserialize, Serialize};

use crate::backend::Place;
use crate::id::BackendKind;

/// Of what a deployment's workload was composed when it was opened. A program that is to finish it
/// must still have all of that: else it would act in another place, judge by less, or leave out a
/// restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Composition {
    /// The kind of its backend; another kind knows nothing of what is to be finished.
    pub backend: BackendKind,
    /// Where it lives.
    pub place: Place,
    /// The names of its health checks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// The names of its restart hooks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarts: Vec<String>,
    /// The names of its release tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
}

impl Composition {
    /// Of a backend at a place, with no hooks and checks.
    pub fn new(backend: BackendKind, place: Place) -> Self {
        Self {
            backend,
            place,
            checks: Vec::new(),
            restarts: Vec::new(),
            tasks: Vec::new(),
        }
    }

    /// What of this another composition lacks for what is to be done, in words; empty where it can take
    /// its place. What it has beyond this is no matter.
    pub fn lacking_in(&self, other: &Self, need: Need) -> Vec<String> {
        let mut lacks = Vec::new();
        if self.backend != other.backend {
            lacks.push(format!(
                "the backend is {}, and was {}",
                other.backend, self.backend
            ));
        }
        if self.place != other.place {
            lacks.push(format!(
                "the place is {}, and was {}",
                other.place, self.place
            ));
        }
        for (what, had, has, from) in [
            (
                "restart hook",
                &self.restarts,
                &other.restarts,
                Need::Restarts,
            ),
            ("health check", &self.checks, &other.checks, Need::Checks),
            ("release task", &self.tasks, &other.tasks, Need::All),
        ] {
            let gone = had
                .iter()
                .filter(|name| need >= from && !has.contains(name));
            let how = match from {
                Need::Restarts | Need::All => "is gone, or does not run on this",
                Need::Place | Need::Checks => "is gone",
            };
            lacks.extend(gone.map(|name| format!("the {what} {name} {how}")));
        }
        lacks
    }
}

/// What of a composition is needed to finish a deployment; each with all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The backend, and its place.
    Place,
    /// What brings processes to what is live.
    Restarts,
    /// What judges it.
    Checks,
    /// What goes before a switch.
    All,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_no_matter_and_what_is_gone_or_elsewhere_is() {
        let mut was = Composition::new("git".parse().unwrap(), Place::new("files", "/srv/api"));
        was.checks = vec!["GET /healthz".into()];
        let mut is = was.clone();
        is.checks.push("tcp".into());
        is.tasks.push("migrate".into());
        assert_eq!(was.lacking_in(&is, Need::All), Vec::<String>::new());
        is.place = Place::new("files", "/srv/other");
        is.checks.remove(0);
        assert_eq!(
            was.lacking_in(&is, Need::All),
            [
                "the place is /srv/other (files), and was /srv/api (files)",
                "the health check GET /healthz is gone"
            ]
        );
        assert_eq!(
            was.lacking_in(&is, Need::Restarts).len(),
            1,
            "nothing judges"
        );
    }
}
