//! Host and port of an origin: `cacheHostOrigin` and the `Host` field may hold both.

use std::fmt;

use super::origin_name::{OriginName, OriginNameError, percent_decode};

/// A host name with the port that was written behind it. It says nothing about whether we serve it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginAuthority {
    name: OriginName,
    port: Option<u16>,
}

impl OriginAuthority {
    /// Reads `name` or `name:port` that is not percent-encoded, such as a `Host` field.
    pub fn parse(text: &str) -> Result<Self, OriginNameError> {
        // The name first: what is wrong with an address in brackets is best explained by its odd byte.
        let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
        let name = OriginName::parse(name)?;
        let port = port.map(|port| parse_port(port).ok_or(OriginNameError::BadPort)).transpose()?;
        Ok(Self { name, port })
    }

    /// Reads a query parameter's value: percent-decoded once, then as [`OriginAuthority::parse`].
    pub fn from_parameter(value: &str) -> Result<Self, OriginNameError> {
        let decoded = percent_decode(value).ok_or(OriginNameError::BadPercentEncoding)?;
        let text = std::str::from_utf8(&decoded).map_err(|_| OriginNameError::ForbiddenByte)?;
        Self::parse(text)
    }

    /// The name alone.
    #[must_use]
    pub const fn name(&self) -> &OriginName {
        &self.name
    }

    /// `None` = none was written.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }
}

/// The one spelling of 1 to 65535: digits alone, and no zero before them.
fn parse_port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0')).then_some(port)
}

impl fmt::Display for OriginAuthority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(formatter, "{}:{port}", self.name),
            None => write!(formatter, "{}", self.name),
        }
    }
}
