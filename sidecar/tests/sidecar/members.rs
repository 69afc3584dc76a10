//! Members of a cache: from a list with names, and from a scripted API server over HTTP that forgets, hangs up and is gone.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use connected_cache_config::{Config, Member as Listed};
use connected_cache_sidecar::{
    metrics::Counters,
    sharing::members::{ClientSource, Members, MembersError},
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_util::task::AbortOnDropHandle;

use crate::support::eventually;

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// What the API server says.
#[derive(Default)]
struct Script {
    slices: Vec<Value>,
    version: u64,
    /// The running watch; dropped, it ends.
    watch: Option<mpsc::UnboundedSender<Value>>,
    /// Statuses that the next requests are answered with.
    failures: VecDeque<u16>,
    /// Queries of all requests.
    seen: Vec<String>,
}

/// An API server that knows EndpointSlices and nothing else.
struct ApiServer {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    task: Option<JoinHandle<()>>,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl ApiServer {
    async fn start() -> Self {
        let mut server =
            Self { address: (Ipv4Addr::LOCALHOST, 0).into(), script: Arc::default(), task: None };
        server.listen().await;
        server
    }

    /// At the address that it had before, if it had one.
    async fn listen(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let script = self.script.clone();
        self.task = Some(tokio::spawn(async move {
            let mut connections = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let script = script.clone();
                let service = service_fn(move |request| {
                    let answer = answer(&script, &request);
                    async move { Ok::<_, std::convert::Infallible>(answer) }
                });
                let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.push(AbortOnDropHandle::new(tokio::spawn(async move { drop(serving.await) })));
            }
        }));
    }

    /// It is gone with all its connections.
    fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    fn set(&self, slices: &[Value]) {
        let mut script = self.script.lock();
        script.slices = slices.to_vec();
        script.version += 1;
    }

    /// Sends an event on the running watch.
    fn send(&self, kind: &str, object: &Value) {
        self.script.lock().watch.as_ref().unwrap().send(json!({"type": kind, "object": object})).unwrap();
    }

    async fn watched(&self) {
        eventually("it is watched", || async { self.script.lock().watch.is_some() }).await;
    }

    fn end_watch(&self) {
        self.script.lock().watch.take().unwrap();
    }

    fn seen(&self, what: &str) -> usize {
        self.script.lock().seen.iter().filter(|query| query.contains(what)).count()
    }

    fn config(&self) -> ClientSource {
        let config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        ClientSource::Configured(Box::new(config))
    }
}

fn answer(script: &Mutex<Script>, request: &Request<Incoming>) -> Response<Body> {
    let mut script = script.lock();
    let query = request.uri().query().unwrap_or_default().to_owned();
    assert_eq!(request.uri().path(), "/apis/discovery.k8s.io/v1/namespaces/caches/endpointslices");
    assert!(query.contains("labelSelector=kubernetes.io%2Fservice-name%3Dcampus"), "{query}");
    script.seen.push(query.clone());
    if let Some(status) = script.failures.pop_front() {
        let failure = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "as scripted", "reason": "Scripted", "code": status});
        let mut response = Response::new(whole(&failure));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        return response;
    }
    if query.contains("watch=true") {
        let (sender, receiver) = mpsc::unbounded_channel();
        script.watch = Some(sender);
        let lines = futures::stream::unfold(receiver, |mut receiver| async {
            let event: Value = receiver.recv().await?;
            Some((Ok(Frame::data(Bytes::from(format!("{event}\n")))), receiver))
        });
        return Response::new(StreamBody::new(lines).boxed_unsync());
    }
    let list = json!({"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"resourceVersion": script.version.to_string()}, "items": script.slices});
    Response::new(whole(&list))
}

fn whole(value: &Value) -> Body {
    Full::new(Bytes::from(value.to_string())).boxed_unsync()
}

/// A slice of IPv4 with pods by name and last part of their address.
fn slice(name: &str, version: u64, pods: &[(&str, u8)]) -> Value {
    let endpoint = |(pod, last): &(&str, u8)| {
        json!({"addresses": [format!("10.0.0.{last}")], "targetRef": {"kind": "Pod", "name": pod},
            "conditions": {"ready": true, "serving": true, "terminating": false}})
    };
    json!({"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
        "metadata": {"name": name, "resourceVersion": version.to_string()},
        "ports": [{"name": "swarm", "port": 7680, "protocol": "TCP"}, {"name": "peers", "port": 7681}],
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>()})
}

/// Members that are watched at this server.
fn watch(server: &ApiServer) -> (Members, AbortOnDropHandle<()>) {
    let config = Config::from_yaml("node: {name: campus-0}\nsharing: {service: caches/campus}").unwrap();
    let (members, source) =
        Members::with_client(&config, Arc::new(Counters::default()), server.config()).unwrap();
    (members, AbortOnDropHandle::new(tokio::spawn(source.run())))
}

/// Waits for these members and no others.
async fn see(members: &Members, expected: &[(&str, &str)]) {
    let mut changes = members.changed();
    let is_expected = |view: &Arc<connected_cache_sidecar::sharing::members::View>| {
        let found: Vec<_> =
            view.members.iter().map(|member| (member.name.clone(), member.swarm.to_string())).collect();
        let expected: Vec<_> =
            expected.iter().map(|(name, swarm)| ((*name).to_owned(), (*swarm).to_owned())).collect();
        found == expected
    };
    let waiting = changes.wait_for(is_expected);
    let seen = tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await.is_ok();
    assert!(seen, "expected {expected:?}, there are {:?}", members.view());
}

const ZERO: (&str, &str) = ("campus-0", "10.0.0.1:7680");
const ONE: (&str, &str) = ("campus-1", "10.0.0.2:7680");
const TWO: (&str, &str) = ("campus-2", "10.0.0.3:7680");

#[tokio::test]
async fn members_follow_the_slices_of_their_service() {
    let server = ApiServer::start().await;
    server.set(&[slice("a", 1, &[("campus-0", 1), ("campus-1", 2)])]);
    let (members, _source) = watch(&server);
    see(&members, &[ZERO, ONE]).await;
    assert_eq!(members.view().mine().unwrap().peers.unwrap().to_string(), "10.0.0.1:7681");
    server.watched().await;
    server.send("ADDED", &slice("b", 2, &[("campus-2", 3)]));
    see(&members, &[ZERO, ONE, TWO]).await;
    server.send("MODIFIED", &slice("a", 3, &[("campus-0", 1), ("campus-1", 9)]));
    see(&members, &[ZERO, ("campus-1", "10.0.0.9:7680"), TWO]).await;
    server.send("DELETED", &slice("b", 4, &[("campus-2", 3)]));
    see(&members, &[ZERO, ("campus-1", "10.0.0.9:7680")]).await;
    let generation = members.view().generation;
    // What changes nothing wakes nobody; where the watch goes on is remembered all the same.
    server.send("MODIFIED", &slice("a", 5, &[("campus-1", 9), ("campus-0", 1)]));
    let bookmark = json!({"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"resourceVersion": "77", "creationTimestamp": null}, "endpoints": null, "addressType": ""});
    server.send("BOOKMARK", &bookmark);
    server.end_watch();
    eventually("the watch goes on from there", || async { server.seen("resourceVersion=77") == 1 }).await;
    assert_eq!(members.view().generation, generation);
    assert_eq!(server.seen("watch=true"), 2);
    assert_eq!(server.seen("") - server.seen("watch=true"), 1, "it was listed once");
}

#[tokio::test]
async fn a_watch_that_is_too_old_is_begun_anew() {
    let server = ApiServer::start().await;
    server.set(&[slice("a", 1, &[("campus-0", 1)])]);
    let (members, _source) = watch(&server);
    see(&members, &[ZERO]).await;
    // As an event of the watch, and as the answer to it.
    server.watched().await;
    server.set(&[slice("a", 2, &[("campus-0", 1), ("campus-1", 2)])]);
    let gone = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410});
    server.send("ERROR", &gone);
    see(&members, &[ZERO, ONE]).await;
    server.watched().await;
    server.set(&[slice("a", 3, &[("campus-0", 1), ("campus-2", 3)])]);
    server.script.lock().failures.push_back(410);
    server.end_watch();
    see(&members, &[ZERO, TWO]).await;
}

#[tokio::test]
async fn members_outlive_their_api_server() {
    let mut server = ApiServer::start().await;
    // It refuses first, as it does until the role is bound.
    server.script.lock().failures.extend([403, 500]);
    server.set(&[slice("a", 1, &[("campus-0", 1), ("campus-1", 2)])]);
    let (members, _source) = watch(&server);
    assert_eq!(members.view().members, []);
    see(&members, &[ZERO, ONE]).await;
    server.watched().await;
    server.stop();
    server.script.lock().watch = None;
    let view = members.view();
    // It is back, and what it said before is forgotten by then.
    server.set(&[slice("b", 9, &[("campus-0", 1), ("campus-2", 3)])]);
    let mut failed = false;
    for _ in 0..20 {
        failed |= members.view() != view;
        tokio::task::yield_now().await;
    }
    assert!(!failed, "without an API server the members stay");
    server.script.lock().failures.push_back(410);
    server.listen().await;
    see(&members, &[ZERO, TWO]).await;
}

#[tokio::test]
async fn slices_that_say_nothing_useful_harm_nobody() {
    let server = ApiServer::start().await;
    let bare = json!({"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "FQDN",
        "metadata": {"name": "bare"}, "endpoints": null});
    let odd = json!({"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
        "metadata": {"name": "odd"}, "ports": [{"name": "swarm"}, {"port": 7680}],
        "endpoints": [{"addresses": []}, {"addresses": ["10.0.0.7"]}]});
    server.set(&[bare, odd, slice("a", 1, &[("campus-0", 1)])]);
    let (members, _source) = watch(&server);
    see(&members, &[ZERO]).await;
}

#[tokio::test]
async fn a_pod_without_a_service_account_has_no_members_and_goes_on() {
    let config = Config::from_yaml("node: {name: campus-0}\nsharing: {service: caches/campus}").unwrap();
    let (members, source) = Members::new(&config, Arc::new(Counters::default())).unwrap();
    let source = AbortOnDropHandle::new(tokio::spawn(source.run()));
    tokio::task::yield_now().await;
    assert_eq!((members.view().members.len(), members.view().me.as_str()), (0, "campus-0"));
    assert!(!source.is_finished());
}

#[tokio::test]
async fn names_of_a_list_are_resolved_and_addresses_are_there_at_once() {
    let mut config = Config::default();
    config.node.name = Some("pod-1".to_owned());
    let entry = |name: &str, swarm: &str, peers: Option<&str>, zone: Option<&str>| Listed {
        name: name.to_owned(),
        swarm: swarm.to_owned(),
        peers: peers.map(str::to_owned),
        zone: zone.map(str::to_owned),
    };
    config.sharing.members = vec![
        entry("pod-1", "[::1]:1", Some("10.0.0.1:2"), Some("east")),
        entry("pod-0", "localhost:3", Some("localhost:4"), None),
        entry("pod-2", "no-such-name.invalid:5", None, None),
    ];
    let (members, source) = Members::new(&config, Arc::new(Counters::default())).unwrap();
    let first = members.view();
    assert_eq!(first.members.len(), 1, "{first:?}");
    let mine = first.mine().unwrap();
    assert_eq!((mine.zone.as_deref(), mine.is_ready, mine.is_leaving), (Some("east"), true, false));
    let _source = AbortOnDropHandle::new(tokio::spawn(source.run()));
    let mut changes = members.changed();
    let view = changes.wait_for(|view| view.members.len() == 2).await.unwrap().clone();
    let found = view.named("pod-0").unwrap();
    assert!(found.swarm.ip().is_loopback() && found.swarm.port() == 3, "{found:?}");
    assert!(found.peers.is_some_and(|peers| peers.ip().is_loopback() && peers.port() == 4), "{found:?}");
    assert!(view.others().map(|member| member.name.as_str()).eq(["pod-0"]));
}

#[tokio::test]
async fn without_a_list_and_without_sharing_there_are_no_members() {
    for text in [
        "",
        "sharing: {mode: 'Off', members: [{name: pod-0, swarm: '10.0.0.1:1'}]}",
        "sharing: {mode: Array, members: [{name: pod-0, swarm: '10.0.0.1:1'}]}",
    ] {
        let mut config = Config::from_yaml(text).unwrap();
        config.node.name = Some("pod-0".to_owned());
        let (members, _source) = Members::new(&config, Arc::new(Counters::default())).unwrap();
        assert_eq!(members.view().members, [], "{text}");
    }
    let config =
        Config::from_yaml("sharing: {members: [{name: not-this-host, swarm: '10.0.0.1:1'}]}").unwrap();
    let error = Members::new(&config, Arc::new(Counters::default())).unwrap_err();
    assert!(matches!(error, MembersError::NotListed { .. }), "{error}");
}

#[test]
fn of_too_many_members_the_first_by_name_are_used() {
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, 1).into();
    let named = |index: usize| connected_cache_sidecar::sharing::members::Member {
        name: format!("pod-{index:04}"),
        zone: None,
        swarm: address,
        peers: None,
        is_ready: true,
        is_leaving: false,
    };
    let members = Members::fixed("pod-0000", (0..1500).rev().map(named).collect());
    let view = members.view();
    assert_eq!(view.members.len(), 1000);
    assert_eq!((&view.members[0].name[..], &view.members[999].name[..]), ("pod-0000", "pod-0999"));
    assert!(view.named("pod-0999").is_some() && view.named("pod-1000").is_none());
}
