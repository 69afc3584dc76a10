//! What is stored, page by page. Memory keeps hashes of keys only, so the keys are read from the indexes, in small batches: a
//! list takes little memory, and nobody who writes waits for it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::index::Indexed;
use crate::object::Object;
use crate::store::{Store, StoreError, hash};
use crate::volume::Volume;

/// Objects that are read from an index at once. With the longest keys that are kept these take 4 MiB.
const BATCH: usize = 256;

/// Says by key and class whether an object is meant.
pub type Matches = Box<dyn Fn(&str, u8) -> bool + Send + Sync>;

/// Which objects are meant.
pub struct Filter {
    /// At most the one with this key; it is found without reading the index through.
    pub key: Option<String>,
    /// Those that this says yes to, among them.
    pub matches: Matches,
}

impl Filter {
    /// Every object.
    #[must_use]
    pub fn all() -> Self {
        Self { key: None, matches: Box::new(|_, _| true) }
    }

    /// Whether an object with this key and class is meant.
    #[must_use]
    pub fn is_met(&self, key: &str, class: u8) -> bool {
        self.key.as_deref().is_none_or(|only| only == key) && (self.matches)(key, class)
    }
}

impl fmt::Debug for Filter {
    /// Keys may hold signatures, so they are not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Filter").field("has_key", &self.key.is_some()).finish_non_exhaustive()
    }
}

/// One stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Under which it is looked up.
    pub key: String,
    /// Content class, as the caller numbers them.
    pub class: u8,
    /// Length of the whole content in bytes.
    pub length: u64,
    /// Bytes that its stored pieces take on disk.
    pub stored_bytes: u64,
    /// Pieces that are stored.
    pub stored_pieces: usize,
    /// Pieces among them that are authenticated.
    pub authenticated_pieces: usize,
    /// Pieces of the whole content.
    pub pieces: usize,
    /// Seconds since 1970 of its last use.
    pub last_used: u64,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Folder of its volume.
    pub volume: PathBuf,
}

/// Where a list goes on: behind this object. Objects are listed by volume, and there by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    volume: usize,
    number: u64,
}

/// Not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no place in a list, use the `next` of the page before")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{:x}", self.volume, self.number)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (volume, number) = text.split_once('-').ok_or(CursorError)?;
        let volume = volume.parse().map_err(|_| CursorError)?;
        let number = u64::from_str_radix(number, 16).map_err(|_| CursorError)?;
        Ok(Self { volume, number })
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most as many as were asked for.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` = this was the last.
    pub next: Option<Cursor>,
}

impl Store {
    /// Up to `limit` stored objects that are meant, behind `after`. What was committed before a list begins is in it; what is
    /// committed or removed while its pages are asked for may be. Blocks: the first page makes commits durable, and a page
    /// reads as much of the indexes as it takes to find its objects.
    pub fn list(&self, filter: &Filter, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        if let Some(key) = &filter.key {
            let found = self.get(key).filter(|object| {
                after.is_none() && object.has_any() && (filter.matches)(key, object.class())
            });
            return Ok(Page {
                entries: found.map(|found| entry(key.clone(), &found)).into_iter().collect(),
                next: None,
            });
        }
        if after.is_none() {
            self.flush();
        }
        let mut page = Page { entries: Vec::new(), next: None };
        let mut last = after;
        for (place, mount) in self.volumes.iter().enumerate() {
            // One that is not open holds nothing that could be read.
            let Some(volume) = mount.volume() else { continue };
            let mut number = match after {
                Some(after) if after.volume > place => continue,
                Some(after) if after.volume == place => Some(after.number),
                _ => None,
            };
            loop {
                let batch = read_batch(&volume, number)?;
                let Some(end) = batch.last().map(|indexed| indexed.number) else { break };
                for indexed in batch {
                    if !(filter.matches)(&indexed.key, indexed.class) {
                        continue;
                    }
                    let Some(object) = self.current(&volume, &indexed).filter(|object| object.has_any())
                    else {
                        continue;
                    };
                    if page.entries.len() == limit {
                        page.next = last;
                        return Ok(page);
                    }
                    last = Some(Cursor { volume: place, number: indexed.number });
                    page.entries.push(entry(indexed.key, &object));
                }
                number = Some(end);
            }
        }
        Ok(page)
    }

    /// The object in memory that an index names, if it is still the current one of its key.
    pub(crate) fn current(&self, volume: &Arc<Volume>, indexed: &Indexed) -> Option<Arc<Object>> {
        let found = self.catalogue.get(hash(&indexed.key))?;
        (found.number() == indexed.number && found.is_on(volume)).then_some(found)
    }
}

/// The next objects of a volume's index; none = there are no more.
pub(crate) fn read_batch(volume: &Volume, after: Option<u64>) -> Result<Vec<Indexed>, StoreError> {
    volume
        .keys_after(after, BATCH)
        .map_err(|source| StoreError::Index { path: volume.path().to_owned(), source })
}

fn entry(key: String, object: &Object) -> Entry {
    Entry {
        key,
        class: object.class(),
        length: object.length(),
        stored_bytes: object.disk_bytes(),
        stored_pieces: object.committed(),
        authenticated_pieces: object.authenticated(),
        pieces: object.pieces(),
        last_used: object.last_used(),
        pinned: object.is_pinned(),
        volume: object.volume_path().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_as_it_was_written_and_other_text_is_refused() {
        let cursor = Cursor { volume: 8, number: 7_696_581_394_444 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "-", "1", "1-", "-1", "a-1", "1-g", "1-11111111111111111", "1-1-1"] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }
}
