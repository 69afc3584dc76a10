//! Content that is checked by the hashes of a control plane: all is well, the origin or the hashes are wrong, nobody answers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use connected_cache_tests::kubernetes::PATIENCE;
use connected_cache_tests::origin::{Content, Origin};
use connected_cache_tests::stored::Verification;
use connected_cache_tests::windows_client::{Download, Mode};
use connected_cache_tests::{Case, ControlPlane, in_namespace};
use kube::Client;
use serde_json::json;

const MIB: u64 = 1024 * 1024;
/// Not a multiple of the piece length, so that the last piece is a short one.
const LENGTH: u64 = 24 * MIB + 12_345;
/// Pieces of an object of that length.
const PIECES: u64 = 25;
/// The longest that a cache may leave a client without an answer, whatever else fails.
const FIRST_BYTE_SECONDS: u32 = 10;

#[tokio::test]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn content_is_checked_piece_by_piece_from_the_origin_to_the_client() -> Result<()> {
    in_namespace("verified", async |case: &Case| {
        let client = &case.lab.client;
        let length = LENGTH.to_string();
        let paths = ["/update/whole.cab", "/update/ranges.cab"];
        let content = Content::formulas(&[(paths[0], &length, 21), (paths[1], &length, 22)])
            .with_piece_hashes(json!({}));
        let (origin, control_plane) = case.start_verified_cache(&content, 1).await?;
        let (url, manifest) = (case.service_url("cache"), origin.manifest_url());
        for (name, path, mode) in [("whole", paths[0], Mode::Whole), ("ranges", paths[1], Mode::Ranges)] {
            let download =
                Download { mode, paths: &[path], parallel: 4, ..Download::whole(name, &url, &manifest) };
            download.run(client, &case.namespace).await?;
            let stored = case.wait_for_verification("cache", path, Verification::is_authenticated).await?;
            let verification = stored[0].verification.as_ref();
            ensure!(stored[0].stored_pieces == PIECES, "{path}: {stored:?}");
            ensure!(verification.is_some_and(|found| found.authenticated_pieces == PIECES), "{stored:?}");
            let id = verification.and_then(|found| found.content_id.clone());
            ensure!(
                id.is_some_and(|id| id.starts_with("DO-")),
                "{path} has no id of the control plane: {stored:?}"
            );
            let crossed = origin.body_bytes_of(client, path).await?;
            ensure!(crossed == LENGTH, "{path} of {LENGTH} bytes cost the internet {crossed}");
        }

        let warm = Download::whole("warm", &url, &manifest).run(client, &case.namespace).await?;
        ensure!(warm.misses == 0 && warm.bytes == 2 * LENGTH, "{warm:?}");
        for path in paths {
            let crossed = origin.body_bytes_of(client, path).await?;
            ensure!(crossed == LENGTH, "{path} was fetched again: {crossed} bytes");
        }
        let verified: u64 =
            case.metric("cache", "connectedcache_pieces_verified_total").await?.values().sum();
        ensure!(verified == 2 * PIECES, "{verified} pieces were counted as verified");
        ensure!(
            simple_mode(case).await?.is_empty(),
            "content is in simple mode: {:?}",
            simple_mode(case).await?
        );

        // The mock refuses whatever the documentation does not know.
        let calls = control_plane.calls(client).await?;
        ensure!(calls.iter().all(|call| call.refusal.is_none()), "calls were refused: {calls:?}");
        for service in ["Geo", "KeyValue", "ContentPolicy"] {
            ensure!(
                calls.iter().any(|call| call.service.as_deref() == Some(service)),
                "{service}: {calls:?}"
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn a_corrupted_piece_is_fetched_again_and_wrong_hashes_stop_nobody() -> Result<()> {
    in_namespace("bad-pieces", async |case: &Case| {
        let client = &case.lab.client;
        let length = LENGTH.to_string();
        // The bytes of `/changed` are those of its origin, but the authentic hashes are those of other bytes.
        let content = Content::formulas(&[
            ("/corrupted", &length, 31),
            ("/changed", &length, 32),
            ("/as-it-was", &length, 33),
        ])
        .with_piece_hashes(json!({"contents": [{"path": "/changed", "hashesOf": "/as-it-was"}]}));
        let (origin, _control_plane) = case.start_verified_cache(&content, 1).await?;
        let (url, manifest) = (case.service_url("cache"), origin.manifest_url());
        let download = |name: &'static str, paths: &'static [&'static str]| Download {
            paths,
            silence_seconds: FIRST_BYTE_SECONDS,
            ..Download::whole(name, &url, &manifest)
        };

        origin.set_faults(client, &json!([{"path": "/corrupted", "corruptByte": 0, "times": 1}])).await?;
        download("corrupted", &["/corrupted"]).run(client, &case.namespace).await?;
        ensure!(origin.faults_left(client).await? == [Some(0)], "the corrupted byte was never sent");
        case.wait_for_verification("cache", "/corrupted", Verification::is_authenticated).await?;
        let crossed = origin.body_bytes_of(client, "/corrupted").await?;
        ensure!(crossed > LENGTH, "{crossed} bytes are no second copy of a piece");
        ensure!(simple_mode(case).await?.is_empty(), "one bad piece is no reason for simple mode");

        download("changed", &["/changed"]).run(client, &case.namespace).await?;
        case.wait_for_verification("cache", "/changed", |found| found.is_simple("bad-pieces")).await?;
        ensure!(simple_mode(case).await? == ["bad-pieces"], "{:?}", simple_mode(case).await?);
        let again = download("again", &["/corrupted", "/changed"]).run(client, &case.namespace).await?;
        ensure!(again.misses == 0, "what was served is not kept: {again:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: run by cargo xtask test"]
async fn clients_notice_nothing_of_a_control_plane_that_goes_away() -> Result<()> {
    in_namespace("no-control-plane", async |case: &Case| {
        let client = &case.lab.client;
        let length = LENGTH.to_string();
        let content =
            Content::formulas(&[("/running", &length, 41), ("/new", &length, 42), ("/newer", "3Mi", 43)])
                .with_piece_hashes(json!({}));
        let (origin, control_plane) = case.start_verified_cache(&content, 1).await?;
        let (url, manifest) = (case.service_url("cache"), origin.manifest_url());
        let download = |name: &'static str, paths: &'static [&'static str]| Download {
            paths,
            silence_seconds: FIRST_BYTE_SECONDS,
            ..Download::whole(name, &url, &manifest)
        };

        // The first request for content stops in the middle of a piece, for long enough to take the control plane away.
        origin
            .set_faults(client, &json!([{"path": "/running", "stallAfterBytes": 500_000, "times": 1}]))
            .await?;
        let taken_away = async {
            let outcome = take_away_in_mid_download(client, &origin, &control_plane).await;
            // Whatever came of it, the download shall end.
            origin.set_faults(client, &json!([])).await?;
            outcome
        };
        // Its origin is silent too, so it has as long as a client really waits.
        let running = Download { silence_seconds: 20, ..download("running", &["/running"]) };
        let (report, taken_away) =
            tokio::join!(Box::pin(running.run(client, &case.namespace)), Box::pin(taken_away));
        taken_away?;
        let report = report?;
        ensure!(report.bytes == LENGTH, "{report:?}");
        case.wait_for_verification("cache", "/running", Verification::is_authenticated).await?;

        for (name, paths) in [("new", &["/new"]), ("newer", &["/newer"])] {
            download(name, paths).run(client, &case.namespace).await?;
            case.wait_for_verification("cache", paths[0], |found| found.is_simple("unreachable")).await?;
        }
        ensure!(simple_mode(case).await? == ["unreachable"], "{:?}", simple_mode(case).await?);
        Ok(())
    })
    .await
}

/// Takes the control plane away once the hashes of `/running` were sent and its content has begun to be.
async fn take_away_in_mid_download(
    client: &Client,
    origin: &Origin,
    control_plane: &ControlPlane,
) -> Result<()> {
    let mut look = tokio::time::interval(Duration::from_millis(100));
    let begun = tokio::time::timeout(PATIENCE, async {
        loop {
            look.tick().await;
            let hashes = origin.body_bytes_of(client, "/running/pieceshash").await?;
            let content = origin.body_bytes_of(client, "/running").await?;
            if hashes > 0 && content > 0 {
                return anyhow::Ok(content);
            }
        }
    });
    let content = begun.await.context("the hashes and the content of /running were not both asked for")??;
    ensure!(content < LENGTH, "the download was over before the control plane could be taken away");
    control_plane.take_away(client).await
}

/// The reasons for which content is in simple mode, from the metrics of the pods.
async fn simple_mode(case: &Case) -> Result<Vec<String>> {
    let samples = case.metric("cache", "connectedcache_simple_mode_objects_total").await?;
    let counted = samples.into_iter().filter(|(_, count)| *count > 0);
    Ok(counted.map(|(labels, _)| labels.trim_start_matches("reason=").trim_matches('"').to_owned()).collect())
}
