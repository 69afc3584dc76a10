//! In which order the pieces of a content are asked for. What may be asked of whom at all is the business of [`super::Download`].

mod in_order;
mod rarest_first;

pub use in_order::InOrder;
pub use rarest_first::RarestFirst;

/// A piece that may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub piece: u32,
    /// How many of the connected peers have it, at least 1.
    pub holders: u32,
}

/// A policy.
pub trait PiecePicker {
    /// One of the candidates, which come in the order of their numbers; `None` if there are none.
    fn pick(&mut self, candidates: &mut dyn Iterator<Item = Candidate>) -> Option<u32>;
}

impl<P: PiecePicker + ?Sized> PiecePicker for Box<P> {
    fn pick(&mut self, candidates: &mut dyn Iterator<Item = Candidate>) -> Option<u32> {
        self.as_mut().pick(candidates)
    }
}
