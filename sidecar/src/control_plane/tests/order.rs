//! Which calls are made, in which order, with which fields.

use std::sync::atomic::{AtomicUsize, Ordering};

use connected_cache_config::{ArrayScope, ControlPlaneMode};
use connected_cache_mock_control_plane::{self as mock, SharingPolicy, control_plane::Service};
use connected_cache_wire::delivery_optimization::{ContentIdForm, PieceHash};

use super::{
    super::{ControlPlane, SimpleMode},
    lab::{HASH, LENGTH, Lab, ORIGIN, PATH, SERVICES, SHA1, answers, content, standing},
};
use crate::{
    metrics::{CallResult, Service as Counted},
    tasks::Tasks,
};

const GROUP: &str = "5be37c6e-1a55-4b3a-9d3c-3c5b6a7d8e9f";

/// Path and fields of the only request to a service; values are decoded.
fn sent(lab: &Lab, service: Service) -> (String, Vec<(String, String)>) {
    let requests = lab.requests(service);
    assert_eq!(requests.len(), 1, "{requests:?}");
    let url: url::Url = format!("https://{}{}", requests[0].host, requests[0].target).parse().unwrap();
    (url.path().to_owned(), url.query_pairs().into_owned().collect())
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

#[tokio::test(start_paused = true)]
async fn services_are_asked_in_their_order_with_their_documented_fields() {
    let lab = Lab::start_with(answers(SharingPolicy::Allowed), |config| {
        config.control_plane.e_id = Some("school".to_owned());
        config.sharing.array_join.scope = ArrayScope::Group;
        config.sharing.array_join.group_id = Some(GROUP.to_owned());
    })
    .await;
    let metadata = lab.look_up().await.unwrap();
    lab.control_plane.join(&content().url, &metadata.policy, || Some(standing(LENGTH)));
    lab.until_joined(1).await;
    assert_eq!(
        lab.calls(),
        [
            Service::Geo,
            Service::KeyValue,
            Service::ContentPolicy,
            Service::PieceHashFile,
            Service::Discovery,
            Service::Array
        ]
    );
    // The mock is strict: what is documented is there, what is not is refused.
    assert_eq!(lab.refusals(), Vec::<String>::new());

    let (path, fields) = sent(&lab, Service::Geo);
    assert_eq!(path, "/geo");
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["doClientVersion", "profile", "groupID", "callId"]);
    assert_eq!(field(&fields, "groupID"), Some(GROUP));
    let (_, fields) = sent(&lab, Service::KeyValue);
    let pairs: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        pairs,
        [
            ("doClientVersion", "10.1.0.13"),
            ("profile", "768"),
            ("countryCode", "DE"),
            ("CacheId", "7"),
            ("eId", "school")
        ]
    );
    let (path, fields) = sent(&lab, Service::ContentPolicy);
    assert_eq!(path, format!("/content/{SHA1}/contentpolicy"));
    assert_eq!(field(&fields, "altCatalogId"), Some(content().url.as_str()));
    assert_eq!((field(&fields, "countryCode"), field(&fields, "eId")), (Some("DE"), Some("school")));
    let (path, fields) = sent(&lab, Service::Discovery);
    assert_eq!(path, format!("/disc/v2/content/DO-{}", HASH.replace('/', "-").replace('=', "%3D")));
    assert_eq!((field(&fields, "partitionId"), field(&fields, "CountryCode")), (Some("0"), Some("DE")));
    let joined = &lab.mock.arrays().joins[0];
    assert_eq!(joined.fields["ContentId"], metadata.policy.content_id.as_str());
    assert_eq!((joined.fields["GroupId"].as_str(), joined.fields["Scope"].as_str()), (GROUP, "2"));
}

