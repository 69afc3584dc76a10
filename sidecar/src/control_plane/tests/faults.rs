//! Every fault that a service can have, and the reason that content then has.

use std::sync::atomic::Ordering;

use connected_cache_config::{ByteSize, Config};
use connected_cache_mock_control_plane::{
    self as mock, Fault,
    control_plane::{Expectation, ScriptedReply, Service, WrongAnswer},
};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::{
    super::{Content, SimpleMode},
    lab::{CALL_LIMIT, HASH, LENGTH, Lab, ORIGIN, PATH, SERVICES, content, fault},
};

/// Services that a look-up asks for JSON.
const ASKED: [Service; 3] = [Service::Geo, Service::KeyValue, Service::ContentPolicy];

async fn reason_with(faults: Vec<Fault>) -> SimpleMode {
    let lab = Lab::start().await;
    lab.set_faults(faults);
    lab.look_up().await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn every_wrong_answer_of_a_service_has_its_reason() {
    for service in ASKED {
        for (wrong, reason) in [
            (Fault { status: Some(500), ..fault(service) }, SimpleMode::Unreachable),
            (Fault { status: Some(503), ..fault(service) }, SimpleMode::Unreachable),
            (Fault { status: Some(429), ..fault(service) }, SimpleMode::Unreachable),
            (Fault { status: Some(401), ..fault(service) }, SimpleMode::Unreachable),
            (Fault { status: Some(204), ..fault(service) }, SimpleMode::Unreachable),
            (Fault { status: Some(302), ..fault(service) }, SimpleMode::UnusableReply),
            (Fault { status: Some(511), ..fault(service) }, SimpleMode::CaptivePortal),
            (Fault { cut_after_bytes: Some(0), ..fault(service) }, SimpleMode::Unreachable),
            (Fault { cut_after_bytes: Some(9), ..fault(service) }, SimpleMode::Unreachable),
            (Fault { answer: Some(WrongAnswer::EmptyJson), ..fault(service) }, SimpleMode::EmptyReply),
            (
                Fault { answer: Some(WrongAnswer::WrongContentType), ..fault(service) },
                SimpleMode::CaptivePortal,
            ),
            (
                Fault { answer: Some(WrongAnswer::WrongJsonTypes), ..fault(service) },
                SimpleMode::UnusableReply,
            ),
            (Fault { answer: Some(WrongAnswer::Truncated), ..fault(service) }, SimpleMode::UnusableReply),
        ] {
            assert_eq!(reason_with(vec![wrong.clone()]).await, reason, "{service}: {wrong:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_end_its_answer_in_time_is_unreachable() {
    for wrong in [
        Fault { delay_milliseconds: 3_600_000, ..Fault::default() },
        Fault { stall_after_bytes: Some(5), ..Fault::default() },
        Fault { trickle_bytes_per_second: Some(1), ..Fault::default() },
    ] {
        let lab = Lab::start().await;
        lab.look_up().await.unwrap();
        lab.set_faults(vec![Fault { service: Some(Service::ContentPolicy), ..wrong.clone() }]);
        let other = Content { length_bytes: LENGTH - 1, ..content() };
        let look_up = lab.look_up_of(&other, None);
        let move_clock = async {
            // The first call of all, and three more; each is cut at its limit.
            for call in 2..=5 {
                lab.until_called(Service::ContentPolicy, call).await;
                tokio::time::advance(CALL_LIMIT).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = look_up => assert_eq!(outcome.unwrap_err(), SimpleMode::Unreachable, "{wrong:?}"),
            () = move_clock => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_wrong_piece_hash_file_has_its_reason() {
    let service = Service::PieceHashFile;
    for (wrong, reason) in [
        (Fault { status: Some(404), ..fault(service) }, SimpleMode::PieceHashesUnavailable),
        (Fault { status: Some(500), ..fault(service) }, SimpleMode::PieceHashesUnavailable),
        (Fault { cut_after_bytes: Some(20), ..fault(service) }, SimpleMode::PieceHashesUnavailable),
        (Fault { answer: Some(WrongAnswer::EmptyJson), ..fault(service) }, SimpleMode::PieceHashesInvalid),
        (
            Fault { answer: Some(WrongAnswer::WrongJsonTypes), ..fault(service) },
            SimpleMode::PieceHashesInvalid,
        ),
        (Fault { answer: Some(WrongAnswer::Truncated), ..fault(service) }, SimpleMode::PieceHashesInvalid),
        (
            Fault { answer: Some(WrongAnswer::WrongPieceCount), ..fault(service) },
            SimpleMode::PieceHashesInvalid,
        ),
        (
            Fault { answer: Some(WrongAnswer::WrongHashOfHashes), ..fault(service) },
            SimpleMode::PieceHashesNotAuthentic,
        ),
        (Fault { corrupt_piece: Some(1), ..fault(service) }, SimpleMode::PieceHashesNotAuthentic),
        (
            Fault { answer: Some(WrongAnswer::WrongHashOfHashes), ..fault(Service::ContentPolicy) },
            SimpleMode::PieceHashesNotAuthentic,
        ),
    ] {
        assert_eq!(reason_with(vec![wrong.clone()]).await, reason, "{wrong:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_piece_hash_file_is_judged_by_its_hash_and_not_by_its_type() {
    let lab = Lab::start().await;
    let page = Fault { answer: Some(WrongAnswer::WrongContentType), ..fault(Service::PieceHashFile) };
    lab.set_faults(vec![page]);
    lab.look_up().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_piece_hash_file_of_other_content_is_not_taken() {
    let lab = Lab::start().await;
    let longer = Content { length_bytes: LENGTH + 1, ..content() };
    assert_eq!(lab.look_up_of(&longer, None).await.unwrap_err(), SimpleMode::PieceHashesOfOtherLength);
}

#[tokio::test(start_paused = true)]
async fn a_piece_hash_file_that_is_too_long_is_not_read() {
    // The file of vector 5 has 293 bytes.
    for (limit, is_taken) in [(293, true), (292, false)] {
        let lab = Lab::start_with(mock::ControlPlane::default(), |config| {
            config.control_plane.max_phf_bytes = ByteSize::from_bytes(limit);
        })
        .await;
        let outcome = lab.look_up().await;
        assert_eq!(outcome.is_ok(), is_taken, "{limit}: {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_piece_hash_file_whose_stated_length_is_too_much_is_refused_before_it_is_read() {
    let lab = Lab::start_with(mock::ControlPlane::default(), |config| {
        config.control_plane.max_phf_bytes = ByteSize::from_bytes(292);
    })
    .await;
    // Its body never comes, and nobody moves the clock to the end of anybody's patience.
    lab.set_faults(vec![Fault { stall_after_bytes: Some(0), ..fault(Service::PieceHashFile) }]);
    assert_eq!(lab.look_up().await.unwrap_err(), SimpleMode::PieceHashesUnavailable);
    let error = lab.control_plane.status().errors["PieceHashFile"].error.clone();
    assert!(error.contains("controlPlane.maxPhfBytes (292)"), "{error}");
    assert_eq!(lab.counters.origin_bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_piece_hash_file_of_no_stated_length_is_read_up_to_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let lab = Lab::start_with(mock::ControlPlane::default(), |config| {
        config.upstream.resolve.insert(ORIGIN.to_owned(), address);
        config.control_plane.max_phf_bytes = ByteSize::from_bytes(5000);
    })
    .await;
    let endless = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await.unwrap();
        // Until nobody takes it any more.
        while client.write_all(&[b' '; 1 << 12]).await.is_ok() {}
    });
    assert_eq!(lab.look_up().await.unwrap_err(), SimpleMode::PieceHashesUnavailable);
    let error = lab.control_plane.status().errors["PieceHashFile"].error.clone();
    assert!(error.contains("controlPlane.maxPhfBytes (5000)"), "{error}");
    endless.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_piece_hash_file_that_is_longer_than_its_content_can_have_is_not_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let lab = Lab::start_with(mock::ControlPlane::default(), |config| {
        config.upstream.resolve.insert(ORIGIN.to_owned(), address);
    })
    .await;
    let bloated = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 60000000\r\n\r\n").await.unwrap();
        client
    });
    assert_eq!(lab.look_up().await.unwrap_err(), SimpleMode::PieceHashesUnavailable);
    let error = lab.control_plane.status().errors["PieceHashFile"].error.clone();
    assert!(error.contains("longer than content of this length needs"), "{error}");
    drop(bloated.await.unwrap());
}

/// ContentPolicy answers with these places of the piece hash file.
async fn lab_with_places(places: &[&str]) -> Lab {
    lab_of_places(places, |_| {}).await
}

/// As [`lab_with_places`], with another configuration.
async fn lab_of_places(places: &[&str], change: impl FnOnce(&mut Config)) -> Lab {
    let lab = Lab::start_with(mock::ControlPlane::default(), change).await;
    let reply = json!({
        "ContentId": format!("DO-{HASH}"),
        "HashOfHashes": HASH,
        "PiecesHashFileCdnUrls": places,
    });
    let scripted = Expectation {
        reply: Some(ScriptedReply { status: 200, json: reply }),
        ..Expectation::any(Service::ContentPolicy)
    };
    let others = [Service::Geo, Service::KeyValue, Service::PieceHashFile].map(Expectation::any);
    lab.mock.expect(Some(others.into_iter().chain([scripted]).collect())).unwrap();
    lab
}

#[tokio::test(start_paused = true)]
async fn places_of_a_piece_hash_file_are_tried_one_after_the_other() {
    let (right, missing) =
        (format!("http://{ORIGIN}{PATH}/pieceshash"), format!("http://{ORIGIN}/none/pieceshash"));
    let stranger = "http://stranger.example/x/pieceshash";
    let lab = lab_with_places(&["no URL", "ftp://x.example/y", stranger, &missing, &right]).await;
    lab.look_up().await.unwrap();
    let asked: Vec<String> =
        lab.requests(Service::PieceHashFile).into_iter().map(|request| request.target).collect();
    assert_eq!(asked, ["/none/pieceshash".to_owned(), format!("{PATH}/pieceshash")]);

    let lab = lab_with_places(&[stranger, &missing]).await;
    assert_eq!(lab.look_up().await.unwrap_err(), SimpleMode::PieceHashesUnavailable);
    let lab = lab_with_places(&[]).await;
    assert_eq!(lab.look_up().await.unwrap_err(), SimpleMode::NoPieceHashes);
}

#[tokio::test(start_paused = true)]
async fn a_piece_hash_file_comes_by_https_too_and_from_every_host_that_is_documented() {
    for (scheme, host) in [
        ("http", "dl.delivery.mp.microsoft.com"),
        ("http", "emdl.ws.microsoft.com"),
        ("http", "download.windowsupdate.com"),
        ("https", "download.windowsupdate.com"),
    ] {
        let place = format!("{scheme}://{host}{PATH}/pieceshash?P4=b%2fc");
        let lab = lab_of_places(&[&place], |config| {
            let services = config.upstream.resolve[SERVICES];
            let address = if scheme == "https" { services } else { config.upstream.resolve[ORIGIN] };
            config.upstream.resolve.insert(host.to_owned(), address);
            config.upstream.ca_file.clone_from(&config.control_plane.ca_file);
        })
        .await;
        lab.look_up().await.unwrap();
        let asked = lab.requests(Service::PieceHashFile).remove(0);
        assert_eq!((asked.host.as_str(), asked.target), (host, format!("{PATH}/pieceshash?P4=b%2fc")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_piece_hash_file_that_failed_is_not_fetched_for_every_request() {
    let lab = Lab::start().await;
    lab.set_faults(vec![Fault { status: Some(404), ..fault(Service::PieceHashFile) }]);
    for _ in 0..3 {
        assert_eq!(lab.look_up().await.unwrap_err(), SimpleMode::PieceHashesUnavailable);
    }
    assert_eq!((lab.called(Service::ContentPolicy), lab.called(Service::PieceHashFile)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_too_long_is_unusable() {
    let lab = Lab::start().await;
    let reply = json!({"Other": " ".repeat(1 << 20)});
    let scripted = Expectation {
        reply: Some(ScriptedReply { status: 200, json: reply }),
        ..Expectation::any(Service::Geo)
    };
    lab.mock.expect(Some(vec![scripted])).unwrap();
    assert_eq!(lab.look_up().await.unwrap_err(), SimpleMode::UnusableReply);
    let error = lab.control_plane.status().errors["Geo"].error.clone();
    assert!(error.contains("longer than 1048576 bytes"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn tokens_of_queries_are_in_no_state() {
    for service in ASKED.into_iter().chain([Service::PieceHashFile]) {
        for wrong in [
            Fault { answer: Some(WrongAnswer::Truncated), ..fault(service) },
            Fault { status: Some(302), ..fault(service) },
            Fault { cut_after_bytes: Some(1), ..fault(service) },
        ] {
            let lab = Lab::start().await;
            lab.set_faults(vec![wrong]);
            lab.look_up().await.unwrap_err();
            let status = serde_json::to_string(&lab.control_plane.status()).unwrap();
            assert!(status.contains(&format!("\"{service}\":{{\"error\"")), "{status}");
            assert!(!status.contains("secret"), "{status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn faults_that_pass_cost_a_retry_and_no_more() {
    for service in ASKED {
        let lab = Lab::start().await;
        lab.set_faults(vec![Fault { status: Some(500), times: Some(1), ..fault(service) }]);
        let metadata = lab.look_up().await.unwrap();
        assert_eq!(metadata.policy.hash_of_hashes.to_base64(), HASH);
        assert_eq!(lab.called(service), 2, "{service}");
    }
}
