//! Reads every message of honest peers and knows the rules by itself (dossier delivery-optimization 5.3 to 5.6).

use std::collections::BTreeMap;

use connected_cache_core::swarm::Bitfield;
use connected_cache_wire::swarm::{Message, PieceRange};

/// One end of a link, as its messages show it.
#[derive(Debug, Default)]
struct End {
    is_foreign: bool,
    may_ask: bool,
    told_unchoked: bool,
    /// What it said of itself last, before and after its first message.
    interest: Option<bool>,
    announced: Vec<u32>,
    /// Its requests without an answer.
    asked: Vec<PieceRange>,
    /// Requests that it has to answer, or may.
    owed: Vec<PieceRange>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Referee {
    in_flight: usize,
    slots: usize,
    ends: BTreeMap<(usize, usize), End>,
}

impl Referee {
    pub(crate) fn new(in_flight: usize, slots: usize) -> Self {
        Self { in_flight, slots, ends: BTreeMap::new() }
    }

    pub(crate) fn opened(&mut self, peer: usize, link: usize, is_foreign: bool) {
        self.ends.insert((peer, link), End { is_foreign, ..End::default() });
    }

    pub(crate) fn closed(&mut self, peer: usize, link: usize) {
        self.ends.remove(&(peer, link));
    }

    /// An honest peer sends this.
    pub(crate) fn sent(
        &mut self,
        peer: usize,
        link: usize,
        message: &Message,
        has: &Bitfield,
    ) -> Result<(), String> {
        let in_flight = self.in_flight;
        let end = self.ends.entry((peer, link)).or_default();
        let is_first = end.interest.is_none();
        let is_interested = end.interest.get_or_insert_default();
        let fine = match message {
            Message::KeepAlive => true,
            Message::Choke => {
                end.owed.clear();
                std::mem::replace(&mut end.told_unchoked, false)
            }
            Message::Unchoke => !std::mem::replace(&mut end.told_unchoked, true),
            Message::Interested => !std::mem::replace(is_interested, true),
            Message::NotInterested => std::mem::replace(is_interested, false),
            Message::Have(piece) => {
                let is_new = !end.announced.contains(piece);
                end.announced.push(*piece);
                is_new && has.has(*piece)
            }
            Message::Bitfield(bytes) => {
                let told = Bitfield::from_wire(bytes, has.piece_count()).unwrap();
                end.announced = told.iter().collect();
                is_first && !told.has_more_than(has)
            }
            Message::Request(range) => {
                let is_new = !end.asked.contains(range);
                end.asked.push(*range);
                end.may_ask && *is_interested && is_new && end.asked.len() <= in_flight
            }
            Message::Cancel(range) => take(&mut end.asked, range),
            Message::Piece(range) => take(&mut end.owed, range) && end.told_unchoked,
            Message::Filler(_) | Message::Unknown { .. } => false,
        };
        let unchoked =
            self.ends.iter().filter(|((who, _), end)| *who == peer && end.is_foreign && end.told_unchoked);
        if !fine || unchoked.count() > self.slots {
            return Err(format!("peer {peer} must not send {message:?} on link {link}"));
        }
        Ok(())
    }

    /// An honest peer gets this.
    pub(crate) fn received(&mut self, peer: usize, link: usize, message: &Message) {
        let Some(end) = self.ends.get_mut(&(peer, link)) else { return };
        match message {
            Message::Choke => {
                end.may_ask = false;
                end.asked.clear();
            }
            Message::Unchoke => end.may_ask = true,
            Message::Request(range) if end.told_unchoked => end.owed.push(*range),
            Message::Cancel(range) => {
                take(&mut end.owed, range);
            }
            Message::Piece(range) => {
                take(&mut end.asked, range);
            }
            _ => {}
        }
    }
}

fn take(ranges: &mut Vec<PieceRange>, range: &PieceRange) -> bool {
    let at = ranges.iter().position(|known| known == range);
    at.map(|at| ranges.remove(at)).is_some()
}
