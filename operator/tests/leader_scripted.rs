//! Leader election against a scripted API server, with a clock that the test moves.
#![allow(clippy::panic, reason = "a failed test says what it saw")]

mod common;

use std::time::Duration;

use common::api_server::ApiServer;
use connected_cache_operator::leader::{Candidate, LeaseLost, Settings};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::time::{self, Instant};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/ops/leases/operator";

fn candidate(client: &Client, identity: &str) -> Candidate {
    let api: Api<Lease> = Api::namespaced(client.clone(), "ops");
    Candidate::new(api, Settings::new("operator", identity))
}

fn holder(server: &ApiServer) -> Option<String> {
    server.get(LEASE)?["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

#[tokio::test(start_paused = true)]
async fn the_first_candidate_leads_and_the_second_waits() {
    let (server, client) = ApiServer::start();
    let mut first = candidate(&client, "first");
    first.acquire(|| {}).await;
    assert_eq!(holder(&server).as_deref(), Some("first"));
    let mut second = candidate(&client, "second");
    let waited = tokio::select! {
        lost = first.hold() => panic!("the first lost: {lost}"),
        waited = time::timeout(Duration::from_mins(10), second.acquire(|| {})) => waited,
    };
    assert!(waited.is_err(), "the second took a lease that is renewed");
    assert_eq!(holder(&server).as_deref(), Some("first"));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_taken_within_a_retry_period() {
    let (server, client) = ApiServer::start();
    let mut first = candidate(&client, "first");
    first.acquire(|| {}).await;
    first.release().await;
    assert_eq!(holder(&server), None);
    let start = Instant::now();
    candidate(&client, "second").acquire(|| {}).await;
    assert_eq!(holder(&server).as_deref(), Some("second"));
    assert!(start.elapsed() <= Duration::from_secs(2), "it took {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_a_dead_holder_is_taken_after_its_duration_and_not_before() {
    let (server, client) = ApiServer::start();
    let mut first = candidate(&client, "first");
    first.acquire(|| {}).await;
    drop(first);
    // The dead holder's clock was years ahead: nobody may look at it.
    server.edit(LEASE, |lease| lease["spec"]["renewTime"] = "2099-01-01T00:00:00.000000Z".into());
    let start = Instant::now();
    candidate(&client, "second").acquire(|| {}).await;
    let waited = start.elapsed();
    assert_eq!(holder(&server).as_deref(), Some("second"));
    assert!((Duration::from_secs(15)..=Duration::from_secs(17)).contains(&waited), "it took {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn of_two_candidates_for_a_free_lease_one_wins() {
    let (server, client) = ApiServer::start();
    candidate(&client, "gone").acquire(|| {}).await;
    let (first, second) = (candidate(&client, "first"), candidate(&client, "second"));
    let long = Duration::from_mins(1);
    // Both wait out the same duration and write at the same moment; the winner then renews.
    let lead = |mut candidate: Candidate| async move {
        candidate.acquire(|| {}).await;
        candidate.hold().await
    };
    let (one, two) = tokio::join!(time::timeout(long, lead(first)), time::timeout(long, lead(second)));
    assert!(one.is_err() && two.is_err(), "nobody who leads loses: {one:?} {two:?}");
    let writes = server.take_calls().into_iter().filter(|call| call.method == "PUT");
    let mut holders: Vec<String> = writes
        .map(|call| call.body["spec"]["holderIdentity"].as_str().expect("a holder").to_owned())
        .collect();
    let winner = holder(&server).expect("somebody leads");
    // The loser wrote at most once, into a conflict.
    holders.retain(|holder| *holder != winner && holder != "gone");
    assert!(holders.len() <= 1, "{holders:?}");
    assert_eq!(server.get(LEASE).expect("the lease")["spec"]["leaseTransitions"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_ends_before_anybody_else_may_start() {
    let (server, client) = ApiServer::start();
    let mut first = candidate(&client, "first");
    first.acquire(|| {}).await;
    let start = Instant::now();
    server.fail("PUT", LEASE, 500, "InternalError", "etcd is down");
    let lost = first.hold().await;
    assert_eq!(lost, LeaseLost::NotRenewed { deadline: Duration::from_secs(10) });
    assert!(start.elapsed() < Duration::from_secs(15), "it went on for {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_was_robbed_ends_at_once() {
    let (server, client) = ApiServer::start();
    let mut first = candidate(&client, "first");
    first.acquire(|| {}).await;
    server.edit(LEASE, |lease| {
        lease["spec"]["holderIdentity"] = "robber".into();
        lease["metadata"]["resourceVersion"] = "99".into();
    });
    let start = Instant::now();
    assert_eq!(first.hold().await, LeaseLost::TakenOver { holder: "robber".to_owned() });
    assert!(start.elapsed() <= Duration::from_secs(2), "it took {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_short_failure_costs_nothing() {
    let (server, client) = ApiServer::start();
    let mut first = candidate(&client, "first");
    first.acquire(|| {}).await;
    server.fail("GET", LEASE, 500, "InternalError", "etcd is slow");
    let outcome = tokio::select! {
        lost = first.hold() => Err(lost),
        () = async {
            time::sleep(Duration::from_secs(6)).await;
            server.heal();
            time::sleep(Duration::from_mins(1)).await;
        } => Ok(()),
    };
    assert_eq!(outcome, Ok(()));
}
