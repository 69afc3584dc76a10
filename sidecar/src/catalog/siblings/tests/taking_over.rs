//! Pieces that a leaving pod hands over: taken where they are missing, and never in transit for ever.

use super::{
    super::*,
    Kind, Scene, Scripted, Trust,
    lab::member,
    scripted::{Answer, Step},
};
use crate::{
    control_plane::tests::lab::eventually,
    sharing::handover::{Handover, Taken},
};

/// An object of which the pod has the piece in the middle, and what `c` hands over of it: everything.
async fn with_a_hole() -> (Scene, Arc<Object>, Handover) {
    let scene = Scene::with_homes(Kind::Short, &[None]).await;
    let object = scene.pod.open_at(&scene.content, 1).await.unwrap().object;
    scene.pod.until_idle(&object).await;
    let handover = Handover {
        from: "c".into(),
        key: scene.content.key.as_str().into(),
        class: 0,
        content_length_bytes: scene.head.generation.content_length_bytes,
        attributes: String::from_utf8(scene.head.encode()).unwrap(),
        runs: vec![(0, 2)],
    };
    (scene, object, handover)
}

impl Scene {
    async fn take(&self, handover: &Handover) -> Taken {
        self.pod.catalog.take_over(member("c"), handover.clone(), self.content.target.clone()).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_taken_and_vouched_for() {
    let (scene, object, handover) = with_a_hole().await;
    for piece in [0, 2] {
        scene.pods.answers("c", scene.pods.whole(&scene.head, piece, piece));
    }
    let bytes = scene.content.bytes.len() as u64 - (1 << 20);
    assert_eq!(scene.take(&handover).await, Taken { pieces: 2, bytes });
    assert_eq!(scene.pods.fetched(), [("c".into(), 0), ("c".into(), 2)]);
    let asked = scene.origin.asked().len();
    scene.pod.assert_is_right(&object, &scene.content).await;
    assert_eq!(scene.origin.asked().len(), asked, "nothing was fetched for it");
    assert_eq!(scene.pod.trust(&object, 0, 2).await, [Trust::Vouched, Trust::Origin, Trust::Vouched]);
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_leaving_pod_does_not_give_after_all_can_be_had_from_the_origin() {
    let (scene, object, handover) = with_a_hole().await;
    assert_eq!(scene.take(&handover).await, Taken::default());
    scene.pod.until_idle(&object).await;
    scene.pod.assert_is_right(&object, &scene.content).await;
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_ends_although_the_leaving_pod_does_not_wait_for_it() {
    let (scene, object, handover) = with_a_hole().await;
    let steps = vec![Step::Waits, Scripted::head(&scene.head), scene.pods.has_piece(0)];
    scene.pods.answers("c", Answer::Steps(steps));
    scene.pods.answers("c", scene.pods.whole(&scene.head, 2, 2));
    let before = scene.pods.asked().len();
    let is_asked = eventually("the leaving pod is asked", || scene.pods.asked().len() > before);
    tokio::select! {
        biased;
        () = is_asked => {}
        taken = scene.take(&handover) => panic!("{taken:?} without waiting"),
    }
    scene.pods.open_gate();
    scene.pod.until_idle(&object).await;
    eventually("all of it was taken", || object.counts().0 == 3).await;
    scene.pod.assert_is_right(&object, &scene.content).await;
    assert_eq!(scene.pod.trust(&object, 0, 2).await, [Trust::Vouched, Trust::Origin, Trust::Vouched]);
    scene.end().await;
}
