//! Runs of pieces across groups, and what is taken away under them.

use connected_cache_store::Filter;

use super::{super::*, From, Kind, Scene, Trust, scripted::Step};

/// Whom a question went to, and its pieces.
fn asked(scene: &Scene) -> Vec<(String, u64, u64)> {
    let questions = scene.pods.questions().into_iter().skip(1);
    let mut asked: Vec<_> =
        questions.map(|(name, question)| (name, question.first_piece, question.last_piece)).collect();
    asked.sort();
    asked
}

#[tokio::test(start_paused = true)]
async fn a_run_across_two_groups_with_two_homes_is_asked_of_both() {
    let scene = Scene::with_homes(Kind::Long, &[Some("b"), Some("c")]).await;
    let object = scene.opened().await;
    scene.pods.answers("b", scene.pods.whole(&scene.head, 1, 7));
    scene.pods.answers("c", scene.pods.whole(&scene.head, 8, 10));
    assert_eq!(scene.pod.read_run(&object, &scene.content, 1, 10).await, [From::Peer; 10]);
    assert_eq!(asked(&scene), [("b".to_owned(), 1, 7), ("c".to_owned(), 8, 10)]);
    scene.pod.assert_is_right(&object, &scene.content).await;
    assert_eq!(scene.origin.asked(), []);
    assert_eq!(scene.pod.trust(&object, 0, 10).await, [Trust::Vouched; 11]);
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_across_two_groups_with_one_home_is_one_question() {
    let scene = Scene::with_homes(Kind::Long, &[Some("b"), Some("b")]).await;
    let object = scene.opened().await;
    scene.pods.answers("b", scene.pods.whole(&scene.head, 1, 10));
    assert_eq!(scene.pod.read_run(&object, &scene.content, 1, 10).await, [From::Peer; 10]);
    assert_eq!(asked(&scene), [("b".to_owned(), 1, 10)]);
    scene.pod.assert_is_right(&object, &scene.content).await;
    assert_eq!(scene.origin.asked(), []);
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_of_which_one_group_is_at_home_here_is_half_of_the_origin() {
    let scene = Scene::with_homes(Kind::Long, &[Some("b"), None]).await;
    let object = scene.opened().await;
    scene.pods.answers("b", scene.pods.whole(&scene.head, 1, 7));
    let sources = scene.pod.read_run(&object, &scene.content, 1, 10).await;
    assert_eq!((&sources[..7], &sources[7..]), (&[From::Peer; 7][..], &[From::Origin; 3][..]));
    assert_eq!(scene.origin.ranges(), [format!("bytes={}-{}", 8 << 20, (10 << 20) + 4)]);
    assert_eq!(scene.strayed(), 0);
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_purge_in_the_middle_leaves_nothing_behind_and_harms_no_reader() {
    let scene = Scene::with_homes(Kind::Long, &[Some("b"), Some("b")]).await;
    let object = scene.opened().await;
    let pieces = (3..=7).map(|number| scene.pods.has_piece(number));
    let given = [scene.head(), scene.pods.has_piece(1), scene.pods.has_piece(2), Step::Waits];
    scene.says(given.into_iter().chain(pieces));
    let run = scene.pod.begin_run(&object, &scene.content, 1, 7);
    assert_eq!(scene.pod.sources(&object, &scene.content, &run[..2]).await, [From::Peer; 2]);
    scene.pod.catalog.purge(Filter::all()).await.unwrap();
    assert!(object.is_removed());
    scene.pods.open_gate();
    assert_eq!(scene.pod.sources(&object, &scene.content, &run[2..]).await, [From::Peer; 5]);
    scene.pod.until_idle(&object).await;
    assert_eq!(scene.origin.asked(), []);

    let again = scene.opened().await;
    assert!(!Arc::ptr_eq(&again, &object));
    assert_eq!(again.counts(), (1, 0, 11));
    scene.end().await;
}
