//! What a file may look like that somebody served us, and why it may not (dossier 3.2, reader rules).
//!
//! Nothing is allocated for what a file claims, only for what stands in it: 32 bytes for each hash of 46 bytes.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{HashOfHashes, PieceHash, PieceHashFile};

/// Why a text is no piece hash file that we can use. Clients call these errors 0x80D0680A (another version) and 0x80D06809
/// (all others).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PieceHashFileError {
    /// Longer than [`PieceHashFile::MAX_BYTES`].
    #[error(
        "a piece hash file of {bytes} bytes is longer than the {} that are read",
        PieceHashFile::MAX_BYTES
    )]
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// Not UTF-8.
    #[error("no piece hash file: not UTF-8 from byte {offset} on")]
    NotUtf8 {
        /// The first byte that is none.
        offset: usize,
    },
    /// Not one JSON value: a captive portal's page, a cut file, something behind its end.
    #[error("no piece hash file: no JSON, or cut, at line {line} column {column}")]
    NotJson {
        /// From 1.
        line: usize,
        /// In bytes, from 1; 0 = the line's end.
        column: usize,
    },
    /// JSON, but no object.
    #[error("no piece hash file: JSON, but not an object")]
    NotAnObject,
    /// A member that every file has is not there.
    #[error("no piece hash file: it has no {member}")]
    Missing {
        /// Which.
        member: PieceHashFileMember,
    },
    /// A member stands there twice, which two readers could take for two different files.
    #[error("a piece hash file with {member} twice")]
    Duplicate {
        /// Which.
        member: PieceHashFileMember,
    },
    /// A member has a value of another kind: a text for a number, a fraction, a negative number.
    #[error("a piece hash file whose {member} is of the wrong kind")]
    WrongKind {
        /// Which.
        member: PieceHashFileMember,
    },
    /// `MajorVersion` is not 1.
    #[error("a piece hash file of version {major}, of which nothing is known; version 1 is read")]
    OtherVersion {
        /// The version that it has.
        major: u64,
    },
    /// `PieceSize` is 0 or above 2^31.
    #[error("pieces of {bytes} bytes: 1 to 2147483648 are allowed")]
    PieceLengthOutOfRange {
        /// The length that it has.
        bytes: u64,
    },
    /// `HashOfHashes` is not the base64 of 32 bytes.
    #[error("a piece hash file whose HashOfHashes is not the base64 of 32 bytes")]
    BadHashOfHashes,
    /// An element of `Pieces` is not the base64 of 32 bytes.
    #[error("a piece hash file whose hash of piece {number} is not the base64 of 32 bytes")]
    BadPieceHash {
        /// Which piece, from 0.
        number: usize,
    },
    /// Another number of hashes than the content has pieces.
    #[error("a piece hash file with {found} hashes for {expected} pieces")]
    WrongPieceCount {
        /// Pieces by the lengths that it states.
        expected: u64,
        /// Hashes that it has.
        found: u64,
    },
    /// `HashOfHashes` is not the hash of the other members: the file was damaged or tampered with.
    #[error("a piece hash file that states the HashOfHashes {stated}, but its members give {computed}")]
    WrongHashOfHashes {
        /// What stands in it.
        stated: HashOfHashes,
        /// What its members give.
        computed: HashOfHashes,
    },
    /// It belongs to content of another length than HTTP says.
    #[error("a piece hash file for content of {stated} bytes, but the content has {learned}")]
    OtherContentLength {
        /// What stands in it.
        stated: u64,
        /// What HTTP said.
        learned: u64,
    },
}

/// The members of a file that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceHashFileMember {
    /// `MajorVersion`, a number.
    MajorVersion,
    /// `MinorVersion`, a number.
    MinorVersion,
    /// `HashOfHashes`, a text.
    HashOfHashes,
    /// `ContentLength`, a number of bytes.
    ContentLength,
    /// `PieceSize`, a number of bytes.
    PieceSize,
    /// `Pieces`, an array of texts.
    Pieces,
}

impl PieceHashFileMember {
    const ALL: [Self; 6] = [
        Self::MajorVersion,
        Self::MinorVersion,
        Self::HashOfHashes,
        Self::ContentLength,
        Self::PieceSize,
        Self::Pieces,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::MajorVersion => "MajorVersion",
            Self::MinorVersion => "MinorVersion",
            Self::HashOfHashes => "HashOfHashes",
            Self::ContentLength => "ContentLength",
            Self::PieceSize => "PieceSize",
            Self::Pieces => "Pieces",
        }
    }
}

