//! [`Actor`]: who asked; and [`ShortText`], in which people are named and say why.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidId;

/// A short text from outside, such as a person's name or a label: no control characters,
/// 1 to 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShortText(String);

impl ShortText {
    /// Longest text, in bytes.
    pub const MAX: usize = 256;

    /// The text as it was given, of 1 to 256 bytes on one line.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The engine's own words, cut to fit.
    pub(crate) fn cut(text: &str) -> Self {
        let mut end = text.len().min(Self::MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text[..end].replace(char::is_control, " "))
    }
}

impl FromStr for ShortText {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        if s.trim().is_empty() || s.len() > Self::MAX || s.chars().any(char::is_control) {
            return Err(InvalidId::new(
                "text",
                s,
                format!("use 1 to {} bytes without control characters", Self::MAX),
            ));
        }
        Ok(Self(s.to_owned()))
    }
}

impl TryFrom<String> for ShortText {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<ShortText> for String {
    fn from(t: ShortText) -> String {
        t.0
    }
}

impl fmt::Display for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Who asked for a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Actor {
    /// A person, and the channel they came through (`cli`, `web`, `api`).
    User {
        /// The person, as the embedding program knows them.
        name: ShortText,
        /// Through what they came; `None` if nobody said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<ShortText>,
    },
    /// The engine itself, or an automation of the embedder's.
    System {
        /// Which part: `automatic-rollback`, `recovery`.
        component: ShortText,
    },
}

impl Actor {
    /// A person by name.
    ///
    /// # Errors
    ///
    /// [`InvalidId`] for a name that is no [`ShortText`]: empty, longer than 256 bytes, or with
    /// control characters.
    pub fn user(name: &str) -> Result<Self, InvalidId> {
        Ok(Self::User {
            name: name.parse()?,
            channel: None,
        })
    }

    /// A person by name and channel.
    ///
    /// # Errors
    ///
    /// As [`user`](Self::user), for the name or the channel.
    pub fn user_via(name: &str, channel: &str) -> Result<Self, InvalidId> {
        Ok(Self::User {
            name: name.parse()?,
            channel: Some(channel.parse()?),
        })
    }

    /// A part of the system.
    ///
    /// # Errors
    ///
    /// As [`user`](Self::user), for the component.
    pub fn system(component: &str) -> Result<Self, InvalidId> {
        Ok(Self::System {
            component: component.parse()?,
        })
    }

    /// Their name alone: the person's or the component's.
    pub fn name(&self) -> &ShortText {
        match self {
            Self::User { name, .. } => name,
            Self::System { component } => component,
        }
    }

    pub(crate) fn engine(component: &'static str) -> Self {
        Self::System {
            component: ShortText(component.to_owned()),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User {
                name,
                channel: Some(channel),
            } => write!(f, "{name} ({channel})"),
            Self::User {
                name,
                channel: None,
            } => write!(f, "{name}"),
            Self::System { component } => write!(f, "system:{component}"),
        }
    }
}
