//! What can go wrong between pods, with a word for each that metrics use.

/// Why a member gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeersError {
    /// It has no `peers` address.
    #[error("member {member} has no address for requests: set its `peers` and its listen.peers")]
    NoAddress {
        /// Its name.
        member: String,
    },
    /// There is no connection.
    #[error("unable to connect to member {member}: {reason}")]
    Unreachable {
        /// Its name.
        member: String,
        /// What the system said.
        reason: String,
    },
    /// No connection, or no handshake, in time.
    #[error("member {member} did not let us in in time")]
    TimedOut {
        /// Its name.
        member: String,
    },
    /// Who answers there is not that member, or does not take us for one.
    #[error(
        "no trust between us and member {member}, check tls.peers of both and the names in the certificates: {reason}"
    )]
    Untrusted {
        /// Its name.
        member: String,
        /// What does not fit.
        reason: String,
    },
    /// As many requests to this member are open as may be.
    #[error("too many requests to member {member} at once")]
    Busy {
        /// Its name.
        member: String,
    },
    /// It answers no more.
    #[error("member {member} does not answer any more")]
    Vanished {
        /// Its name.
        member: String,
    },
    /// The connection or the answer broke.
    #[error("the answer of member {member} broke off: {reason}")]
    Broken {
        /// Its name.
        member: String,
        /// How.
        reason: String,
    },
}

impl PeersError {
    /// A word for metrics and logs.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        self.result().label()
    }

    pub(crate) const fn result(&self) -> ClientResult {
        match self {
            Self::NoAddress { .. } => ClientResult::NoAddress,
            Self::Unreachable { .. } => ClientResult::Unreachable,
            Self::TimedOut { .. } => ClientResult::TimedOut,
            Self::Untrusted { .. } => ClientResult::Untrusted,
            Self::Busy { .. } => ClientResult::Busy,
            Self::Vanished { .. } => ClientResult::Vanished,
            Self::Broken { .. } => ClientResult::Broken,
        }
    }
}

/// What came of a request to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientResult {
    /// The head of an answer, whatever its status.
    Answered,
    NoAddress,
    Unreachable,
    TimedOut,
    Untrusted,
    Busy,
    Vanished,
    Broken,
}

impl ClientResult {
    pub(crate) const ALL: [Self; 8] = [
        Self::Answered,
        Self::NoAddress,
        Self::Unreachable,
        Self::TimedOut,
        Self::Untrusted,
        Self::Busy,
        Self::Vanished,
        Self::Broken,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NoAddress => "no_address",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Untrusted => "untrusted",
            Self::Busy => "busy",
            Self::Vanished => "vanished",
            Self::Broken => "broken",
        }
    }
}

/// Why nobody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeFailure {
    /// Not done in time.
    TimedOut,
    /// Too many connections.
    Overload,
    /// No certificate was shown.
    NoCertificate,
    /// One that none of `tls.peers.ca` signed.
    UnknownAuthority,
    /// One whose time is over or has not come.
    Expired,
    /// One that is not for clients.
    Usage,
    /// One of nobody who is a member now.
    NotAMember,
    /// Anything else.
    Protocol,
}

impl HandshakeFailure {
    pub(crate) const ALL: [Self; 8] = [
        Self::TimedOut,
        Self::Overload,
        Self::NoCertificate,
        Self::UnknownAuthority,
        Self::Expired,
        Self::Usage,
        Self::NotAMember,
        Self::Protocol,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Overload => "overload",
            Self::NoCertificate => "no_certificate",
            Self::UnknownAuthority => "unknown_authority",
            Self::Expired => "expired",
            Self::Usage => "usage",
            Self::NotAMember => "not_a_member",
            Self::Protocol => "protocol",
        }
    }

    /// By what the TLS library says.
    pub(super) fn of(error: &std::io::Error) -> Self {
        use rustls::{CertificateError, Error};
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(Error::InvalidCertificate(reason)) => match reason {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority,
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::Expired,
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                    Self::Usage
                }
                _ => Self::Protocol,
            },
            _ => Self::Protocol,
        }
    }
}
