//! [`Secrets`]: what a text must not show that goes into a record, an error or a log.
//!
//! Backends, checks and hooks say which values are secret, and hand over the text. What a secret
//! may look like there, and what looks like one, is known here alone:
//!
//! - a value, each line of it, and passwords in it, also with `%XX`, escapes of JSON or in base64,
//!   wholly or in part, and with colours in between;
//! - passwords in URLs, and what stands behind names such as `token` in assignments, JSON, headers
//!   and options, whoever gave it;
//! - what a cut has left of one.
//!
//! What would steer a terminal is taken out as well.

mod automaton;
mod common;
mod forms;
mod looks;
mod names;
mod parts;
mod pem;
mod spans;
mod steering;
mod value;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use automaton::Automaton;
use forms::View;
use looks::End;
pub use parts::argument;
use spans::Spans;

/// Shortest value that is masked of those that were [given](Secrets::given), in bytes: shorter ones
/// hide nothing, and a masked `1` would garble every number.
pub const SHORTEST_GIVEN: usize = 4;

/// Shortest value that is masked of those that were [found](Secrets::found), in bytes: shorter ones
/// occur by chance, and without them a log would be unreadable.
pub const SHORTEST_FOUND: usize = 6;

/// Most values that are looked for.
pub const MOST_SECRETS: usize = 1000;

/// Most bytes that are looked for, in all values and their parts: 1 MiB.
pub const MAX_SECRETS: usize = 1024 * 1024;

/// How much longer a byte may become in a form in which it is recognised: `\\u0041`.
const LONGEST_FORM: usize = 8;

/// With less than this of a value in base64 a text ends by chance.
const FEW: usize = 3;

/// What a text must not show.
///
/// ```
/// use rollback_core::masking::{Part, Secrets};
/// let secrets = Secrets::default().given("hunter2");
/// let text = "no hunter2 at postgres://api:s3cret@db/, token=x \u{1b}[31mhunt\u{1b}[0mer2";
/// assert_eq!(
///     secrets.mask(text, Part::Whole)?,
///     "no *** at postgres://***@db/, token=*** ***"
/// );
/// # Ok::<(), rollback_core::masking::TooManySecrets>(())
/// ```
#[derive(Clone)]
pub struct Secrets {
    values: Result<Values, TooManySecrets>,
    others: Others,
}

/// What is looked for.
#[derive(Clone, Default)]
struct Values {
    /// With their parts, each without what would steer a terminal.
    all: BTreeSet<Vec<u8>>,
    /// How many there are without their parts.
    count: usize,
    /// How long all are together.
    length: usize,
    /// What finds them, once it was needed.
    automaton: OnceLock<Arc<Automaton>>,
}

/// Whether there may be secrets besides the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    /// There are none but by accident.
    Few,
    /// Nobody has listed them.
    Unlisted,
}

/// Which part a text is of what was said. Where it is cut, a secret may be, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its beginning: it goes on, or broke off.
    Head,
    /// Its end: there was more before.
    Tail,
    /// Neither its beginning nor its end.
    Middle,
}

/// More has to be masked than can be: nothing is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MOST_SECRETS} values or {MAX_SECRETS} bytes have to be hidden in it")]
#[non_exhaustive]
pub struct TooManySecrets;

impl Default for Secrets {
    fn default() -> Self {
        Self {
            values: Ok(Values::default()),
            others: Others::Few,
        }
    }
}

impl Secrets {
    /// With a value that was given in confidence, from [`SHORTEST_GIVEN`] on.
    #[must_use]
    pub fn given(self, value: impl AsRef<str>) -> Self {
        self.with([value.as_ref().to_owned()], |part| {
            part.len() >= SHORTEST_GIVEN
        })
    }

    /// With a value that a workload was found to have, from [`SHORTEST_FOUND`] on: a variable may be
    /// anything. Words that everybody's variables have, such as `production`, are told all the same.
    #[must_use]
    pub fn found(self, value: impl AsRef<str>) -> Self {
        self.with([value.as_ref().to_owned()], |part| {
            part.len() >= SHORTEST_FOUND && !common::is(part)
        })
    }

    /// With the value of a header that was given, and those parts of it that may be repeated without
    /// the rest. Words that everybody's headers have, such as `application/json`, are told.
    #[must_use]
    pub fn header(self, value: impl AsRef<str>) -> Self {
        self.with(parts::of_header(value.as_ref()), is_worth_it)
    }

    /// With the query of a URL that was given, and what its parameters are set to.
    #[must_use]
    pub fn query(self, query: impl AsRef<str>) -> Self {
        self.with(parts::of_query(query.as_ref()), is_worth_it)
    }

    /// And others that nobody has listed: of each line all that stands behind a word such as `token`
    /// is masked.
    #[must_use]
    pub fn unlisted(mut self) -> Self {
        self.others = Others::Unlisted;
        self
    }

