//! Two pods that ask each other: what each says passes through its text form, what each gives is read by its swarm id.

use std::collections::{HashMap, HashSet};

use connected_cache_core::{AllowList, QueryRule};
use connected_cache_store::Trust;
use parking_lot::Mutex;

use super::{
    super::*,
    From, Pod,
    lab::{Content, Kind, Origin, member},
};
use crate::{
    catalog::Piece,
    content::Via,
    sharing::{
        answer::Answerer,
        handover::{Handover, Taken},
        link::Link,
        message::Lines,
    },
};

/// The pods by their names.
#[derive(Debug, Default)]
struct Joined {
    pods: Mutex<HashMap<String, (Answerer, Arc<Sharing>)>>,
    /// Who was asked for which object.
    questions: Mutex<Vec<(String, AskedAs)>>,
}

impl Joined {
    fn add(&self, name: &str, pod: &Pod) {
        let answerer = Answerer {
            catalog: pod.catalog.clone(),
            counters: pod.counters.clone(),
            allow_list: Arc::new(AllowList::new(Vec::new(), Vec::new())),
            query_rule: QueryRule::KeepAll,
            via: Via::new(name),
        };
        self.pods.lock().insert(name.to_owned(), (answerer, pod.sharing.clone()));
    }

    fn asked(&self, asked_as: AskedAs) -> HashSet<String> {
        let questions = self.questions.lock();
        questions.iter().filter(|(_, role)| *role == asked_as).map(|(name, _)| name.clone()).collect()
    }
}

impl Link for Joined {
    fn ask(
        &self,
        member: &Member,
        question: &Question,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Result<Line, LinkError>>, LinkError>> {
        self.questions.lock().push((member.name.clone(), question.asked_as));
        let (answerer, _) = self.pods.lock()[&member.name].clone();
        let text = serde_json::to_vec(question).unwrap();
        async move {
            let lines = answerer.answer(serde_json::from_slice(&text).unwrap());
            let line = |mut lines: tokio::sync::mpsc::Receiver<Line>| async move {
                let mut read = Lines::default();
                read.push(&lines.recv().await?.encode()).unwrap();
                Some((Ok(read.next().unwrap().unwrap()), lines))
            };
            Ok(futures::stream::unfold(lines, line).boxed())
        }
        .boxed()
    }

    fn piece(&self, member: &Member, wanted: WantedPiece) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        let (answerer, sharing) = self.pods.lock()[&member.name].clone();
        async move {
            let nothing = || LinkError::Refused { reason: "not_here" };
            let offer = sharing.offers.get(&wanted.swarm).ok_or_else(nothing)?;
            assert_eq!(offer.object.generation().content_length_bytes, wanted.content_length_bytes);
            answerer.catalog.whole_piece(&offer, wanted.number).await.ok_or_else(nothing)
        }
        .boxed()
    }

    fn hand_over(&self, _: &Member, _: &Handover) -> BoxFuture<'static, Result<Taken, LinkError>> {
        async { Err(LinkError::Refused { reason: "not_here" }) }.boxed()
    }

    fn announce(&self, _: [u8; 32], _: u64) {}

    fn is_bad(&self, _: &Member, _: WantedPiece) {
        panic!("a piece was bad");
    }
}

/// Two pods that see each other, and content of which each is the home of one group.
struct Pair {
    origin: Origin,
    link: Arc<Joined>,
    one: Pod,
    other: Pod,
    content: Content,
}

impl Pair {
    /// `other_calls_itself` = its name in its own view.
    async fn start(
        other_calls_itself: &str,
        is_home: impl Fn(&Sharing, &Sharing, &ObjectKey) -> bool,
    ) -> Self {
        let (origin, link) = (Origin::start().await, Arc::<Joined>::default());
        let one = Pod::start(&origin, "a", vec![member("a"), member("b")], link.clone());
        let members = vec![member("a"), member(other_calls_itself)];
        let other = Pod::start(&origin, other_calls_itself, members, link.clone());
        link.add("a", &one);
        link.add("b", &other);
        let content = Content::find(Kind::Long, |key| is_home(&one.sharing, &other.sharing, key));
        Self { origin, link, one, other, content }
    }

