//! [`Platform`]: what an image is built for, and what an engine runs.

use std::fmt;
use std::str::FromStr;

use bollard::models::{ImageInspect, OciPlatform, SystemVersion};
use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use crate::wanted::bad;

/// An operating system and an architecture, in Go's names as docker has them: `linux/amd64`, with a
/// variant where there is one, such as `linux/arm/v7`. Those that `uname` has (`x86_64`, `aarch64`) are
/// read, too.
///
/// ```
/// use rollback_docker::Platform;
/// let platform: Platform = "linux/aarch64".parse()?;
/// assert_eq!(platform.to_string(), "linux/arm64");
/// # Ok::<(), rollback_core::error::BackendError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// `None` where one of the names is missing.
    fn new(os: Option<&str>, architecture: Option<&str>, variant: Option<&str>) -> Option<Self> {
        let said = |name: Option<&str>| name.filter(|name| !name.is_empty()).map(str::to_lowercase);
        let architecture = said(architecture)?;
        let architecture = match architecture.as_str() {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "i386" | "i686" => "386",
            known => known,
        };
        // There is no other: who says it and who does not mean the same.
        let variant = said(variant).filter(|v| architecture != "arm64" || v != "v8");
        Some(Self {
            os: said(os)?,
            architecture: architecture.to_owned(),
            variant,
        })
    }

    /// What an image here is built for; `None` for one that does not say.
    pub(crate) fn of_image(image: &ImageInspect) -> Option<Self> {
        let (os, architecture) = (image.os.as_deref(), image.architecture.as_deref());
        Self::new(os, architecture, image.variant.as_deref())
    }

    /// The same of one at a registry.
    pub(crate) fn offered(offer: &OciPlatform) -> Option<Self> {
        let (os, architecture) = (offer.os.as_deref(), offer.architecture.as_deref());
        // So are the signatures and provenances called that lie beside images.
        let own = Self::new(os, architecture, offer.variant.as_deref());
        own.filter(|own| own.os != "unknown")
    }

    /// What a daemon's machine is.
    pub(crate) fn of_engine(version: &SystemVersion) -> Option<Self> {
        Self::new(version.os.as_deref(), version.arch.as_deref(), None)
    }

    /// Whether this is what was asked for. Who names no variant takes any.
    fn is(&self, asked: &Self) -> bool {
        let variant = asked.variant.is_none() || self.variant == asked.variant;
        (&self.os, &self.architecture) == (&asked.os, &asked.architecture) && variant
    }

    /// Whether a machine of this kind runs what is built for that one by itself, without an emulator.
    fn runs(&self, other: &Self) -> bool {
        let pair = (self.architecture.as_str(), other.architecture.as_str());
        let older = matches!(pair, ("amd64", "386") | ("arm64", "arm"));
        self.os == other.os && (pair.0 == pair.1 || older)
    }
}

impl FromStr for Platform {
    type Err = BackendError;

    /// # Errors
    ///
    /// [`InvalidReference`](Kind::InvalidReference) for what is not `os/architecture` or
    /// `os/architecture/variant`.
    fn from_str(text: &str) -> Result<Self, BackendError> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            (1..=32).contains(&part.len()) && part.chars().all(known)
        };
        let parsed = match parts[..] {
            _ if !parts.iter().all(word) => None,
            [os, architecture] => Self::new(Some(os), Some(architecture), None),
            [os, architecture, variant] => Self::new(Some(os), Some(architecture), Some(variant)),
            _ => None,
        };
        parsed.ok_or_else(|| bad("this is no platform such as linux/amd64", text))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// What an image has to be for: what the configuration asks for, and what the engine runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) asked: Option<&'a Platform>,
    /// `None` if it does not say.
    pub(crate) engine: Option<&'a Platform>,
}

impl Target<'_> {
    /// The one of these that fits, where any is known. An image that does not fit is refused before
    /// anything moves: its program could not even be started.
    pub(crate) fn choose(
        self,
        offered: &[Platform],
        image: &str,
    ) -> Result<Option<Platform>, BackendError> {
        let refused = |what: String| {
            let refused = BackendError::new(Kind::Unsupported, what).on(image);
            refused
                .advice("deploy an image that is built for it")
                .untouched()
        };
        if let (Some(asked), Some(engine)) = (self.asked, self.engine)
            && !engine.runs(asked)
        {
            let what = format!("the platform {asked} is configured, and this engine is {engine}");
            return Err(refused(what));
        }
        let fits = |p: &&Platform| match (self.asked, self.engine) {
            (Some(asked), _) => p.is(asked),
            (None, Some(engine)) => engine.runs(p),
            (None, None) => true,
        };
        let own = |p: &Platform| self.engine.is_some_and(|engine| p.is(engine));
        let mut fitting: Vec<&Platform> = offered.iter().filter(fits).collect();
        fitting.sort_by_key(|p| !own(p));
        match (fitting.first(), self.asked.or(self.engine)) {
            (Some(found), _) => Ok(Some((*found).clone())),
            (None, Some(wanted)) if !offered.is_empty() => {
                let offered: Vec<String> = offered.iter().map(Platform::to_string).collect();
                let offered = offered.join(", ");
                let whose = match self.asked {
                    Some(_) => "is configured",
                    None => "is what this engine runs",
                };
                Err(refused(format!(
                    "the image is for {offered}, and {wanted} {whose}"
                )))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn an_image_is_for_what_is_asked_for_or_for_what_the_engine_runs() {
        let chosen = |asked: Option<&str>, engine: Option<&str>, offered: &[&str]| {
            let (asked, engine) = (asked.map(of), engine.map(of));
            let offered: Vec<Platform> = offered.iter().map(|p| of(p)).collect();
            let target = Target {
                asked: asked.as_ref(),
                engine: engine.as_ref(),
            };
            let chosen = target.choose(&offered, "api").map_err(|e| e.to_string());
            chosen.map(|p| p.map_or(String::new(), |p| p.to_string()))
        };
        let all = [
            "linux/386",
            "linux/arm/v7",
            "linux/arm64/v8",
            "linux/x86_64",
        ];
        let is = |platform: &str| Ok(platform.to_owned());
        assert_eq!(chosen(None, Some("linux/amd64"), &all), is("linux/amd64"));
        assert_eq!(
            chosen(None, Some("linux/amd64"), &all[..1]),
            is("linux/386")
        );
        assert_eq!(chosen(None, Some("linux/aarch64"), &all), is("linux/arm64"));
        let v7 = Some("linux/arm/v7");
        assert_eq!(chosen(v7, Some("linux/arm64"), &all), is("linux/arm/v7"));
        assert_eq!(
            chosen(None, Some("linux/amd64"), &[]),
            is(""),
            "it does not say"
        );
        for (asked, offered, said) in [
            (
                None,
                "linux/arm64",
                "the image is for linux/arm64, and linux/amd64 is what this",
            ),
            (None, "windows/amd64", "the image is for windows/amd64"),
            (
                Some("linux/386"),
                "linux/amd64",
                "and linux/386 is configured",
            ),
            (
                Some("linux/arm64"),
                "linux/arm64",
                "linux/arm64 is configured, and this engine is",
            ),
        ] {
            let e = chosen(asked, Some("linux/amd64"), &[offered]).unwrap_err();
            assert!(e.contains(said), "{e}");
        }
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for text in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "linux/arm/v7/x",
            "linux/a b",
        ] {
            let e = text.parse::<Platform>().unwrap_err();
            assert_eq!(e.kind(), Kind::InvalidReference, "{text}");
        }
        assert_eq!(of("Linux/ARM64/v8"), of("linux/arm64"));
    }
}
