//! What can go wrong at an origin, and what a client is told. A 4xx makes clients leave the cache for 15 minutes (dossier
//! delivery-optimization 1.7), so only a permanent answer becomes one; everything temporary is a 5xx.

use connected_cache_config::ClientErrors;
use http::StatusCode;

use super::FetchTarget;

/// Why the origin gave no usable bytes. Cheap to clone: all who wait for one fetch get the same error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// The origin's own answer.
    #[error("the origin answered {status}")]
    Status {
        /// Its status: 4xx or 5xx, or something unexpected.
        status: StatusCode,
    },
    /// The asked range lies outside the content.
    #[error("the range lies outside the origin's content of {total} bytes")]
    OutsideContent {
        /// Length of the whole content.
        total: u64,
    },
    /// No first byte, or no further one, in time.
    #[error("the origin did not answer in time")]
    TimedOut,
    /// No connection, or it broke.
    #[error("unable to reach the origin: {reason}")]
    Unreachable {
        /// The chain of causes as text.
        reason: String,
    },
    /// No way through the proxy.
    #[error("unable to go through the proxy of upstream.proxy: {reason}")]
    Proxy {
        /// The chain of causes as text, without credentials.
        reason: String,
    },
    /// The address is not a public one.
    #[error("the origin's address is private or loopback, set content.allowPrivateTargets if that is wanted")]
    PrivateTarget,
    /// A redirect that is not followed.
    #[error("the origin redirects {reason}")]
    Redirect {
        /// Why not.
        reason: &'static str,
    },
    /// An answer that HTTP doesn't allow or that can't be cached safely.
    #[error("the origin's answer can't be used: {reason}")]
    Protocol {
        /// What is wrong.
        reason: &'static str,
    },
    /// A piece is another one than its authenticated hash says.
    #[error("the origin sent a piece that is not the authenticated one")]
    BadPiece,
    /// The body ended early or was too long.
    #[error("the origin's body is not as long as it said")]
    WrongLength,
    /// Pieces in transit fill the memory that they may take.
    #[error("too much is being fetched at this moment, try again")]
    NoRoom,
    /// The object changed at its origin while it was being fetched.
    #[error("the object changed at its origin")]
    Changed,
}

impl UpstreamError {
    /// Status for the client.
    #[must_use]
    pub fn client_status(&self, client_errors: ClientErrors) -> StatusCode {
        match self {
            Self::Status { status } => match status.as_u16() {
                404 | 410 => *status,
                400..=499 if client_errors == ClientErrors::BadGateway && !is_to_wait_for(*status) => {
                    StatusCode::BAD_GATEWAY
                }
                // Temporary whatever the digit says; a 4xx would cost the client 15 minutes.
                _ if is_to_wait_for(*status) => StatusCode::SERVICE_UNAVAILABLE,
                504 => StatusCode::GATEWAY_TIMEOUT,
                // About the request that we made, not the one that the client made.
                405 | 406 | 411..=417 | 421 | 426 => StatusCode::BAD_GATEWAY,
                400..=499 => *status,
                _ => StatusCode::BAD_GATEWAY,
            },
            Self::OutsideContent { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Unreachable { .. }
            | Self::Proxy { .. }
            | Self::PrivateTarget
            | Self::Redirect { .. }
            | Self::Protocol { .. }
            | Self::BadPiece
            | Self::WrongLength => StatusCode::BAD_GATEWAY,
            Self::Changed | Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether asking once more may help.
    #[must_use]
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Status { status } => status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429),
            Self::TimedOut
            | Self::Unreachable { .. }
            | Self::Proxy { .. }
            | Self::WrongLength
            | Self::BadPiece
            | Self::Protocol { .. } => true,
            Self::OutsideContent { .. }
            | Self::PrivateTarget
            | Self::Redirect { .. }
            | Self::NoRoom
            | Self::Changed => false,
        }
    }

    /// Whether what is known of the content may be used although it is stale: nothing was learned about the content itself.
    #[must_use]
    pub(crate) fn says_nothing_of(&self, target: &FetchTarget) -> bool {
        self.is_temporary()
            || self.is_about_signature_of(target)
            || matches!(self, Self::PrivateTarget | Self::Redirect { .. } | Self::NoRoom)
    }

    /// Whether it is about the signature that one client sent, and not about the content that many share.
    #[must_use]
    pub(crate) fn is_about_signature_of(&self, target: &FetchTarget) -> bool {
        matches!(self, Self::Status { status } if target.is_signed && matches!(status.as_u16(), 401 | 403))
    }

    /// Short stable label for metrics and logs.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::OutsideContent { .. } => "outside_content",
            Self::TimedOut => "timed_out",
            Self::Unreachable { .. } => "unreachable",
            Self::Proxy { .. } => "proxy",
            Self::PrivateTarget => "private_target",
            Self::Redirect { .. } => "redirect",
            Self::Protocol { .. } => "protocol",
            Self::BadPiece => "bad_piece",
            Self::WrongLength => "wrong_length",
            Self::NoRoom => "no_room",
            Self::Changed => "changed",
        }
    }
}

/// Whether a status says to come again later.
const fn is_to_wait_for(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 503)
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