    /// With those of another.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.values = match (self.values, &other.values) {
            (Ok(mut values), Ok(more)) => {
                values.count += more.count;
                more.all
                    .iter()
                    .for_each(|value| values.insert(value.clone()));
                values.bounded()
            }
            _ => Err(TooManySecrets),
        };
        if other.others == Others::Unlisted {
            self.others = Others::Unlisted;
        }
        self
    }

    /// The same, if there are not too many to be looked for.
    ///
    /// # Errors
    ///
    /// [`TooManySecrets`] for more than [`MOST_SECRETS`] or [`MAX_SECRETS`].
    pub fn bounded(self) -> Result<Self, TooManySecrets> {
        self.values.as_ref().map(drop).map_err(Clone::clone)?;
        Ok(self)
    }

    /// The text without what is secret, and without what would steer a terminal. Of one whose
    /// beginning is cut the first line is left out; of one that has no other, as much as may be the
    /// rest of a secret.
    ///
    /// # Errors
    ///
    /// [`TooManySecrets`]: nothing is to be told of it.
    pub fn mask(&self, text: &str, part: Part) -> Result<String, TooManySecrets> {
        let values = self.values.as_ref().map_err(Clone::clone)?;
        let text = steering::harmless(text);
        let from = match part {
            Part::Whole | Part::Head => 0,
            Part::Tail | Part::Middle => self.after_cut(values, &text),
        };
        let end = match part {
            Part::Whole | Part::Tail => End::Whole,
            Part::Head | Part::Middle => End::Broken,
        };
        let automaton = values.automaton();
        let mut spans = Spans::default();
        let find = |view: &View, spans: &mut Spans, least: usize| {
            let length = view.bytes().len();
            let begun = automaton.find(view.bytes(), |found| spans.add(view.span(found)));
            if end == End::Broken && begun >= least {
                spans.add(view.span(length - begun..length).start..text.len());
            }
        };
        View::each(&text, |view| {
            find(view, &mut spans, 1);
            looks::find(view.bytes(), end, |found| spans.add(view.span(found)));
            if self.others == Others::Unlisted {
                looks::find_any(view.bytes(), |found| spans.add(view.span(found)));
            }
            if !values.all.is_empty() {
                (0..4).for_each(|phase| find(&view.base64(phase), &mut spans, FEW));
            }
        });
        Ok(spans.masked(&text, from))
    }

    /// The same; or, in parentheses, why nothing is told.
    pub fn tell(&self, text: &str, part: Part) -> String {
        let masked = self.mask(text, part);
        masked.unwrap_or_else(|why| format!("(it is not told: {why})"))
    }

    /// From where in a text whose beginning is cut no secret can be any more whose beginning, or name,
    /// is missing.
    fn after_cut(&self, values: &Values, text: &str) -> usize {
        let says_more = |from: &usize| !text[*from..].trim().is_empty();
        let line = text.find('\n').map(|newline| newline + 1);
        if let Some(line) = line.filter(says_more) {
            return line;
        }
        if self.others == Others::Unlisted {
            return text.len();
        }
        let longest = values.all.iter().map(Vec::len).max().unwrap_or(0);
        let mut at = text.len().min(longest.saturating_mul(LONGEST_FORM));
        while !text.is_char_boundary(at) {
            at += 1;
        }
        let word = text[at..].find(char::is_whitespace).map(|end| at + end);
        word.filter(says_more).unwrap_or(at)
    }

    /// With those of these values, and of their parts, that are worth it.
    fn with(mut self, values: impl IntoIterator<Item = String>, worth: fn(&[u8]) -> bool) -> Self {
        for value in values {
            self.values = self.values.and_then(|known| known.with(&value, worth));
        }
        self
    }
}

fn is_worth_it(part: &[u8]) -> bool {
    part.len() >= SHORTEST_GIVEN && !common::is(part)
}

impl Values {
    fn with(mut self, value: &str, worth: fn(&[u8]) -> bool) -> Result<Self, TooManySecrets> {
        // Before it is taken apart, which makes more of it.
        if value.len() > MAX_SECRETS {
            return Err(TooManySecrets);
        }
        let before = self.all.len();
        for part in parts::of_value(value) {
            let part = View::of(&part);
            if worth(part.bytes().trim_ascii()) {
                self.insert(part.bytes().trim_ascii().to_owned());
                self.insert(part.bytes().to_owned());
            }
        }
        if self.all.len() > before {
            self.count += 1;
        }
        self.bounded()
    }

    fn insert(&mut self, value: Vec<u8>) {
        let length = value.len();
        if self.all.insert(value) {
            self.length += length;
            self.automaton = OnceLock::new();
        }
    }

    /// Making it takes longer than a short text is searched.
    fn automaton(&self) -> &Automaton {
        let make = || Arc::new(Automaton::of(self.all.iter().map(Vec::as_slice)));
        self.automaton.get_or_init(make)
    }

    fn bounded(self) -> Result<Self, TooManySecrets> {
        match self.count > MOST_SECRETS || self.length > MAX_SECRETS {
            true => Err(TooManySecrets),
            false => Ok(self),
        }
    }
}

/// Shows how many there are.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.values.as_ref().map(|values| values.count);
        f.debug_struct("Secrets")
            .field("values", &count)
            .field("others", &self.others)
            .finish()
    }
}
