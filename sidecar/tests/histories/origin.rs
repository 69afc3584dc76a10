//! The origin of one history: a scripted HTTP/1.1 server on a socket of its own, written by hand so that it can break every
//! rule on purpose. It keeps a record of everything it ever said, which is what answers of the cache are checked against.

mod answer;
mod request;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::{
    fault::Fault,
    object::{Label, OTHER_HOST, Object},
};

use answer::{Answer, Then};
use request::{Request, Requests};

/// What the origin has said about an object in one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) generation: usize,
    pub(crate) label: Label,
}

/// What the origin knows about one object.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The present state.
    pub(crate) generation: usize,
    /// Heads of answers with content, each once.
    pub(crate) announced: Vec<Announced>,
    /// Totals of 416 answers.
    pub(crate) totals: Vec<usize>,
    /// Other statuses, with the round in which they were last sent.
    pub(crate) refusals: HashMap<u16, usize>,
    /// The last round in which something went wrong or changed.
    pub(crate) troubled: Option<usize>,
    fault: Option<(Fault, usize)>,
    replaced_after: Option<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Counts the steps in which clients ask.
    pub(crate) round: usize,
    pub(crate) records: Vec<Record>,
    /// Host and target as clients asked for them.
    asked: HashSet<(String, String)>,
    /// Requests that no client can have caused.
    pub(crate) strange: Vec<String>,
}

/// A running origin.
#[derive(Debug)]
pub(crate) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    objects: Arc<Vec<Object>>,
    /// Host and target without signature to the object's number.
    places: HashMap<(String, String), usize>,
    state: Mutex<State>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Origin {
    pub(crate) async fn start(objects: Arc<Vec<Object>>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let mut places = HashMap::new();
        for (number, object) in objects.iter().enumerate() {
            for query in &object.queries {
                places.insert((object.host.to_owned(), target(&object.path, query)), number);
            }
            places.insert((OTHER_HOST.to_owned(), moved(number)), number);
        }
        let records = objects.iter().map(|_| Record::default()).collect();
        let state = Mutex::new(State { records, ..State::default() });
        let shared = Arc::new(Shared { objects, places, state });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, accepting })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn begin_round(&self, round: usize) {
        self.shared.state.lock().round = round;
    }

    /// Looks into the records.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.state.lock())
    }

    pub(crate) fn generation(&self, object: usize) -> usize {
        self.with(|state| state.records[object].generation)
    }

    /// A client is about to ask for this.
    pub(crate) fn expect(&self, host: &str, target: String) {
        self.shared.state.lock().asked.insert((host.to_owned(), target));
    }

    pub(crate) fn replace(&self, object: usize) {
        let state = &mut *self.shared.state.lock();
        state.records[object].replace(&self.shared.objects[object], state.round);
    }

    pub(crate) fn replace_later(&self, object: usize, requests: usize) {
        let state = &mut *self.shared.state.lock();
        // One that is still to come comes now, so that every state of the plan is reached in order.
        if state.records[object].replaced_after.take().is_some() {
            state.records[object].replace(&self.shared.objects[object], state.round);
        }
        state.records[object].replaced_after = Some(requests);
    }

    pub(crate) fn set_fault(&self, object: usize, fault: Fault, times: usize) {
        let state = &mut *self.shared.state.lock();
        let times = if fault == Fault::RedirectsInCircles { times * 12 } else { times };
        state.records[object].fault = Some((fault, times));
    }

    pub(crate) fn heal(&self) {
        let state = &mut *self.shared.state.lock();
        for (number, record) in state.records.iter_mut().enumerate() {
            record.fault = None;
            if record.replaced_after.take().is_some() {
                record.replace(&self.shared.objects[number], state.round);
            }
        }
    }
}

impl Record {
    fn replace(&mut self, object: &Object, round: usize) {
        self.generation = (self.generation + 1).min(object.generations() - 1);
        self.troubled = Some(round);
    }

    /// The state and the fault of the next answer.
    fn next(&mut self, object: &Object, round: usize, is_moved: bool) -> Option<Fault> {
        match &mut self.replaced_after {
            Some(0 | 1) => {
                self.replaced_after = None;
                self.replace(object, round);
            }
            Some(requests) => *requests -= 1,
            None => {}
        }
        let (fault, times) = self.fault.as_mut().filter(|_| !is_moved)?;
        let now = *fault;
        *times -= 1;
        if *times == 0 {
            self.fault = None;
        }
        if !now.is_harmless() {
            self.troubled = Some(round);
        }
        Some(now)
    }
}

/// Path and query as one.
pub(crate) fn target(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Where permitted redirects lead.
fn moved(object: usize) -> String {
    format!("/moved/{object}")
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        connections.spawn(serve(stream, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut requests = Requests::new(stream);
    while let Some(request) = requests.next().await {
        let answer = decide(&shared, &request);
        let stream = requests.stream();
        if stream.write_all(&answer.bytes).await.is_err() {
            return;
        }
        match answer.then {
            Then::Keep => {}
            Then::Close => {
                let _ = stream.shutdown().await;
                return;
            }
            Then::Reset => {
                let _ = stream.set_zero_linger();
                return;
            }
            // The other side ends it.
            Then::Stall => while requests.next().await.is_some() {},
        }
    }
}

/// The answer to one request, and what the record keeps of it.
fn decide(shared: &Shared, request: &Request) -> Answer {
    let state = &mut *shared.state.lock();
    let host_and_target = (request.host.clone(), request.target.clone());
    let Some(&number) = shared.places.get(&host_and_target) else {
        state.strange.push(format!("{} {}: no such place", request.host, request.target));
        return Answer::status(404);
    };
    let is_moved = request.host == OTHER_HOST;
    if !is_moved && !state.asked.contains(&host_and_target) {
        state.strange.push(format!("{} {}: nobody asked for it", request.host, request.target));
    }
    let (object, round) = (&shared.objects[number], state.round);
    let fault = state.records[number].next(object, round, is_moved);
    if fault.is_some_and(Fault::harms_connection) {
        for record in &mut state.records {
            record.troubled = Some(round);
        }
    }
    let record = &mut state.records[number];
    let answer = answer::answer(object, number, record.generation, request, fault);
    match &answer.said {
        answer::Said::Content(announced) if !record.announced.contains(announced) => {
            record.announced.push(announced.clone());
        }
        answer::Said::Total(total) => record.totals.push(*total),
        answer::Said::Status(status) => {
            record.refusals.insert(*status, round);
        }
        answer::Said::Content(_) | answer::Said::Nothing => {}
    }
    answer
}
