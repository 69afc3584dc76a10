//! The index of a volume: what is committed, in a redb database beside the data files.
//!
//! | table | key | value |
//! |---|---|---|
//! | `objects` | object number | [`ObjectRecord`], encoded below |
//! | `groups` | object number, group | bitmap of the pieces, two bits of trust each, SHA-256 of each piece present |
//! | `used` | object number | seconds since 1970 of the last use, kept coarsely |
//! | `state` | name | `format`, `epoch` |
//!
//! All integers are little-endian. A value that can't be decoded drops its object: the content is only fetched again.

mod frozen;

use std::ops::Bound;
use std::path::Path;

#[cfg(test)]
use redb::ReadableTableMetadata;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::GROUP_PIECES;

const OBJECTS: TableDefinition<u64, &[u8]> = TableDefinition::new("objects");
const GROUPS: TableDefinition<(u64, u32), &[u8]> = TableDefinition::new("groups");
const USED: TableDefinition<u64, u64> = TableDefinition::new("used");
const STATE: TableDefinition<&str, u64> = TableDefinition::new("state");

/// Layout of the tables; another number is another layout, and the index starts empty.
const FORMAT: u64 = 1;
/// redb's own page cache: the index is read once at start and rarely after.
const CACHE_BYTES: usize = 8 << 20;
/// Longest key that is kept.
pub(crate) const MAX_KEY: usize = 16 * 1024;
/// Longest attributes that are kept.
pub(crate) const MAX_ATTRIBUTES: usize = 64 * 1024;

/// How a piece was checked before it was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Fetched from the origin by ourselves.
    Origin,
    /// Its digest came from the home pod over mutual TLS.
    Vouched,
    /// Its digest stands in an authenticated piece hash file.
    Authenticated,
}

impl Trust {
    const fn bits(self) -> u8 {
        match self {
            Self::Origin => 1,
            Self::Vouched => 2,
            Self::Authenticated => 3,
        }
    }

    const fn of_bits(bits: u8) -> Self {
        match bits & 3 {
            3 => Self::Authenticated,
            2 => Self::Vouched,
            _ => Self::Origin,
        }
    }
}

/// What is known of one generation of one content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRecord {
    /// Under which it is looked up, at most 16 KiB.
    pub key: String,
    /// Content class, as the caller numbers them.
    pub class: u8,
    /// Length of the whole content in bytes.
    pub length: u64,
    /// Seconds since 1970 when it was first stored.
    pub created: u64,
    /// Kept for the caller (validators, header fields), at most 64 KiB.
    pub attributes: Vec<u8>,
}

/// A committed piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceRecord {
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// How it was checked.
    pub trust: Trust,
}

impl ObjectRecord {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(25 + self.key.len() + self.attributes.len());
        bytes.push(self.class);
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.created.to_le_bytes());
        bytes.extend(u32::try_from(self.key.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(self.key.as_bytes());
        bytes.extend(&self.attributes);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let parts = Parts::split(bytes)?;
        Some(Self {
            key: parts.key.to_owned(),
            class: parts.class,
            length: parts.length,
            created: parts.created,
            attributes: parts.attributes.to_vec(),
        })
    }
}

/// An encoded [`ObjectRecord`], taken apart and not copied.
struct Parts<'a> {
    class: u8,
    length: u64,
    created: u64,
    key: &'a str,
    attributes: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(bytes: &'a [u8]) -> Option<Self> {
        let (class, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (created, rest) = rest.split_first_chunk::<8>()?;
        let (key_length, rest) = rest.split_first_chunk::<4>()?;
        let (key, attributes) = rest.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
        Some(Self {
            class: *class,
            length: u64::from_le_bytes(*length),
            created: u64::from_le_bytes(*created),
            key: std::str::from_utf8(key).ok()?,
            attributes,
        })
    }
}

/// What a list needs of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Indexed {
    pub(crate) number: u64,
    pub(crate) key: String,
    pub(crate) class: u8,
}

/// The pieces of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupRecord {
    pieces: [Option<PieceRecord>; GROUP_PIECES],
}

impl Default for GroupRecord {
    fn default() -> Self {
        Self { pieces: [None; GROUP_PIECES] }
    }
}

