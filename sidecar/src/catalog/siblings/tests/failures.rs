//! A home that fails in one way or another: its pieces come from the origin, soon and once.

use connected_cache_mock_control_plane::Fault;

use super::{
    super::*,
    From, Kind, Questions, Scene, Trust,
    lab::{PROGRESS, SIGN},
    scripted::{Answer, Gives, Step},
};
use crate::control_plane::tests::lab::eventually;

/// Says that it is still there, for so long.
fn signs(passing: std::time::Duration, bytes: impl Fn(u64) -> u64) -> Vec<Step> {
    let count = u64::try_from(passing.as_millis() * 2 / SIGN.as_millis()).unwrap();
    (1..=count)
        .flat_map(|number| [Step::Says(Line::Running { bytes: bytes(number) }), Step::Lets(SIGN / 2)])
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_silent_home_is_left_alone_and_the_next_pod_or_the_origin_is_asked() {
    let scene = Scene::start().await;
    scene.pods.answers("b", Answer::Silence(SIGN));
    let object = scene.assert_origin_opens().await;
    assert!(scene.pod.is_left_alone("b"));
    scene.pod.assert_is_right(&object, &scene.content).await;
    assert_eq!(scene.pods.asked().iter().filter(|name| name.as_str() == "b").count(), 1);
    assert_eq!(scene.origin.sent_bytes(), scene.content.bytes.len() as u64);
    assert_eq!(scene.strayed(), scene.content.bytes.len() as u64);
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_home_that_cannot_be_reached_is_left_alone() {
    let scene = Scene::start().await;
    scene.pods.answers("b", Answer::Unreachable);
    scene.assert_origin_opens().await;
    assert!(scene.pod.is_left_alone("b"));
    assert_eq!(scene.pod.questions(), Questions { homes: 1, fallbacks: 1, ..Questions::default() });
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_home_that_says_what_the_object_is_and_no_more_is_not_waited_for() {
    for last in [vec![Step::Lets(SIGN), Step::IsSilent], vec![Step::Breaks], Vec::new()] {
        let scene = Scene::start().await;
        scene.says([scene.head()].into_iter().chain(last));
        scene.assert_origin_opens().await;
        assert!(scene.pod.is_left_alone("b"));
        assert_eq!(scene.pod.questions(), Questions { homes: 1, fallbacks: 1, ..Questions::default() });
        assert_eq!(scene.strayed(), 1 << 20);
        scene.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_home_does_not_give_of_a_run_comes_from_the_origin_by_one_request() {
    let (silent, gone) = ([Step::Lets(SIGN), Step::IsSilent], Line::Failed { reason: Reason::Origin });
    for (ending, is_left_alone) in
        [(silent.to_vec(), true), (vec![Step::Breaks], true), (vec![Step::Says(gone)], false)]
    {
        let scene = Scene::with_homes(Kind::Long, &[Some("b"), Some("b")]).await;
        let object = scene.opened().await;
        let given = [scene.head(), scene.pods.has_piece(1), scene.pods.has_piece(2), Step::Waits];
        scene.says(given.into_iter().chain(ending));
        let run = scene.pod.begin_run(&object, &scene.content, 1, 7);
        assert_eq!(scene.pod.sources(&object, &scene.content, &run[..2]).await, [From::Peer; 2]);
        assert_eq!(scene.origin.asked(), []);
        scene.pods.open_gate();
        assert_eq!(scene.pod.sources(&object, &scene.content, &run[2..]).await, [From::Origin; 5]);
        scene.pod.until_idle(&object).await;
        assert_eq!(scene.origin.ranges(), [format!("bytes={}-{}", 3 << 20, (8 << 20) - 1)]);
        assert_eq!(scene.pod.is_left_alone("b"), is_left_alone);
        assert_eq!(
            scene.pod.trust(&object, 1, 4).await[..],
            [Trust::Vouched, Trust::Vouched, Trust::Origin, Trust::Origin]
        );
        assert_eq!((scene.bytes_of_members(), scene.strayed()), (3 << 20, 5 << 20));
        scene.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_home_that_takes_long_to_know_the_object_has_the_origin_asked_beside_it() {
    let scene = Scene::start().await;
    let mut steps = signs(PROGRESS, |_| 0);
    steps.extend([Step::Waits, scene.head(), scene.pods.has_piece(0)]);
    scene.says(steps);
    let object = scene.assert_origin_opens().await;
    // What it says now is for nobody.
    scene.pods.open_gate();
    scene.pod.assert_is_right(&object, &scene.content).await;
    assert_eq!(scene.pod.questions().hedged, 1);
    assert_eq!((scene.pods.fetched(), scene.pod.is_left_alone("b")), (Vec::new(), false));
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_home_that_takes_long_is_heard_if_the_origin_takes_longer() {
    let scene = Scene::start().await;
    let path = scene.content.target.path_and_query.clone();
    // Longer than anybody lets pass.
    let slow = Fault { path, delay_milliseconds: 60_000, ..Fault::default() };
    scene.origin.mock.set_faults(vec![slow]).unwrap();
    let mut steps = signs(PROGRESS, |_| 0);
    steps.extend([Step::Waits, scene.head(), scene.pods.has_piece(0)]);
    scene.says(steps);
    let opened = async {
        eventually("the origin is asked", || !scene.origin.asked().is_empty()).await;
        scene.pods.open_gate();
    };
    let (object, ()) = tokio::join!(scene.pod.open(&scene.content), opened);
    assert_eq!(scene.pod.trust(&object, 0, 0).await, [Trust::Vouched]);
    assert!(scene.pod.read(&object, &scene.content, 0).await.unwrap().0 == scene.content.piece(0));
    assert_eq!((scene.pod.questions().hedged, scene.origin.sent_bytes()), (1, 0));
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_home_that_is_there_and_comes_no_further_is_given_up() {
    let scene = Scene::start().await;
    scene.says([scene.head()].into_iter().chain(signs(PROGRESS, |_| 0)).chain([Step::IsSilent]));
    scene.assert_origin_opens().await;
    assert_eq!(scene.pod.questions().fallbacks, 1);
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_home_that_comes_further_is_waited_for() {
    let scene = Scene::start().await;
    let steps = signs(3 * PROGRESS, |number| number);
    scene.says([scene.head()].into_iter().chain(steps).chain([scene.pods.has_piece(0)]));
    let object = scene.pod.open(&scene.content).await;
    assert_eq!(scene.pod.trust(&object, 0, 0).await, [Trust::Vouched]);
    assert_eq!((scene.origin.asked(), scene.pod.questions().fallbacks), (Vec::new(), 0));
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_never_comes_is_fetched_from_the_origin() {
    let scene = Scene::start().await;
    scene.pods.gives(0, Gives::Never(PROGRESS));
    scene.pods.answers("b", scene.pods.whole(&scene.head, 0, 0));
    scene.assert_origin_opens().await;
    assert!(scene.pod.is_left_alone("b"));
    scene.end().await;
}
