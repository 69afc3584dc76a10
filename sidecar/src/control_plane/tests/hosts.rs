//! Whom we talk to: over https only, with the configured roots only, by the configured names and proxy.

use std::net::SocketAddr;

use connected_cache_config::ControlPlaneMode;
use connected_cache_mock_control_plane::{
    self as mock, MockControlPlane,
    control_plane::{Expectation, ScriptedReply, Service},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use super::{
    super::SimpleMode,
    lab::{HASH, Lab, SERVICES},
};

/// A mock whose services answer as scripted, the others as usual.
async fn lab_with(scripted: Vec<(Service, Value)>) -> Lab {
    let lab = Lab::start().await;
    let all = [Service::Geo, Service::KeyValue, Service::ContentPolicy, Service::PieceHashFile];
    let expectations = all.map(|service| {
        let reply = scripted.iter().find(|(of, _)| *of == service);
        let reply = reply.map(|(_, json)| ScriptedReply { status: 200, json: json.clone() });
        Expectation { reply, ..Expectation::any(service) }
    });
    lab.mock.expect(Some(expectations.to_vec())).unwrap();
    lab
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_named_without_https_is_unavailable() {
    let geo = json!({"KeyValue_EndpointFullUri": format!("http://{SERVICES}/all"), "Version": "1"});
    let lab = lab_with(vec![(Service::Geo, geo)]).await;
    assert_eq!(lab.look_up().await.unwrap_err(), SimpleMode::Unreachable);
    assert_eq!(lab.called(Service::KeyValue), 0);

    let template = format!("http://{SERVICES}/content/{{contentId}}/contentpolicy");
    let lab = lab_with(vec![(Service::KeyValue, json!({"ContentPolicy_EndpointFullUri": template}))]).await;
    assert_eq!(lab.look_up().await.unwrap_err(), SimpleMode::Unreachable);
    assert_eq!(lab.called(Service::ContentPolicy), 0);
}

#[tokio::test(start_paused = true)]
async fn the_base_of_content_policy_is_enough() {
    let base = json!({"ContentPolicy_EndpointUri": format!("https://{SERVICES}")});
    let lab = lab_with(vec![(Service::KeyValue, base)]).await;
    assert_eq!(lab.look_up().await.unwrap().policy.hash_of_hashes.to_base64(), HASH);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_other_roots_is_refused_and_new_roots_are_read() {
    let other = MockControlPlane::start(mock::Config {
        listen: mock::Listen { http: None, https: Some(SocketAddr::from(([127, 0, 0, 1], 0))) },
        ..mock::Config::default()
    })
    .await
    .unwrap();
    let lab = Lab::start_with(mock::ControlPlane::default(), |config| {
        let path = config.control_plane.ca_file.clone().unwrap();
        std::fs::write(path, other.ca_pem().unwrap()).unwrap();
    })
    .await;
    assert_eq!(lab.look_up().await.unwrap_err(), SimpleMode::Unreachable);
    assert_eq!(lab.mock.requests().requests.len(), 0);
    let error = lab.control_plane.status().errors["Geo"].error.clone();
    assert!(error.contains("certificate"), "{error}");

    std::fs::write(lab.config.control_plane.ca_file.as_ref().unwrap(), lab.mock.ca_pem().unwrap()).unwrap();
    // The file is looked at every second, and the outage is over after ten minutes.
    tokio::time::advance(std::time::Duration::from_mins(10)).await;
    let mut answered = false;
    while !answered {
        answered = lab.look_up().await.is_ok();
        tokio::time::advance(std::time::Duration::from_mins(10)).await;
    }
    assert!(lab.called(Service::Geo) > 0);
}

#[tokio::test(start_paused = true)]
async fn the_roots_of_the_control_plane_are_not_those_of_origins() {
    let lab = Lab::start_with(mock::ControlPlane::default(), |config| {
        config.upstream.ca_file = config.control_plane.ca_file.take();
    })
    .await;
    assert_eq!(lab.look_up().await.unwrap_err(), SimpleMode::Unreachable);
    assert_eq!(lab.mock.requests().requests.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn in_mode_microsoft_hosts_must_be_public_unless_labs_are_allowed() {
    let microsoft = |allowed: bool| {
        Lab::start_with(mock::ControlPlane::default(), move |config| {
            config.control_plane.mode = ControlPlaneMode::Microsoft;
            config.control_plane.geo_url = None;
            config.content.allow_private_targets = allowed;
            let address = config.upstream.resolve[SERVICES];
            config.upstream.resolve.insert("geo.prod.do.dsp.mp.microsoft.com".to_owned(), address);
        })
    };
    let lab = microsoft(true).await;
    lab.look_up().await.unwrap();
    assert_eq!(lab.calls()[..2], [Service::Geo, Service::KeyValue]);
    assert_eq!(lab.requests(Service::Geo)[0].host, "geo.prod.do.dsp.mp.microsoft.com");
    let lab = microsoft(false).await;
    assert_eq!(lab.look_up().await.unwrap_err(), SimpleMode::Unreachable);
    assert_eq!(lab.calls(), []);
}

/// A proxy that tunnels to one address and tells where others wanted to go.
async fn proxy(to: SocketAddr, asked: tokio::sync::mpsc::UnboundedSender<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let line = String::from_utf8(head).unwrap().lines().next().unwrap().to_owned();
                asked.send(line).unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut server = TcpStream::connect(to).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

#[tokio::test(start_paused = true)]
async fn services_are_asked_through_the_proxy_of_origins() {
    let mut lab = Lab::start().await;
    let (sender, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let proxy = proxy(lab.mock.https_address().unwrap(), sender).await;
    lab.config.upstream.proxy = Some(format!("http://{proxy}").parse().unwrap());
    lab.config.upstream.no_proxy = vec![super::lab::ORIGIN.to_owned()];
    lab.config.upstream.resolve.remove(SERVICES);
    lab.restart().await;
    lab.look_up().await.unwrap();
    asked.close();
    let mut lines = Vec::new();
    while let Some(line) = asked.recv().await {
        lines.push(line);
    }
    assert_eq!(lines, vec![format!("CONNECT {SERVICES}:443 HTTP/1.1"); 3]);
}
