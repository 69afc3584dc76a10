//! What pods say to each other over the peer API: one question for pieces of one object, and lines of JSON in answer, each as soon as
//! there is something to say. Fields that a pod doesn't know are left alone, so that pods of two releases get on.

use bytes::{Buf, Bytes, BytesMut};
use connected_cache_core::{Generation, Role};
use serde::{Deserialize, Serialize};

/// Where pieces are asked for.
pub(crate) const PIECES_PATH: &str = "/v1/pieces";

/// The longest line that is taken. A head is the longest: it repeats what the origin said.
const MAX_LINE_BYTES: usize = 128 << 10;

/// As what a pod is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum AskedAs {
    /// The home of the pieces: fetches from the origin what it has not got.
    Home,
    /// The home of its zone: asks the home of all for what it has not got.
    ZoneHome,
    /// One that may have them, and fetches nothing.
    Holder,
}

impl AskedAs {
    /// The role, if there is one.
    pub(crate) const fn role(self) -> Option<Role> {
        match self {
            Self::Home => Some(Role::Home),
            Self::ZoneHome => Some(Role::ZoneHome),
            Self::Holder => None,
        }
    }
}

impl From<Role> for AskedAs {
    fn from(role: Role) -> Self {
        match role {
            Role::Home => Self::Home,
            Role::ZoneHome => Self::ZoneHome,
        }
    }
}

/// A state of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    pub(crate) content_length_bytes: u64,
    pub(crate) etag: Option<String>,
    pub(crate) last_modified: Option<String>,
}

impl From<&Generation> for State {
    fn from(generation: &Generation) -> Self {
        Self {
            content_length_bytes: generation.content_length_bytes,
            etag: generation.etag.clone(),
            last_modified: generation.last_modified.clone(),
        }
    }
}

impl From<State> for Generation {
    fn from(state: State) -> Self {
        let State { content_length_bytes, etag, last_modified } = state;
        Self { content_length_bytes, etag, last_modified }
    }
}

/// How the origin of an object is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Source {
    /// Its authority.
    pub(crate) origin: String,
    pub(crate) https: bool,
    pub(crate) path_and_query: String,
    pub(crate) is_signed: bool,
    /// What the client said that is passed on.
    pub(crate) headers: Vec<(String, String)>,
}

/// A question for pieces that follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Question {
    /// Name of the object.
    pub(crate) key: String,
    /// `None` = only what is there.
    pub(crate) source: Option<Source>,
    pub(crate) asked_as: AskedAs,
    pub(crate) first_piece: u64,
    pub(crate) last_piece: u64,
    /// Of which state they have to be; `None` = of whichever is current.
    pub(crate) state: Option<State>,
}

/// Why nothing more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Reason {
    /// The origin says that there is no such content.
    Gone,
    /// The origin gave nothing usable.
    Origin,
    /// It is not there, and was not to be fetched.
    NotHere,
    /// What is there is of another state.
    OtherState,
    /// The content is not shared: each client is answered by the origin.
    NotShared,
    /// The asked pod waits for another one itself.
    Elsewhere,
    /// Its bytes are not those of its authenticated hashes, or can't be kept.
    NotVouched,
    /// The question can't be answered by this release or configuration.
    Refused,
    /// A reason of a later release.
    #[serde(other)]
    Unknown,
}

impl Reason {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Origin => "origin",
            Self::NotHere => "not_here",
            Self::OtherState => "other_state",
            Self::NotShared => "not_shared",
            Self::Elsewhere => "elsewhere",
            Self::NotVouched => "not_vouched",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Line {
    /// Before any piece: the object.
    #[serde(rename_all = "camelCase")]
    Head {
        content_length_bytes: u64,
        /// As the store keeps them.
        attributes: String,
        /// Under which id its pieces are given out by the swarm protocol.
        #[serde(with = "hex::serde")]
        swarm: [u8; 32],
    },
    /// It is being worked on; so many bytes of what was asked for are there, or further on their way than before.
    Running { bytes: u64 },
    /// This piece is whole, checked, and can be fetched.
    Piece {
        number: u64,
        #[serde(with = "hex::serde")]
        sha256: [u8; 32],
    },
    /// The end.
    Failed { reason: Reason },
}

impl Line {
    /// With its line end.
    pub(crate) fn encode(&self) -> Bytes {
        // Can't fail: text and numbers only.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line.into()
    }
}

/// Cuts what comes into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    buffer: BytesMut,
}

