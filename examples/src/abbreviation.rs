//! Deployment ids as people type and read them: short, as git abbreviates commits.
//!
//! The random part at the end is what tells ids apart, so its beginning is the short form. The
//! beginning of a whole id does too, for those who type the date.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use rollback_core::id::DeploymentId;

/// Shortest form that is shown: one that is likely to stay unique.
pub const SHOWN: usize = 8;

/// Shortest form that is taken.
pub const TYPED: usize = 4;

/// How many candidates an error lists.
const LISTED: usize = 10;

/// A deployment id, or so much of it that it may tell which is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abbreviation(String);

impl Abbreviation {
    /// The id, where all of one was typed.
    pub fn whole(&self) -> Option<DeploymentId> {
        self.0.parse().ok()
    }

    fn may_mean(&self, id: &DeploymentId) -> bool {
        id.as_str().starts_with(&self.0) || random(id).starts_with(&self.0)
    }
}

impl FromStr for Abbreviation {
    type Err = NoAbbreviation;

    fn from_str(text: &str) -> Result<Self, NoAbbreviation> {
        // What begins an id can be completed to one, and so can what begins its random part.
        let ids = "deploy-00000000-000000-0000000000000000";
        let randoms = "0000000000000000";
        let completes = |before: &str, template: &str| {
            template.get(text.len()..).is_some_and(|rest| {
                format!("{before}{text}{rest}")
                    .parse::<DeploymentId>()
                    .is_ok()
            })
        };
        if text.len() >= TYPED
            && (completes("", ids) || completes("deploy-00000000-000000-", randoms))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoAbbreviation)
        }
    }
}

impl fmt::Display for Abbreviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text cannot mean a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoAbbreviation;

impl fmt::Display for NoAbbreviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "write a deployment's id, such as deploy-20260315-143022-a3f2b901c4d5e6f7, or the \
             beginning of it, or {TYPED} digits or more of its last part, such as a3f2b901"
        )
    }
}

impl Error for NoAbbreviation {}

/// What an id is looked for by where it has to be told from others: all those that begin so may look
/// like it.
pub fn alike(id: &DeploymentId) -> &str {
    let own = random(id);
    own.get(..SHOWN).unwrap_or(own)
}

/// Ids, to look abbreviations up in: all of a history, or all that look like some of it.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    newest_first: Vec<DeploymentId>,
    /// By their random parts, so that those most alike are neighbours.
    alike: Vec<DeploymentId>,
}

impl Ids {
    /// Of these, newest first.
    pub fn new(newest_first: Vec<DeploymentId>) -> Self {
        let mut alike = newest_first.clone();
        alike.sort_by(|a, b| (random(a), a).cmp(&(random(b), b)));
        Self {
            newest_first,
            alike,
        }
    }

    /// The one that is meant. What was typed whole means itself, though another may begin so.
    pub fn find(&self, typed: &Abbreviation) -> Result<&DeploymentId, NotOne> {
        let may_be_meant = || self.newest_first.iter().filter(|id| typed.may_mean(id));
        if let Some(id) = may_be_meant().find(|id| id.as_str() == typed.0) {
            return Ok(id);
        }
        let found: Vec<&DeploymentId> = may_be_meant().collect();
        match found.as_slice() {
            [only] => Ok(only),
            [] => Err(NotOne::Unknown {
                typed: typed.clone(),
                newest: self.newest_first.iter().take(LISTED).cloned().collect(),
            }),
            several => Err(NotOne::Ambiguous {
                typed: typed.clone(),
                candidates: several.iter().copied().cloned().collect(),
            }),
        }
    }

    /// The shortest form that means this id and no other; all of it where no shorter one does.
    pub fn short<'a>(&self, id: &'a DeploymentId) -> &'a str {
        let own = random(id);
        let at = self.alike.partition_point(|o| (random(o), o) < (own, id));
        let (before, from_here) = self.alike.split_at(at);
        let near = before.last().into_iter();
        let near = near.chain(from_here.iter().find(|o| *o != id));
        let unique = near.map(|o| common(random(o), own) + 1).max().unwrap_or(0);
        own.get(..unique.max(SHOWN)).unwrap_or(id.as_str())
    }
}

/// Why what was typed means no one deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotOne {
    /// No id begins so.
    Unknown {
        /// What was typed.
        typed: Abbreviation,
        /// Some that there are.
        newest: Vec<DeploymentId>,
    },
    /// Several do.
    Ambiguous {
        /// What was typed.
        typed: Abbreviation,
        /// Those, newest first.
        candidates: Vec<DeploymentId>,
    },
}

impl fmt::Display for NotOne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = match self {
            Self::Unknown { typed, newest } => {
                write!(f, "no deployment is {typed}; nothing was changed; ")?;
                f.write_str(match newest.as_slice() {
                    [] => "there is none yet",
                    _ => "the newest are",
                })?;
                newest
            }
            Self::Ambiguous { typed, candidates } => {
                let count = candidates.len();
                write!(
                    f,
                    "{typed} may be any of {count} deployments; nothing was changed; type more of"
                )?;
                candidates
            }
        };
        for id in ids.iter().take(LISTED) {
            write!(f, "\n  {id}")?;
        }
        if ids.len() > LISTED {
            write!(f, "\n  and {} more", ids.len() - LISTED)?;
        }
        Ok(())
    }
}

impl Error for NotOne {}

/// What is random in an id: all that follows its last dash.
fn random(id: &DeploymentId) -> &str {
    id.as_str().rsplit('-').next().unwrap_or_default()
}

