//! Which pieces of one content are asked of which peer (dossier delivery-optimization 5.6). The order is a [`PiecePicker`]'s.
//!
//! Invariants: a piece is missing or here, and what is here is asked of nobody; beside peers that have stalled, a missing piece is
//! asked of one peer, or of two if few are missing; a piece that a peer got wrong is never asked of this peer again.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bitfield, Candidate, PiecePicker};

/// So many missing pieces or fewer are asked of two peers each, so that the slowest does not decide when the download ends.
pub const END_GAME_PIECES: u32 = 4;

/// See the module. `K` names a connection.
#[derive(Clone, Debug)]
pub struct Download<K, P> {
    picker: P,
    missing: Bitfield,
    peers: BTreeMap<K, Bitfield>,
    /// Of each piece, how many of the peers have it.
    holders: Vec<u32>,
    /// Missing pieces that somebody was asked for.
    asked: BTreeMap<u32, Vec<Asked<K>>>,
    wrong: BTreeSet<(K, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Asked<K> {
    peer: K,
    has_stalled: bool,
}

/// How urgent it is that somebody is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nobody is asked.
    First,
    /// All who are asked have stalled.
    Stalled,
    /// The end is near.
    EndGame,
}

impl<K: Copy + Ord, P: PiecePicker> Download<K, P> {
    /// A download of these pieces. Takes 4 bytes for each piece of the content, and a bit more for each peer.
    #[must_use]
    pub fn new(missing: Bitfield, picker: P) -> Self {
        let holders = vec![0; missing.piece_count() as usize];
        let (peers, asked, wrong) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { picker, missing, peers, holders, asked, wrong }
    }

    /// A peer came, or told its pieces anew.
    pub fn peer(&mut self, peer: K, pieces: &Bitfield) {
        if let Some(old) = self.peers.insert(peer, pieces.clone()) {
            self.count(&old, u32::wrapping_sub);
        }
        self.count(pieces, u32::wrapping_add);
    }

    /// A peer has one more piece.
    pub fn peer_has(&mut self, peer: K, piece: u32) {
        let is_new = self.peers.get_mut(&peer).is_some_and(|pieces| pieces.set(piece));
        if is_new && let Some(holders) = self.holders.get_mut(piece as usize) {
            *holders += 1;
        }
    }

    /// A peer is gone; what it was asked for may be asked of others.
    pub fn gone(&mut self, peer: K) {
        if let Some(pieces) = self.peers.remove(&peer) {
            self.count(&pieces, u32::wrapping_sub);
        }
        self.release(|_, asked| asked.peer == peer);
        self.wrong.retain(|(who, _)| *who != peer);
    }

    /// Each piece was counted once for each peer that has it, so it neither wraps nor is it too large.
    fn count(&mut self, pieces: &Bitfield, change: fn(u32, u32) -> u32) {
        for piece in pieces.iter() {
            if let Some(holders) = self.holders.get_mut(piece as usize) {
                *holders = change(*holders, 1);
            }
        }
    }

    fn release(&mut self, is_released: impl Fn(u32, &Asked<K>) -> bool) {
        self.asked.retain(|piece, asked| {
            asked.retain(|asked| !is_released(*piece, asked));
            !asked.is_empty()
        });
    }

    /// The next piece to ask this peer for. It counts as asked until one of the methods below says otherwise. `None`: there
    /// is nothing for it now.
    pub fn next(&mut self, peer: K) -> Option<u32> {
        let piece =
            [Need::First, Need::Stalled, Need::EndGame].into_iter().find_map(|need| self.pick(peer, need))?;
        self.asked.entry(piece).or_default().push(Asked { peer, has_stalled: false });
        Some(piece)
    }

    fn pick(&mut self, peer: K, need: Need) -> Option<u32> {
        let Self { picker, missing, peers, holders, asked, wrong } = self;
        if need == Need::EndGame && missing.held() > END_GAME_PIECES {
            return None;
        }
        let is_needed = |piece: u32| {
            let asked = asked.get(&piece).map_or(&[][..], Vec::as_slice);
            let active = asked.iter().filter(|asked| !asked.has_stalled).count();
            match need {
                Need::First => asked.is_empty(),
                Need::Stalled => active == 0 && asked.iter().all(|asked| asked.peer != peer),
                Need::EndGame => active <= 1 && asked.iter().all(|asked| asked.peer != peer),
            }
        };
        let pieces = peers.get(&peer)?;
        let mut candidates = missing
            .iter()
            .filter(|piece| pieces.has(*piece) && is_needed(*piece) && !wrong.contains(&(peer, *piece)))
            .map(|piece| Candidate { piece, holders: holders[piece as usize] });
        picker.pick(&mut candidates)
    }

    /// A piece came and passed its check. Gives the other peers that were asked for it, to cancel the request there.
    pub fn arrived(&mut self, piece: u32, from: K) -> Vec<K> {
        self.missing.clear(piece);
        let asked = self.asked.remove(&piece).unwrap_or_default();
        asked.into_iter().map(|asked| asked.peer).filter(|peer| *peer != from).collect()
    }

    /// A piece came and failed its check.
    pub fn wrong(&mut self, piece: u32, from: K) {
        self.lost(piece, from);
        if self.peers.contains_key(&from) {
            self.wrong.insert((from, piece));
        }
    }

    /// A request will get no answer: they choked, or it was taken back.
    pub fn lost(&mut self, piece: u32, by: K) {
        self.release(|of, asked| of == piece && asked.peer == by);
    }

    /// A request makes no progress; another may be asked as well.
    pub fn stalled(&mut self, piece: u32, by: K) {
        for asked in self.asked.get_mut(&piece).into_iter().flatten() {
            asked.has_stalled |= asked.peer == by;
        }
    }

    /// What is still missing.
    #[must_use]
    pub const fn missing(&self) -> &Bitfield {
        &self.missing
    }

    /// Nothing is missing.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Of whom a piece is asked now.
    pub fn asked(&self, piece: u32) -> impl Iterator<Item = K> {
        self.asked.get(&piece).into_iter().flatten().map(|asked| asked.peer)
    }

    /// The policy, to be told where a reader is.
    pub const fn picker_mut(&mut self) -> &mut P {
        &mut self.picker
    }
}

#[cfg(test)]
mod tests;
