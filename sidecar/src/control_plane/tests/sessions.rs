//! Joins: when they are sent, what they say, and when they end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use connected_cache_config::ByteSize;
use connected_cache_mock_control_plane::{
    self as mock, Array, Discovery, Fault, ListedPeer,
    control_plane::{Expectation, JoinRecord, ScriptedReply, Service, WrongAnswer},
};

use super::{
    super::Policy,
    lab::{LENGTH, Lab, SERVICES, content, eventually, fault, standing},
};
use crate::metrics::{CallResult, Service as Counted};

const MINUTE: Duration = Duration::from_mins(1);
/// Left bytes that stand for: nobody fetches it any more.
const GONE: u64 = u64::MAX;

/// A lab with a content that is being fetched, and how much of it is left.
struct Fetch {
    lab: Lab,
    policy: Policy,
    left: Arc<AtomicU64>,
}

impl Fetch {
    async fn start() -> Self {
        Self::start_with(mock::ControlPlane::default(), Vec::new()).await
    }

    async fn start_with(answers: mock::ControlPlane, faults: Vec<Fault>) -> Self {
        let lab = Lab::start_with(answers, |_| {}).await;
        let policy = lab.look_up().await.unwrap().policy;
        lab.set_faults(faults);
        let fetch = Self { lab, policy, left: Arc::new(AtomicU64::new(LENGTH)) };
        fetch.join();
        fetch
    }

    fn join(&self) {
        let left = self.left.clone();
        self.lab.control_plane.join(&content().url, &self.policy, move || {
            let left = left.load(Ordering::Relaxed);
            (left != GONE).then(|| standing(left))
        });
    }

    fn set_left(&self, left: u64) {
        self.left.store(left, Ordering::Relaxed);
    }

    fn joins(&self) -> Vec<JoinRecord> {
        self.lab.mock.arrays().joins
    }

    fn sessions(&self) -> usize {
        self.lab.control_plane.status().sessions.len()
    }

    /// One member of every join.
    fn member(&self, name: &str) -> Vec<Option<String>> {
        self.joins().iter().map(|join| join.fields.get(name).cloned()).collect()
    }