impl fmt::Display for PieceHashFileMember {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

pub(super) fn parse(text: &[u8]) -> Result<PieceHashFile, PieceHashFileError> {
    if text.len() > PieceHashFile::MAX_BYTES {
        return Err(PieceHashFileError::TooLong { bytes: text.len() });
    }
    // The JSON parser doesn't look into texts that it passes over.
    let text = std::str::from_utf8(text)
        .map_err(|error| PieceHashFileError::NotUtf8 { offset: error.valid_up_to() })?;
    let mut members = Members::default();
    let mut json = serde_json::Deserializer::from_str(text);
    members.deserialize(&mut json).and_then(|()| json.end()).map_err(|error| {
        // What the parser says of a wrong value quotes it, however long it is.
        match (members.failure.take(), members.reading) {
            (Some(failure), _) => failure,
            (None, Some(member)) if error.is_data() => PieceHashFileError::WrongKind { member },
            (None, None) if error.is_data() => PieceHashFileError::NotAnObject,
            (None, _) => PieceHashFileError::NotJson { line: error.line(), column: error.column() },
        }
    })?;
    members.into_file()
}

/// What was read so far. A failure of ours is kept beside the parser's error, which could only hold its text.
#[derive(Default)]
struct Members {
    major_version: Option<u64>,
    minor_version: Option<u32>,
    hash_of_hashes: Option<HashOfHashes>,
    content_length: Option<u64>,
    piece_size: Option<u64>,
    pieces: Option<Vec<PieceHash>>,
    /// The member whose value is being read.
    reading: Option<PieceHashFileMember>,
    failure: Option<PieceHashFileError>,
}

impl Members {
    fn into_file(self) -> Result<PieceHashFile, PieceHashFileError> {
        let missing = |member| PieceHashFileError::Missing { member };
        self.major_version.ok_or(missing(PieceHashFileMember::MajorVersion))?;
        let minor_version = self.minor_version.ok_or(missing(PieceHashFileMember::MinorVersion))?;
        let stated = self.hash_of_hashes.ok_or(missing(PieceHashFileMember::HashOfHashes))?;
        let content_length = self.content_length.ok_or(missing(PieceHashFileMember::ContentLength))?;
        let piece_size = self.piece_size.ok_or(missing(PieceHashFileMember::PieceSize))?;
        let mut pieces = self.pieces.ok_or(missing(PieceHashFileMember::Pieces))?;
        pieces.shrink_to_fit();
        let file = PieceHashFile::checked(minor_version, content_length, piece_size, pieces)?;
        let computed = file.hash_of_hashes;
        if stated != computed {
            return Err(PieceHashFileError::WrongHashOfHashes { stated, computed });
        }
        Ok(file)
    }

    fn has(&self, member: PieceHashFileMember) -> bool {
        match member {
            PieceHashFileMember::MajorVersion => self.major_version.is_some(),
            PieceHashFileMember::MinorVersion => self.minor_version.is_some(),
            PieceHashFileMember::HashOfHashes => self.hash_of_hashes.is_some(),
            PieceHashFileMember::ContentLength => self.content_length.is_some(),
            PieceHashFileMember::PieceSize => self.piece_size.is_some(),
            PieceHashFileMember::Pieces => self.pieces.is_some(),
        }
    }

    fn read<'de, M: MapAccess<'de>>(
        &mut self,
        member: PieceHashFileMember,
        map: &mut M,
    ) -> Result<(), M::Error> {
        if self.has(member) {
            return Err(self.fail(PieceHashFileError::Duplicate { member }));
        }
        match member {
            PieceHashFileMember::MajorVersion => {
                let major = map.next_value()?;
                if major != 1 {
                    return Err(self.fail(PieceHashFileError::OtherVersion { major }));
                }
                self.major_version = Some(major);
            }
            PieceHashFileMember::MinorVersion => self.minor_version = Some(map.next_value()?),
            PieceHashFileMember::HashOfHashes => {
                let hash = map.next_value_seed(Base64(HashOfHashes::from_base64))?;
                self.hash_of_hashes =
                    Some(hash.ok_or_else(|| self.fail(PieceHashFileError::BadHashOfHashes))?);
            }
            PieceHashFileMember::ContentLength => self.content_length = Some(map.next_value()?),
            PieceHashFileMember::PieceSize => self.piece_size = Some(map.next_value()?),
            PieceHashFileMember::Pieces => {
                self.pieces = Some(map.next_value_seed(Pieces(&mut self.failure))?);
            }
        }
        Ok(())
    }

    fn fail<E: serde::de::Error>(&mut self, failure: PieceHashFileError) -> E {
        self.failure = Some(failure);
        E::custom("")
    }
}

impl<'de> DeserializeSeed<'de> for &mut Members {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Members {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(member) = map.next_key_seed(Name)? {
            self.reading = member;
            match member {
                Some(member) => self.read(member, &mut map)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
            self.reading = None;
        }
        Ok(())
    }
}

/// The name of a member, `None` for one that we don't know.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<PieceHashFileMember>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<PieceHashFileMember>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(PieceHashFileMember::ALL.into_iter().find(|member| member.name() == text))
    }
}

/// A hash in base64, `None` for a text that is none.
struct Base64<T, N>(fn(&str) -> Result<T, N>);

impl<'de, T, N> DeserializeSeed<'de> for Base64<T, N> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, N> Visitor<'_> for Base64<T, N> {
    type Value = Option<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("base64")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok((self.0)(text).ok())
    }
}

/// The array of hashes.
struct Pieces<'a>(&'a mut Option<PieceHashFileError>);

impl<'de> DeserializeSeed<'de> for Pieces<'_> {
    type Value = Vec<PieceHash>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Pieces<'_> {
    type Value = Vec<PieceHash>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of base64")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut array: S) -> Result<Self::Value, S::Error> {
        let mut hashes = Vec::new();
        while let Some(hash) = array.next_element_seed(Base64(PieceHash::from_base64))? {
            let Some(hash) = hash else {
                *self.0 = Some(PieceHashFileError::BadPieceHash { number: hashes.len() });
                return Err(S::Error::custom(""));
            };
            hashes.push(hash);
        }
        Ok(hashes)
    }
}
