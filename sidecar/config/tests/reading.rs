//! Files and variables: what is refused, by which path, and which source wins.

use std::collections::BTreeMap;

use connected_cache_config::{ByteSize, Config, ConfigError, ContentClass, LogLevel, TlsVersion};

fn problems(result: Result<Config, ConfigError>) -> BTreeMap<String, String> {
    let error = result.expect_err("this configuration has problems");
    error.problems.into_iter().map(|problem| (problem.path, problem.message)).collect()
}

fn load(yaml: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(Some(yaml), variables.iter().copied())
}

#[test]
fn a_partial_file_changes_only_what_it_names() {
    let config = Config::from_yaml(
        "node: {name: pod-0}\nlisten:\n  admin: null\nstorage: {volumes: [{path: /a, limit: 10M}, {path: /b}]}\n\
         content: {extraOrigins: [{host: '*.example.edu', class: Office}]}\n\
         upstream: {resolve: {dl.example.edu: '127.0.0.1:9000'}}\ntls: {minVersion: '1.3'}\nlog: {level: debug}\n",
    )
    .unwrap();
    let mut expected = Config::default();
    expected.node.name = Some("pod-0".into());
    expected.listen.admin = None;
    expected.storage.volumes[0].path = "/a".into();
    expected.storage.volumes[0].limit = ByteSize::from_bytes(10_000_000);
    expected.storage.volumes.push(connected_cache_config::Volume {
        path: "/b".into(),
        limit: ByteSize::from_bytes(107_374_182_400),
    });
    expected.content.extra_origins.push(connected_cache_config::ExtraOrigin {
        host: "*.example.edu".into(),
        class: Some(ContentClass::Office),
        alias: None,
    });
    expected.upstream.resolve.insert("dl.example.edu".into(), "127.0.0.1:9000".parse().unwrap());
    expected.tls.min_version = TlsVersion::V1_3;
    expected.log.level = LogLevel::Debug;
    assert_eq!(config, expected);
}

#[test]
fn json_is_yaml() {
    let config = Config::from_yaml(r#"{"shutdown": {"drainSeconds": 7}}"#).unwrap();
    assert_eq!(config.shutdown.drain_seconds, 7);
}

#[test]
fn unknown_keys_are_refused_by_full_path_at_every_level_all_at_once() {
    let found = problems(Config::from_yaml(
        "storag: {}\nstorage: {volume: [], volumes: [{path: /a}, {path: /b, limits: 1Gi}]}\n\
         upstream: {timeouts: {conectSeconds: 1}}\nsharing: {arrayJoin: {scoop: Lan}}\n",
    ));
    let paths: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "sharing.arrayJoin.scoop",
            "storag",
            "storage.volume",
            "storage.volumes[1].limits",
            "upstream.timeouts.conectSeconds",
        ]
    );
    assert!(found["storag"].contains("did you mean `storage`?"), "{found:?}");
    assert!(found["storage.volume"].contains("did you mean `volumes`?"), "{found:?}");
    assert!(
        found["storage.volumes[1].limits"].contains("known in `storage.volumes[1]`: path, limit"),
        "{found:?}"
    );
    assert!(found["upstream.timeouts.conectSeconds"].contains("did you mean `connectSeconds`?"), "{found:?}");
}

#[test]
fn wrong_types_are_named_by_path_all_at_once() {
    let found = problems(Config::from_yaml(
        "storage: {minFree: lots, volumes: [{path: /a}, {path: /b, limit: 1.5Gi}]}\nlog: {level: loud}\n\
         limits: 5\nupstream: {resolve: {a.example: '127.0.0.1:1', b.example: somewhere}}\nsharing: {arrayJoin: {peersWanted: 256}}\n",
    ));
    let paths: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "limits",
            "log.level",
            "sharing.arrayJoin.peersWanted",
            "storage.minFree",
            "storage.volumes[1].limit",
            "upstream.resolve[\"b.example\"]",
        ]
    );
    assert!(found["log.level"].contains("`error`, `warn`, `info`, `debug`, `trace`"), "{found:?}");
    assert!(found["storage.minFree"].contains("such as 100Gi"), "{found:?}");
}

