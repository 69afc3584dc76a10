//! Who is connected. A member that connects again and again, as one whose old connections have not been noticed to be dead,
//! takes the place of its oldest connection and of nobody else's.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Connections of one member at once.
const PER_MEMBER: usize = 4;

/// The connections by the members that their certificates are for; each is cancelled when it ends or is to end.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<Vec<String>, VecDeque<CancellationToken>>>);

impl Places {
    /// Adds a connection; the oldest ones of the same members beyond their places end. Those that have ended make room.
    pub(super) fn add(&self, members: &[String], connection: &CancellationToken) {
        let mut places = self.0.lock();
        places.retain(|_, connections| {
            connections.retain(|connection| !connection.is_cancelled());
            !connections.is_empty()
        });
        let connections = places.entry(members.to_vec()).or_default();
        connections.push_back(connection.clone());
        // One certificate may be for all pods: they share the places of all.
        while connections.len() > PER_MEMBER * members.len().max(1) {
            if let Some(oldest) = connections.pop_front() {
                oldest.cancel();
            }
        }
    }
}