impl GroupRecord {
    pub(crate) fn get(&self, piece: usize) -> Option<PieceRecord> {
        self.pieces.get(piece).copied().flatten()
    }

    fn set(&mut self, piece: usize, record: Option<PieceRecord>) {
        self.pieces[piece] = record;
    }

    fn bitmap(&self) -> u64 {
        self.pieces
            .iter()
            .enumerate()
            .filter(|(_, piece)| piece.is_some())
            .fold(0, |map, (bit, _)| map | 1 << bit)
    }

    fn encode(&self) -> Vec<u8> {
        let mut trust = 0u128;
        let mut hashes = Vec::new();
        for (bit, piece) in self.pieces.iter().enumerate() {
            if let Some(piece) = piece {
                trust |= u128::from(piece.trust.bits()) << (2 * bit);
                hashes.extend(piece.sha256);
            }
        }
        let mut bytes = Vec::with_capacity(24 + hashes.len());
        bytes.extend(self.bitmap().to_le_bytes());
        bytes.extend(trust.to_le_bytes());
        bytes.extend(hashes);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (bitmap, rest) = bytes.split_first_chunk::<8>()?;
        let (trust, hashes) = rest.split_first_chunk::<16>()?;
        let (bitmap, trust) = (u64::from_le_bytes(*bitmap), u128::from_le_bytes(*trust));
        let (hashes, []) = hashes.as_chunks::<32>() else { return None };
        if hashes.len() != bitmap.count_ones() as usize {
            return None;
        }
        let mut group = Self::default();
        let present = (0..GROUP_PIECES).filter(|bit| bitmap & 1 << bit != 0);
        for (bit, sha256) in present.zip(hashes) {
            let trust = Trust::of_bits((trust >> (2 * bit)).to_le_bytes()[0]);
            group.pieces[bit] = Some(PieceRecord { sha256: *sha256, trust });
        }
        Some(group)
    }
}

/// The pieces of a group that memory keeps: one bit for each that is committed, and one for each that is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bitmaps {
    pub(crate) committed: u64,
    pub(crate) authenticated: u64,
}

impl Bitmaps {
    /// Of an encoded group, without reading its hashes.
    fn of(bytes: &[u8]) -> Option<Self> {
        let (committed, rest) = bytes.split_first_chunk::<8>()?;
        let (trust, hashes) = rest.split_first_chunk::<16>()?;
        let (committed, trust) = (u64::from_le_bytes(*committed), u128::from_le_bytes(*trust));
        if hashes.len() != 32 * committed.count_ones() as usize {
            return None;
        }
        // Both bits set, seen at the lower one. Most content has none.
        let both = trust & (trust >> 1) & (u128::MAX / 3);
        let authenticated = match both {
            0 => 0,
            _ => {
                (0..GROUP_PIECES).filter(|bit| both & 1 << (2 * bit) != 0).fold(0, |map, bit| map | 1 << bit)
            }
        };
        Some(Self { committed, authenticated })
    }
}

/// An object as it is loaded at start: what memory keeps of it.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) number: u64,
    pub(crate) record: ObjectRecord,
    pub(crate) groups: Vec<(u32, Bitmaps)>,
    pub(crate) last_used: u64,
}

/// A change of the index; a list of them is applied as one.
#[derive(Debug)]
pub(crate) enum Change {
    Object {
        number: u64,
        record: ObjectRecord,
    },
    Piece {
        number: u64,
        piece: usize,
        record: PieceRecord,
    },
    /// Another trust of a piece whose bytes were synced before.
    Trust {
        number: u64,
        piece: usize,
        record: PieceRecord,
    },
    DropPiece {
        number: u64,
        piece: usize,
    },
    DropGroup {
        number: u64,
        group: u32,
    },
    DropObject {
        number: u64,
    },
    Used {
        number: u64,
        seconds: u64,
    },
}

/// The database.
#[derive(Debug)]
pub(crate) struct Index {
    database: Database,
}

pub(crate) type Result<T> = std::result::Result<T, Box<redb::Error>>;