#[test]
fn broken_rules_are_named_by_path_beside_other_problems() {
    let found = problems(Config::from_yaml(
        "listen: {http: '0.0.0.0:5001', https: '0.0.0.0:8443'}\nstorage: {volumes: [{path: /a}, {path: /a/b}, {limit: 1Gi}]}\n\
         content: {extraOrigins: [{host: 'http://x.example'}], denyOrigins: ['10.0.0.1']}\ncontrolPlane: {mode: Custom}\n\
         swarm: {badPiecesBeforeBan: 1}\nlogs: {}\n",
    ));
    let paths: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "content.denyOrigins[0]",
            "content.extraOrigins[0].host",
            "controlPlane.geoUrl",
            "listen.admin",
            "logs",
            "storage.volumes[1].path",
            "storage.volumes[2].path",
            "swarm.badPiecesBeforeBan",
            "tls.cert",
        ]
    );
}

#[test]
fn a_control_plane_needs_https_and_a_version_of_four_numbers() {
    let message = |keys: &str| {
        let text = format!("controlPlane: {{mode: Custom, {keys}}}\n");
        Config::from_yaml(&text).err().map(|error| problems(Err(error)).into_values().collect::<String>())
    };
    let url = "geoUrl: 'https://geo.example/geo'";
    assert_eq!(message(url), None);
    for (keys, part) in [
        ("geoUrl: null", "is required"),
        ("geoUrl: 'http://geo.example/geo'", "must be https"),
        ("geoUrl: 'https://user:word@geo.example/geo'", "no user and password"),
        (&format!("{url}, clientVersion: 10.1.0"), "four numbers"),
        (&format!("{url}, clientVersion: 10.1.0.x"), "four numbers"),
    ] {
        let found = message(keys).unwrap_or_default();
        assert!(found.contains(part) && !found.contains("word@"), "{keys}: {found}");
    }
}

#[test]
fn rules_of_members_and_of_their_certificates_are_kept() {
    let member = |name: &str| format!("{{name: {name}, swarm: 'host:7680', peers: 'host:7681', zone: a}}");
    let (zero, one) = (member("pod-0"), member("pod-1"));
    let files = "cert: /c, key: /k, ca: /ca";
    for accepted in [
        format!("node: {{name: pod-0}}\nsharing: {{members: [{zero}, {one}]}}"),
        format!("sharing: {{members: [{one}]}}"),
        "sharing: {service: caches/campus-peers}".to_owned(),
        format!("listen: {{peers: '0.0.0.0:7681'}}\ntls: {{peers: {{{files}}}}}"),
        format!("tls: {{peers: {{{files}}}}}"),
    ] {
        assert_eq!(Config::from_yaml(&accepted).err(), None, "{accepted}");
    }
    let many: String = (0..1001).map(|index| member(&format!("pod-{index}")) + ", ").collect();
    for (text, path, part) in [
        (
            format!("node: {{name: pod-2}}\nsharing: {{members: [{zero}, {one}]}}"),
            "sharing.members",
            "`pod-2`",
        ),
        (format!("sharing: {{members: [{zero}, {zero}]}}"), "sharing.members[1].name", "twice"),
        ("sharing: {members: [{name: a, swarm: host}]}".into(), "sharing.members[0].swarm", "host:port"),
        ("sharing: {members: [{name: a, swarm: 'a:1', zone: ''}]}".into(), "sharing.members[0].zone", "zone"),
        (format!("sharing: {{members: [{many}]}}"), "sharing.members", "1001"),
        (format!("sharing: {{service: a/b, members: [{zero}]}}"), "sharing.service", "replaces"),
        ("sharing: {service: campus}".into(), "sharing.service", "namespace/name"),
        ("sharing: {service: a/b/c}".into(), "sharing.service", "namespace/name"),
        ("sharing: {service: 'a/B'}".into(), "sharing.service", "namespace/name"),
        ("sharing: {service: '/b'}".into(), "sharing.service", "namespace/name"),
        ("listen: {peers: '0.0.0.0:7681'}".into(), "tls.peers", "ca are needed"),
        (
            "listen: {peers: '0.0.0.0:7681'}\ntls: {peers: {cert: /c, key: /k}}".into(),
            "tls.peers",
            "ca are needed",
        ),
        ("tls: {peers: {cert: /c}}".into(), "tls.peers.key", "is needed"),
    ] {
        let found = problems(Config::from_yaml(&text));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found.get(path).is_some_and(|message| message.contains(part)), "{text}: {found:?}");
    }
}

