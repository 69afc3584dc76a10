//! `upstream.resolvers`: names are asked there and nowhere else, and what comes back is checked like any other address.

use std::net::Ipv4Addr;

use connected_cache_config::ExtraOrigin;

use super::{
    front::Front,
    name_server::{NameServer, Record, TYPE_A, TYPE_AAAA},
};
use crate::support::{Content, Fault, HOST, Setup, eventually};

const NAME: &str = "content.example.edu";

fn record(address: [u8; 4], time_to_live: u32) -> Record {
    Record { name: NAME, address: Ipv4Addr::from(address), time_to_live }
}

/// A sidecar that asks this server for `NAME`. The usual host, known by `upstream.resolve`, sends everybody to `NAME` at the
/// front's port, because DNS itself knows no ports.
async fn start(record: Record) -> (Setup, Front, NameServer) {
    let mut setup = Setup::start().await;
    let front = Front::start(setup.origin.address()).await;
    let server = NameServer::start(record).await;
    setup.config.upstream.resolvers = vec![server.address];
    let host = format!("*.example.edu:{}", front.address.port());
    setup.config.content.extra_origins = vec![ExtraOrigin { host, ..ExtraOrigin::default() }];
    setup.restart().await;
    (setup, front, server)
}

/// Gets content through a redirect to the front.
async fn get(setup: &Setup, front: &Front, path: &str) -> u16 {
    let target = format!("http://{NAME}:{}/final{path}", front.address.port());
    setup.origin.set_fault(path, Some(Fault::Redirect(target)));
    setup.origin.put(&format!("/final{path}"), &Content::new(10, 1));
    setup.get(path, &[]).await.status
}

fn both_types() -> Vec<(String, u16)> {
    vec![(NAME.to_owned(), TYPE_A), (NAME.to_owned(), TYPE_AAAA)]
}

#[tokio::test]
async fn the_configured_server_is_asked_and_its_answer_is_where_we_connect() {
    let (setup, front, server) = start(record([127, 0, 0, 1], 300)).await;
    assert_eq!(get(&setup, &front, "/f").await, 200);
    assert_eq!(front.most(), 1);
    // Nothing about the usual host: `upstream.resolve` wins.
    assert_eq!(server.asked(), both_types());
}

#[tokio::test]
async fn answers_are_kept_for_their_time_to_live() {
    for (time_to_live, questions) in [(300, 1), (0, 2)] {
        let (setup, front, server) = start(record([127, 0, 0, 1], time_to_live)).await;
        for path in ["/f", "/g"] {
            assert_eq!(get(&setup, &front, path).await, 200);
            // The next one needs a new connection.
            front.cut();
            eventually("no connection is left", || async { front.now() == 0 }).await;
        }
        assert_eq!(front.most(), 1);
        let asked = server.asked().iter().filter(|(_, kind)| *kind == TYPE_A).count();
        assert_eq!(asked, questions, "time to live {time_to_live}");
    }
}

#[tokio::test]
async fn a_private_answer_is_502() {
    let (mut setup, _front, server) = start(record([127, 0, 0, 1], 300)).await;
    setup.config.content.allow_private_targets = false;
    setup.restart().await;
    let reply = setup.ask("GET", &format!("/f?cacheHostOrigin={NAME}"), &[]).await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert!(reply.text().contains("content.allowPrivateTargets"), "{}", reply.text());
    assert_eq!(server.asked(), both_types());
    assert_eq!(setup.origin.seen().len(), 0);
}

#[tokio::test]
async fn a_name_that_the_server_does_not_know_is_502_whatever_the_system_knows() {
    let (mut setup, _front, server) = start(record([127, 0, 0, 1], 300)).await;
    setup.config.upstream.resolve.clear();
    setup.restart().await;
    let reply = setup.get("/f", &[]).await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert!(server.asked().iter().all(|(name, _)| name == HOST), "{:?}", server.asked());
    assert!(!server.asked().is_empty());
}
