//! Geo, KeyValue, ContentPolicy, Discovery and piece hash files over TLS. Expected values are those of the notes on the
//! protocol; none was copied from an answer.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as the test does")]

mod common;

use common::lab::{HOST, Lab, VECTOR_5, VECTOR_6, WHO, join_of, text};
use common::{BIG, BIG_LENGTH, BIG_SEED, formula_bytes};
use connected_cache_mock_control_plane::{
    Config, ContentEntry, ControlPlane, ExternalAddress, Geo, SharingPolicy,
};
use connected_cache_wire::delivery_optimization::{PieceHash, PieceHashFile};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// `HashOfHashes` of vector 5.
const HASH_5: &str = "0HNuQ4GT9HACx46wptYKutcdZ5co2rGTo5LKOzZEj1M=";
/// The piece hash file of vector 6.
const FILE_6: &str = "{\"MajorVersion\":1,\"MinorVersion\":0,\
    \"HashOfHashes\":\"11QqD+I2Yt9gpZ7S0OKs8hw+Qgy79sHito61i/8+nH8=\",\"ContentLength\":1,\"PieceSize\":1048576,\
    \"Pieces\":[\"yjWHWPbSfmz0UnKTeXenSP2IOR22ec7afce/HwBe6Hk=\"]}";

#[tokio::test]
async fn geo_tells_the_address_and_the_key_value_service() {
    let external = ExternalAddress { source: None, external: "203.0.113.7".parse().unwrap() };
    let geo = Geo {
        cache_host: Some("cache.example".to_owned()),
        external_addresses: vec![external],
        ..Geo::default()
    };
    let lab = Lab::start(ControlPlane { geo, ..ControlPlane::default() }).await;
    let answer = lab.json("/geo?doClientVersion=10.1.0.13&profile=768&callId=2910957318").await;
    assert_eq!(
        answer,
        json!({
            "ExternalIpAddress": "203.0.113.7", "CountryCode": "DE",
            "KeyValue_EndpointFullUri": format!("https://{HOST}/all"), "Version": "26A6D4D6994E8DA5",
            "CacheId": "7", "CacheHost": "cache.example", "CacheHostFlag": 0, "ContentCert": false,
            "DownloadModeFailSafe": ""
        })
    );
    assert_eq!(lab.json("/geoversion").await, json!({"Version": "26A6D4D6994E8DA5"}));
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn geo_takes_a_bare_call_and_names_what_makes_no_sense() {
    let lab = Lab::start(ControlPlane::default()).await;
    let answer = lab.json("/geo").await;
    assert_eq!((&answer["ExternalIpAddress"], answer.get("CacheHost")), (&json!("127.0.0.1"), None));
    let reason = lab.refused("/geo?doClientVersion=10.1&profile=pc&groupID=7&callid=-1&version=1", 400).await;
    for name in ["doClientVersion is \"10.1\"", "profile is", "groupID is", "callId is", "version is no"] {
        assert!(reason.contains(name), "{name:?} is missing in {reason}");
    }
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn key_value_gives_templates_and_registered_callers() {
    let lab = Lab::start(ControlPlane::default()).await;
    let target = format!("/all?{WHO}&CacheId=7");
    assert_eq!(
        lab.json(&target).await,
        json!({
            "ContentPolicy_EndpointUri": format!("https://{HOST}"),
            "ContentPolicy_EndpointFullUri": format!("https://{HOST}/content/{{contentId}}/contentpolicy"),
            "Discovery_EndpointFullUri": format!("https://{HOST}/disc/v2/content/{{contentId}}"),
            "Client_RegisteredCallersFilterList": ["WU Client Download", "BeginLoadRange.*"]
        })
    );
    assert_eq!(lab.get(&target).await.header("Cache-Control"), Some("max-age=86400"));
    assert_eq!(lab.last().service.map(|service| service.to_string()).as_deref(), Some("KeyValue"));

    let reason = lab.refused("/all", 400).await;
    assert_eq!(reason, "KeyValue: doClientVersion is missing; countryCode is missing; profile is missing");
    let reason = lab.refused("/all?doClientVersion=10.1.0.13&profile=768&countryCode=US", 400).await;
    assert!(reason.contains("\"US\"") && reason.contains("\"DE\""), "{reason}");
    assert!(lab.refused(&format!("/all?{WHO}&CacheId=8"), 400).await.contains("CacheId"));
    assert!(lab.refused(&format!("/all?{WHO}&Profile=768"), 400).await.contains("twice"));
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn the_base_url_of_the_configuration_stands_in_every_answer() {
    let base_url = Some("https://kv601.prod.do.example/base/".to_owned());
    let lab = Lab::start(ControlPlane { base_url, ..ControlPlane::default() }).await;
    let geo = lab.json("/geo").await;
    assert_eq!(geo["KeyValue_EndpointFullUri"], "https://kv601.prod.do.example/base/all");
    let values = lab.json(&format!("/all?{WHO}")).await;
    assert_eq!(values["ContentPolicy_EndpointUri"], "https://kv601.prod.do.example/base");
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn content_policy_vouches_for_the_piece_hash_file_beside_the_content() {
    let lab = Lab::start(ControlPlane::default()).await;
    let url =
        format!("http%3A%2F%2Fdl.delivery.example{}%3FP1%3D1%26P4%3Dsecret", VECTOR_5.replace('/', "%2F"));
    let answer = lab.json(&format!("/content/test/contentpolicy?{WHO}&altCatalogId={url}")).await;
    assert_eq!(
        answer,
        json!({
            "ContentId": format!("DO-{HASH_5}"), "HashOfHashes": HASH_5,
            "PiecesHashFileCdnUrls": [format!("http://dl.delivery.example{VECTOR_5}/pieceshash")],
            "ContentCdnUrls": null, "IsSecure": false, "IsInternal": false,
            "Policies": {"ForegroundQosBps": 6_710_886, "BackgroundQosBps": 2_621_440, "MaxCacheAgeSecs": 86_400,
                "ExpireAtSecsSinceEpoch": null, "DownloadToExpire": 86_400},
            "Rank": 0
        })
    );
    // By the canonical id alone, percent-encoded; then the mock's own address is all that is known.
    let encoded = format!("DO-{}", HASH_5.replace('=', "%3D"));
    let again = lab.json(&format!("/content/{encoded}/contentpolicy?{WHO}")).await;
    assert_eq!(again["HashOfHashes"], HASH_5);
    assert_eq!(again["PiecesHashFileCdnUrls"], json!([format!("https://{HOST}{VECTOR_5}/pieceshash")]));
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn content_policy_tells_unknown_and_forbidden_content_apart() {
    let entry = |path: &str, id: &str, policy| ContentEntry {
        path: path.to_owned(),
        content_id: Some(id.to_owned()),
        policy,
        hashes_of: None,
    };
    let contents = vec![
        entry(VECTOR_5, "e2797dcf", SharingPolicy::Allowed),
        entry(VECTOR_6, "forbidden", SharingPolicy::Forbidden),
        entry(BIG, "hidden", SharingPolicy::Unknown),
    ];
    let lab = Lab::start(ControlPlane { contents, ..ControlPlane::default() }).await;
    let policy = |id: &str| format!("/content/{id}/contentpolicy?{WHO}");
    assert_eq!(lab.json(&policy("e2797dcf")).await["HashOfHashes"], HASH_5);
    lab.refused(&policy("forbidden"), 403).await;
    lab.refused(&policy("hidden"), 404).await;
    lab.refused(&policy("nothing"), 404).await;
    let reason = lab.refused("/content/e2797dcf/contentpolicy", 400).await;
    assert_eq!(
        reason,
        "ContentPolicy: profile is missing; doClientVersion is missing; countryCode is missing"
    );
    // A URL that is not percent-encoded falls apart into fields that nobody documented.
    let bare = format!("{}&altCatalogId=http://dl.example/a?P1=1&P2=2", policy("e2797dcf"));
    assert!(lab.refused(&bare, 400).await.contains("P2 is no documented field"));
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn an_object_may_have_the_hashes_of_another_one_and_they_are_authentic() {
    let entry = ContentEntry {
        path: VECTOR_6.to_owned(),
        hashes_of: Some(VECTOR_5.to_owned()),
        ..ContentEntry::default()
    };
    let lab = Lab::start(ControlPlane { contents: vec![entry], ..ControlPlane::default() }).await;
    let url = format!("http%3A%2F%2Fdl.delivery.example{}", VECTOR_6.replace('/', "%2F"));
    let answer = lab.json(&format!("/content/test/contentpolicy?{WHO}&altCatalogId={url}")).await;
    assert_eq!(answer["HashOfHashes"], HASH_5);
    let beside = format!("http://dl.delivery.example{VECTOR_6}/pieceshash");
    assert_eq!(answer["PiecesHashFileCdnUrls"], json!([beside]));
    let file: Value =
        serde_json::from_slice(&lab.get(&format!("{VECTOR_6}/pieceshash")).await.body).expect("JSON");
    assert_eq!((&file["HashOfHashes"], &file["ContentLength"]), (&json!(HASH_5), &json!(2_621_445)));
    assert_eq!(lab.get(VECTOR_6).await.body, [7], "the bytes are its own");
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn lenient_services_take_what_the_real_ones_take() {
    let lab = Lab::start(ControlPlane { strict: false, ..ControlPlane::default() }).await;
    lab.json("/all").await;
    let url = format!("http%3A%2F%2Fdl.delivery.example{}", VECTOR_5.replace('/', "%2F"));
    let answer = lab.json(&format!("/content/test/contentpolicy?altCatalogId={url}&more=1")).await;
    assert_eq!(answer["HashOfHashes"], HASH_5);
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn discovery_sends_callers_of_one_content_to_one_array() {
    let lab = Lab::start(ControlPlane::default()).await;
    let discovery = "doClientVersion=10.1.0.13&profile=768&partitionId=0&CountryCode=DE";
    let by_id = lab.array("e2797dcf").await;
    assert!(by_id.starts_with("/c/") && by_id.ends_with('/'), "{by_id}");
    assert_eq!(lab.array("e2797dcf").await, by_id);
    assert_ne!(lab.array("e2797dd0").await, by_id);
    // A URL that names an object of the mock stands for all its names.
    let url = format!("http%3A%2F%2Fa.example{}", VECTOR_5.replace('/', "%2F"));
    let by_url = lab.json(&format!("/disc/v2/content/test?{discovery}&altCatalogId={url}")).await;
    lab.json(&format!("/content/test/contentpolicy?{WHO}&altCatalogId={url}")).await;
    let canonical = lab.array(&format!("DO-{HASH_5}")).await;
    assert_eq!(by_url, json!([{"CollectiveArray": format!("https://{HOST}{canonical}")}]));
    assert_eq!(
        lab.refused("/disc/v2/content/test", 400).await,
        "Discovery: profile is missing; doClientVersion is missing; partitionId is missing"
    );
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn piece_hash_files_are_served_in_ranges_over_both_kinds_of_connection() {
    let lab = Lab::start(ControlPlane::default()).await;
    let answer = lab.get(&format!("{VECTOR_6}/pieceshash?cacheHostOrigin=dl.example")).await;
    assert_eq!((answer.status, text(&answer).as_str()), (200, FILE_6));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let plain = common::get(lab.http, &format!("{VECTOR_6}.phf"), &["Range: bytes=1-15"]).await;
    assert_eq!((plain.status, plain.body.as_slice()), (206, b"\"MajorVersion\":".as_slice()));
    assert_eq!(plain.header("Content-Range"), Some("bytes 1-15/193"));
    assert_eq!(plain.header("ETag"), answer.header("ETag"));

    // Vector 5: 293 bytes with this SHA-256.
    let five = lab.get(&format!("{VECTOR_5}/pieceshash")).await.body;
    let digest = "861c6f12311b96a2919f857af3a5b309f4d5e908096f60305ae3a9d87a30dfa8";
    assert_eq!((five.len(), hex::encode(Sha256::digest(&five)).as_str()), (293, digest));
    lab.refused("/files/nothing/pieceshash", 404).await;
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn formulas_have_piece_hash_files_and_a_file_of_the_folder_wins_over_a_made_one() {
    let lab = Lab::start(ControlPlane::default()).await;
    let served: Value = serde_json::from_slice(&lab.get(&format!("{BIG}.phf")).await.body).unwrap();
    let bytes = formula_bytes(BIG_SEED, 0, BIG_LENGTH);
    let digests: Vec<String> =
        bytes.chunks(1_048_576).map(|piece| base64_of(Sha256::digest(piece).into())).collect();
    assert_eq!((digests.len(), &served["Pieces"]), (4, &json!(digests)));
    assert_eq!(served["ContentLength"], BIG_LENGTH);

    std::fs::write(lab.folder.path().join("files/vector6.bin.phf"), "mine").unwrap();
    let answer = lab.get(&format!("{VECTOR_6}.phf")).await;
    assert_eq!((text(&answer).as_str(), lab.last().service), ("mine", None));
    lab.mock.shutdown().await;
}

fn base64_of(bytes: [u8; 32]) -> String {
    PieceHash::from_bytes(bytes).to_base64()
}

#[tokio::test]
async fn everything_is_found_from_the_answers_alone() {
    let lab = Lab::start(ControlPlane::default()).await;
    let here = |url: &Value| {
        let url = url.as_str().unwrap();
        url.strip_prefix(&format!("https://{HOST}"))
            .unwrap_or_else(|| panic!("{url} is elsewhere"))
            .to_owned()
    };
    let geo = lab.json("/geo?doClientVersion=10.1.0.13&profile=768").await;
    let who =
        format!("doClientVersion=10.1.0.13&profile=768&countryCode={}", geo["CountryCode"].as_str().unwrap());
    let values = here(&geo["KeyValue_EndpointFullUri"]);
    let values = lab.json(&format!("{values}?{who}&CacheId={}", geo["CacheId"].as_str().unwrap())).await;

    let url = format!("https%3A%2F%2F{HOST}{}%3FP1%3D1", VECTOR_5.replace('/', "%2F"));
    let policy = here(&values["ContentPolicy_EndpointFullUri"]).replace("{contentId}", "test");
    let policy = lab.json(&format!("{policy}?{who}&altCatalogId={url}")).await;
    let file = lab.get(&here(&policy["PiecesHashFileCdnUrls"][0])).await;
    let file = PieceHashFile::parse(&file.body).unwrap();
    assert_eq!(policy["HashOfHashes"], file.hash_of_hashes().to_base64());

    let content_id = policy["ContentId"].as_str().unwrap();
    let encoded = content_id.replace('=', "%3D");
    let discovery = here(&values["Discovery_EndpointFullUri"]).replace("{contentId}", &encoded);
    let arrays = lab.json(&format!("{discovery}?{who}&partitionId=0&altCatalogId={url}")).await;
    let answer = lab.join("127.0.0.1", &here(&arrays[0]["CollectiveArray"]), &join_of(1, content_id)).await;
    assert_eq!(
        (&answer["TotalPeers"], answer["ExternalIp"].as_str()),
        (&json!(0), geo["ExternalIpAddress"].as_str())
    );
    let refused: Vec<_> = lab.mock.requests().requests.into_iter().filter_map(|it| it.refusal).collect();
    assert!(refused.is_empty(), "{refused:?}");
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn services_are_refused_without_tls_and_by_other_methods() {
    let lab = Lab::start(ControlPlane::default()).await;
    let plain = common::get(lab.http, "/geo", &[]).await;
    assert!(lab.reason(&plain, 403).contains("HTTPS"));
    let request = format!("POST /geo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n");
    let answer = lab.request("127.0.0.1", &request).await;
    assert_eq!(answer.header("Allow"), Some("GET"));
    lab.reason(&answer, 405);
    lab.mock.shutdown().await;
}

#[tokio::test]
async fn without_control_plane_its_paths_are_content() {
    let (mock, address) = common::mock(Vec::new()).await;
    assert_eq!(common::get(address, "/geo", &[]).await.status, 404);
    assert_eq!(mock.requests().requests[0].service, None);
    mock.shutdown().await;
}

#[test]
fn the_configuration_is_read_key_by_key_and_mistakes_are_named() {
    let config = Config::from_yaml(
        "listen: {https: \"127.0.0.1:0\"}\n\
         controlPlane:\n  baseUrl: https://kv.example\n  strict: false\n\
         \x20 geo: {countryCode: AU, version: A, cacheId: \"9\", cacheHost: c, cacheHostFlag: 1,\
         externalAddresses: [{source: 127.0.0.2, external: 203.0.113.7}]}\n\
         \x20 keyValue: {registeredCallers: [x], maxAgeSeconds: 5}\n\
         \x20 contentPolicy: {foregroundQosBytesPerSecond: 1, backgroundQosBytesPerSecond: 2, maxCacheAgeSeconds: 3,\
         downloadToExpireSeconds: 4}\n\
         \x20 contents: [{path: /a, contentId: b, policy: Forbidden}]\n\
         \x20 discovery: {arrays: 2}\n\
         \x20 array: {nextJoinSeconds: 60, restrictPeerSelectionBy: Subnet, peerPort: 7, leaveEvent: \"3\",\
         peers: [{content: /a, peerId: e08e8e26fd833d4097b3a62b66adc67b00000000, ip: 192.0.2.10, port: 8, left: 9}]}\n\
         \x20 expectations: [{service: Geo, contentId: a, path: /geo, fields: {profile: \"768\"}, times: 1,\
         reply: {status: 503, json: {a: 1}}}]\n",
    )
    .unwrap();
    let services = config.control_plane.unwrap();
    assert!(!services.strict);
    assert_eq!(services.geo.external_addresses[0].external.to_string(), "203.0.113.7");
    assert_eq!(services.contents[0].policy, SharingPolicy::Forbidden);
    assert_eq!((services.array.next_join_seconds, services.array.peers[0].left), (60, 9));
    assert_eq!(services.expectations.unwrap()[0].reply.as_ref().unwrap().status, 503);

    let error = Config::from_yaml(
        "controlPlane: {baseUrl: x, geo: {countryCode: DEU, vesion: 1}, contents: [{path: a}],\
         array: {nextJoinSeconds: 0, peers: [{peerId: 1, ip: x}]}, expectations: [{servic: Geo}]}\n",
    )
    .unwrap_err();
    let all = error.errors.join("\n");
    for expected in [
        "controlPlane: its services need HTTPS",
        "controlPlane.baseUrl:",
        "controlPlane.geo.countryCode:",
        "controlPlane.geo.vesion: unknown key",
        "controlPlane.contents[0].path:",
        "controlPlane.array.nextJoinSeconds:",
        "controlPlane.array.peers[0].peerId:",
        "controlPlane.array.peers[0].ip:",
        "controlPlane.expectations[0].service: is missing",
        "controlPlane.expectations[0].servic: unknown key",
    ] {
        assert!(all.lines().any(|line| line.starts_with(expected)), "{expected} is missing in\n{all}");
    }
}