#[test]
fn what_is_no_mapping_or_no_yaml_is_refused() {
    for text in ["- a\n- b\n", "just words", "a: [", "a: 1\na: 2\n"] {
        assert!(Config::from_yaml(text).is_err(), "{text:?} was accepted");
    }
    for text in ["# only a comment\n", "storage:\n", "{}"] {
        assert_eq!(Config::from_yaml(text), Ok(Config::default()), "{text:?}");
    }
}

#[test]
fn environment_wins_over_file_and_file_over_default() {
    let file = "shutdown: {drainSeconds: 7, graceSeconds: 9}\n";
    let config = load(file, &[("CONNECTEDCACHE_SHUTDOWN__DRAIN_SECONDS", "8"), ("PATH", "/bin")]).unwrap();
    assert_eq!((config.shutdown.drain_seconds, config.shutdown.grace_seconds), (8, 9));
    assert_eq!(config.limits.header_seconds, 10);
}

#[test]
fn variables_carry_text_numbers_null_lists_and_maps() {
    let config = load(
        "node: {id: '7'}\nlisten: {admin: '127.0.0.1:1'}",
        &[
            ("CONNECTEDCACHE_NODE__NAME", "123"),
            ("CONNECTEDCACHE_NODE__ID", "null"),
            ("CONNECTEDCACHE_LISTEN__ADMIN", "null"),
            ("CONNECTEDCACHE_CONTENT__ALLOW_PRIVATE_TARGETS", "true"),
            ("CONNECTEDCACHE_STORAGE__MIN_FREE", "1Gi"),
            ("CONNECTEDCACHE_STORAGE__VOLUMES", r#"[{"path":"/x","limit":"8Mi"}]"#),
            ("CONNECTEDCACHE_UPSTREAM__RESOLVE", r#"{"a.example":"127.0.0.1:80"}"#),
            ("CONNECTEDCACHE_CONTROL_PLANE__GEO_URL", "https://geo.example.edu/geo"),
        ],
    )
    .unwrap();
    assert_eq!(config.node.name.as_deref(), Some("123"));
    assert_eq!(config.node.id, None);
    assert_eq!(config.listen.admin, None);
    assert!(config.content.allow_private_targets);
    assert_eq!(config.storage.min_free, ByteSize::from_gibibytes(1));
    assert_eq!(config.storage.volumes.len(), 1);
    assert_eq!(config.upstream.resolve.len(), 1);
    assert_eq!(config.control_plane.geo_url.unwrap().as_str(), "https://geo.example.edu/geo");
}

#[test]
fn misspelt_variables_are_refused_and_service_links_are_not_ours() {
    let found =
        problems(load("", &[("CONNECTEDCACHE_LOG_LEVEL", "info"), ("CONNECTEDCACHE_LOG__LEVEL", "loud")]));
    assert!(
        found["CONNECTEDCACHE_LOG_LEVEL"].contains("did you mean CONNECTEDCACHE_LOG__LEVEL?"),
        "{found:?}"
    );
    assert!(found["CONNECTEDCACHE_LOG__LEVEL"].contains("log.level"), "{found:?}");
    let links = [
        ("CONNECTEDCACHE_SERVICE_HOST", "10.0.0.1"),
        ("CONNECTEDCACHE_SERVICE_PORT_HTTP", "80"),
        ("CONNECTEDCACHE_PORT", "tcp://10.0.0.1:80"),
        ("CONNECTEDCACHE_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(load("", &links), Ok(Config::default()));
}

#[test]
fn keys_without_effect_are_listed_only_when_off_default() {
    let config = Config::from_yaml(
        "listen: {swarm: null}\nstorage: {memory: 64Mi}\nsharing: {homeDeadlineMilliseconds: 600}\nbranchCache: {enabled: true}\nbits: {maxConcurrent: 3}\n",
    )
    .unwrap();
    assert_eq!(config.not_in_effect(), ["branchCache.enabled", "bits.maxConcurrent"]);
}

#[test]
fn classes_and_pins_are_read_and_printed() {
    let text = "content:\n  classes: {Xbox: {maxPercent: 40}, Edge: {}}\n  pins:\n\
                \x20 - {host: '*.mp.microsoft.com', prefix: /filestreamingservice/, class: null, until: '2026-12-31T00:00:00Z'}\n\
                \x20 - {class: Office}\n";
    let config = Config::from_yaml(text).unwrap();
    let classes: Vec<(ContentClass, Option<u8>)> =
        config.content.classes.iter().map(|(class, options)| (*class, options.max_percent)).collect();
    assert_eq!(classes, [(ContentClass::Edge, None), (ContentClass::Xbox, Some(40))]);
    // date -u -d 2026-12-31 +%s
    assert_eq!(config.content.pins[0].until.unwrap().as_second(), 1_798_675_200);
    assert_eq!(
        (config.content.pins[1].class, config.content.pins[1].until),
        (Some(ContentClass::Office), None)
    );
    let printed = config.to_yaml();
    for words in ["Xbox", "maxPercent: 40", "/filestreamingservice/", "2026-12-31T00:00:00Z", "tokenFile"] {
        assert!(printed.contains(words), "{words} is not in\n{printed}");
    }
    assert_eq!(Config::from_yaml(&printed), Ok(config));
}

#[test]
fn what_is_wrong_in_classes_and_pins_is_named_by_path() {
    let found = problems(Config::from_yaml(
        "content:\n  classes: {Xbox: {maxPercent: many, maxPercnt: 1}, Games: {maxPercent: 1}, Edge: 5}\n  pins:\n\
         \x20 - {hosts: a.example, class: Game}\n  - {prefix: /a, until: tomorrow}\n",
    ));
    let paths: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "content.classes[\"Edge\"]",
            "content.classes[\"Games\"]",
            "content.classes[\"Xbox\"].maxPercent",
            "content.classes[\"Xbox\"].maxPercnt",
            "content.pins[0].class",
            "content.pins[0].hosts",
            "content.pins[1].until",
        ]
    );
    assert!(found["content.classes[\"Xbox\"].maxPercnt"].contains("did you mean `maxPercent`?"), "{found:?}");
    assert!(found["content.classes[\"Games\"]"].contains("`Xbox`"), "{found:?}");
    assert!(found["content.pins[0].hosts"].contains("did you mean `host`?"), "{found:?}");
    assert!(found["content.pins[1].until"].contains("such as 2026-12-31T00:00:00Z"), "{found:?}");
    let found = problems(Config::from_yaml(
        "content: {classes: {Xbox: {maxPercent: 0}, Edge: {maxPercent: 101}}, pins: [{}, {until: null}, {host: 'http://a'}, {prefix: a}]}",
    ));
    let paths: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "content.classes[\"Edge\"].maxPercent",
            "content.classes[\"Xbox\"].maxPercent",
            "content.pins[0]",
            "content.pins[1]",
            "content.pins[2].host",
            "content.pins[3].prefix",
        ]
    );
}
