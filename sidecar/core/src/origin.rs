//! Origins that may be served: patterns, and the type that proves that a name passed the allow-list.

use std::{borrow::Cow, fmt, str::FromStr};

use connected_cache_wire::delivery_optimization::{OriginName, OriginNameError};

/// What kind of content an origin delivers. Closed, because it is a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the products' names")]
pub enum ContentClass {
    WindowsUpdate,
    Edge,
    Office,
    Intune,
    Teams,
    Outlook,
    Xbox,
    DeviceUpdate,
    Other,
}

impl ContentClass {
    /// Every class, in the order of its number.
    pub const ALL: [Self; 9] = [
        Self::WindowsUpdate,
        Self::Edge,
        Self::Office,
        Self::Intune,
        Self::Teams,
        Self::Outlook,
        Self::Xbox,
        Self::DeviceUpdate,
        Self::Other,
    ];

    /// The number under which it is kept on volumes; it never changes.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The class that is kept under this number; numbers that no class has are `Other`.
    #[must_use]
    pub fn of_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Other)
    }

    /// The name as it stands in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WindowsUpdate => "WindowsUpdate",
            Self::Edge => "Edge",
            Self::Office => "Office",
            Self::Intune => "Intune",
            Self::Teams => "Teams",
            Self::Outlook => "Outlook",
            Self::Xbox => "Xbox",
            Self::DeviceUpdate => "DeviceUpdate",
            Self::Other => "Other",
        }
    }
}

/// The host named by `cacheHostOrigin` (or `Host`) after it passed the allow-list; only [`crate::AllowList`] makes one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CacheHostOrigin {
    pub(crate) name: OriginName,
    pub(crate) port: Option<u16>,
    pub(crate) alias: Option<OriginName>,
    pub(crate) class: ContentClass,
}

impl CacheHostOrigin {
    /// The name that is asked for content.
    #[must_use]
    pub const fn name(&self) -> &OriginName {
        &self.name
    }

    /// The port that is asked; `None` = that of the transport.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Name, and port if it is not that of the transport, as they stand in a URL.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.name),
            None => self.name.to_string(),
        }
    }

    /// The host that stands in cache keys: the alias, where one is configured, else the name with its port.
    #[must_use]
    pub fn key_host(&self) -> Cow<'_, str> {
        match (&self.alias, self.port) {
            (Some(alias), _) => alias.as_str().into(),
            (None, None) => self.name.as_str().into(),
            (None, Some(_)) => self.authority().into(),
        }
    }

    /// What it delivers.
    #[must_use]
    pub const fn class(&self) -> ContentClass {
        self.class
    }
}

/// Why a name is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginRefused {
    /// On the list of denied origins.
    #[error("this origin is denied by content.denyOrigins")]
    Denied,
    /// A list has the name, but not with this port.
    #[error("this port of the origin is on no allow-list, add host:port to content.extraOrigins to serve it")]
    OtherPort,
    /// On no list.
    #[error("this origin is on no allow-list, add it to content.extraOrigins to serve it")]
    NotListed,
}

/// `name` or `*.name`; the star also covers the bare name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    name: OriginName,
    with_subdomains: bool,
}

/// Not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no origin pattern ({source}), write name or *.name without scheme and port")]
pub struct OriginPatternError {
    text: String,
    source: OriginNameError,
}

impl OriginPattern {
    /// Whether the pattern covers the name.
    #[must_use]
    pub fn matches(&self, name: &OriginName) -> bool {
        self.matches_canonical(name.as_str())
    }

    /// As [`Self::matches`], for a name in its canonical spelling.
    pub(crate) fn matches_canonical(&self, name: &str) -> bool {
        match name.strip_suffix(self.name.as_str()) {
            Some("") => true,
            Some(front) => self.with_subdomains && front.ends_with('.'),
            None => false,
        }
    }

    /// How exact the pattern is: of two that match, the larger one says more. Exact names before stars.
    pub(crate) fn precision(&self) -> (usize, bool) {
        (self.name.as_str().len(), !self.with_subdomains)
    }
}

impl FromStr for OriginPattern {
    type Err = OriginPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, with_subdomains) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        OriginName::parse(name)
            .map(|name| Self { name, with_subdomains })
            .map_err(|source| OriginPatternError { text: text.to_owned(), source })
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.with_subdomains { "*." } else { "" };
        write!(formatter, "{star}{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::ContentClass;

    #[test]
    fn a_class_is_found_by_its_number_and_strangers_are_other() {
        for class in ContentClass::ALL {
            assert_eq!(ContentClass::of_number(class.number()), class);
        }
        assert_eq!(ContentClass::of_number(200), ContentClass::Other);
    }
}
