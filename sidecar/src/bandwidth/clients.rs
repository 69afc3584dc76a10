//! The clients that are connected, each with the bucket of its cap. One is forgotten with its last connection, so that there are
//! never more of them than connections; it gains nothing by that, because a new bucket is empty.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use connected_cache_core::ClientNetwork;
use parking_lot::Mutex;

use super::Bucket;

/// By address.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<HashMap<ClientNetwork, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    bucket: Arc<Bucket>,
    connections: usize,
}

/// A client for as long as one connection of it is open.
#[derive(Debug)]
pub(super) struct Client {
    network: ClientNetwork,
    bucket: Arc<Bucket>,
    clients: Arc<Clients>,
}

impl Clients {
    /// For a new connection from this address.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Client {
        let network = ClientNetwork::of(address);
        let mut clients = self.0.lock();
        let entry = clients.entry(network).or_default();
        entry.connections += 1;
        Client { network, bucket: entry.bucket.clone(), clients: self.clone() }
    }
}

impl Client {
    pub(super) fn bucket(&self) -> &Bucket {
        &self.bucket
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut clients = self.clients.0.lock();
        if let Some(entry) = clients.get_mut(&self.network) {
            entry.connections -= 1;
            if entry.connections == 0 {
                clients.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_client_share_its_bucket_and_the_last_one_takes_it_away() {
        let clients = Arc::new(Clients::default());
        let enter = |address: &str| clients.enter(address.parse().unwrap());
        let (first, second, other) = (enter("192.0.2.1"), enter("::ffff:192.0.2.1"), enter("192.0.2.2"));
        assert!(Arc::ptr_eq(&first.bucket, &second.bucket) && !Arc::ptr_eq(&first.bucket, &other.bucket));
        let count = || clients.0.lock().len();
        assert_eq!(count(), 2);
        drop(first);
        assert_eq!(count(), 2, "one of its connections is still open");
        drop(second);
        drop(other);
        assert_eq!(count(), 0);
    }
}
