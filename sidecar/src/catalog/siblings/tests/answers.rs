//! Answers of a home that can't be used, and what each costs it.

use http::StatusCode;

use super::{
    super::*,
    From, Kind, Scene, Scripted, Trust,
    scripted::{Gives, Step},
};
use crate::catalog::OpenError;

fn failed(reason: Reason) -> Step {
    Step::Says(Line::Failed { reason })
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_not_what_the_home_vouched_for_are_never_seen() {
    for gives in [Gives::Flipped, Gives::Short] {
        let scene = Scene::with_homes(Kind::Long, &[Some("b"), Some("b")]).await;
        let object = scene.opened().await;
        scene.pods.gives(2, gives);
        scene.pods.answers("b", scene.pods.whole(&scene.head, 1, 5));
        let sources = scene.pod.read_run(&object, &scene.content, 1, 5).await;
        assert_eq!(sources, [From::Peer, From::Origin, From::Origin, From::Origin, From::Origin]);
        assert_eq!(scene.pods.bad(), [("b".to_owned(), 2)], "{gives:?}");
        assert!(scene.pod.is_left_alone("b"));
        assert_eq!(scene.origin.ranges(), [format!("bytes={}-{}", 2 << 20, (6 << 20) - 1)]);
        assert_eq!(scene.pod.trust(&object, 1, 2).await, [Trust::Vouched, Trust::Origin]);
        scene.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn content_that_is_gone_at_the_home_is_gone() {
    let scene = Scene::start().await;
    let error = || UpstreamError::Status { status: StatusCode::NOT_FOUND };
    scene.says([failed(Reason::Gone)]);
    let outcome = scene.pod.open_at(&scene.content, 0).await;
    assert!(matches!(&outcome, Err(OpenError::Upstream(found)) if *found == error()), "{outcome:?}");
    let object = scene.opened().await;
    scene.says([failed(Reason::Gone)]);
    let outcome = scene.pod.read(&object, &scene.content, 1).await;
    assert_eq!(outcome.map(|(bytes, _)| bytes.len()), Err(error()));
    assert_eq!(scene.origin.asked(), []);
    assert!(!scene.pod.is_left_alone("b"));
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_home_can_not_give_is_asked_of_the_origin_and_no_fault_of_the_home() {
    for reason in [
        Reason::Origin,
        Reason::NotHere,
        Reason::OtherState,
        Reason::NotShared,
        Reason::Elsewhere,
        Reason::NotVouched,
        Reason::Refused,
        Reason::Unknown,
    ] {
        let scene = Scene::start().await;
        scene.says([Step::Says(Line::Running { bytes: 0 }), failed(reason)]);
        scene.assert_origin_opens().await;
        assert!(!scene.pod.is_left_alone("b"), "{reason:?}");
        assert_eq!(scene.pod.questions().fallbacks, 1);
        scene.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_the_origin_refuses_the_home_is_asked_by_the_pod_itself() {
    let mut scene = Scene::start().await;
    scene.content.target.is_signed = true;
    scene.says([failed(Reason::Origin)]);
    scene.assert_origin_opens().await;
    let (_, question) = &scene.pods.questions()[0];
    assert!(question.source.as_ref().unwrap().is_signed);
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn another_state_than_the_one_that_is_known_is_not_mixed_with_it() {
    let scene = Scene::start().await;
    let object = scene.opened().await;
    let mut other = scene.head.clone();
    other.generation.etag = Some("\"other\"".into());
    scene.pods.answers("b", scene.pods.whole(&other, 1, 2));
    assert_eq!(scene.pod.read_run(&object, &scene.content, 1, 2).await, [From::Origin; 2]);
    assert_eq!((scene.pods.fetched().len(), scene.origin.ranges().len()), (1, 1));
    assert!(!scene.pod.is_left_alone("b"));
    scene.pod.assert_is_right(&object, &scene.content).await;
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_home_that_knows_shorter_content_than_was_asked_for_does_not_count() {
    let scene = Scene::start().await;
    for length in [0, 5, 2 << 20] {
        let mut shorter = scene.head.clone();
        shorter.generation.content_length_bytes = length;
        scene.says([Scripted::head(&shorter), Step::IsSilent]);
        scene.origin.mock.clear_requests();
        let opened = scene.pod.open_at(&scene.content, 2).await.unwrap();
        assert_eq!(opened.object.generation(), &scene.head.generation);
        scene.pod.until_idle(&opened.object).await;
        assert_eq!(scene.origin.ranges(), [format!("bytes={}-{}", 2 << 20, (3 << 20) - 1)]);
        scene.pod.catalog.forget(&opened.object);
    }
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn lines_that_make_no_sense_end_the_question_and_the_home_is_left_alone() {
    let piece = |number| Step::Says(Line::Piece { number, sha256: [1; 32] });
    let scene = Scene::start().await;
    let none = Line::Head { content_length_bytes: 5, attributes: "{\"etag\":5}".into(), swarm: [0; 32] };
    let (head, none) = (scene.head(), Step::Says(none));
    scene.end().await;
    for (steps, name) in [
        (vec![none], "attributes that are none"),
        (vec![piece(0)], "a piece of an unknown object"),
        (vec![head.clone(), head.clone()], "two heads"),
        (vec![head.clone(), piece(1)], "another piece"),
        (vec![head.clone(), piece(u64::MAX)], "no piece at all"),
    ] {
        let scene = Scene::start().await;
        scene.says(steps.into_iter().chain([Step::IsSilent]));
        scene.assert_origin_opens().await;
        assert!(scene.pod.is_left_alone("b"), "{name}");
        assert_eq!(scene.pods.fetched(), [], "{name}");
        scene.end().await;
    }
}