    async fn end(self) {
        // The pods hold each other.
        self.link.pods.lock().clear();
        self.one.end().await;
        self.other.end().await;
    }
}

fn group(key: &ObjectKey, number: u64) -> GroupHash {
    GroupHash::numbered(key, number)
}

fn of_each_one_group(one: &Sharing, _: &Sharing, key: &ObjectKey) -> bool {
    one.is_home(group(key, 0)) && !one.is_home(group(key, 1))
}

/// A client that reads everything, with what is fetched ahead of it.
async fn read_all(pod: &Pod, content: &Content) -> HashSet<From> {
    let opened = pod.open_at(content, 0).await.unwrap();
    let (object, mut from) = (opened.object, HashSet::new());
    let layout = object.layout();
    let mut held = Vec::new();
    for number in 0..layout.piece_count() {
        let piece = layout.piece(number).unwrap();
        let last = layout.piece((number + 4).min(layout.piece_count() - 1)).unwrap();
        let state = pod.catalog.piece(&object, piece, &content.target);
        held.extend(pod.catalog.fetch_ahead(&object, piece, last, &content.target).unwrap_or_default());
        if let Piece::Filling(fill, _) = &state {
            held.push((piece, fill.clone()));
        }
        let (bytes, source) = pod.read_state(&object, number, state).await.unwrap();
        assert!(bytes == content.piece(number), "piece {number} is wrong");
        from.insert(source);
    }
    pod.until_idle(&object).await;
    from
}

#[tokio::test(start_paused = true)]
async fn content_that_was_read_through_one_pod_comes_from_there_and_the_origin_sends_it_once() {
    let pair = Pair::start("b", of_each_one_group).await;
    read_all(&pair.one, &pair.content).await;
    read_all(&pair.other, &pair.content).await;
    assert_eq!(pair.origin.sent_bytes(), pair.content.bytes.len() as u64);
    let strayed = [&pair.one, &pair.other].map(|pod| pod.counters.sharing.strayed_bytes());
    assert_eq!(strayed, [0, 0]);
    // Each group once over the origin by its home, and once to the other pod.
    let given: u64 = [&pair.one, &pair.other].iter().map(|pod| pod.counters.sharing.bytes_of_members()).sum();
    assert_eq!(given, pair.content.bytes.len() as u64);
    let object = pair.other.open(&pair.content).await;
    let trust = pair.other.trust(&object, 7, 8).await;
    assert_eq!(trust, [Trust::Vouched, Trust::Origin]);
    pair.end().await;
}

#[tokio::test(start_paused = true)]
async fn twenty_readers_of_both_pods_at_once_cost_the_origin_one_copy() {
    let pair = Pair::start("b", of_each_one_group).await;
    let readers = (0..20).map(|number| {
        let pod = if number % 2 == 0 { &pair.one } else { &pair.other };
        read_all(pod, &pair.content)
    });
    futures::future::join_all(readers).await;
    assert_eq!(pair.origin.sent_bytes(), pair.content.bytes.len() as u64, "{:?}", pair.origin.asked());
    pair.end().await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_take_each_other_for_the_home_get_everything_at_once_all_the_same() {
    let pair = Pair::start("z", |one, other, key| {
        (0..2).all(|number| !one.is_home(group(key, number)) && !other.is_home(group(key, number)))
    })
    .await;
    let readers = (0..20).map(|number| {
        let pod = if number % 2 == 0 { &pair.one } else { &pair.other };
        read_all(pod, &pair.content)
    });
    let before = Instant::now();
    futures::future::join_all(readers).await;
    // Nobody waited for a deadline: nothing moves this clock.
    assert_eq!(before.elapsed(), tokio::time::Duration::ZERO);
    assert_eq!(pair.link.asked(AskedAs::Home).len(), 2, "each took the other for the home");
    let length = pair.content.bytes.len() as u64;
    let sent = pair.origin.sent_bytes();
    assert!((length..=2 * length).contains(&sent), "{sent} of {length}");
    for pod in [&pair.one, &pair.other] {
        let object = pod.open(&pair.content).await;
        pod.assert_is_right(&object, &pair.content).await;
    }
    pair.end().await;
}
