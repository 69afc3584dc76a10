//! The way to other pods, as the data path sees it: questions over the peer API, bytes over the swarm protocol.

use std::fmt::Debug;

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};

use super::{
    handover::{Handover, Taken},
    members::Member,
    message::{Line, Question},
};

/// Why another pod gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    /// It can't be reached, or the connection broke.
    #[error("unable to reach the pod: {reason}")]
    Unreachable {
        /// The chain of causes as text.
        reason: String,
    },
    /// It said nothing in time.
    #[error("the pod said nothing in time")]
    Silent,
    /// What it said can't be used.
    #[error("the pod's answer can't be used: {reason}")]
    Protocol {
        /// What is wrong.
        reason: &'static str,
    },
    /// It has not what it was asked for.
    #[error("the pod gives nothing: {reason}")]
    Refused {
        /// Label of its reason.
        reason: &'static str,
    },
    /// A piece is another one than it vouched for.
    #[error("the pod sent a piece that is not the one that it vouched for")]
    BadPiece,
}

impl LinkError {
    pub(crate) const fn protocol(reason: &'static str) -> Self {
        Self::Protocol { reason }
    }

    /// The answer ended before what was asked for.
    pub(crate) const fn ended() -> Self {
        Self::Protocol { reason: "it ended early" }
    }

    /// Whether the pod is at fault, and is to be left alone for a while.
    pub(crate) const fn is_of_the_pod(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// A piece as it is fetched by the swarm protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WantedPiece {
    pub(crate) swarm: [u8; 32],
    pub(crate) content_length_bytes: u64,
    pub(crate) number: u64,
}

/// The way to other pods.
pub(crate) trait Link: Debug + Send + Sync {
    /// Asks a member; the lines of its answer as they come. Dropping the stream ends the question.
    fn ask(
        &self,
        member: &Member,
        question: &Question,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Result<Line, LinkError>>, LinkError>>;

    /// Fetches one piece of a member that said that it has it. The bytes are not checked.
    fn piece(&self, member: &Member, wanted: WantedPiece) -> BoxFuture<'static, Result<Bytes, LinkError>>;

    /// Tells a member what it is to take over, and waits until it has.
    fn hand_over(&self, member: &Member, handover: &Handover)
    -> BoxFuture<'static, Result<Taken, LinkError>>;

    /// A piece can be had of this pod from now on, for those who are connected for its content.
    fn announce(&self, swarm: [u8; 32], piece: u64);

    /// A piece of this member was another one than it vouched for.
    fn is_bad(&self, member: &Member, wanted: WantedPiece);
}