#[allow(clippy::unnecessary_box_returns, reason = "redb's error is large; every result here would be")]
fn error(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

/// Whether an error says that another store has the index.
pub(crate) fn is_taken(error: &redb::Error) -> bool {
    match error {
        redb::Error::DatabaseAlreadyOpen => true,
        redb::Error::Io(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        _ => false,
    }
}

/// Whether an error says that the file is no index, or not one of ours, rather than that it can't be read now.
pub(crate) fn is_broken(error: &redb::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        redb::Error::Io(error) => matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. } => true,
        _ => false,
    }
}

impl Index {
    /// Opens or makes the database. One that is damaged beyond redb's own repair, or of another layout, is an error: the
    /// caller removes the file and starts empty.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(error)?;
        let index = Self { database };
        let transaction = index.database.begin_write().map_err(error)?;
        {
            transaction.open_table(OBJECTS).map_err(error)?;
            transaction.open_table(GROUPS).map_err(error)?;
            transaction.open_table(USED).map_err(error)?;
            let mut state = transaction.open_table(STATE).map_err(error)?;
            let found = state.get("format").map_err(error)?.map(|value| value.value());
            if found.is_some_and(|found| found != FORMAT) {
                return Err(error(redb::Error::Corrupted("the index has another layout".to_owned())));
            }
            state.insert("format", FORMAT).map_err(error)?;
        }
        transaction.commit().map_err(error)?;
        Ok(index)
    }

    /// Opens a database whose disk takes no writes, as it was after its last commit: for reading only, nothing reaches the disk.
    pub(crate) fn open_frozen(path: &Path) -> Result<Self> {
        let frozen = frozen::Frozen::open(path).map_err(error)?;
        let database =
            Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(frozen).map_err(error)?;
        let index = Self { database };
        let transaction = index.database.begin_read().map_err(error)?;
        let state = transaction.open_table(STATE).map_err(error)?;
        if state.get("format").map_err(error)?.is_none_or(|found| found.value() != FORMAT) {
            return Err(error(redb::Error::Corrupted("the index has another layout".to_owned())));
        }
        Ok(index)
    }

    /// The next epoch: object numbers of one run of the program lie in one epoch, so a number is never used twice.
    pub(crate) fn next_epoch(&self) -> Result<u64> {
        let transaction = self.database.begin_write().map_err(error)?;
        let epoch;
        {
            let mut state = transaction.open_table(STATE).map_err(error)?;
            let last = state.get("epoch").map_err(error)?.map_or(0, |value| value.value());
            epoch = last + 1;
            state.insert("epoch", epoch).map_err(error)?;
        }
        transaction.commit().map_err(error)?;
        Ok(epoch)
    }

    /// Reads everything that memory keeps. Objects that can't be decoded are left out.
    pub(crate) fn load(&self, mut each: impl FnMut(Loaded)) -> Result<()> {
        let transaction = self.database.begin_read().map_err(error)?;
        let objects = transaction.open_table(OBJECTS).map_err(error)?;
        let groups = transaction.open_table(GROUPS).map_err(error)?;
        let used = transaction.open_table(USED).map_err(error)?;
        let mut used = used.iter().map_err(error)?.peekable();
        let mut groups = groups.iter().map_err(error)?.peekable();
        for entry in objects.iter().map_err(error)? {
            let (number, record) = entry.map_err(error)?;
            let number = number.value();
            let mut found = Vec::new();
            // Both tables are sorted by object number, so one pass over each is enough.
            while let Some(Ok((key, value))) = groups.peek() {
                let (owner, group) = key.value();
                if owner > number {
                    break;
                }
                if owner == number
                    && let Some(bitmaps) = Bitmaps::of(value.value())
                {
                    found.push((group, bitmaps));
                }
                groups.next();
            }
            let mut last_used = 0;
            while let Some(Ok((owner, seconds))) = used.peek() {
                if owner.value() > number {
                    break;
                }
                if owner.value() == number {
                    last_used = seconds.value();
                }
                used.next();
            }
            if let Some(record) = ObjectRecord::decode(record.value()) {
                each(Loaded { number, last_used: last_used.max(record.created), record, groups: found });
            }
        }
        Ok(())
    }

    /// Applies changes as one transaction that is on disk when this returns.
    pub(crate) fn apply(&self, changes: &[Change]) -> Result<()> {
        self.apply_as(changes, Durability::Immediate)
    }

    /// Applies changes as one transaction that is as durable as asked.
    pub(crate) fn apply_as(&self, changes: &[Change], durability: Durability) -> Result<()> {
        let mut transaction = self.database.begin_write().map_err(error)?;
        transaction.set_durability(durability).map_err(error)?;
        {
            let mut objects = transaction.open_table(OBJECTS).map_err(error)?;
            let mut groups = transaction.open_table(GROUPS).map_err(error)?;
            let mut used = transaction.open_table(USED).map_err(error)?;
            for change in changes {
                match change {
                    Change::Object { number, record } => {
                        objects.insert(number, record.encode().as_slice()).map_err(error)?;
                    }
                    Change::Piece { number, piece, record } | Change::Trust { number, piece, record } => {
                        edit(&mut groups, *number, *piece, Some(*record)).map_err(error)?;
                    }
                    Change::DropPiece { number, piece } => {
                        edit(&mut groups, *number, *piece, None).map_err(error)?;
                    }
                    Change::DropGroup { number, group } => {
                        groups.remove((*number, *group)).map_err(error)?;
                    }
                    Change::DropObject { number } => {
                        objects.remove(number).map_err(error)?;
                        used.remove(number).map_err(error)?;
                        groups.retain_in((*number, 0)..=(*number, u32::MAX), |_, _| false).map_err(error)?;
                    }
                    Change::Used { number, seconds } => {
                        used.insert(number, seconds).map_err(error)?;
                    }
                }
            }
        }
        transaction.commit().map_err(error)
    }

    /// What is kept of an object beside its pieces.
    pub(crate) fn record(&self, number: u64) -> Result<Option<ObjectRecord>> {
        let transaction = self.database.begin_read().map_err(error)?;
        let objects = transaction.open_table(OBJECTS).map_err(error)?;
        let found = objects.get(number).map_err(error)?;
        Ok(found.and_then(|value| ObjectRecord::decode(value.value())))
    }

    /// Up to `most` objects whose numbers are above `after`, by number.
    pub(crate) fn keys_after(&self, after: Option<u64>, most: usize) -> Result<Vec<Indexed>> {
        let transaction = self.database.begin_read().map_err(error)?;
        let objects = transaction.open_table(OBJECTS).map_err(error)?;
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = Vec::new();
        for entry in objects.range::<u64>((first, Bound::Unbounded)).map_err(error)?.take(most) {
            let (number, record) = entry.map_err(error)?;
            let (number, record) = (number.value(), record.value());
            // One that can't be decoded is passed by under an empty key, so that a batch only ends where the index does.
            let (key, class) = Parts::split(record)
                .map_or_else(Default::default, |parts| (parts.key.to_owned(), parts.class));
            found.push(Indexed { number, key, class });
        }
        Ok(found)
    }

    /// The committed pieces of a group.
    pub(crate) fn group(&self, number: u64, group: u32) -> Result<GroupRecord> {
        let transaction = self.database.begin_read().map_err(error)?;
        let groups = transaction.open_table(GROUPS).map_err(error)?;
        let found = groups.get((number, group)).map_err(error)?;
        Ok(found.and_then(|value| GroupRecord::decode(value.value())).unwrap_or_default())
    }

    /// Number of objects.
    #[cfg(test)]
    pub(crate) fn len(&self) -> Result<u64> {
        let transaction = self.database.begin_read().map_err(error)?;
        transaction.open_table(OBJECTS).map_err(error)?.len().map_err(error)
    }
}

