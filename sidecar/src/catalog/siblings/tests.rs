//! One catalog whose siblings follow a script.

mod answers;
mod checked;
mod failures;
mod holders;
mod joined;
pub(crate) mod lab;
mod runs;
pub(crate) mod scripted;
mod taking_over;

use std::sync::Arc;

use connected_cache_core::GroupHash;
use connected_cache_store::Trust;

use self::{
    lab::{Content, Kind, Origin, Pod, member},
    scripted::{Answer, Scripted, Step},
};
use super::*;
use crate::{
    catalog::ObjectHead,
    metrics::{Questions, Source as From},
};

/// A pod `a` with siblings `b` and `c`, and an object whose home is `b`.
struct Scene {
    origin: Origin,
    pod: Pod,
    pods: Arc<Scripted>,
    content: Content,
    head: ObjectHead,
}

impl Scene {
    async fn start() -> Self {
        Self::with_homes(Kind::Short, &[Some("b")]).await
    }

    /// `homes` = of each group; `None` = the pod itself.
    async fn with_homes(kind: Kind, homes: &[Option<&str>]) -> Self {
        let (origin, pods) = (Origin::start().await, Scripted::new());
        let pod = Pod::start(&origin, "a", ["a", "b", "c"].map(member).to_vec(), pods.clone());
        let content = Content::find(kind, |key| {
            homes.iter().enumerate().all(|(group, home)| home_of(&pod, key, group as u64).as_deref() == *home)
        });
        pods.has(&content);
        let head = pod.head_of(&origin.mock, &content).await;
        Self { origin, pod, pods, content, head }
    }

    /// The object as it is known after its first piece came from the home.
    async fn opened(&self) -> Arc<Object> {
        self.pods.answers("b", self.pods.whole(&self.head, 0, 0));
        let object = self.pod.open(&self.content).await;
        assert_eq!(self.origin.asked(), []);
        object
    }

    fn says(&self, steps: impl IntoIterator<Item = Step>) {
        self.pods.answers("b", Answer::Steps(steps.into_iter().collect()));
    }

    fn head(&self) -> Step {
        Scripted::head(&self.head)
    }

    fn bytes_of_members(&self) -> u64 {
        self.pod.counters.sharing.bytes_of_members()
    }

    fn strayed(&self) -> u64 {
        self.pod.counters.sharing.strayed_bytes()
    }

    /// The piece by which the object is opened comes from the origin, by one request.
    async fn assert_origin_opens(&self) -> Arc<Object> {
        let object = self.pod.open(&self.content).await;
        let first = self.pod.read(&object, &self.content, 0).await.unwrap();
        assert!(first.0 == self.content.piece(0), "the first piece is wrong");
        assert_eq!(self.origin.ranges(), ["bytes=0-1048575"]);
        assert_eq!(self.pod.trust(&object, 0, 0).await, [Trust::Origin]);
        assert_eq!(self.bytes_of_members(), 0);
        object
    }

    async fn end(self) {
        self.pod.end().await;
    }
}

fn home_of(pod: &Pod, key: &ObjectKey, group: u64) -> Option<String> {
    match pod.sharing.way(GroupHash::numbered(key, group), None) {
        Way::Member(member, _) => Some(member.name),
        Way::Holders(_) => None,
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_home_gives_is_vouched_for_and_the_origin_is_not_asked() {
    let scene = Scene::start().await;
    let object = scene.opened().await;
    scene.pods.answers("b", scene.pods.whole(&scene.head, 1, 2));
    assert_eq!(scene.pod.read_run(&object, &scene.content, 1, 2).await, [From::Peer; 2]);
    scene.pod.assert_is_right(&object, &scene.content).await;
    assert_eq!(scene.origin.asked(), []);
    let [(_, head), (_, run)] = &scene.pods.questions()[..] else { panic!("other questions") };
    assert_eq!((head.first_piece, head.last_piece, &head.state), (0, 0, &None));
    assert_eq!((run.first_piece, run.last_piece), (1, 2));
    assert_eq!(run.state, Some(State::from(&scene.head.generation)));
    assert_eq!(run.asked_as, AskedAs::Home);
    assert_eq!(scene.pod.trust(&object, 0, 2).await, [Trust::Vouched; 3]);
    assert_eq!(scene.pod.questions(), Questions { homes: 2, ..Questions::default() });
    assert_eq!((scene.bytes_of_members(), scene.strayed()), (scene.content.bytes.len() as u64, 0));
    assert!(!scene.pod.is_left_alone("b"));
    scene.end().await;
}
