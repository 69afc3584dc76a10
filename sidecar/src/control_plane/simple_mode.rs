//! Why content is in simple mode: without peers, and unless its pieces are checked all the same, as its origin sends it.
//! A closed list; every reason has a label for metrics and logs and the code that Windows has for it (dossier
//! delivery-optimization 4.4 and 4.5).

use std::fmt;

/// Why content is in simple mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum SimpleMode {
    /// `controlPlane.mode` is None.
    Off,
    /// The control plane did not answer within `controlPlane.waitMilliseconds`; the calls go on.
    Pending,
    /// A service can't be reached, or answers by an error.
    Unreachable,
    /// A service answers by a web page, as captive portals do, or by another type than JSON.
    CaptivePortal,
    /// A service answers by an empty JSON document.
    EmptyReply,
    /// A service answers by JSON that lacks what it needs, or has it in another type.
    UnusableReply,
    /// The control plane does not know the content.
    UnknownContent,
    /// The control plane forbids peers for this content.
    Forbidden,
    /// The control plane knows the content, and no piece hash file of it.
    NoPieceHashes,
    /// The piece hash file can't be had from any of its places.
    PieceHashesUnavailable,
    /// The piece hash file is none.
    PieceHashesInvalid,
    /// The piece hash file is of a version that is not known.
    PieceHashesVersion,
    /// The piece hash file is not the one that the control plane names.
    PieceHashesNotAuthentic,
    /// The piece hash file is of content of another length.
    PieceHashesOfOtherLength,
    /// The piece hash file is of pieces that can't be checked one by one: not a whole number of them is 1 MiB.
    PieceLength,
    /// The origin sent a piece twice that is not the authenticated one.
    BadPieces,
    /// Below `sharing.arrayJoin.minContentSize`: not worth peers.
    TooSmall,
    /// The content is a piece hash file itself.
    Metadata,
}

impl SimpleMode {
    /// Every reason.
    pub(crate) const ALL: [Self; 18] = [
        Self::Off,
        Self::Pending,
        Self::Unreachable,
        Self::CaptivePortal,
        Self::EmptyReply,
        Self::UnusableReply,
        Self::UnknownContent,
        Self::Forbidden,
        Self::NoPieceHashes,
        Self::PieceHashesUnavailable,
        Self::PieceHashesInvalid,
        Self::PieceHashesVersion,
        Self::PieceHashesNotAuthentic,
        Self::PieceHashesOfOtherLength,
        Self::PieceLength,
        Self::BadPieces,
        Self::TooSmall,
        Self::Metadata,
    ];

    /// Label in metrics, logs and at the admin endpoint.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Pending => "pending",
            Self::Unreachable => "unreachable",
            Self::CaptivePortal => "captive-portal",
            Self::EmptyReply => "empty-reply",
            Self::UnusableReply => "unusable-reply",
            Self::UnknownContent => "unknown-content",
            Self::Forbidden => "forbidden",
            Self::NoPieceHashes => "no-piece-hashes",
            Self::PieceHashesUnavailable => "piece-hashes-unavailable",
            Self::PieceHashesInvalid => "piece-hashes-invalid",
            Self::PieceHashesVersion => "piece-hashes-version",
            Self::PieceHashesNotAuthentic => "piece-hashes-not-authentic",
            Self::PieceHashesOfOtherLength => "piece-hashes-of-other-length",
            Self::PieceLength => "piece-length",
            Self::BadPieces => "bad-pieces",
            Self::TooSmall => "too-small",
            Self::Metadata => "metadata",
        }
    }

    /// The code of Delivery Optimization for it; `None` = there is none.
    pub(crate) const fn code(self) -> Option<u32> {
        Some(match self {
            Self::Unreachable | Self::CaptivePortal | Self::UnusableReply => 0x80D0_380A,
            Self::EmptyReply => 0x80D0_6803,
            Self::Forbidden => 0x80D0_3802,
            Self::UnknownContent | Self::NoPieceHashes => 0x80D0_2016,
            Self::PieceHashesUnavailable => 0x80D0_2017,
            Self::PieceHashesInvalid
            | Self::PieceHashesNotAuthentic
            | Self::PieceHashesOfOtherLength
            | Self::PieceLength => 0x80D0_6809,
            Self::PieceHashesVersion => 0x80D0_680A,
            Self::BadPieces => 0x80D0_6805,
            Self::Off | Self::Pending | Self::TooSmall | Self::Metadata => return None,
        })
    }
}

impl SimpleMode {
    /// Whether it is about a service rather than the content, so that asking again may help.
    pub(crate) const fn is_temporary(self) -> bool {
        matches!(
            self,
            Self::Pending
                | Self::Unreachable
                | Self::CaptivePortal
                | Self::EmptyReply
                | Self::UnusableReply
                | Self::PieceHashesUnavailable
        )
    }

    /// The code as it is written; empty = there is none.
    pub(crate) fn code_text(self) -> String {
        self.code().map_or_else(String::new, |code| format!("0x{code:08X}"))
    }
}

impl fmt::Display for SimpleMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.label())?;
        match self.code() {
            Some(code) => write!(formatter, " (0x{code:08X})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_label_of_its_own_and_a_code_of_the_dossier() {
        let labels: HashSet<&str> = SimpleMode::ALL.into_iter().map(SimpleMode::label).collect();
        assert_eq!(labels.len(), SimpleMode::ALL.len());
        for code in SimpleMode::ALL.into_iter().filter_map(SimpleMode::code) {
            assert_eq!(code >> 16, 0x80D0);
        }
        // Dossier 4.4; `None` = Windows has no code for it.
        for (reason, label, code) in [
            (SimpleMode::Off, "off", None),
            (SimpleMode::Pending, "pending", None),
            (SimpleMode::Unreachable, "unreachable", Some("0x80D0380A")),
            (SimpleMode::CaptivePortal, "captive-portal", Some("0x80D0380A")),
            (SimpleMode::EmptyReply, "empty-reply", Some("0x80D06803")),
            (SimpleMode::UnusableReply, "unusable-reply", Some("0x80D0380A")),
            (SimpleMode::UnknownContent, "unknown-content", Some("0x80D02016")),
            (SimpleMode::Forbidden, "forbidden", Some("0x80D03802")),
            (SimpleMode::NoPieceHashes, "no-piece-hashes", Some("0x80D02016")),
            (SimpleMode::PieceHashesUnavailable, "piece-hashes-unavailable", Some("0x80D02017")),
            (SimpleMode::PieceHashesInvalid, "piece-hashes-invalid", Some("0x80D06809")),
            (SimpleMode::PieceHashesVersion, "piece-hashes-version", Some("0x80D0680A")),
            (SimpleMode::PieceHashesNotAuthentic, "piece-hashes-not-authentic", Some("0x80D06809")),
            (SimpleMode::PieceHashesOfOtherLength, "piece-hashes-of-other-length", Some("0x80D06809")),
            (SimpleMode::PieceLength, "piece-length", Some("0x80D06809")),
            (SimpleMode::BadPieces, "bad-pieces", Some("0x80D06805")),
            (SimpleMode::TooSmall, "too-small", None),
            (SimpleMode::Metadata, "metadata", None),
        ] {
            assert_eq!((reason.label(), reason.code_text().as_str()), (label, code.unwrap_or_default()));
        }
        assert_eq!(SimpleMode::EmptyReply.to_string(), "empty-reply (0x80D06803)");
        assert_eq!(SimpleMode::Unreachable.to_string(), "unreachable (0x80D0380A)");
        assert_eq!(SimpleMode::TooSmall.to_string(), "too-small");
    }
}