fn edit(
    groups: &mut redb::Table<'_, (u64, u32), &'static [u8]>,
    number: u64,
    piece: usize,
    record: Option<PieceRecord>,
) -> std::result::Result<(), redb::StorageError> {
    let group = u32::try_from(piece / GROUP_PIECES).unwrap_or(u32::MAX);
    let mut pieces =
        groups.get((number, group))?.and_then(|value| GroupRecord::decode(value.value())).unwrap_or_default();
    pieces.set(piece % GROUP_PIECES, record);
    groups.insert((number, group), pieces.encode().as_slice())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(key: &str) -> ObjectRecord {
        ObjectRecord {
            key: key.to_owned(),
            class: 3,
            length: 70 << 20,
            created: 5,
            attributes: b"{}".to_vec(),
        }
    }

    #[test]
    fn what_was_applied_is_loaded_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let piece = PieceRecord { sha256: [7; 32], trust: Trust::Vouched };
        {
            let index = Index::open(&path).unwrap();
            index
                .apply(&[
                    Change::Object { number: 1, record: record("a") },
                    Change::Object { number: 2, record: record("b") },
                    Change::Piece { number: 2, piece: 0, record: piece },
                    Change::Piece { number: 2, piece: 65, record: piece },
                    Change::Piece { number: 2, piece: 66, record: piece },
                    Change::DropPiece { number: 2, piece: 66 },
                    Change::Used { number: 2, seconds: 99 },
                    Change::Object { number: 3, record: record("c") },
                    Change::Piece { number: 3, piece: 1, record: piece },
                    Change::DropObject { number: 3 },
                ])
                .unwrap();
        }
        let index = Index::open(&path).unwrap();
        let mut loaded = Vec::new();
        index.load(|object| loaded.push(object)).unwrap();
        assert_eq!(loaded.iter().map(|object| object.number).collect::<Vec<_>>(), [1, 2]);
        let committed = loaded[1].groups.iter().map(|(group, bitmaps)| (*group, bitmaps.committed));
        assert_eq!(committed.collect::<Vec<_>>(), [(0, 1), (1, 2)]);
        assert_eq!((loaded[0].last_used, loaded[1].last_used), (5, 99));
        assert_eq!(index.group(2, 1).unwrap().get(1), Some(piece));
        assert_eq!(index.group(3, 0).unwrap(), GroupRecord::default());
        assert_eq!(index.record(1).unwrap(), Some(record("a")));
        assert_eq!(index.len().unwrap(), 2);
    }

    #[test]
    fn an_index_that_was_not_closed_is_read_without_writing_to_its_disk() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("index"), folder.path().join("copy"));
        let index = Index::open(&path).unwrap();
        index.apply(&[Change::Object { number: 1, record: record("a") }]).unwrap();
        // As a power cut would leave it: it is still open.
        std::fs::copy(&path, &copy).unwrap();
        assert!(is_taken(&Index::open_frozen(&path).unwrap_err()), "somebody else has it open");
        drop(index);
        let before = std::fs::read(&copy).unwrap();
        let frozen = Index::open_frozen(&copy).unwrap();
        assert_eq!(frozen.record(1).unwrap(), Some(record("a")));
        assert!(is_taken(&Index::open(&copy).unwrap_err()), "it is being read");
        drop(frozen);
        assert!(std::fs::read(&copy).unwrap() == before, "the file was written to");
        assert_eq!(Index::open(&copy).unwrap().record(1).unwrap(), Some(record("a")));
    }

    proptest! {
        #[test]
        fn records_decode_to_what_was_encoded(key in ".{0,40}", class: u8, length: u64, created: u64, attributes in proptest::collection::vec(any::<u8>(), 0..50)) {
            let record = ObjectRecord { key, class, length, created, attributes };
            prop_assert_eq!(ObjectRecord::decode(&record.encode()), Some(record));
        }

        #[test]
        fn groups_decode_to_what_was_encoded(pieces in proptest::collection::vec(proptest::option::of((any::<[u8; 32]>(), 1u8..4)), 64)) {
            let mut group = GroupRecord::default();
            for (bit, piece) in pieces.into_iter().enumerate() {
                group.set(bit, piece.map(|(sha256, trust)| PieceRecord { sha256, trust: Trust::of_bits(trust) }));
            }
            let bytes = group.encode();
            let is_authenticated = |bit: &usize| {
                group.get(*bit).is_some_and(|piece| piece.trust == Trust::Authenticated)
            };
            let authenticated = (0..GROUP_PIECES).filter(is_authenticated).fold(0, |map, bit| map | 1 << bit);
            prop_assert_eq!(Bitmaps::of(&bytes), Some(Bitmaps { committed: group.bitmap(), authenticated }));
            prop_assert_eq!(GroupRecord::decode(&bytes), Some(group));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ObjectRecord::decode(&bytes);
            let _ = Bitmaps::of(&bytes);
            let _ = GroupRecord::decode(&bytes);
        }
    }
}