    /// Moves the clock in seconds, as sessions look around.
    async fn advance(&self, by: Duration) {
        for _ in 0..by.as_secs() {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}

fn texts(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| Some((*value).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_session_joins_again_in_time_and_ends_with_the_join_that_says_that_nothing_is_left() {
    let fetch = Fetch::start().await;
    fetch.lab.until_joined(1).await;
    fetch.set_left(1000);
    fetch.advance(Duration::from_secs(299)).await;
    assert_eq!(fetch.joins().len(), 1, "it joined before it was time");
    fetch.advance(Duration::from_secs(1)).await;
    fetch.lab.until_joined(2).await;
    fetch.set_left(0);
    fetch.advance(Duration::from_secs(1)).await;
    fetch.lab.until_joined(3).await;
    // Nothing of it is given to peers, so there is nothing to stay for.
    eventually("the session ends", || fetch.sessions() == 0).await;
    fetch.advance(10 * MINUTE).await;
    assert_eq!(fetch.member("Left"), texts(&[&LENGTH.to_string(), "1000", "0"]));
    assert_eq!(fetch.member("Seq"), texts(&["0", "1", "2"]));
    let first = Some("1".to_owned());
    assert_eq!(fetch.member("JoinRequestEvent"), [first, None, None]);
    assert_eq!(fetch.member("RestrictedUpload"), texts(&["1"; 3]));
    let downloaded = (LENGTH - 1000).to_string();
    assert_eq!(fetch.member("DownloadedCdn"), texts(&["0", &downloaded, &LENGTH.to_string()]));
    assert_eq!(fetch.lab.refusals(), Vec::<String>::new());
    assert_eq!(fetch.lab.called(Service::Discovery), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_of_content_that_nobody_fetches_any_more_says_so_and_ends() {
    let fetch = Fetch::start().await;
    fetch.lab.until_joined(1).await;
    fetch.set_left(1000);
    fetch.advance(Duration::from_secs(2)).await;
    let is_seen = || fetch.lab.control_plane.status().sessions.values().all(|shown| shown.left_bytes == 1000);
    eventually("the standing is seen", is_seen).await;
    fetch.set_left(GONE);
    fetch.advance(Duration::from_secs(2)).await;
    eventually("the farewell", || fetch.joins().len() == 2).await;
    eventually("the session ends", || fetch.sessions() == 0).await;
    // The last that was known.
    assert_eq!(fetch.member("Left"), texts(&[&LENGTH.to_string(), "1000"]));
    assert_eq!(fetch.member("Seq"), texts(&["0", "1"]));
}

#[tokio::test(start_paused = true)]
async fn one_content_has_one_session_and_says_what_it_found() {
    let peers = vec![
        ListedPeer {
            content: None,
            peer_id: "1111111111111111111111111111111100000000".to_owned(),
            ip: "192.0.2.10".parse().unwrap(),
            port: 7680,
            left: 0,
        },
        ListedPeer {
            content: None,
            peer_id: "2222222222222222222222222222222200000000".to_owned(),
            ip: "127.0.0.1".parse().unwrap(),
            port: 7680,
            left: 0,
        },
    ];
    let array = Array { peers, ..Array::default() };
    let fetch = Fetch::start_with(mock::ControlPlane { array, ..Default::default() }, Vec::new()).await;
    fetch.join();
    fetch.join();
    fetch.lab.until_joined(1).await;
    fetch.advance(MINUTE).await;
    assert_eq!(fetch.joins().len(), 1);
    let status = serde_json::to_value(fetch.lab.control_plane.status()).unwrap();
    let session = &status["sessions"][fetch.policy.content_id.as_str()];
    // The peer at a loopback address is none for us.
    assert_eq!(
        session["peers"],
        serde_json::json!([{"peerId": "1111111111111111111111111111111100000000", "ip": "192.0.2.10",
                            "port": 7680, "type": "Lan", "left": 0}])
    );
    assert_eq!((&session["left"], &session["seq"]), (&LENGTH.into(), &1.into()));
}

#[tokio::test(start_paused = true)]
async fn arrays_are_joined_only_where_that_is_wanted_and_worth_it() {
    for change in [
        (|config| config.sharing.array_join.enabled = false) as fn(&mut connected_cache_config::Config),
        |config| config.sharing.array_join.min_content_size = ByteSize::from_bytes(LENGTH + 1),
        |config| config.listen.swarm = None,
    ] {
        let lab = Lab::start_with(mock::ControlPlane::default(), change).await;
        let policy = lab.look_up().await.unwrap().policy;
        lab.control_plane.join(&content().url, &policy, || Some(standing(LENGTH)));
        assert_eq!(lab.control_plane.status().sessions.len(), 0);
        assert_eq!((lab.called(Service::Discovery), lab.called(Service::Array)), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_array_discovery_is_asked_again_after_ten_minutes() {
    let answers = mock::ControlPlane { discovery: Discovery { arrays: 0 }, ..Default::default() };
    let fetch = Fetch::start_with(answers, Vec::new()).await;
    fetch.lab.until_called(Service::Discovery, 1).await;
    eventually("Discovery's answer", || {
        fetch.lab.counters.control_plane.count(Counted::Discovery, CallResult::Ok) == 1
    })
    .await;
    tokio::task::yield_now().await;
    fetch.advance(9 * MINUTE).await;
    assert_eq!(fetch.lab.called(Service::Discovery), 1);
    fetch.advance(MINUTE + Duration::from_secs(1)).await;
    fetch.lab.until_called(Service::Discovery, 2).await;
    assert_eq!(fetch.lab.called(Service::Array), 0);
}

#[tokio::test(start_paused = true)]
async fn a_discovery_or_an_array_that_is_named_without_https_is_not_called() {
    let lab = Lab::start().await;
    let policy = lab.look_up().await.unwrap().policy;
    let content_policy = format!("https://{SERVICES}/content/{{contentId}}/contentpolicy");
    for (discovery, array) in [
        (format!("http://{SERVICES}/disc/{{contentId}}"), format!("https://{SERVICES}/array/1/")),
        (format!("https://{SERVICES}/disc"), format!("https://{SERVICES}/array/1/")),
        (format!("https://{SERVICES}/disc/v2/content/{{contentId}}"), format!("http://{SERVICES}/array/1/")),
    ] {
        let lab = Lab::start().await;
        let scripted = |service, json| Expectation {
            reply: Some(ScriptedReply { status: 200, json }),
            ..Expectation::any(service)
        };
        let key_value = serde_json::json!({
            "ContentPolicy_EndpointFullUri": content_policy, "Discovery_EndpointFullUri": discovery,
        });
        let arrays = serde_json::json!([{"CollectiveArray": array}]);
        lab.mock
            .expect(Some(vec![
                Expectation::any(Service::Geo),
                scripted(Service::KeyValue, key_value),
                scripted(Service::Discovery, arrays),
                Expectation::any(Service::Array),
            ]))
            .unwrap();
        lab.control_plane.join(&content().url, &policy, || Some(standing(LENGTH)));
        eventually("an error", || lab.control_plane.status().errors.contains_key("Discovery")).await;
        let asked = usize::from(discovery.starts_with("https") && discovery.contains('{'));
        assert_eq!(
            (lab.called(Service::Discovery), lab.called(Service::Array)),
            (asked, 0),
            "{discovery} {array}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn scope_and_restriction_of_the_configuration_are_told_and_only_so_many_peers_are_taken() {
    let peer = |number: u8| ListedPeer {
        content: None,
        peer_id: format!("{number:02x}").repeat(20),
        ip: [192, 0, 2, number].into(),
        port: 7680,
        left: 0,
    };
    let array = Array { peers: (1..=5).map(peer).collect(), ..Array::default() };
    let lab = Lab::start_with(mock::ControlPlane { array, ..Default::default() }, |config| {
        let join = &mut config.sharing.array_join;
        (join.scope, join.peers_wanted) = (connected_cache_config::ArrayScope::Internet, 3);
        join.reported_ip = Some("10.9.8.7".parse().unwrap());
        config.control_plane.profile = 769;
        config.control_plane.client_version = "10.2.3.4".to_owned();
    })
    .await;
    let policy = lab.look_up().await.unwrap().policy;
    lab.control_plane.join(&content().url, &policy, || Some(standing(LENGTH)));
    lab.until_joined(1).await;
    let joined = lab.mock.arrays().joins.remove(0);
    for (name, value) in [
        ("Scope", "3"),
        ("PeersWanted", "3"),
        ("ReportedIp", "10.9.8.7"),
        ("Profile", "769"),
        ("ClientDialectVersionMajor", "10"),
        ("ClientDialectVersionMinor", "2"),
        ("ClientDialectVersionBuild", "3"),
        ("ClientDialectVersionRevision", "4"),
        ("AltCatalogId", content().url.as_str()),
        ("PeerId", lab.control_plane.status().peer_id.as_str()),
    ] {
        assert_eq!(joined.fields[name], value, "{name}");
    }
    let sessions = lab.control_plane.status().sessions;
    assert_eq!(sessions[policy.content_id.as_str()].peers.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_join_that_is_refused_as_malformed_ends_the_session() {
    let fetch = Fetch::start_with(
        mock::ControlPlane::default(),
        vec![Fault { status: Some(400), ..fault(Service::Array) }],
    )
    .await;
    eventually("the session ends", || fetch.lab.called(Service::Array) == 1 && fetch.sessions() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_array_that_is_gone_is_looked_for_again() {
    let gone = Fault { status: Some(404), times: Some(1), ..fault(Service::Array) };
    let fetch = Fetch::start_with(mock::ControlPlane::default(), vec![gone]).await;
    // The first array was new, so the next look is after a pause.
    fetch.lab.until_called(Service::Array, 1).await;
    eventually("the answer", || fetch.lab.control_plane.status().errors.contains_key("Array")).await;
    tokio::task::yield_now().await;
    fetch.advance(Duration::from_secs(6)).await;
    fetch.lab.until_joined(1).await;
    assert_eq!(fetch.lab.called(Service::Discovery), 2);
    // Later it is looked for at once.
    fetch.lab.set_faults(vec![Fault { status: Some(404), times: Some(1), ..fault(Service::Array) }]);
    fetch.advance(5 * MINUTE).await;
    fetch.lab.until_joined(2).await;
    assert_eq!(fetch.lab.called(Service::Discovery), 3);
    assert_eq!(fetch.lab.called(Service::Array), 4);
    // Only the first that was accepted is the first.
    assert_eq!(fetch.member("JoinRequestEvent"), [Some("1".to_owned()), None]);
    assert_eq!(fetch.member("Seq"), texts(&["1", "3"]));
}

#[tokio::test(start_paused = true)]
async fn an_array_that_asks_to_be_left_alone_is() {
    for status in [429, 503] {
        let busy = Fault {
            status: Some(status),
            retry_after_seconds: Some(60),
            times: Some(1),
            ..fault(Service::Array)
        };
        let fetch = Fetch::start_with(mock::ControlPlane::default(), vec![busy]).await;
        eventually("the answer", || fetch.lab.control_plane.status().errors.contains_key("Array")).await;
        tokio::task::yield_now().await;
        // Even completion is told only then.
        fetch.set_left(0);
        fetch.advance(Duration::from_secs(59)).await;
        assert_eq!(fetch.lab.called(Service::Array), 1, "{status}");
        fetch.advance(Duration::from_secs(2)).await;
        fetch.lab.until_joined(1).await;
        assert_eq!(fetch.member("Left"), texts(&["0"]));
        assert_eq!(fetch.lab.called(Service::Discovery), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn discovery_that_fails_is_asked_again() {
    let service = Service::Discovery;
    for wrong in [
        Fault { status: Some(500), ..fault(service) },
        Fault { status: Some(404), ..fault(service) },
        Fault { answer: Some(WrongAnswer::EmptyJson), ..fault(service) },
        Fault { answer: Some(WrongAnswer::WrongJsonTypes), ..fault(service) },
        Fault { answer: Some(WrongAnswer::WrongContentType), ..fault(service) },
        Fault { answer: Some(WrongAnswer::Truncated), ..fault(service) },
        Fault { cut_after_bytes: Some(1), ..fault(service) },
    ] {
        let fetch =
            Fetch::start_with(mock::ControlPlane::default(), vec![Fault { times: Some(1), ..wrong }]).await;
        eventually("the answer", || fetch.lab.control_plane.status().errors.contains_key("Discovery")).await;
        tokio::task::yield_now().await;
        assert_eq!(fetch.lab.called(Service::Array), 0);
        fetch.advance(Duration::from_secs(5)).await;
        fetch.lab.until_joined(1).await;
        assert_eq!(fetch.lab.called(service), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn joins_that_fail_are_tried_again_with_growing_pauses_and_at_spares() {
    for wrong in [
        Fault { status: Some(500), ..fault(Service::Array) },
        Fault { status: Some(503), ..fault(Service::Array) },
        Fault { answer: Some(WrongAnswer::EmptyJson), ..fault(Service::Array) },
        Fault { answer: Some(WrongAnswer::WrongJsonTypes), ..fault(Service::Array) },
        Fault { answer: Some(WrongAnswer::WrongContentType), ..fault(Service::Array) },
        Fault { answer: Some(WrongAnswer::Truncated), ..fault(Service::Array) },
        Fault { cut_after_bytes: Some(3), ..fault(Service::Array) },
    ] {
        let answers = mock::ControlPlane { discovery: Discovery { arrays: 2 }, ..Default::default() };
        let fetch = Fetch::start_with(answers, vec![Fault { times: Some(3), ..wrong.clone() }]).await;
        for (call, pause) in [(1, 5), (2, 10), (3, 20)] {
            let failed = || {
                let counts = &fetch.lab.counters.control_plane;
                let failures = CallResult::ALL.into_iter().filter(|result| *result != CallResult::Ok);
                failures.map(|result| counts.count(Counted::Array, result)).sum::<u64>()
            };
            eventually("the answer", || failed() == call).await;
            tokio::task::yield_now().await;
            assert_eq!(fetch.lab.called(Service::Array) as u64, call);
            fetch.advance(Duration::from_secs(pause)).await;
        }
        fetch.lab.until_joined(1).await;
        let arrays: Vec<String> =
            fetch.lab.requests(Service::Array).into_iter().map(|request| request.target).collect();
        // Who is to come back later comes back to the same array.
        let uses_spares = wrong.status != Some(503);
        assert_eq!(arrays[0] != arrays[1], uses_spares, "{wrong:?}: {arrays:?}");
        assert_eq!(fetch.lab.called(Service::Discovery), 1);
    }
}
