//! An index as a store leaves it behind that holds many pieces, without the pieces: for measuring how a store starts.

use std::io;
use std::path::Path;

use crate::PIECE_LENGTH;
use crate::index::{Change, Index, ObjectRecord, PieceRecord, Trust};

/// The index of a volume; the test below shows that a store finds it.
const INDEX: &str = "index.redb";

/// Changes in one transaction, as many as a busy keeper gathers.
const BATCH: usize = 10_000;

/// Writes an index of `objects` objects with `pieces` pieces each into a folder that has none.
pub fn write(folder: &Path, objects: usize, pieces: usize) -> io::Result<()> {
    let index = Index::open(&folder.join(INDEX)).map_err(io::Error::other)?;
    let epoch = index.next_epoch().map_err(io::Error::other)?;
    let mut changes = Vec::new();
    for object in 0..objects as u64 {
        let number = epoch << 40 | object;
        let record = ObjectRecord {
            key: format!("http://origin.example/filestreamingservice/files/{object:08x}"),
            class: 0,
            length: (pieces * PIECE_LENGTH) as u64,
            created: 1_700_000_000,
            attributes: br#"{"etag":"\"abc\"","contentType":"application/octet-stream"}"#.to_vec(),
        };
        changes.push(Change::Object { number, record });
        for piece in 0..pieces {
            let sha256 =
                std::array::from_fn(|place| number.to_le_bytes()[place % 8] ^ piece.to_le_bytes()[0]);
            let record = PieceRecord { sha256, trust: Trust::Origin };
            changes.push(Change::Piece { number, piece, record });
        }
        if changes.len() >= BATCH {
            index.apply(&changes).map_err(io::Error::other)?;
            changes.clear();
        }
    }
    index.apply(&changes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, VolumeOptions};

    #[test]
    fn a_store_opens_with_the_pieces_that_the_index_names() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 3, 70).unwrap();
        let options = VolumeOptions { path: folder.path().to_owned(), limit: 1 << 40, min_free: 0 };
        let store = Store::open(&[options], &[]).unwrap();
        let committed: Vec<usize> = store.objects().iter().map(|object| object.committed()).collect();
        assert_eq!(committed, [70; 3]);
    }
}
