use crate::delivery_optimization::{HashOfHashes, PieceHashFile, PieceHashFileBuilder, PieceHashFileError};

/// Any bytes: as a file somebody served, and as content whose file is then damaged.
///
/// # Panics
/// When an invariant does not hold.
pub fn piece_hash_file(bytes: &[u8]) {
    match PieceHashFile::parse(bytes) {
        Ok(file) => accepted(&file, bytes),
        // No fuzzer finds a SHA-256, so what lies behind the comparison is reached by handing it the right one.
        Err(PieceHashFileError::WrongHashOfHashes { stated, computed }) => {
            let text = String::from_utf8_lossy(bytes).replace(&stated.to_base64(), &computed.to_base64());
            if let Ok(file) = PieceHashFile::parse(text.as_bytes()) {
                accepted(&file, text.as_bytes());
            }
        }
        Err(_) => {}
    }
    if let [piece_length, place, bits, content @ ..] = bytes {
        damaged(u32::from(*piece_length) + 1, usize::from(*place), *bits, content);
    }
}

/// A text that was made from the text of `file`: when it still is a file, and one that the same [`HashOfHashes`] vouches for,
/// then its pieces are the same.
///
/// # Panics
/// When an invariant does not hold.
pub fn changed_piece_hash_file(file: &PieceHashFile, text: &[u8]) {
    let Ok(other) = PieceHashFile::parse(text) else { return };
    if other.hash_of_hashes() == file.hash_of_hashes() {
        assert_eq!(other.pieces(), file.pieces());
        assert_eq!(other.content_length_bytes(), file.content_length_bytes());
        assert_eq!(other.piece_length_bytes(), file.piece_length_bytes());
    }
}

/// A file that was read from this text.
fn accepted(file: &PieceHashFile, text: &[u8]) {
    let (content_length, piece_length) = (file.content_length_bytes(), file.piece_length_bytes());
    assert!(text.len() <= PieceHashFile::MAX_BYTES);
    assert!((1..=PieceHashFile::MAX_PIECE_LENGTH_BYTES).contains(&piece_length));
    assert_eq!(file.hash_of_hashes(), HashOfHashes::compute(content_length, piece_length, file.pieces()));

    let written = file.encode();
    assert_eq!(written.len(), file.encoded_length_bytes());
    assert!(written.len() <= text.len(), "no spelling is shorter than ours");
    assert_eq!(PieceHashFile::parse(&written).as_ref(), Ok(file));

    let mut next = 0;
    for number in 0..file.piece_count() {
        let range = file.piece_range(number).expect("the piece exists");
        assert_eq!(range.start, next, "no gap and no overlap");
        assert!(range.start < range.end && range.end - range.start <= u64::from(piece_length));
        next = range.end;
    }
    assert_eq!(next, content_length);
    assert_eq!(file.piece(file.piece_count()), None);
}

/// The file of this content, read back, and with one byte of its text changed.
fn damaged(piece_length: u32, place: usize, bits: u8, content: &[u8]) {
    let mut builder = PieceHashFileBuilder::with_piece_length(piece_length).expect("1 to 256");
    builder.push(content).expect("an input of a fuzzer or a property test is short");
    let file = builder.finish();
    let mut text = file.encode();
    accepted(&file, &text);
    let place = place * text.len() / 256;
    text[place] ^= bits;
    changed_piece_hash_file(&file, &text);
}
