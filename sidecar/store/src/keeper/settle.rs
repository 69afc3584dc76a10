//! Giving back the space of bytes that nobody reads any more.

use super::{After, Keeper, Lingering};
use crate::{PIECE_LENGTH, disk_bytes};

impl Keeper {
    /// Gives back the space of bytes that nobody reads any more.
    pub(super) fn settle(&mut self) {
        for _ in 0..self.lingering.len() {
            let Some(lingering) = self.lingering.pop_front() else { break };
            if let Some(again) = self.settle_one(lingering) {
                self.lingering.push_back(again);
            }
        }
    }

    fn settle_one(&mut self, lingering: Lingering) -> Option<Lingering> {
        match lingering {
            Lingering::File { file, bytes } => {
                if file.strong_count() > 0 {
                    return Some(Lingering::File { file, bytes });
                }
                self.volume.release(bytes);
                None
            }
            Lingering::Pieces { object, pieces, bytes } => match object.punch(&pieces) {
                Ok(busy) if busy.is_empty() => {
                    self.volume.release(bytes);
                    object.reopen(&pieces);
                    self.remove_if_empty(&object);
                    None
                }
                Ok(busy) => {
                    let left: u64 = busy.iter().map(|piece| disk_bytes(object.length_of(*piece))).sum();
                    self.volume.release(bytes - left);
                    Some(Lingering::Pieces { object, pieces: busy, bytes: left })
                }
                Err(error) => {
                    self.volume.fail(&error);
                    Some(Lingering::Pieces { object, pieces, bytes })
                }
            },
            Lingering::Discarded { object, file, piece } => {
                // Counted bytes of a broken fill: cleared and punched like any other, unless the piece was begun anew.
                match object.discard(&file, piece) {
                    Ok(true) => {
                        self.volume.release(disk_bytes(object.length_of(piece)));
                        self.remove_if_empty(&object);
                        None
                    }
                    Ok(false) => Some(Lingering::Discarded { object, file, piece }),
                    Err(error) => {
                        self.volume.fail(&error);
                        Some(Lingering::Discarded { object, file, piece })
                    }
                }
            }
        }
    }

    pub(super) fn lingering_bytes(&self) -> u64 {
        self.lingering
            .iter()
            .map(|lingering| match lingering {
                Lingering::Pieces { bytes, .. } | Lingering::File { bytes, .. } => *bytes,
                Lingering::Discarded { .. } => PIECE_LENGTH as u64,
            })
            .sum()
    }

    /// Takes over the bytes of an object's pieces that wait to be punched.
    pub(super) fn absorb(&mut self, number: u64) -> u64 {
        let mut absorbed = 0;
        self.after.retain(|after| match after {
            After::Punch { object, bytes, .. } if object.number() == number => {
                absorbed += bytes;
                false
            }
            _ => true,
        });
        self.lingering.retain(|lingering| match lingering {
            Lingering::Pieces { object, bytes, .. } if object.number() == number => {
                absorbed += bytes;
                false
            }
            _ => true,
        });
        absorbed
    }
}
