//! Which origins are asked, how, and what becomes of their answers.

use std::time::{Duration, Instant};

use connected_cache_config::{ClientAddress, ClientErrors, ContentClass, ExtraOrigin};

use tokio::net::TcpSocket;

use crate::support::{Connection, Content, Fault, HOST, MIB, Origin, Setup, eventually};

#[tokio::test]
async fn strangers_and_what_names_no_origin_are_403_and_never_asked() {
    let setup =
        Setup::start_with(|config| config.content.deny_origins = vec!["*.windowsupdate.com".into()]).await;
    let targets = [
        "/f?cacheHostOrigin=evil.example",
        "/f?cacheHostOrigin=127.0.0.1",
        "/f?cacheHostOrigin=",
        "/f?cacheHostOrigin=dl.delivery.mp.microsoft.com:8080",
        "/f?cacheHostOrigin=dl.delivery.mp.microsoft.com%2Fx",
        "/f?cacheHostOrigin=dl.delivery.mp.microsoft.com&cacheHostOrigin=evil.example",
        "/f?cacheHostOrigin=au.download.windowsupdate.com",
        "/f",
    ];
    for target in targets {
        assert_eq!(setup.ask("GET", target, &[]).await.status, 403, "{target}");
    }
    assert_eq!(setup.origin.seen().len(), 0);
}

#[tokio::test]
async fn the_host_header_names_the_origin_when_the_parameter_is_absent() {
    let setup = Setup::start().await;
    let content = Content::new(10, 1);
    setup.origin.put("/mscomtest/wuidt.gif", &content);
    for host in [HOST.to_owned(), format!("{HOST}:80"), HOST.to_uppercase()] {
        let reply = setup.ask("GET", "/mscomtest/wuidt.gif", &[&format!("Host: {host}")]).await;
        assert_eq!((reply.status, reply.body), (200, content.whole()), "{host}");
    }
    for host in ["127.0.0.1".to_owned(), format!("{HOST}:443"), format!("{HOST}:8080")] {
        let reply = setup.ask("GET", "/mscomtest/wuidt.gif", &[&format!("Host: {host}")]).await;
        assert_eq!(reply.status, 403, "{host}");
    }
    for (port, status) in [(":80", 200), ("%3A80", 200), (":443", 403)] {
        let target = format!("/mscomtest/wuidt.gif?cacheHostOrigin={HOST}{port}");
        assert_eq!(setup.ask("GET", &target, &[]).await.status, status, "{port}");
    }
}

#[tokio::test]
async fn the_origin_sees_the_client_s_target_byte_for_byte() {
    let setup = Setup::start().await;
    let odd = "/a%20b/%7Bc%7D/../d'(x)~;=|/{e}/f?P1=1&P2=404&P4=ab%2fc%2bd'{}+&empty=&&x";
    let reply = setup.get(odd, &["MS-CV: abc.1.2", "Authorization: Basic eDp5", "Cookie: a=b"]).await;
    assert_eq!(reply.status, 404);
    let seen = setup.origin.seen().remove(0);
    assert_eq!(seen.target, odd);
    assert_eq!(seen.header("host"), Some(HOST));
    assert_eq!(seen.header("ms-cv"), Some("abc.1.2"));
    assert_eq!(seen.header("user-agent"), Some("Microsoft-Delivery-Optimization/10.1"));
    for private in ["authorization", "cookie", "x-forwarded-for", "accept-encoding"] {
        assert_eq!(seen.header(private), None, "{private}");
    }
}

#[tokio::test]
async fn the_origin_is_told_of_the_client_that_started_the_fetch_as_configured() {
    for (how, told) in [
        (ClientAddress::Full, Some("203.0.113.77, 127.0.0.2")),
        (ClientAddress::Truncated, Some("203.0.113.0, 127.0.0.0")),
        (ClientAddress::None, None),
    ] {
        let setup = Setup::start_with(|config| config.upstream.forwarded_for = how).await;
        let content = Content::new(2 * MIB, 1);
        setup.origin.put("/f", &content);
        setup.origin.set_fault("/f", Some(Fault::GateHead));
        let address = setup.sidecar().http_address().unwrap();
        let target = format!("/f?cacheHostOrigin={HOST}");
        let mut first = Connection::open_from([127, 0, 0, 2].into(), address).await;
        first.request("GET", &target, &["X-Forwarded-For: 203.0.113.77, unknown"]).await;
        eventually("the origin is asked", || async { setup.origin.seen().len() == 1 }).await;
        let mut second = Connection::open_from([127, 0, 0, 3].into(), address).await;
        second.request("GET", &target, &[]).await;
        setup.origin.open_gate();
        for client in [&mut first, &mut second] {
            assert!(client.reply(false).await.body == content.whole(), "{how:?}");
        }
        assert_eq!(setup.origin.seen()[0].header("x-forwarded-for"), told, "{how:?}");
    }
}

