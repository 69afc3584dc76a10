//! What a pod says to others, and what it gives them.

mod failures;

use connected_cache_core::PIECES_OF_A_GROUP;
use connected_cache_mock_control_plane::Fault;
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::{
    catalog::siblings::tests::{
        lab::{Content, Kind, Origin, Pod, member},
        scripted::{Answer, Scripted, Step},
    },
    control_plane::tests::lab::eventually,
};

/// A pod `a` whose siblings have nothing, unless they are told to.
struct Scene {
    origin: Origin,
    pod: Pod,
    pods: Arc<Scripted>,
    content: Content,
}

impl Scene {
    async fn start() -> Self {
        let (origin, pods) = (Origin::start().await, Scripted::new());
        let pod = Pod::start(&origin, "a", ["a", "b", "c"].map(member).to_vec(), pods.clone());
        let content = Content::find(Kind::Long, |key| {
            (0..2).all(|group| pod.sharing.is_home(connected_cache_core::GroupHash::numbered(key, group)))
        });
        Self { origin, pod, pods, content }
    }

    /// The question of a pod that takes us for the home.
    fn inquiry(&self, first: u64, last: u64) -> Inquiry {
        let target = FetchTarget { asked_as: Some(Role::Home), ..self.content.target.clone() };
        Inquiry { key: self.content.key.clone(), target: Some(target), first, last, state: None }
    }

    /// The question of the home itself.
    fn of_holder(&self, first: u64, last: u64) -> Inquiry {
        Inquiry { target: None, ..self.inquiry(first, last) }
    }

    fn give(&self, inquiry: Inquiry) -> Heard<'_> {
        Heard { pod: &self.pod, content: &self.content, lines: self.pod.catalog.give(inquiry) }
    }

    /// The origin sends so much of each answer and then waits.
    fn stall_after(&self, bytes: u64) {
        let path = self.content.target.path_and_query.clone();
        let fault = Fault { path, stall_after_bytes: Some(bytes), ..Fault::default() };
        self.origin.mock.set_faults(vec![fault]).unwrap();
    }

    fn go_on(&self) {
        self.origin.mock.set_faults(Vec::new()).unwrap();
    }
}

/// An answer as the other pod hears it.
struct Heard<'a> {
    pod: &'a Pod,
    content: &'a Content,
    lines: Receiver<Line>,
}

