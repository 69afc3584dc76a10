//! What is asked again, and when. The clock stands still unless the test moves it.

use std::time::Duration;

use connected_cache_mock_control_plane::{
    self as mock, Fault, KeyValue, SharingPolicy,
    control_plane::{Expectation, ScriptedReply, Service, WrongAnswer},
};

use super::{
    super::{Content, SimpleMode},
    lab::{LENGTH, Lab, SERVICES, answers, content, fault},
};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// One that nobody has looked up before: the mock takes any query.
fn content_number(number: u32) -> Content {
    Content { url: format!("{}&n={number}", content().url), length_bytes: LENGTH }
}

async fn look_up(lab: &Lab, number: u32) -> Result<(), SimpleMode> {
    lab.look_up_of(&content_number(number), None).await.map(drop)
}

fn key_value(max_age_seconds: Option<u64>) -> mock::ControlPlane {
    let key_value = KeyValue { max_age_seconds, ..KeyValue::default() };
    mock::ControlPlane { key_value, ..mock::ControlPlane::default() }
}

#[tokio::test(start_paused = true)]
async fn geo_is_asked_again_after_a_day() {
    let lab = Lab::start_with(key_value(Some(5 * 86_400)), |_| {}).await;
    look_up(&lab, 1).await.unwrap();
    tokio::time::advance(Duration::from_mins(24 * 60 - 1)).await;
    look_up(&lab, 2).await.unwrap();
    assert_eq!((lab.called(Service::Geo), lab.called(Service::KeyValue)), (1, 1));
    tokio::time::advance(2 * MINUTE).await;
    look_up(&lab, 3).await.unwrap();
    assert_eq!((lab.called(Service::Geo), lab.called(Service::KeyValue)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn key_value_is_asked_again_when_its_reply_says_so_or_after_a_day() {
    for (max_age, holds) in [(Some(600), 10 * MINUTE), (None, 24 * HOUR), (Some(99_999_999), 7 * 24 * HOUR)] {
        let lab = Lab::start_with(key_value(max_age), |_| {}).await;
        look_up(&lab, 1).await.unwrap();
        tokio::time::advance(holds.saturating_sub(MINUTE)).await;
        look_up(&lab, 2).await.unwrap();
        assert_eq!(lab.called(Service::KeyValue), 1, "{max_age:?}");
        tokio::time::advance(2 * MINUTE).await;
        look_up(&lab, 3).await.unwrap();
        assert_eq!(lab.called(Service::KeyValue), 2, "{max_age:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn geo_has_three_tries_and_then_nobody_asks_for_ten_minutes() {
    let lab = Lab::start().await;
    lab.set_faults(vec![Fault { status: Some(500), ..fault(Service::Geo) }]);
    assert_eq!(look_up(&lab, 1).await, Err(SimpleMode::Unreachable));
    assert_eq!(lab.called(Service::Geo), 3);
    for number in 2..9 {
        assert_eq!(look_up(&lab, number).await, Err(SimpleMode::Unreachable));
    }
    assert_eq!(lab.called(Service::Geo), 3, "somebody asked while nobody should");
    let status = serde_json::to_value(lab.control_plane.status()).unwrap();
    assert_eq!(status["outage"]["reason"], "unreachable");
    lab.set_faults(Vec::new());
    tokio::time::advance(9 * MINUTE).await;
    assert_eq!(look_up(&lab, 9).await, Err(SimpleMode::Unreachable));
    tokio::time::advance(MINUTE).await;
    look_up(&lab, 10).await.unwrap();
    look_up(&lab, 1).await.unwrap();
    assert_eq!(lab.called(Service::Geo), 4);
}

#[tokio::test(start_paused = true)]
async fn geo_is_asked_again_after_about_one_and_two_seconds() {
    let lab = Lab::start().await;
    lab.set_faults(vec![Fault { status: Some(500), ..fault(Service::Geo) }]);
    let (sender, mut pauses) = tokio::sync::mpsc::unbounded_channel();
    let on_retry = move |reason| {
        let _ = sender.send(reason);
    };
    let content = content();
    let mut look_up = Box::pin(lab.control_plane.look_up(&content, None, &on_retry));
    // A quarter more or less.
    for (call, least, most) in [(1, 740, 1260), (2, 1490, 2510)] {
        tokio::select! {
            outcome = &mut look_up => panic!("{outcome:?}"),
            reason = pauses.recv() => assert_eq!(reason, Some(SimpleMode::Unreachable)),
        }
        tokio::time::advance(Duration::from_millis(least)).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(lab.called(Service::Geo), call, "asked again too early");
        tokio::time::advance(Duration::from_millis(most - least)).await;
    }
    assert_eq!(look_up.await.unwrap_err(), SimpleMode::Unreachable);
    assert_eq!(lab.called(Service::Geo), 3);
}

#[tokio::test(start_paused = true)]
async fn another_key_value_of_geo_is_asked_at_once() {
    let lab = Lab::start_with(key_value(Some(5 * 86_400)), |_| {}).await;
    look_up(&lab, 1).await.unwrap();
    let geo = serde_json::json!({"KeyValue_EndpointFullUri": format!("https://{SERVICES}/all?region=2"),
                                 "Version": "2", "CountryCode": "DE"});
    let geo = Expectation {
        reply: Some(ScriptedReply { status: 200, json: geo }),
        ..Expectation::any(Service::Geo)
    };
    let others = [Service::KeyValue, Service::ContentPolicy, Service::PieceHashFile].map(Expectation::any);
    lab.mock.expect(Some(others.into_iter().chain([geo]).collect())).unwrap();
    // What KeyValue said holds for four more days, but is of another KeyValue.
    tokio::time::advance(25 * HOUR).await;
    look_up(&lab, 2).await.unwrap();
    let asked: Vec<String> =
        lab.requests(Service::KeyValue).into_iter().map(|request| request.target).collect();
    assert_eq!((asked.len(), asked[1].starts_with("/all?region=2&")), (2, true), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_one_asks_for_all() {
    let lab = Lab::start().await;
    lab.set_faults(vec![Fault { answer: Some(WrongAnswer::WrongContentType), ..fault(Service::Geo) }]);
    assert_eq!(look_up(&lab, 1).await, Err(SimpleMode::CaptivePortal));
    tokio::time::advance(10 * MINUTE).await;
    lab.set_faults(vec![Fault { stall_after_bytes: Some(3), ..fault(Service::Geo) }]);
    let content = content_number(2);
    let mut probe = Box::pin(lab.look_up_of(&content, None));
    tokio::select! {
        outcome = &mut probe => panic!("{outcome:?}"),
        () = lab.until_called(Service::Geo, 4) => {}
    }
    assert_eq!(look_up(&lab, 3).await, Err(SimpleMode::CaptivePortal));
    lab.set_faults(Vec::new());
    probe.await.unwrap();
    look_up(&lab, 3).await.unwrap();
    assert_eq!(lab.called(Service::Geo), 4);
}

#[tokio::test(start_paused = true)]
async fn content_policy_is_asked_again_after_two_four_and_eight_seconds() {
    let lab = Lab::start().await;
    lab.set_faults(vec![Fault { status: Some(502), ..fault(Service::ContentPolicy) }]);
    let (sender, mut pauses) = tokio::sync::mpsc::unbounded_channel();
    let on_retry = move |reason| {
        let _ = sender.send(reason);
    };
    let content = content();
    let mut look_up = Box::pin(lab.control_plane.look_up(&content, None, &on_retry));
    for (call, seconds) in [(1, 2), (2, 4), (3, 8)] {
        tokio::select! {
            outcome = &mut look_up => panic!("{outcome:?}"),
            reason = pauses.recv() => assert_eq!(reason, Some(SimpleMode::Unreachable)),
        }
        assert_eq!(lab.called(Service::ContentPolicy), call);
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }
    assert_eq!(look_up.await.unwrap_err(), SimpleMode::Unreachable);
    assert_eq!(lab.called(Service::ContentPolicy), 4);
    // Then no content is asked about for a while.
    assert_eq!(self::look_up(&lab, 2).await, Err(SimpleMode::Unreachable));
    assert_eq!(lab.called(Service::ContentPolicy), 4);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_asks_to_be_left_alone_is() {
    // Longer than the pause of two seconds.
    let lab = Lab::start().await;
    let busy = Fault {
        status: Some(429),
        retry_after_seconds: Some(50),
        times: Some(1),
        ..fault(Service::ContentPolicy)
    };
    lab.set_faults(vec![busy.clone()]);
    let (sender, mut pauses) = tokio::sync::mpsc::unbounded_channel();
    let on_retry = move |reason| {
        let _ = sender.send(reason);
    };
    let content = content();
    let mut look_up = Box::pin(lab.control_plane.look_up(&content, None, &on_retry));
    tokio::select! {
        outcome = &mut look_up => panic!("{outcome:?}"),
        reason = pauses.recv() => assert_eq!(reason, Some(SimpleMode::Unreachable)),
    }
    for _ in 0..49 {
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(futures::poll!(&mut look_up).is_pending());
    }
    assert_eq!(lab.called(Service::ContentPolicy), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    look_up.await.unwrap();
    assert_eq!(lab.called(Service::ContentPolicy), 2);

    // Longer than anybody waits: then all leave it alone for so long.
    for service in [Service::Geo, Service::ContentPolicy] {
        let lab = Lab::start().await;
        lab.set_faults(vec![Fault {
            retry_after_seconds: Some(1800),
            ..Fault { service: Some(service), ..busy.clone() }
        }]);
        assert_eq!(self::look_up(&lab, 1).await, Err(SimpleMode::Unreachable));
        tokio::time::advance(29 * MINUTE).await;
        assert_eq!(self::look_up(&lab, 2).await, Err(SimpleMode::Unreachable));
        assert_eq!(lab.called(service), 1, "{service}");
        tokio::time::advance(MINUTE).await;
        self::look_up(&lab, 3).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_policy_holds_for_a_quarter_of_an_hour() {
    for (policy, reason) in [
        (SharingPolicy::Unknown, SimpleMode::UnknownContent),
        (SharingPolicy::Forbidden, SimpleMode::Forbidden),
    ] {
        let lab = Lab::start_with(answers(policy), |_| {}).await;
        assert_eq!(lab.look_up().await.unwrap_err(), reason);
        tokio::time::advance(14 * MINUTE).await;
        assert_eq!(lab.look_up().await.unwrap_err(), reason);
        assert_eq!(lab.called(Service::ContentPolicy), 1, "{reason}");
        tokio::time::advance(2 * MINUTE).await;
        assert_eq!(lab.look_up().await.unwrap_err(), reason);
        assert_eq!(lab.called(Service::ContentPolicy), 2, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_reply_of_key_value_is_used_for_a_week_while_no_new_one_can_be_had() {
    let lab = Lab::start_with(key_value(Some(60)), |_| {}).await;
    look_up(&lab, 1).await.unwrap();
    lab.set_faults(vec![Fault { status: Some(500), ..fault(Service::KeyValue) }]);
    tokio::time::advance(2 * MINUTE).await;
    look_up(&lab, 2).await.unwrap();
    // It failed, Geo was asked for another one, and that failed too.
    assert_eq!((lab.called(Service::Geo), lab.called(Service::KeyValue)), (2, 3));
    tokio::time::advance(14 * MINUTE).await;
    look_up(&lab, 3).await.unwrap();
    assert_eq!(lab.called(Service::KeyValue), 3, "asked again before a quarter of an hour was over");
    tokio::time::advance(2 * MINUTE).await;
    look_up(&lab, 4).await.unwrap();
    assert_eq!(lab.called(Service::KeyValue), 5);
    tokio::time::advance(7 * 24 * HOUR).await;
    assert_eq!(look_up(&lab, 5).await, Err(SimpleMode::Unreachable));
    lab.set_faults(Vec::new());
    tokio::time::advance(10 * MINUTE).await;
    look_up(&lab, 6).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_a_number_wait_for_their_turn() {
    let lab = Lab::start().await;
    look_up(&lab, 0).await.unwrap();
    lab.set_faults(vec![Fault { stall_after_bytes: Some(3), ..fault(Service::ContentPolicy) }]);
    let mut look_ups = Box::pin(futures::future::join_all((1..=40).map(|number| look_up(&lab, number))));
    let stalled = async {
        lab.until_called(Service::ContentPolicy, 1 + 32).await;
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcomes = &mut look_ups => panic!("{outcomes:?}"),
        () = stalled => {}
    }
    assert_eq!(lab.called(Service::ContentPolicy), 1 + 32);
    lab.set_faults(Vec::new());
    assert!(look_ups.await.iter().all(Result::is_ok));
    assert_eq!(lab.called(Service::ContentPolicy), 1 + 40);
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_asked_for_again_when_it_has_expired() {
    let mut answers = answers(SharingPolicy::Allowed);
    answers.content_policy.max_cache_age_seconds = 3600;
    let lab = Lab::start_with(answers, |_| {}).await;
    let policy = lab.look_up().await.unwrap().policy;
    tokio::time::advance(59 * MINUTE).await;
    assert_eq!(lab.look_up_of(&content(), Some(&policy)).await.unwrap().policy, policy);
    assert_eq!(lab.called(Service::ContentPolicy), 1);
    tokio::time::advance(2 * MINUTE).await;
    let renewed = lab.look_up_of(&content(), Some(&policy)).await.unwrap().policy;
    assert_eq!(lab.called(Service::ContentPolicy), 2);
    assert!(renewed.expires_at > policy.expires_at);
}
