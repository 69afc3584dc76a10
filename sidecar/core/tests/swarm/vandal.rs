//! Any message at any time.

use connected_cache_core::swarm::SwarmLayout;
use connected_cache_wire::swarm::{Message, PieceRange};

use crate::random::Random;

/// One message, often against the rules.
pub(crate) fn anything(random: &mut Random, layout: SwarmLayout) -> Message {
    let piece = number(random, layout.piece_count());
    let begin = if random.one_in(2) { 0 } else { number(random, layout.piece_length_bytes()) };
    let length = number(random, layout.piece_length_bytes());
    let range = PieceRange { piece, begin, length };
    match random.below(12) {
        0 => Message::KeepAlive,
        1 => Message::Choke,
        2 | 3 => Message::Unchoke,
        4 => Message::Interested,
        5 => Message::NotInterested,
        6 => Message::Have(piece),
        7 => Message::Bitfield(vec![0xff; usize::try_from(random.below(5)).unwrap()]),
        8 => Message::Request(range),
        9 => Message::Piece(range),
        10 => Message::Cancel(range),
        _ => Message::Unknown { kind: 21, bytes: length },
    }
}

fn number(random: &mut Random, bound: u32) -> u32 {
    match random.below(8) {
        0 => u32::MAX,
        1 => bound,
        _ => u32::try_from(random.below(u64::from(bound))).unwrap(),
    }
}