/// How many characters two texts begin with alike.
fn common(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ids(texts: &[&str]) -> Ids {
        Ids::new(texts.iter().map(|t| t.parse().unwrap()).collect())
    }

    fn typed(text: &str) -> Abbreviation {
        text.parse().unwrap()
    }

    const A: &str = "deploy-20260315-143022-a3f2b901c4d5e6f7";
    const B: &str = "deploy-20260315-143059-a3f2b901c4ffffff";
    const C: &str = "deploy-20260401-080000-0123456789abcdef";
    const D: &str = "deploy-20260402-080000-deadbeef";

    #[test]
    fn what_begins_an_id_or_its_random_part_means_it() {
        let ids = ids(&[D, C, B, A]);
        for (text, id) in [
            (A, A),
            ("a3f2b901c4d", A),
            ("a3f2b901c4f", B),
            ("0123", C),
            ("0123456789abcdef", C),
            ("dead", D),
            ("deploy-20260402", D),
            ("deploy-20260315-143059", B),
        ] {
            assert_eq!(ids.find(&typed(text)).unwrap().as_str(), id, "{text}");
        }
    }

    #[test]
    fn what_may_mean_several_or_none_is_refused_with_ids_to_choose_from() {
        let ids = ids(&[D, C, B, A]);
        for (text, candidates) in [
            ("a3f2", vec![B, A]),
            ("a3f2b901c4", vec![B, A]),
            ("deploy-20260315-1430", vec![B, A]),
            ("depl", vec![D, C, B, A]),
        ] {
            let NotOne::Ambiguous { candidates: c, .. } = ids.find(&typed(text)).unwrap_err()
            else {
                panic!("{text} is ambiguous");
            };
            assert_eq!(c.iter().map(|c| c.as_str()).collect::<Vec<_>>(), candidates);
        }
        let said = ids.find(&typed("a3f2")).unwrap_err().to_string();
        assert_eq!(
            said,
            format!(
                "a3f2 may be any of 2 deployments; nothing was changed; type more of\n  {B}\n  {A}"
            )
        );
        let said = ids.find(&typed("ffff")).unwrap_err().to_string();
        assert!(said.starts_with("no deployment is ffff; nothing was changed; "));
        assert!(said.contains(D) && said.contains(A), "{said}");
        let said = Ids::default().find(&typed(A)).unwrap_err().to_string();
        assert!(said.ends_with("there is none yet"), "{said}");
    }

    #[test]
    fn a_long_list_of_candidates_is_cut_and_counted() {
        let many = (0..13).map(|n| format!("deploy-20260315-1430{n:02}-a3f2b901").parse());
        let many = Ids::new(many.collect::<Result<_, _>>().unwrap());
        let said = many.find(&typed("a3f2")).unwrap_err().to_string();
        assert_eq!(said.lines().count(), 12, "{said}");
        assert!(said.ends_with("and 3 more"), "{said}");
    }

    #[test]
    fn a_whole_id_means_itself_though_another_begins_so() {
        let (short, long) = ("deploy-20260315-143022-a3f2", A);
        let ids = ids(&[long, short]);
        assert_eq!(ids.find(&typed(short)).unwrap().as_str(), short);
        assert_eq!(ids.find(&typed("a3f2b")).unwrap().as_str(), long);
    }

    #[test]
    fn what_can_begin_no_id_is_no_abbreviation() {
        for bad in [
            "",
            "a3f",
            "A3F2",
            "v1.2",
            "dep",
            "deployed",
            "deploy-2026x",
            "deploy-20260315143022",
            "../../etc/passwd",
            "а3f2",
            "a3f2b901c4d5e6f70",
            "deploy-20260315-143022-a3f2b901c4d5e6f70",
        ] {
            assert_eq!(bad.parse::<Abbreviation>(), Err(NoAbbreviation), "{bad:?}");
        }
    }

    #[test]
    fn the_short_form_is_the_shortest_that_is_long_enough_and_means_one_only() {
        let ids = ids(&[D, C, B, A]);
        for (id, short) in [
            (A, "a3f2b901c4d"),
            (B, "a3f2b901c4f"),
            (C, "01234567"),
            (D, "deadbeef"),
        ] {
            assert_eq!(ids.short(&id.parse().unwrap()), short);
        }
    }

    #[test]
    fn an_id_without_a_short_form_of_its_own_is_shown_whole() {
        let twins = [
            "deploy-20260315-143022-a3f2b901",
            "deploy-20260315-143023-a3f2b901",
        ];
        let begins = "deploy-20260401-080000-0123456789";
        let brief = "deploy-20260401-080000-ffff";
        let ids = ids(&[twins[0], twins[1], begins, C, brief]);
        for id in [twins[0], twins[1], begins, brief] {
            assert_eq!(ids.short(&id.parse().unwrap()), id);
        }
        assert_eq!(ids.short(&C.parse().unwrap()), "0123456789a");
    }

    #[test]
    fn every_short_form_leads_back_to_its_id() {
        // Few digits and few of them, so that many are alike.
        let digits = |mut n: u32, count: u32| -> String {
            let mut text = String::new();
            for _ in 0..count {
                text.push(if n & 1 == 0 { 'a' } else { '0' });
                n /= 2;
            }
            text
        };
        let all: BTreeSet<DeploymentId> = (0..600u32)
            .map(|n| n.wrapping_mul(2_654_435_761) >> 16)
            .map(|n| format!("deploy-20260315-143022-{}", digits(n, 7 + n % 8)))
            .map(|text| text.parse().unwrap())
            .collect();
        let ids = Ids::new(all.iter().cloned().collect());
        for id in &all {
            let short = ids.short(id);
            assert!(short.len() >= SHOWN);
            assert_eq!(ids.find(&typed(short)), Ok(id), "{short}");
        }
    }
}
