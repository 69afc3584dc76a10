//! Piece hash files, right or wrong in the way that a fault asks for.

use connected_cache_wire::delivery_optimization::{PieceHash, PieceHashFile};
use serde_json::Value;

use super::WrongAnswer;
use super::wrong_answer::with_wrong_types;
use crate::fault::Fault;

/// The text to serve. Only what the fault names is wrong, so a member that depends on it no longer agrees.
pub(crate) fn encode(file: &PieceHashFile, fault: &Fault) -> Vec<u8> {
    let mut hash_of_hashes = *file.hash_of_hashes().as_bytes();
    let mut pieces: Vec<[u8; 32]> = file.pieces().iter().map(|piece| *piece.as_bytes()).collect();
    let piece = fault.corrupt_piece.and_then(|number| usize::try_from(number).ok());
    if let Some(piece) = piece.and_then(|number| pieces.get_mut(number)) {
        piece[0] = !piece[0];
    }
    match fault.answer {
        Some(WrongAnswer::WrongHashOfHashes) => hash_of_hashes[0] = !hash_of_hashes[0],
        Some(WrongAnswer::WrongPieceCount) if pieces.pop().is_none() => pieces.push([0; 32]),
        Some(WrongAnswer::EmptyJson) => return b"{}".to_vec(),
        _ => {}
    }
    let pieces: Vec<String> = pieces.iter().map(|piece| format!("\"{}\"", base64(*piece))).collect();
    let mut text = format!(
        "{{\"MajorVersion\":1,\"MinorVersion\":0,\"HashOfHashes\":\"{}\",\"ContentLength\":{},\"PieceSize\":{},\
         \"Pieces\":[{}]}}",
        base64(hash_of_hashes),
        file.content_length_bytes(),
        file.piece_length_bytes(),
        pieces.join(",")
    );
    match fault.answer {
        Some(WrongAnswer::Truncated) => text.truncate(text.len() / 2),
        Some(WrongAnswer::WrongJsonTypes) => {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                text = with_wrong_types(&value).to_string();
            }
        }
        _ => {}
    }
    text.into_bytes()
}

fn base64(bytes: [u8; 32]) -> String {
    PieceHash::from_bytes(bytes).to_base64()
}
