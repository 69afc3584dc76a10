//! The one byte form that is written (dossier 3.2): no white space, members in this order, `/` not escaped.

use super::PieceHashFile;
use super::digest::{BASE64_LENGTH, push_base64};

/// Quotes around a hash and the comma behind it, which the last one does without.
const BYTES_OF_A_PIECE: usize = BASE64_LENGTH + 3;

/// Bytes of a file but for its numbers and its hashes of pieces.
const FIXED_BYTES: usize =
    r#"{"MajorVersion":1,"MinorVersion":,"HashOfHashes":"","ContentLength":,"PieceSize":,"Pieces":[]}"#.len()
        + BASE64_LENGTH;

/// The most pieces whose file surely fits into [`PieceHashFile::MAX_BYTES`], whatever its numbers.
pub(super) const MAX_PIECES: usize =
    (PieceHashFile::MAX_BYTES - FIXED_BYTES - 2 * 10 - 20) / BYTES_OF_A_PIECE;

pub(super) fn encode(file: &PieceHashFile) -> Vec<u8> {
    let mut text = String::with_capacity(encoded_length_bytes(file));
    text.push_str(r#"{"MajorVersion":1,"MinorVersion":"#);
    text.push_str(&file.minor_version.to_string());
    text.push_str(r#","HashOfHashes":""#);
    push_base64(&mut text, file.hash_of_hashes.as_bytes());
    text.push_str(r#"","ContentLength":"#);
    text.push_str(&file.content_length_bytes.to_string());
    text.push_str(r#","PieceSize":"#);
    text.push_str(&file.piece_length_bytes.to_string());
    text.push_str(r#","Pieces":["#);
    for (number, hash) in file.piece_hashes.iter().enumerate() {
        text.push_str(if number == 0 { "\"" } else { ",\"" });
        push_base64(&mut text, hash.as_bytes());
        text.push('"');
    }
    text.push_str("]}");
    text.into_bytes()
}

pub(super) fn encoded_length_bytes(file: &PieceHashFile) -> usize {
    let numbers =
        [u64::from(file.minor_version), file.content_length_bytes, u64::from(file.piece_length_bytes)];
    let pieces = (file.piece_hashes.len() * BYTES_OF_A_PIECE).saturating_sub(1);
    FIXED_BYTES + numbers.into_iter().map(digits).sum::<usize>() + pieces
}

/// Decimal digits of a number.
fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}