/// What came is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    /// Longer than any line is.
    #[error("a line has more than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// Not one that is known.
    #[error("a line is none that this release knows")]
    Unknown,
}

impl Lines {
    /// Takes bytes that came.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), LineError> {
        let begun = self.buffer.iter().rev().take_while(|byte| **byte != b'\n').count();
        let ended = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        if begun + ended > MAX_LINE_BYTES {
            return Err(LineError::TooLong);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole line.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, LineError> {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            return if self.buffer.len() > MAX_LINE_BYTES { Err(LineError::TooLong) } else { Ok(None) };
        };
        let line = self.buffer.split_to(end);
        self.buffer.advance(1);
        serde_json::from_slice(&line).map(Some).map_err(|_| LineError::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_question_is_written_as_the_documents_say() {
        let question = Question {
            key: "dl.example.com/a".into(),
            source: Some(Source {
                origin: "dl.example.com".into(),
                https: false,
                path_and_query: "/a".into(),
                is_signed: false,
                headers: vec![("ms-cv".into(), "x".into())],
            }),
            asked_as: AskedAs::ZoneHome,
            first_piece: 0,
            last_piece: 7,
            state: None,
        };
        let text = concat!(
            r#"{"key":"dl.example.com/a","source":{"origin":"dl.example.com","https":false,"pathAndQuery":"/a","#,
            r#""isSigned":false,"headers":[["ms-cv","x"]]},"askedAs":"zoneHome","firstPiece":0,"lastPiece":7,"state":null}"#
        );
        assert_eq!(serde_json::to_string(&question).unwrap(), text);
        assert_eq!(serde_json::from_str::<Question>(text).unwrap(), question);
        let later = text.replacen('{', r#"{"later":1,"#, 1);
        assert_eq!(serde_json::from_str::<Question>(&later).unwrap(), question);
    }

    #[test]
    fn lines_are_written_as_the_documents_say() {
        for (line, text) in [
            (Line::Running { bytes: 5 }, r#"{"running":{"bytes":5}}"#.to_owned()),
            (
                Line::Piece { number: 3, sha256: [0xab; 32] },
                format!(r#"{{"piece":{{"number":3,"sha256":"{}"}}}}"#, "ab".repeat(32)),
            ),
            (Line::Failed { reason: Reason::NotHere }, r#"{"failed":{"reason":"notHere"}}"#.to_owned()),
            (
                Line::Head { content_length_bytes: 9, attributes: "{}".into(), swarm: [1; 32] },
                format!(
                    r#"{{"head":{{"contentLengthBytes":9,"attributes":"{{}}","swarm":"{}"}}}}"#,
                    "01".repeat(32)
                ),
            ),
        ] {
            assert_eq!(line.encode(), format!("{text}\n"));
        }
        let later: Line = serde_json::from_str(r#"{"failed":{"reason":"somethingNew"}}"#).unwrap();
        assert_eq!(later, Line::Failed { reason: Reason::Unknown });
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_is_kept() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(&vec![b'a'; MAX_LINE_BYTES + 1]), Err(LineError::TooLong));
        lines.push(&vec![b'a'; MAX_LINE_BYTES]).unwrap();
        assert_eq!(lines.push(b"a"), Err(LineError::TooLong));
    }

    proptest! {
        #[test]
        fn lines_come_back_however_they_are_cut(numbers in proptest::collection::vec(any::<(u64, [u8; 32])>(), 0..6), cut in 1usize..40) {
            let sent: Vec<Line> =
                numbers.iter().map(|(number, sha256)| Line::Piece { number: *number, sha256: *sha256 }).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(Line::encode).collect();
            let (mut lines, mut came) = (Lines::default(), Vec::new());
            for part in bytes.chunks(cut) {
                lines.push(part).unwrap();
                while let Some(line) = lines.next().unwrap() {
                    came.push(line);
                }
            }
            prop_assert_eq!(came, sent);
        }

        #[test]
        fn random_bytes_are_refused_or_waited_for(bytes: Vec<u8>) {
            let mut lines = Lines::default();
            if lines.push(&bytes).is_ok() {
                while let Ok(Some(_)) = lines.next() {}
            }
        }
    }
}
