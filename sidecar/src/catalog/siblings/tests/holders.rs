//! A pod that is the home itself asks those that may have the pieces from before.

use tokio::time::Duration;

use super::{
    super::*,
    From, Kind, Questions, Scene, Trust,
    lab::{SIGN, member},
    scripted::{Answer, Step},
};
use crate::{catalog::Freshly, control_plane::tests::lab::eventually, sharing::members::Member};

async fn at_home() -> Scene {
    Scene::with_homes(Kind::Short, &[None]).await
}

#[tokio::test(start_paused = true)]
async fn what_another_pod_has_from_before_is_not_fetched_again() {
    let scene = at_home().await;
    scene.pods.answers("c", scene.pods.whole(&scene.head, 0, 0));
    let object = scene.pod.open(&scene.content).await;
    scene.pods.answers("c", scene.pods.whole(&scene.head, 1, 2));
    assert_eq!(scene.pod.read_run(&object, &scene.content, 1, 2).await, [From::Peer; 2]);
    scene.pod.assert_is_right(&object, &scene.content).await;
    assert_eq!((scene.origin.asked(), scene.strayed()), (Vec::new(), 0));
    assert_eq!(scene.pod.trust(&object, 0, 2).await, [Trust::Vouched; 3]);
    let questions = scene.pods.questions();
    assert!(questions.iter().all(|(_, question)| question.asked_as == AskedAs::Holder));
    assert!(questions.iter().all(|(_, question)| question.source.is_none()));
    assert_eq!(scene.pod.questions(), Questions { holders: 4, ..Questions::default() });
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_have_nothing_cost_nothing() {
    let scene = at_home().await;
    scene.assert_origin_opens().await;
    let mut asked = scene.pods.asked();
    asked.sort();
    assert_eq!(asked, ["b", "c"]);
    assert!(!scene.pod.is_left_alone("b") && !scene.pod.is_left_alone("c"));
    assert_eq!(scene.pod.questions(), Questions { holders: 2, ..Questions::default() });
    assert_eq!(scene.strayed(), 0);
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_say_nothing_are_waited_for_half_as_long_as_a_home_and_then_left_alone() {
    let scene = at_home().await;
    scene.pods.answers("b", Answer::Silence(SIGN / 2));
    scene.pods.answers("c", Answer::Silence(Duration::ZERO));
    let object = scene.assert_origin_opens().await;
    assert!(!scene.pod.is_left_alone("b") && !scene.pod.is_left_alone("c"));
    tokio::time::advance(SIGN / 2).await;
    let are_left_alone = || scene.pod.is_left_alone("b") && scene.pod.is_left_alone("c");
    eventually("they are left alone", are_left_alone).await;
    scene.pod.assert_is_right(&object, &scene.content).await;
    assert_eq!(scene.pods.asked().len(), 2, "they were asked again");
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_lost_what_it_began_to_give_is_helped_out_by_the_origin() {
    let scene = at_home().await;
    scene.pods.answers("b", scene.pods.whole(&scene.head, 0, 0));
    let object = scene.pod.open(&scene.content).await;
    let lost = scene.pods.whole(&scene.head, 1, 1);
    let Answer::Steps(mut steps) = lost else { panic!("no steps") };
    steps.push(Step::Says(Line::Failed { reason: Reason::NotHere }));
    scene.pods.answers("c", Answer::Steps(steps));
    assert_eq!(scene.pod.read_run(&object, &scene.content, 1, 2).await, [From::Peer, From::Origin]);
    assert_eq!(scene.origin.ranges(), [format!("bytes={}-{}", 2 << 20, (2 << 20) + 4)]);
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_elsewhere_too_is_no_answer_to_whether_it_is_still_the_same() {
    let scene = at_home().await;
    let mut stale = scene.head.clone();
    (stale.freshness.born_at, stale.freshness.lifetime_seconds) = (1000, 60);
    scene.pods.answers("b", scene.pods.whole(&stale, 0, 0));
    let object = scene.assert_origin_opens().await;
    // It is asked about again, and the other pod still knows no better.
    object.refresh(stale.freshness, Vec::new());
    scene.pods.answers("b", scene.pods.whole(&stale, 0, 0));
    let opened = scene.pod.open_at(&scene.content, 0).await.unwrap();
    assert!(Arc::ptr_eq(&opened.object, &object));
    assert_eq!(opened.freshly, Freshly::Validated);
    assert_eq!(scene.origin.ranges(), ["bytes=0-1048575"; 2]);
    assert!(object.head().freshness.born_at > 1000);
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_without_an_address_for_questions_is_never_asked() {
    for home in [Some("b"), None] {
        let scene = Scene::with_homes(Kind::Short, &[home]).await;
        let deaf = |name| Member { peers: None, ..member(name) };
        scene.pod.publisher.publish(vec![member("a"), deaf("b"), deaf("c")]);
        let object = scene.assert_origin_opens().await;
        scene.pod.assert_is_right(&object, &scene.content).await;
        assert_eq!(scene.pods.asked(), [""; 0]);
        scene.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_what_is_to_come_from_the_origin_itself() {
    for home in [Some("b"), None] {
        let mut scene = Scene::with_homes(Kind::Short, &[home]).await;
        scene.content.target.past_parent = true;
        let object = scene.assert_origin_opens().await;
        scene.pod.assert_is_right(&object, &scene.content).await;
        assert_eq!(scene.pods.asked(), [""; 0]);
        assert_eq!(scene.pod.questions(), Questions::default());
        scene.end().await;
    }
}
