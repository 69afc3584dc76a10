//! Other pods that follow a script: what they say, line by line, and what bytes they give.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use connected_cache_core::PIECE_LENGTH_BYTES;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::{sync::watch, time::Duration};

use super::lab::Content;
use crate::{
    catalog::ObjectHead,
    sharing::{
        handover::{Handover, Taken},
        link::{Link, LinkError, WantedPiece},
        members::Member,
        message::{Line, Question},
    },
};

/// Under which id the scripted pods give their pieces.
const SWARM: [u8; 32] = [7; 32];

/// What a pod does next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Says this.
    Says(Line),
    /// So much time passes.
    Lets(Duration),
    /// Waits until the test opens the gate.
    Waits,
    /// Nothing more, and the connection stays.
    IsSilent,
    /// The connection breaks.
    Breaks,
}

/// What a pod gives for a piece that it said it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gives {
    Right,
    /// Other bytes than it vouched for.
    Flipped,
    /// Other bytes than the content has, for which it vouched.
    Lie,
    /// Fewer bytes, for which it vouched.
    Short,
    /// Nothing for so long.
    Never(Duration),
}

/// How a pod answers one question.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Steps(Vec<Step>),
    /// Not at all: so much time passes, and nobody is there.
    Silence(Duration),
    Unreachable,
}

#[derive(Debug, Default)]
struct Script {
    answers: HashMap<String, VecDeque<Answer>>,
    gives: HashMap<u64, Gives>,
    content: Bytes,
    questions: Vec<(String, Question)>,
    fetched: Vec<(String, u64)>,
    bad: Vec<(String, u64)>,
}

/// Pods that follow a script. Those that have none say at once that they have nothing.
#[derive(Debug)]
pub(crate) struct Scripted {
    script: Mutex<Script>,
    gate: watch::Sender<bool>,
}

impl Scripted {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { script: Mutex::default(), gate: watch::Sender::new(false) })
    }

    /// Of which content the pods give pieces.
    pub(crate) fn has(&self, content: &Content) {
        self.script.lock().content = Bytes::from(content.bytes.clone());
    }

    /// How a pod answers its next question.
    pub(crate) fn answers(&self, name: &str, answer: Answer) {
        self.script.lock().answers.entry(name.to_owned()).or_default().push_back(answer);
    }

    pub(crate) fn gives(&self, piece: u64, gives: Gives) {
        self.script.lock().gives.insert(piece, gives);
    }

    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Who was asked what so far.
    pub(crate) fn questions(&self) -> Vec<(String, Question)> {
        self.script.lock().questions.clone()
    }

    /// Names of those who were asked so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.script.lock().questions.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Pieces that were fetched so far.
    pub(crate) fn fetched(&self) -> Vec<(String, u64)> {
        self.script.lock().fetched.clone()
    }

    /// Pieces that were said to be bad so far.
    pub(crate) fn bad(&self) -> Vec<(String, u64)> {
        self.script.lock().bad.clone()
    }

    pub(crate) fn head(head: &ObjectHead) -> Step {
        let content_length_bytes = head.generation.content_length_bytes;
        let attributes = String::from_utf8(head.encode()).unwrap();
        Step::Says(Line::Head { content_length_bytes, attributes, swarm: SWARM })
    }

    /// The pod vouches for a piece.
    pub(crate) fn has_piece(&self, number: u64) -> Step {
        let script = self.script.lock();
        let gives = script.gives.get(&number).copied().unwrap_or(Gives::Right);
        let vouched = match gives {
            Gives::Flipped | Gives::Never(_) => Gives::Right,
            gives => gives,
        };
        let sha256 = Sha256::digest(script.bytes(number, vouched)).into();
        Step::Says(Line::Piece { number, sha256 })
    }

    /// The usual answer: head, then these pieces.
    pub(crate) fn whole(&self, head: &ObjectHead, first: u64, last: u64) -> Answer {
        let mut steps = vec![Self::head(head)];
        steps.extend((first..=last).map(|number| self.has_piece(number)));
        Answer::Steps(steps)
    }
}

impl Script {
    fn bytes(&self, number: u64, gives: Gives) -> Vec<u8> {
        let start = usize::try_from(number * PIECE_LENGTH_BYTES).unwrap();
        let end = (start + usize::try_from(PIECE_LENGTH_BYTES).unwrap()).min(self.content.len());
        let mut bytes = self.content[start..end].to_vec();
        match gives {
            Gives::Right | Gives::Never(_) => {}
            Gives::Flipped | Gives::Lie => bytes[1] ^= 1,
            Gives::Short => drop(bytes.pop()),
        }
        bytes
    }
}

impl Link for Scripted {
    fn ask(
        &self,
        member: &Member,
        question: &Question,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Result<Line, LinkError>>, LinkError>> {
        let mut script = self.script.lock();
        script.questions.push((member.name.clone(), question.clone()));
        let next = script.answers.get_mut(&member.name).and_then(VecDeque::pop_front);
        let gate = self.gate.subscribe();
        async move {
            let steps = match next {
                None => return Err(LinkError::Refused { reason: "not_here" }),
                Some(Answer::Unreachable) => {
                    return Err(LinkError::Unreachable { reason: "refused".into() });
                }
                Some(Answer::Silence(passing)) => {
                    tokio::time::advance(passing).await;
                    return std::future::pending().await;
                }
                Some(Answer::Steps(steps)) => steps,
            };
            Ok(futures::stream::unfold((steps.into_iter(), gate), next_line).boxed())
        }
        .boxed()
    }

    fn piece(&self, member: &Member, wanted: WantedPiece) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        let mut script = self.script.lock();
        script.fetched.push((member.name.clone(), wanted.number));
        assert_eq!((wanted.swarm, wanted.content_length_bytes), (SWARM, script.content.len() as u64));
        let gives = script.gives.get(&wanted.number).copied().unwrap_or(Gives::Right);
        let bytes = script.bytes(wanted.number, gives);
        async move {
            if let Gives::Never(passing) = gives {
                tokio::time::advance(passing).await;
                return std::future::pending().await;
            }
            Ok(bytes.into())
        }
        .boxed()
    }

    fn hand_over(&self, _: &Member, _: &Handover) -> BoxFuture<'static, Result<Taken, LinkError>> {
        async { Err(LinkError::Refused { reason: "not_here" }) }.boxed()
    }

    fn announce(&self, _: [u8; 32], _: u64) {}

    fn is_bad(&self, member: &Member, wanted: WantedPiece) {
        self.script.lock().bad.push((member.name.clone(), wanted.number));
    }
}

type Steps = (std::vec::IntoIter<Step>, watch::Receiver<bool>);

async fn next_line((mut steps, mut gate): Steps) -> Option<(Result<Line, LinkError>, Steps)> {
    loop {
        match steps.next()? {
            Step::Says(line) => return Some((Ok(line), (steps, gate))),
            Step::Lets(passing) => tokio::time::advance(passing).await,
            Step::Waits => drop(gate.wait_for(|is_open| *is_open).await),
            Step::IsSilent => std::future::pending().await,
            Step::Breaks => {
                let error = LinkError::Unreachable { reason: "connection reset".into() };
                return Some((Err(error), (steps, gate)));
            }
        }
    }
}
