//! The peer protocol's decisions: what one connection may send and must answer, which piece is asked of whom, who gets an upload
//! slot and who is banned (dossier delivery-optimization 4.3, 5.5, 5.6). Bytes are the business of `wire::swarm`, sockets that of
//! the sidecar; time is an argument everywhere.

mod bans;
mod bitfield;
mod connection;
mod download;
mod layout;
mod picker;
mod slots;
mod violation;

pub use bans::{BadPiece, Ban, BanReason, BanRules, Bans, MAX_BANS, Mark, Suspect};
pub use bitfield::Bitfield;
pub use connection::{CloseReason, Connection, ConnectionLimits, Event, Expectation};
pub use download::{Download, END_GAME_PIECES};
pub use layout::{LayoutError, SwarmLayout};
pub use picker::{Candidate, InOrder, PiecePicker, RarestFirst};
pub use slots::{SlotChange, TURN, UploadSlots};
pub use violation::Violation;
