//! What an origin can do wrong.

use crate::random::Random;

/// One kind of wrong answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This status with a few words.
    Status(u16),
    /// The whole, whatever was asked for.
    IgnoresRange,
    /// Everything announced, so many body bytes sent, the connection closed.
    CutsAfter(usize),
    /// The same with a reset.
    ResetsAfter(usize),
    /// Reset without an answer.
    ResetsAtOnce,
    /// `Content-Length` says so many more than are sent; then the connection is closed.
    AnnouncesMore(usize),
    /// `Content-Length` says so many fewer than are sent.
    AnnouncesLess(usize),
    /// Other bytes than were asked for, properly named by `Content-Range`.
    OtherPart,
    /// The state before the present one.
    LaggingMirror,
    /// `Content-Range` has a total that is wrong by one.
    OtherTotal,
    /// `Content-Range` has `*` for a total.
    NoTotal,
    /// `Content-Range` is not there.
    NoContentRange,
    /// 200 without a length.
    Chunked,
    /// 200 without a length and without an end.
    ChunkedCut,
    /// Other validators for the same bytes.
    OtherLabel,
    /// To a host of the list, where the same content is.
    Redirects,
    /// To a host that is not on the list.
    RedirectsAway,
    /// To itself, for ever.
    RedirectsInCircles,
    /// More bytes behind the answer than were announced.
    Surplus,
    /// A whole answer that nobody asked for, behind the one that was.
    SecondAnswer,
    /// Closes the connection after the answer without having said so.
    ClosesSilently,
    /// Says nothing until the cache gives up.
    Stalls,
    /// Begins the body and says nothing more until the cache gives up.
    StallsAfter(usize),
}

impl Fault {
    pub(crate) fn random(random: &mut Random, length: usize, may_stall: bool) -> Self {
        let point = random.below(length + 1);
        if may_stall && random.percent(40) {
            return random.pick(&[Self::Stalls, Self::StallsAfter(point)]);
        }
        match random.below(100) {
            0..26 => Self::Status(random.pick(&[404, 404, 403, 410, 500, 500, 503, 503, 429, 204, 302, 416])),
            26..36 => Self::IgnoresRange,
            36..44 => Self::CutsAfter(point),
            44..48 => Self::ResetsAfter(point),
            48..52 => Self::ResetsAtOnce,
            52..56 => Self::AnnouncesMore(random.between(1, 5000)),
            56..60 => Self::AnnouncesLess(random.between(1, 5000)),
            60..63 => Self::OtherPart,
            63..67 => Self::OtherTotal,
            67..69 => Self::NoTotal,
            69..71 => Self::NoContentRange,
            71..75 => Self::Chunked,
            75..78 => Self::ChunkedCut,
            78..84 => Self::OtherLabel,
            84..87 => Self::Redirects,
            87..89 => Self::RedirectsAway,
            89..91 => Self::RedirectsInCircles,
            91..93 => Self::Surplus,
            93..95 => Self::SecondAnswer,
            95..98 => Self::LaggingMirror,
            _ => Self::ClosesSilently,
        }
    }

    /// A good cache gives a client everything all the same.
    pub(crate) const fn is_harmless(self) -> bool {
        matches!(self, Self::IgnoresRange | Self::Redirects)
    }

    /// The connection, which requests for other objects may use too, suffers.
    pub(crate) const fn harms_connection(self) -> bool {
        matches!(self, Self::AnnouncesLess(_) | Self::Surplus | Self::SecondAnswer | Self::ClosesSilently)
    }
}
