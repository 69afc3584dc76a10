//! What holds for every file and for every text; shared with the fuzz target `piece_hash_file`.

use proptest::prelude::*;

use super::*;
use crate::invariants;

/// Any file of up to twenty pieces.
fn any_file() -> impl Strategy<Value = PieceHashFile> {
    let hashes = prop::collection::vec(any::<[u8; 32]>().prop_map(PieceHash::from_bytes), 0..20);
    (hashes, 1..=PieceHashFile::MAX_PIECE_LENGTH_BYTES, any::<u32>()).prop_map(|(hashes, length, cut)| {
        let last = u64::from(cut % length) + 1;
        let whole = (hashes.len() as u64).saturating_sub(1) * u64::from(length);
        let content_length = if hashes.is_empty() { 0 } else { whole + last };
        PieceHashFile::new(content_length, length, hashes).unwrap()
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(file in any_file()) {
        invariants::piece_hash_file(&file.encode());
        prop_assert_eq!(PieceHashFile::parse(&file.encode()), Ok(file));
    }

    #[test]
    fn any_bytes_are_a_file_or_an_error(bytes: Vec<u8>) {
        invariants::piece_hash_file(&bytes);
    }

    #[test]
    fn a_changed_text_is_never_another_file_of_the_same_hash_of_hashes(
        file in any_file(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut text = file.encode();
        for (index, byte) in changes {
            let index = index.index(text.len());
            text[index] = byte;
        }
        invariants::piece_hash_file(&text);
        invariants::changed_piece_hash_file(&file, &text);
    }

    #[test]
    fn another_hash_of_one_piece_gives_another_hash_of_hashes(
        file in any_file(),
        piece: prop::sample::Index,
        byte in 0..32_usize,
        bits in 1..=u8::MAX,
    ) {
        prop_assume!(file.piece_count() > 0);
        let mut hashes = file.pieces().to_vec();
        let hash = &mut hashes[piece.index(file.piece_count())];
        let mut bytes = *hash.as_bytes();
        bytes[byte] ^= bits;
        *hash = PieceHash::from_bytes(bytes);
        let other = PieceHashFile::new(file.content_length_bytes(), file.piece_length_bytes(), hashes).unwrap();
        prop_assert_ne!(other.hash_of_hashes(), file.hash_of_hashes());
        // The old hash over the new pieces: what somebody would serve who wants us to take other content.
        let forged = String::from_utf8(other.encode()).unwrap()
            .replace(&other.hash_of_hashes().to_base64(), &file.hash_of_hashes().to_base64());
        let (stated, computed) = (file.hash_of_hashes(), other.hash_of_hashes());
        prop_assert_eq!(parse(&forged), Err(PieceHashFileError::WrongHashOfHashes { stated, computed }));
    }

    #[test]
    fn a_builder_makes_the_same_of_any_runs(
        content in prop::collection::vec(any::<u8>(), 0..2_000),
        piece_length in 1_u32..600,
        runs in prop::collection::vec(1_usize..700, 1..20),
    ) {
        let mut builder = PieceHashFileBuilder::with_piece_length(piece_length).unwrap();
        let mut rest = content.as_slice();
        for run in runs.into_iter().cycle() {
            let (now, later) = rest.split_at(run.min(rest.len()));
            builder.push(now).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let file = builder.finish();
        let hashes = content.chunks(piece_length as usize).map(PieceHash::of).collect();
        prop_assert_eq!(&file, &PieceHashFile::new(content.len() as u64, piece_length, hashes).unwrap());
        for (number, piece) in content.chunks(piece_length as usize).enumerate() {
            prop_assert!(file.is_piece(number, piece));
        }
    }
}
