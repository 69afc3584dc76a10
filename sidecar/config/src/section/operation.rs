//! `limits`, `shutdown`, `telemetry` and `log`: how the process behaves.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::ByteSize;

/// Bounds for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Content connections at once; beyond it pacing, then 503 with Retry-After. `None` = by the file limit, at most 4096.
    pub connections: Option<u32>,
    /// A request head must be complete after so long.
    pub header_seconds: u64,
    /// Largest request head, at least 8192 (below that the HTTP parser can't work).
    pub header_bytes: ByteSize,
    /// An idle connection is closed after so long.
    pub idle_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            header_seconds: 10,
            header_bytes: ByteSize::from_bytes(16_384),
            idle_seconds: 75,
        }
    }
}

/// How the process ends: readiness falls, listeners stay open for `drain_seconds`, transfers get `grace_seconds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Shutdown {
    /// How long load balancers have to notice.
    pub drain_seconds: u64,
    /// How long running transfers have to end.
    pub grace_seconds: u64,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { drain_seconds: 5, grace_seconds: 25 }
    }
}

/// Traces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Telemetry {
    /// OTLP over HTTP. `None` = off.
    pub otlp_endpoint: Option<Url>,
}

/// Logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Log {
    /// Least severe level that is written.
    pub level: LogLevel,
    /// One JSON object a line, or text.
    pub format: LogFormat,
    /// Lines about single replies.
    pub access: AccessLog,
}

/// Lines about single replies, by the logger `access` at level `info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AccessLog {
    /// One of so many replies is logged, picked evenly: 1 = each, 0 = none. Replies of 400 and above are logged in any case,
    /// at most ten a second beside the sample, unless this is 0.
    pub sample_one_in: u32,
    /// How much of a client's address is written.
    pub client_address: ClientAddress,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { sample_one_in: 10, client_address: ClientAddress::default() }
    }
}

/// How much of a client's address is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientAddress {
    /// All of it.
    Full,
    /// Its network: 24 bits of an IPv4 address, 48 bits of an IPv6 address.
    #[default]
    Truncated,
    /// Nothing.
    None,
}

/// Severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The word as it stands in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}