#[tokio::test]
async fn extra_origins_are_served_and_share_objects_by_alias() {
    let extra = |host: &str| ExtraOrigin {
        host: host.into(),
        class: Some(ContentClass::Office),
        alias: Some("repository.example.edu".into()),
    };
    let setup = Setup::start_with(|config| {
        let address = config.upstream.resolve[HOST];
        config.content.extra_origins = vec![extra("*.example.edu")];
        config.upstream.resolve.insert("eu.example.edu".into(), address);
        config.upstream.resolve.insert("us.example.edu".into(), address);
    })
    .await;
    setup.origin.put("/f", &Content::new(10, 1));
    let cold = setup.ask("GET", "/f?cacheHostOrigin=eu.example.edu", &[]).await;
    let warm = setup.ask("GET", "/f?cacheHostOrigin=US.example.edu", &[]).await;
    assert_eq!((cold.header("X-Cache"), warm.header("X-Cache")), (Some("MISS"), Some("HIT")));
}

#[tokio::test]
async fn an_origin_with_a_port_is_asked_at_that_port_and_at_no_other() {
    let (second, third) = (Origin::start().await, Origin::start().await);
    let port = |origin: &Origin| origin.address().port();
    let ports = [port(&second), port(&third)];
    let extra = |host: String| ExtraOrigin { host, ..ExtraOrigin::default() };
    let setup = Setup::start_with(|config| {
        config.content.extra_origins = ports.map(|port| extra(format!("localhost:{port}"))).to_vec();
    })
    .await;
    let contents = [Content::new(10, 1), Content::new(10, 2)];
    second.put("/f", &contents[0]);
    third.put("/f", &contents[1]);
    // Twice: what comes from the cache is that of the same port.
    for _ in 0..2 {
        for (port, content) in ports.iter().zip(&contents) {
            let reply = setup.ask("GET", &format!("/f?cacheHostOrigin=localhost:{port}"), &[]).await;
            assert_eq!((reply.status, &reply.body), (200, &content.whole()), "{port}");
            let reply = setup.ask("GET", "/f", &[&format!("Host: LOCALHOST:{port}")]).await;
            assert_eq!((reply.status, &reply.body), (200, &content.whole()), "{port}");
        }
    }
    // Clients leave the port out: it is that of the first entry.
    assert_eq!(setup.ask("GET", "/f?cacheHostOrigin=localhost", &[]).await.body, contents[0].whole());
    for (origin, port) in [&second, &third].into_iter().zip(ports) {
        let seen = origin.seen();
        assert_eq!((seen.len(), seen[0].header("host")), (1, Some(format!("localhost:{port}").as_str())));
    }
    let other = setup.origin.address().port();
    for target in [format!("localhost:{other}"), "localhost:80".to_owned(), format!("{HOST}:{}", ports[0])] {
        let reply = setup.ask("GET", &format!("/f?cacheHostOrigin={target}"), &[]).await;
        assert_eq!(reply.status, 403, "{target}");
        assert!(reply.text().contains("host:port to content.extraOrigins"), "{}", reply.text());
    }
    assert_eq!(setup.origin.seen().len(), 0);
    // Redirects are held to the same ports.
    let to = |port| Fault::Redirect(format!("http://localhost:{port}/f"));
    second.set_fault("/to-listed", Some(to(ports[1])));
    second.set_fault("/to-other", Some(to(other)));
    second.set_fault("/to-none", Some(Fault::Redirect("http://localhost/f".into())));
    for (path, status) in [("/to-listed", 200), ("/to-other", 502), ("/to-none", 502)] {
        let reply = setup.ask("GET", &format!("{path}?cacheHostOrigin=localhost:{}", ports[0]), &[]).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
    }
    assert_eq!(setup.origin.seen().len(), 0);
    // Stored content is found by the host, whatever the port.
    let url = format!("http%3A%2F%2Flocalhost%3A{}%2Ff", ports[1]);
    let listed = async |query: &str| setup.admin(&format!("/objects?{query}")).await.text();
    eventually("all are stored", || async { listed("host=localhost").await.matches("/f\"").count() == 2 })
        .await;
    let one = listed(&format!("url={url}")).await;
    assert!(one.contains(&format!("localhost:{}/f", ports[1])), "{one}");
    assert_eq!(one.matches("/f\"").count(), 1, "{one}");
}

