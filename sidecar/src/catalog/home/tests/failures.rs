//! What can't be given, and what the other pod is told of it.

use connected_cache_core::QueryRule;
use connected_cache_mock_control_plane as mock;

use super::*;
use crate::{
    catalog::siblings::tests::lab::target_of,
    control_plane::tests::lab::{Lab, PATH},
};

fn fault(scene: &Scene, status: u16) {
    let path = scene.content.target.path_and_query.clone();
    scene.origin.mock.set_faults(vec![Fault { path, status: Some(status), ..Fault::default() }]).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_the_origin_says_of_the_content_is_told() {
    let scene = Scene::start().await;
    for (status, is_signed, reason) in [
        (404, false, Reason::Gone),
        (410, true, Reason::Gone),
        (403, false, Reason::Origin),
        (403, true, Reason::Origin),
        (503, false, Reason::Origin),
    ] {
        fault(&scene, status);
        let mut inquiry = scene.inquiry(0, 0);
        inquiry.target.as_mut().unwrap().is_signed = is_signed;
        assert_eq!(scene.give(inquiry).reason().await, reason, "{status}");
    }
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_fails_in_the_middle_is_told_after_what_came() {
    let scene = Scene::start().await;
    scene.pod.open(&scene.content).await;
    fault(&scene, 503);
    let mut heard = scene.give(scene.inquiry(0, 3));
    let swarm = heard.head().await;
    heard.pieces(swarm, 0, 0).await;
    assert_eq!(heard.reason().await, Reason::Origin);
    assert_eq!(heard.lines.recv().await, None);
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn pieces_beyond_the_end_are_not_here() {
    let scene = Scene::start().await;
    scene.pod.open(&scene.content).await;
    scene.origin.mock.clear_requests();
    for inquiry in [scene.inquiry(11, 12), scene.of_holder(11, 12), scene.of_holder(u64::MAX, u64::MAX)] {
        assert_eq!(scene.give(inquiry).reason().await, Reason::NotHere);
    }
    assert_eq!(scene.origin.asked(), []);
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn content_that_is_not_shared_is_not_shared_with_pods_either() {
    let scene = Scene::start().await;
    scene.pod.catalog.shared.passing.add(&scene.content.key);
    assert_eq!(scene.give(scene.inquiry(0, 0)).reason().await, Reason::NotShared);
    assert_eq!(scene.origin.asked(), []);
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn pieces_of_another_state_are_not_given() {
    let scene = Scene::start().await;
    let object = scene.pod.open(&scene.content).await;
    let other = Generation { etag: Some("\"other\"".into()), ..object.generation().clone() };
    for inquiry in [scene.inquiry(0, 1), scene.of_holder(0, 1)] {
        let mut heard = scene.give(Inquiry { state: Some(other.clone()), ..inquiry.clone() });
        assert_eq!(heard.reason().await, Reason::OtherState);
        let mut heard = scene.give(Inquiry { state: Some(object.generation().clone()), ..inquiry });
        let swarm = heard.head().await;
        heard.pieces(swarm, 0, 0).await;
    }
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_holder_gives_what_it_has_and_asks_nobody() {
    let scene = Scene::start().await;
    assert_eq!(scene.give(scene.of_holder(0, 7)).reason().await, Reason::NotHere);
    assert_eq!((scene.origin.asked(), scene.pods.asked()), (Vec::new(), Vec::new()));
    scene.pod.open(&scene.content).await;
    let asked = scene.pods.asked();
    assert_eq!(scene.give(scene.of_holder(1, 7)).reason().await, Reason::NotHere);
    let mut heard = scene.give(scene.of_holder(0, 7));
    let swarm = heard.head().await;
    heard.pieces(swarm, 0, 0).await;
    assert_eq!(heard.reason().await, Reason::NotHere);
    assert_eq!((scene.origin.asked().len(), scene.pods.asked()), (1, asked));
    scene.pod.end().await;
}

/// A pod that takes `b` for the home of what another one asks it for as the home.
async fn of_two_minds() -> Scene {
    let mut scene = Scene::start().await;
    scene.content = Content::find(Kind::Long, |key| {
        let way = scene.pod.sharing.way(connected_cache_core::GroupHash::numbered(key, 0), None);
        matches!(way, crate::sharing::Way::Member(member, _) if member.name == "b")
    });
    scene.pods.has(&scene.content);
    scene
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_pod_says_so_at_once_to_one_that_takes_it_for_the_home() {
    let scene = of_two_minds().await;
    let known = scene.pod.head_of(&scene.origin.mock, &scene.content).await;
    scene.pods.answers("b", scene.pods.whole(&known, 0, 0));
    let object = scene.pod.open(&scene.content).await;
    let steps = vec![Step::Waits, Scripted::head(&known), scene.pods.has_piece(1)];
    scene.pods.answers("b", Answer::Steps(steps));
    let run = scene.pod.begin_run(&object, &scene.content, 1, 1);
    eventually("it waits", || run[0].1.waits_as().is_some()).await;
    let mut heard = scene.give(scene.inquiry(0, 1));
    let swarm = heard.head().await;
    heard.pieces(swarm, 0, 0).await;
    assert_eq!(heard.reason().await, Reason::Elsewhere);
    scene.pods.open_gate();
    scene.pod.sources(&object, &scene.content, &run).await;
    assert_eq!(scene.origin.asked(), []);
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_pod_to_know_the_object_says_so_too() {
    let scene = of_two_minds().await;
    let known = scene.pod.head_of(&scene.origin.mock, &scene.content).await;
    let steps = vec![Step::Waits, Scripted::head(&known), scene.pods.has_piece(0)];
    scene.pods.answers("b", Answer::Steps(steps));
    let heard = async {
        eventually("the other pod is asked", || !scene.pods.asked().is_empty()).await;
        assert_eq!(scene.give(scene.inquiry(0, 0)).reason().await, Reason::Elsewhere);
        scene.pods.open_gate();
    };
    let (object, ()) = tokio::join!(scene.pod.open(&scene.content), heard);
    assert!(scene.pod.read(&object, &scene.content, 0).await.unwrap().0 == scene.content.piece(0));
    assert_eq!(scene.origin.asked(), []);
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stored_piece_that_was_damaged_is_not_given_and_is_fetched_anew() {
    let scene = Scene::start().await;
    let object = scene.pod.open(&scene.content).await;
    // An object that loses its only piece goes as a whole.
    scene.pod.read_run(&object, &scene.content, 1, 1).await;
    scene.pod.trust(&object, 0, 1).await;
    for file in files_of(scene.pod.volume.path()) {
        let length = file.metadata().unwrap().len();
        if length >= scene.content.bytes.len() as u64 {
            std::os::unix::fs::FileExt::write_all_at(&file, &[0x55; 16], 100).unwrap();
        }
    }
    let mut heard = scene.give(scene.inquiry(0, 0));
    let swarm = heard.head().await;
    let sha256 = Sha256::digest(scene.content.piece(0)).into();
    assert_eq!(heard.next().await, Line::Piece { number: 0, sha256 });
    let offer = scene.pod.sharing.offers.get(&swarm).unwrap();
    assert_eq!(scene.pod.catalog.whole_piece(&offer, 0).await, None);
    let piece = object.layout().piece(0).unwrap();
    eventually("the piece is dropped", || !object.has(piece)).await;
    let mut heard = scene.give(scene.inquiry(0, 0));
    let swarm = heard.head().await;
    heard.pieces(swarm, 0, 0).await;
    assert_eq!(scene.origin.asked().len(), 3);
    scene.pod.end().await;
}

fn files_of(folder: &std::path::Path) -> Vec<std::fs::File> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_of(&entry.path()));
        } else {
            files.push(std::fs::File::options().write(true).open(entry.path()).unwrap());
        }
    }
    files
}

#[tokio::test(start_paused = true)]
async fn disputed_content_is_not_vouched_for() {
    let (lab, pods) = (Lab::start_with(mock::ControlPlane::default(), |_| {}).await, Scripted::new());
    let control_plane = Some(lab.control_plane.clone());
    let pod = Pod::with(&lab.config, control_plane, "a", vec![member("a")], pods);
    let bytes = std::fs::read(lab.folder.path().join("content").join(&PATH[1..])).unwrap();
    let target = target_of(PATH);
    let key = ObjectKey::new(&target.origin, PATH, None, QueryRule::KeepAll);
    let content = Content { key: key.clone(), target: target.clone(), bytes };
    let object = pod.open(&content).await;
    eventually("hashes", || object.is_checked()).await;
    let corrupt = Fault { path: PATH.to_owned(), corrupt_piece: Some(1), ..Fault::default() };
    lab.set_faults(vec![corrupt]);
    let target = FetchTarget { asked_as: Some(Role::Home), ..target };
    let inquiry = Inquiry { key, target: Some(target), first: 0, last: 2, state: None };
    // The dispute begins under the answer.
    let mut heard = Heard { pod: &pod, content: &content, lines: pod.catalog.give(inquiry.clone()) };
    let swarm = heard.head().await;
    assert_eq!(Some(swarm), object.hash_of_hashes());
    heard.pieces(swarm, 0, 0).await;
    assert_eq!(heard.reason().await, Reason::NotVouched);
    assert!(object.is_disputed());
    let mut heard = Heard { pod: &pod, content: &content, lines: pod.catalog.give(inquiry) };
    assert_eq!(heard.reason().await, Reason::NotVouched);
    pod.end().await;
}
