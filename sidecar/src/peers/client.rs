//! Requests to members: one connection to each, made when it is needed, made anew when it is gone, when the member has moved
//! and when our certificates have changed.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::{Request, Response, Uri, uri::PathAndQuery};
use parking_lot::Mutex;

use super::{
    answer::Answer,
    connecting::connect,
    error::{ClientResult, PeersError},
    identity::Identity,
    link::{Failed, Link},
};
use crate::{
    metrics::Counters,
    sharing::members::{Member, Members},
};

/// Connections that a request may be tried on: one that was there already, and a new one.
const TRIES: usize = 2;

/// Asks members. Clones share their connections.
#[derive(Clone, Debug)]
pub struct PeersClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    identity: Arc<Identity>,
    members: Members,
    counters: Arc<Counters>,
    slots: Mutex<HashMap<String, Slot>>,
}

type Connecting = Shared<BoxFuture<'static, Result<Arc<Link>, PeersError>>>;

/// The connection to one member, or the attempt at one.
#[derive(Clone, Debug)]
struct Slot {
    connecting: Connecting,
    address: SocketAddr,
    /// Of our certificates.
    generation: u64,
}

impl Slot {
    fn is_usable(&self) -> bool {
        self.connecting.peek().is_none_or(|outcome| outcome.as_ref().is_ok_and(|link| link.is_open()))
    }
}

impl PeersClient {
    /// Connects to nobody yet.
    #[must_use]
    pub fn new(identity: Arc<Identity>, members: Members, counters: Arc<Counters>) -> Self {
        Self(Arc::new(Inner { identity, members, counters, slots: Mutex::default() }))
    }

    /// Sends a request and waits for the head of its answer, for as long as the member shows that it lives: a deadline is
    /// the caller's. Dropping the future, or the answer's body, gives the request up. The URI needs a path only.
    ///
    /// A request whose connection ends before an answer begins is sent once more on a new one, so it must be one that may be
    /// answered twice.
    pub async fn send(
        &self,
        member: &Member,
        request: Request<Bytes>,
    ) -> Result<Response<Answer>, PeersError> {
        let outcome = self.ask(member, request).await;
        let result = outcome.as_ref().map_or_else(PeersError::result, |_| ClientResult::Answered);
        self.0.counters.peers.add_request(result);
        if outcome.is_err() {
            self.0.members.doubt();
        }
        outcome
    }

    async fn ask(
        &self,
        member: &Member,
        mut request: Request<Bytes>,
    ) -> Result<Response<Answer>, PeersError> {
        let name = &member.name;
        let address = member.peers.ok_or_else(|| PeersError::NoAddress { member: name.clone() })?;
        // HTTP/2 wants all of it; names that can't stand in a URI can't stand in a certificate either.
        if let Some(uri) = whole_uri(name, request.uri()) {
            *request.uri_mut() = uri;
        }
        let mut last = PeersError::Busy { member: name.clone() };
        for _ in 0..TRIES {
            let (connecting, was_open) = self.slot(name, address);
            let link = connecting.await?;
            match link.send(request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Refused) => {
                    last = PeersError::Broken { member: name.clone(), reason: "it is leaving".to_owned() };
                }
                Err(Failed::Ended(error)) => {
                    // Who vanished is not waited for a second time.
                    if !was_open || matches!(error, PeersError::Vanished { .. }) {
                        return Err(error);
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// The connection to a member, or the attempt at one, and whether it was there before. An attempt goes on when nobody
    /// waits for it any more: the next request finds it further.
    fn slot(&self, name: &str, address: SocketAddr) -> (Connecting, bool) {
        let inner = &self.0;
        let generation = inner.identity.generation();
        let mut slots = inner.slots.lock();
        if let Some(slot) = slots.get(name)
            && slot.address == address
            && slot.generation == generation
            && slot.is_usable()
        {
            return (slot.connecting.clone(), slot.connecting.peek().is_some());
        }
        // Connections to members of the past end after their last request.
        let view = inner.members.view();
        slots.retain(|name, _| view.named(name).is_some());
        let connecting = connect(name.to_owned(), address, inner.identity.present(), inner.counters.clone());
        let attempt = tokio::spawn(connecting.map(|outcome| outcome.map(Arc::new)));
        let member = name.to_owned();
        let connecting = async move {
            attempt
                .await
                .unwrap_or_else(|error| Err(PeersError::Broken { member, reason: error.to_string() }))
        };
        let connecting = connecting.boxed().shared();
        slots.insert(name.to_owned(), Slot { connecting: connecting.clone(), address, generation });
        (connecting, false)
    }
}

fn whole_uri(member: &str, uri: &Uri) -> Option<Uri> {
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::builder().scheme("https").authority(member).path_and_query(path).build().ok()
}