#[tokio::test]
async fn private_addresses_are_refused_before_a_packet_leaves() {
    let setup = Setup::start_with(|config| {
        config.content.allow_private_targets = false;
        config.content.extra_origins =
            vec![ExtraOrigin { host: "localhost".into(), ..ExtraOrigin::default() }];
    })
    .await;
    setup.origin.put("/f", &Content::new(10, 1));
    for host in [HOST, "localhost"] {
        let reply = setup.ask("GET", &format!("/f?cacheHostOrigin={host}"), &[]).await;
        assert_eq!(reply.status, 502, "{host}: {}", reply.text());
        assert!(reply.text().contains("content.allowPrivateTargets"), "{}", reply.text());
    }
    assert_eq!(setup.origin.seen().len(), 0);
}

#[tokio::test]
async fn the_origin_s_4xx_is_passed_on_and_its_failures_are_5xx() {
    let setup = Setup::start().await;
    let cases = [
        (400, 400),
        (401, 401),
        (403, 403),
        (404, 404),
        (410, 410),
        (451, 451),
        (408, 503),
        (429, 503),
        (405, 502),
        (412, 502),
        (204, 502),
        (304, 502),
        (500, 502),
        (501, 502),
        (502, 502),
        (503, 503),
        (504, 504),
    ];
    for (origin, client) in cases {
        setup.origin.set_fault("/f", Some(Fault::Status(origin)));
        let reply = setup.get("/f", &["Range: bytes=0-9"]).await;
        assert_eq!(reply.status, client, "{origin}");
        assert!(!reply.cut, "{origin}");
        let status = reply.header("Cache-Status").unwrap();
        assert!(status.contains(&format!("fwd-status={origin}")), "{status}");
    }
    // A failure is not remembered.
    setup.origin.set_fault("/f", None);
    setup.origin.put("/f", &Content::new(10, 1));
    assert_eq!(setup.get("/f", &[]).await.status, 200);
}

#[tokio::test]
async fn an_origin_s_4xx_may_be_502_but_what_is_gone_is_gone() {
    let setup = Setup::start_with(|config| config.upstream.client_errors = ClientErrors::BadGateway).await;
    for (origin, client) in
        [(400, 502), (401, 502), (403, 502), (451, 502), (404, 404), (410, 410), (429, 503)]
    {
        setup.origin.set_fault("/f", Some(Fault::Status(origin)));
        assert_eq!(setup.get("/f", &[]).await.status, client, "{origin}");
    }
    assert_eq!(
        setup.ask("GET", "/f?cacheHostOrigin=evil.example", &[]).await.status,
        403,
        "our own word stays"
    );
    let errors = setup.metric("connectedcache_origin_errors_total{reason=\"status\"}").await;
    assert_eq!(errors, Some(7));
}

#[tokio::test]
async fn an_origin_that_can_t_be_reached_is_502() {
    let setup = Setup::start_with(|config| {
        // Bound and closed again: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        config.upstream.resolve.insert(HOST.into(), port);
    })
    .await;
    assert_eq!(setup.get("/f", &[]).await.status, 502);
}

#[tokio::test]
async fn an_impossible_length_is_502_at_once_and_harms_nobody() {
    let setup = Setup::start().await;
    setup.origin.put("/f", &Content::new(10, 1));
    for length in [u64::MAX - 1, (1 << 40) + 1] {
        setup.origin.put("/huge", &Content::new(length, 1));
        assert_eq!(setup.get("/huge", &["Range: bytes=0-9"]).await.status, 502, "{length}");
    }
    assert_eq!(setup.get("/f", &[]).await.status, 200);
}

#[tokio::test]
async fn a_silent_origin_is_504_within_the_first_byte_time() {
    let setup = Setup::start_with(|config| {
        config.upstream.timeouts.connect_seconds = 1;
        config.upstream.timeouts.first_byte_seconds = 1;
    })
    .await;
    setup.origin.set_fault("/f", Some(Fault::Silence));
    let began = Instant::now();
    assert_eq!(setup.get("/f", &[]).await.status, 504);
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
}