impl Heard<'_> {
    /// The next line that says more than that somebody is there.
    async fn next(&mut self) -> Line {
        loop {
            match self.lines.recv().await.expect("a line") {
                Line::Running { .. } => {}
                line => return line,
            }
        }
    }

    async fn reason(&mut self) -> Reason {
        match self.next().await {
            Line::Failed { reason } => reason,
            line => panic!("{line:?}"),
        }
    }

    /// The head; gives the id of the swarm.
    async fn head(&mut self) -> [u8; 32] {
        match self.next().await {
            Line::Head { content_length_bytes, attributes, swarm } => {
                assert_eq!(content_length_bytes, self.content.bytes.len() as u64);
                let head = crate::catalog::ObjectHead::decode(attributes.as_bytes(), content_length_bytes);
                assert!(head.unwrap().generation.is_named());
                swarm
            }
            line => panic!("{line:?}"),
        }
    }

    /// These pieces, in order; each can be fetched as soon as it was announced, and is right.
    async fn pieces(&mut self, swarm: [u8; 32], first: u64, last: u64) {
        for expected in first..=last {
            match self.next().await {
                Line::Piece { number, sha256 } => {
                    assert_eq!(number, expected);
                    let right = self.content.piece(number);
                    assert_eq!(sha256, <[u8; 32]>::from(Sha256::digest(right)));
                    let offer = self.pod.sharing.offers.get(&swarm).expect("an offer");
                    let bytes = self.pod.catalog.whole_piece(&offer, number).await.expect("a piece");
                    assert!(bytes == right, "piece {number} is wrong");
                }
                line => panic!("{line:?} instead of piece {expected}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_given_without_the_origin() {
    let scene = Scene::start().await;
    let object = scene.pod.open(&scene.content).await;
    scene.pod.assert_is_right(&object, &scene.content).await;
    scene.origin.mock.clear_requests();
    let asked = scene.pods.asked().len();
    for inquiry in [scene.inquiry(2, 9), scene.of_holder(2, 9), scene.inquiry(2, u64::MAX)] {
        let last = inquiry.last.min(10);
        let mut heard = scene.give(inquiry);
        let swarm = heard.head().await;
        heard.pieces(swarm, 2, last).await;
        // The end comes with the one who listens.
        assert!(!heard.lines.is_closed());
    }
    assert_eq!((scene.origin.asked(), scene.pods.asked().len()), (Vec::new(), asked));
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_fetched_by_one_wide_request() {
    let scene = Scene::start().await;
    scene.pod.open(&scene.content).await;
    let mut heard = scene.give(scene.inquiry(1, PIECES_OF_A_GROUP - 1));
    let swarm = heard.head().await;
    heard.pieces(swarm, 1, 7).await;
    let wide = format!("bytes={}-{}", 1 << 20, (8 << 20) - 1);
    assert_eq!(scene.origin.ranges(), ["bytes=0-1048575".to_owned(), wide]);
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_nobody_knew_is_opened_for_the_other_pod() {
    let scene = Scene::start().await;
    let mut heard = scene.give(scene.inquiry(8, 10));
    let swarm = heard.head().await;
    heard.pieces(swarm, 8, 10).await;
    let first = format!("bytes={}-{}", 8 << 20, (9 << 20) - 1);
    let rest = format!("bytes={}-{}", 9 << 20, (10 << 20) + 4);
    assert_eq!(scene.origin.ranges(), [first, rest]);
    assert_eq!(scene.origin.sent_bytes(), (2 << 20) + 5);
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_fetch_under_way_is_followed_with_signs_of_life() {
    let scene = Scene::start().await;
    let object = scene.pod.open(&scene.content).await;
    scene.stall_after((1 << 20) + 5);
    let run = scene.pod.begin_run(&object, &scene.content, 1, 7);
    let mut heard = scene.give(scene.inquiry(1, 7));
    let swarm = heard.head().await;
    heard.pieces(swarm, 1, 1).await;
    // How far it is grows with what came.
    eventually("a part of the second piece", || run[1].1.distance() == 5).await;
    tokio::time::advance(SIGN_EVERY).await;
    match heard.lines.recv().await {
        Some(Line::Running { bytes }) => assert!(bytes > 1 << 20, "{bytes}"),
        line => panic!("{line:?}"),
    }
    scene.go_on();
    heard.pieces(swarm, 2, 7).await;
    assert_eq!(scene.origin.asked().len(), 2, "it was fetched again");
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_listens_to_any_more_is_fetched_and_stored_all_the_same() {
    let scene = Scene::start().await;
    let object = scene.pod.open(&scene.content).await;
    scene.stall_after(5);
    let mut heard = scene.give(scene.inquiry(1, 7));
    heard.head().await;
    eventually("the origin is asked", || scene.origin.asked().len() == 2).await;
    drop(heard);
    scene.go_on();
    let all = || (1..=7).all(|number| object.has(object.layout().piece(number).unwrap()));
    eventually("all is stored", all).await;
    assert_eq!(scene.origin.asked().len(), 2);
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn pieces_that_no_volume_takes_are_there_for_as_long_as_somebody_listens() {
    let (origin, pods) = (Origin::start().await, Scripted::new());
    let limit = connected_cache_config::ByteSize::from_bytes(1 << 19);
    let members = vec![member("a")];
    let pod = Pod::within(limit, &origin.config, None, "a", members, pods.clone());
    let content = Content::find(Kind::Short, |_| true);
    let scene = Scene { origin, pod, pods, content };
    let mut heard = scene.give(scene.inquiry(0, 2));
    let swarm = heard.head().await;
    heard.pieces(swarm, 0, 2).await;
    let offer = scene.pod.sharing.offers.get(&swarm).unwrap();
    assert_eq!(offer.object.counts().0, 0, "it is stored");
    for number in 0..3 {
        let bytes = scene.pod.catalog.whole_piece(&offer, number).await.expect("a piece");
        assert!(bytes == scene.content.piece(number));
    }
    assert_eq!(scene.origin.sent_bytes(), scene.content.bytes.len() as u64);
    drop(heard);
    let is_gone = || (0..3).all(|number| offer.held(offer.object.layout().piece(number).unwrap()).is_none());
    eventually("they are let go of", is_gone).await;
    assert_eq!(scene.pod.catalog.whole_piece(&offer, 0).await, None);
    scene.pod.end().await;
}