#[tokio::test(start_paused = true)]
async fn what_is_looked_up_is_the_policy_and_the_file_that_it_authenticates() {
    let lab = Lab::start().await;
    let metadata = lab.look_up().await.unwrap();
    assert_eq!(metadata.policy.hash_of_hashes.to_base64(), HASH);
    assert!(matches!(metadata.policy.content_id.form(), ContentIdForm::HashOfHashes(_)));
    assert_eq!(
        metadata.policy.piece_hash_file_urls,
        [format!("http://{ORIGIN}{PATH}/pieceshash").parse().unwrap()]
    );
    // Vector 5 of dossier 3.4.
    let pieces: Vec<String> = metadata.pieces.pieces().iter().map(PieceHash::to_base64).collect();
    assert_eq!(
        pieces,
        [
            "Bre7+3gkqgM4IFFpFjDrJt6FEC0bCKgekH7AdEzYooY=",
            "Bre7+3gkqgM4IFFpFjDrJt6FEC0bCKgekH7AdEzYooY=",
            "B/TtASydrH6OfxpTnUGz7A6NHe6wM67+oqBHUjoQBkg="
        ]
    );
    let counts = &lab.counters.control_plane;
    for service in [Counted::Geo, Counted::KeyValue, Counted::ContentPolicy, Counted::PieceHashFile] {
        assert_eq!(counts.count(service, CallResult::Ok), 1, "{service:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn geo_is_told_another_call_id_each_time() {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let lab = Lab::start().await;
        lab.look_up().await.unwrap();
        let (_, fields) = sent(&lab, Service::Geo);
        ids.push(field(&fields, "callId").unwrap().parse::<u32>().unwrap());
        assert_eq!(field(&fields, "groupID"), None);
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test(start_paused = true)]
async fn concurrent_look_ups_of_one_content_share_their_calls() {
    let lab = Lab::start().await;
    let retries = AtomicUsize::new(0);
    let on_retry = |_: SimpleMode| {
        retries.fetch_add(1, Ordering::Relaxed);
    };
    let content = content();
    let look_ups = (0..8).map(|_| lab.control_plane.look_up(&content, None, &on_retry));
    let outcomes = futures::future::join_all(look_ups).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(
        lab.calls(),
        [Service::Geo, Service::KeyValue, Service::ContentPolicy, Service::PieceHashFile]
    );
    assert_eq!(retries.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_nobody_waits_for_helps_the_next_one() {
    let lab = Lab::start().await;
    let content = content();
    // Polled once, then dropped.
    let left = futures::FutureExt::now_or_never(lab.control_plane.look_up(&content, None, &|_| {}));
    assert!(left.is_none());
    lab.until_called(Service::PieceHashFile, 1).await;
    lab.look_up().await.unwrap();
    assert_eq!(lab.called(Service::ContentPolicy), 1);
    assert_eq!(lab.called(Service::PieceHashFile), 1);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_holds_is_not_asked_for_again() {
    let mut lab = Lab::start().await;
    let policy = lab.look_up().await.unwrap().policy;
    lab.restart().await;
    lab.mock.clear_requests();
    let again = lab.look_up_of(&content(), Some(&policy)).await.unwrap();
    assert_eq!(again.policy, policy);
    assert_eq!(lab.calls(), [Service::PieceHashFile]);
    lab.restart().await;
    lab.mock.clear_requests();
    let expired = super::super::Policy { expires_at: 1, ..policy };
    lab.look_up_of(&content(), Some(&expired)).await.unwrap();
    assert_eq!(lab.calls(), [Service::ContentPolicy, Service::PieceHashFile]);
}

#[tokio::test(start_paused = true)]
async fn content_that_is_not_for_peers_has_its_reason_and_is_not_asked_for_again() {
    for (policy, reason) in [
        (SharingPolicy::Unknown, SimpleMode::UnknownContent),
        (SharingPolicy::Forbidden, SimpleMode::Forbidden),
    ] {
        let lab = Lab::start_with(answers(policy), |_| {}).await;
        for _ in 0..3 {
            assert_eq!(lab.look_up().await.unwrap_err(), reason);
        }
        assert_eq!(lab.called(Service::ContentPolicy), 1, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_state_shows_what_the_services_said_and_what_failed() {
    let lab = Lab::start_with(answers(SharingPolicy::Forbidden), |_| {}).await;
    let before = serde_json::to_value(lab.control_plane.status()).unwrap();
    assert_eq!((&before["geo"], &before["keyValue"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    assert_eq!(lab.look_up().await.unwrap_err(), SimpleMode::Forbidden);
    let status = serde_json::to_value(lab.control_plane.status()).unwrap();
    assert_eq!(status["mode"], "Custom");
    assert_eq!(status["geo"]["countryCode"], "DE");
    assert_eq!(status["geo"]["externalIpAddress"], "127.0.0.1");
    assert_eq!(status["geo"]["cacheHostFlag"], 0);
    assert_eq!(status["keyValue"]["uri"], format!("https://{SERVICES}/all"));
    assert_eq!(
        status["keyValue"]["registeredCallers"],
        serde_json::json!(["WU Client Download", "BeginLoadRange.*"])
    );
    assert_eq!(status["errors"]["ContentPolicy"]["error"], "it answered 403 Forbidden");
    assert_eq!(status["outage"], serde_json::Value::Null);
}

#[tokio::test(start_paused = true)]
async fn without_a_control_plane_nobody_is_called() {
    let lab = Lab::start_with(mock::ControlPlane::default(), |_| {}).await;
    let mut config = lab.config.clone();
    config.control_plane.mode = ControlPlaneMode::None;
    let allow_list = std::sync::Arc::new(connected_cache_core::AllowList::new(Vec::new(), Vec::new()));
    let upstream = crate::upstream::Upstream::new(&config, allow_list.clone(), None, lab.counters.clone());
    let kept = lab.folder.path().join("other.json");
    let started =
        ControlPlane::start(&config, allow_list, upstream, lab.counters.clone(), kept, Tasks::default());
    assert!(started.unwrap().is_none());
    assert_eq!(lab.calls(), []);
}