#[tokio::test]
async fn redirects_are_followed_inside_the_allow_list_only() {
    // A stranger that could be reached: only the allow-list stands between.
    let setup = Setup::start_with(|config| {
        let address = config.upstream.resolve[HOST];
        config.upstream.resolve.insert("evil.example".into(), address);
    })
    .await;
    let content = Content::new(10, 1);
    setup.origin.put("/final", &content);
    setup.origin.set_fault("/relative", Some(Fault::Redirect("/final?x=%2f".into())));
    setup.origin.set_fault("/absolute", Some(Fault::Redirect(format!("http://{HOST}/final"))));
    for path in ["/relative", "/absolute"] {
        let reply = setup.get(path, &[]).await;
        assert_eq!(
            (reply.status, reply.header("Location"), &reply.body),
            (200, None, &content.whole()),
            "{path}"
        );
    }
    assert!(setup.origin.seen().iter().any(|seen| seen.target == "/final?x=%2f"));
    for status in [301, 303, 307, 308] {
        let path = format!("/by-{status}");
        setup.origin.set_fault(&path, Some(Fault::RedirectBy(status, "/final?sig='a'".into())));
        assert_eq!(setup.get(&path, &[]).await.body, content.whole(), "{status}");
    }
    assert!(setup.origin.seen().iter().any(|seen| seen.target == "/final?sig='a'"));
    setup.origin.forget();
    let address = setup.origin.address();
    let refused = [
        format!("http://{address}/final"),
        "http://evil.example/final".to_owned(),
        "ftp://dl.delivery.mp.microsoft.com/final".to_owned(),
        "http://[::1]/final".to_owned(),
        "http://".to_owned(),
        "/loop".to_owned(),
    ];
    for location in refused {
        setup.origin.set_fault("/loop", Some(Fault::Redirect(location.clone())));
        let reply = setup.get("/loop", &[]).await;
        assert_eq!((reply.status, reply.header("Location")), (502, None), "{location}: {}", reply.text());
    }
    assert!(
        setup.origin.seen().iter().all(|seen| seen.target == "/loop"),
        "only the redirecting path was asked"
    );
    // Eleven for the loop, one for each of the others.
    assert_eq!(setup.origin.seen().len(), 16);
}

/// Path, length and type of the objects by which a cache is tested, and how their stand-ins begin.
const TEST_OBJECTS: [(&str, usize, &str, &[u8]); 2] = [
    ("/mscomtest/wuidt.gif", 969_710, "image/gif", b"GIF89a"),
    (
        "/filestreamingservice/files/7bc846e0-af9c-49be-a03d-bb04428c9bb5/Microsoft.png",
        302_341,
        "application/octet-stream",
        b"\x89PNG\r\n\x1a\n",
    ),
];

/// Without an origin that could be reached.
async fn offline(test_objects: bool) -> (Setup, TcpSocket) {
    // Nobody listens there, and nobody else gets it.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap();
    let setup = Setup::start_with(|config| {
        config.content.test_objects = test_objects;
        config.upstream.resolve.insert(HOST.into(), port);
        config.content.extra_origins =
            vec![ExtraOrigin { host: "other.example".into(), ..ExtraOrigin::default() }];
        config.upstream.resolve.insert("other.example".into(), port);
    })
    .await;
    (setup, socket)
}

#[tokio::test]
async fn objects_of_tests_have_stand_ins_where_no_origin_can_be_reached() {
    let (setup, _nobody) = offline(true).await;
    for (path, length, content_type, begin) in TEST_OBJECTS {
        let reply = setup.get(path, &[]).await;
        assert_eq!((reply.status, reply.body.len()), (200, length), "{path}");
        assert!(reply.body.starts_with(begin), "{path}");
        for (name, value) in [
            ("Content-Type", content_type),
            ("Cache-Control", "no-store"),
            ("X-Cache", "MISS"),
            ("Cache-Status", "connectedcache; fwd=miss; detail=built-in"),
            ("Accept-Ranges", "bytes"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{path} {name}");
        }
        let part = setup.get(&format!("{path}?P1=1"), &["Range: bytes=1-4"]).await;
        assert_eq!((part.status, &part.body[..]), (206, &begin[1..5]), "{path}");
        assert_eq!(part.header("Content-Range"), Some(format!("bytes 1-4/{length}").as_str()));
        assert_eq!(setup.get(path, &[&format!("Range: bytes={length}-")]).await.status, 416);
        let head = setup.ask("HEAD", &format!("{path}?cacheHostOrigin={HOST}"), &[]).await;
        let announced = head.header("Content-Length").map(str::to_owned);
        assert_eq!((head.status, announced), (200, Some(length.to_string())), "{path}");
        let other = setup.ask("GET", &format!("{path}?cacheHostOrigin=other.example"), &[]).await;
        assert_eq!(other.status, 502, "{path}");
    }
    assert_eq!(setup.get("/f", &[]).await.status, 502);
    let sent: usize = TEST_OBJECTS.iter().map(|(_, length, _, _)| length + 4).sum();
    eventually("all bytes are counted", || async { setup.served() == sent as u64 }).await;
}

#[tokio::test]
async fn an_origin_that_can_be_reached_has_the_word_about_objects_of_tests() {
    let path = TEST_OBJECTS[0].0;
    let (refusing, _nobody) = offline(false).await;
    assert_eq!(refusing.get(path, &[]).await.status, 502, "nobody wanted stand-ins");
    let setup = Setup::start_with(|config| config.content.test_objects = true).await;
    for status in [404, 503] {
        setup.origin.set_fault(path, Some(Fault::Status(status)));
        assert_eq!(setup.get(path, &[]).await.status, status);
    }
    setup.origin.set_fault(path, None);
    let content = Content::new(10, 1);
    setup.origin.put(path, &content);
    assert_eq!(setup.get(path, &[]).await.body, content.whole());
}
