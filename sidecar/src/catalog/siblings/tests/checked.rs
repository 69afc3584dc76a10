//! Content whose pieces have authenticated hashes: these have the last word, whoever vouches for what.

use std::sync::atomic::Ordering;

use connected_cache_core::QueryRule;
use connected_cache_mock_control_plane::{self as mock, Fault};

use super::{
    super::*,
    From, Pod, Scripted, Trust, home_of,
    lab::{Content, member, target_of},
    scripted::Gives,
};
use crate::control_plane::{
    SimpleMode,
    tests::lab::{Lab, PATH, eventually},
};

/// As a scene, with a control plane. The object has three pieces.
struct Checked {
    lab: Lab,
    pod: Pod,
    pods: Arc<Scripted>,
    content: Content,
    head: ObjectHead,
}

impl Checked {
    async fn start() -> Self {
        let (lab, pods) = (Lab::start_with(mock::ControlPlane::default(), |_| {}).await, Scripted::new());
        let members = ["a", "b", "c"].map(member).to_vec();
        let pod = Pod::with(&lab.config, Some(lab.control_plane.clone()), "a", members, pods.clone());
        let key =
            |query: &String| ObjectKey::new(&target_of(PATH).origin, PATH, Some(query), QueryRule::KeepAll);
        let mut queries = (0..64).map(|number| format!("n={number}"));
        let query = queries.find(|query| home_of(&pod, &key(query), 0).as_deref() == Some("b")).unwrap();
        let bytes = std::fs::read(lab.folder.path().join("content").join(&PATH[1..])).unwrap();
        let content = Content { key: key(&query), target: target_of(&format!("{PATH}?{query}")), bytes };
        pods.has(&content);
        let head = pod.head_of(&lab.mock, &content).await;
        Self { lab, pod, pods, content, head }
    }

    /// The object, once its hashes are known.
    async fn opened(&self) -> Arc<Object> {
        self.pods.answers("b", self.pods.whole(&self.head, 0, 0));
        let object = self.pod.open(&self.content).await;
        eventually("hashes", || object.is_checked()).await;
        object
    }

    /// Requests for content.
    fn requests_of_content(&self) -> usize {
        let requests = self.lab.mock.requests().requests;
        requests.iter().filter(|request| request.service.is_none()).count()
    }

    fn rejected(&self) -> u64 {
        self.pod.counters.pieces_rejected.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_home_gives_is_authenticated_like_what_the_origin_gives() {
    let scene = Checked::start().await;
    let object = scene.opened().await;
    scene.pods.answers("b", scene.pods.whole(&scene.head, 1, 2));
    assert_eq!(scene.pod.read_run(&object, &scene.content, 1, 2).await, [From::Peer; 2]);
    assert_eq!(scene.pod.trust(&object, 0, 2).await, [Trust::Authenticated; 3]);
    assert_eq!((scene.requests_of_content(), scene.rejected()), (0, 0));
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_piece_for_which_the_home_vouches_is_never_seen_and_disputes_nothing() {
    let scene = Checked::start().await;
    let object = scene.opened().await;
    scene.pods.gives(1, Gives::Lie);
    scene.pods.answers("b", scene.pods.whole(&scene.head, 1, 2));
    let sources = scene.pod.read_run(&object, &scene.content, 1, 2).await;
    assert_eq!(sources[0], From::Origin);
    scene.pod.assert_is_right(&object, &scene.content).await;
    assert_eq!(scene.rejected(), 1);
    assert_eq!(scene.pod.trust(&object, 0, 2).await, [Trust::Authenticated; 3]);
    assert!(!object.is_disputed());
    assert_eq!(scene.pod.counters.simple_mode_objects.of(SimpleMode::BadPieces), 0);
    // What it gives of this content is not asked for any more.
    let asked = scene.pods.asked().len();
    scene.pod.catalog.forget(&object);
    let again = scene.pod.open(&scene.content).await;
    scene.pod.assert_is_right(&again, &scene.content).await;
    assert_eq!(scene.pods.asked().len(), asked);
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_content_whose_hashes_are_disputed() {
    let scene = Checked::start().await;
    let object = scene.opened().await;
    let corrupt = Fault { path: PATH.to_owned(), corrupt_piece: Some(1), ..Fault::default() };
    scene.lab.set_faults(vec![corrupt]);
    // The home has nothing of it, and the origin insists on other bytes.
    scene.pod.read(&object, &scene.content, 1).await.unwrap();
    scene.pod.until_idle(&object).await;
    assert!(object.is_disputed());
    let (asked, requests) = (scene.pods.asked(), scene.requests_of_content());
    let (bytes, source) = scene.pod.read(&object, &scene.content, 2).await.unwrap();
    assert!(bytes == scene.content.piece(2) && source == From::Origin);
    assert_eq!((scene.pods.asked(), scene.requests_of_content()), (asked, requests + 1));
    scene.pod.end().await;
}
