//! The host name of an origin (dossier 1.2, item 1).

use std::{borrow::Cow, fmt, sync::Arc};

/// A host name in its one canonical spelling: lower case, no trailing dot, no port, never an IP address. It says nothing
/// about whether we serve it. A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginName(Arc<str>);

/// Why a text can't name an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginNameError {
    /// A `%` without two hexadecimal digits.
    #[error("broken percent-encoding")]
    BadPercentEncoding,
    /// Empty, or an empty label as in `a..b`.
    #[error("an empty name or label")]
    EmptyLabel,
    /// A name above 253 bytes or a label above 63.
    #[error("a name or label that is too long")]
    TooLong,
    /// Anything but letters, digits, hyphens, underscores and dots: user info, a path, white space.
    #[error("a byte that can't be part of a host name")]
    ForbiddenByte,
    /// An IP address, in any spelling that resolvers take for one.
    #[error("an IP address instead of a name")]
    IpAddress,
    /// What stands behind the colon is no port.
    #[error("a port that is not a number from 1 to 65535")]
    BadPort,
}

impl OriginName {
    /// Longest name in bytes (RFC 1035 2.3.4, without the root's dot).
    pub const MAX_BYTES: usize = 253;
    /// Longest label in bytes.
    pub const MAX_LABEL_BYTES: usize = 63;

    /// Reads a name that is not percent-encoded.
    pub fn parse(text: &str) -> Result<Self, OriginNameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        // Bytes first: a literal such as `[::1]` or a port is best explained by its odd byte.
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            return Err(OriginNameError::ForbiddenByte);
        }
        let (mut longest, mut last) = (0, "");
        for label in name.split('.') {
            if label.is_empty() {
                return Err(OriginNameError::EmptyLabel);
            }
            (longest, last) = (label.len().max(longest), label);
        }
        if name.len() > Self::MAX_BYTES || longest > Self::MAX_LABEL_BYTES {
            return Err(OriginNameError::TooLong);
        }
        if is_number(last) {
            return Err(OriginNameError::IpAddress);
        }
        Ok(Self(if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            name.to_ascii_lowercase().into()
        } else {
            name.into()
        }))
    }

    /// The canonical spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OriginName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl AsRef<str> for OriginName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A last label that is a number makes the whole an IPv4 address for common resolvers: `10.1`, `2130706433`, `0x7f.1`.
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

pub(super) fn percent_decode(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(Cow::Owned(decoded))
}
