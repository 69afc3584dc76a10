use connected_cache_core::Role;

use super::*;
use crate::catalog::siblings::tests::{
    lab::{Content, Kind, Origin, Pod, member},
    scripted::Scripted,
};

struct Scene {
    origin: Origin,
    pod: Pod,
    answerer: Answerer,
    content: Content,
}

impl Scene {
    async fn start() -> Self {
        let origin = Origin::start().await;
        let pod = Pod::start(&origin, "a", vec![member("a")], Scripted::new());
        let answerer = Answerer {
            catalog: pod.catalog.clone(),
            counters: pod.counters.clone(),
            allow_list: Arc::new(AllowList::new(Vec::new(), Vec::new())),
            query_rule: QueryRule::KeepAll,
            via: Via::new("a"),
        };
        Self { origin, pod, answerer, content: Content::find(Kind::Short, |_| true) }
    }

    fn question(&self) -> Question {
        let target = &self.content.target;
        Question {
            key: self.content.key.as_str().to_owned(),
            source: Some(Source {
                origin: target.origin.authority(),
                https: false,
                path_and_query: target.path_and_query.clone(),
                is_signed: false,
                headers: Vec::new(),
            }),
            asked_as: AskedAs::Home,
            first_piece: 0,
            last_piece: 2,
            state: None,
        }
    }

    async fn assert_refused(&self, question: Question) {
        let shown = format!("{question:?}");
        let mut lines = self.answerer.answer(question);
        assert_eq!(lines.recv().await, Some(Line::Failed { reason: Reason::Refused }), "{shown}");
        assert_eq!(lines.recv().await, None);
        assert_eq!(self.origin.asked(), []);
    }
}

fn changed(question: &Question, change: impl FnOnce(&mut Source)) -> Question {
    let mut question = question.clone();
    change(question.source.as_mut().unwrap());
    question
}

#[tokio::test(start_paused = true)]
async fn a_question_that_a_client_could_not_ask_is_refused_and_the_origin_not_asked() {
    let scene = Scene::start().await;
    let right = scene.question();
    for path in ["/other", "other", "", "/short/0 ", "/short/0\r\nx: y", "http://a.example/short/0", "*"] {
        scene.assert_refused(changed(&right, |source| source.path_and_query = path.to_owned())).await;
    }
    // An origin that is not on the list, a port that is not, and what is no origin; each with the key that would go with it.
    for origin in
        ["evil.example", "169.254.169.254", "localhost", "dl.delivery.mp.microsoft.com:22", "", "a b"]
    {
        let key = format!("{origin}{}", scene.content.target.path_and_query);
        let question = Question { key, ..changed(&right, |source| source.origin = origin.to_owned()) };
        scene.assert_refused(question).await;
    }
    for key in ["", "another.example/f", "dl.delivery.mp.microsoft.com/short/0?x"] {
        scene.assert_refused(Question { key: key.to_owned(), ..right.clone() }).await;
    }
    for (first_piece, last_piece) in [(2, 1), (u64::MAX, 0)] {
        scene.assert_refused(Question { first_piece, last_piece, ..right.clone() }).await;
    }
    for asked_as in [AskedAs::Home, AskedAs::ZoneHome] {
        scene.assert_refused(Question { source: None, asked_as, ..right.clone() }).await;
    }
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_question_that_comes_from_us_is_a_loop() {
    let scene = Scene::start().await;
    let inquiry = scene.answerer.inquiry(scene.question()).unwrap();
    let headers = inquiry.target.unwrap().headers;
    let (_, via) = headers.iter().find(|(name, _)| *name == header::VIA).expect("our mark");
    let back = |source: &mut Source| {
        source.headers = vec![("via".to_owned(), format!("1.1 before, {}", via.to_str().unwrap()))];
    };
    scene.assert_refused(changed(&scene.question(), back)).await;
    let long = |source: &mut Source| source.headers = vec![("via".to_owned(), ["1.1 x"; 9].join(", "))];
    scene.assert_refused(changed(&scene.question(), long)).await;
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_is_passed_on_as_the_client_said_it_in_the_role_and_no_more_than_two_groups() {
    let scene = Scene::start().await;
    let mut question = changed(&scene.question(), |source| {
        source.is_signed = true;
        source.headers = vec![
            ("ms-cv".to_owned(), "x.1".to_owned()),
            ("no name".to_owned(), "x".to_owned()),
            ("user-agent".to_owned(), "a\nb".to_owned()),
        ];
    });
    (question.first_piece, question.last_piece, question.asked_as) = (3, u64::MAX, AskedAs::ZoneHome);
    let inquiry = scene.answerer.inquiry(question.clone()).unwrap();
    assert_eq!((inquiry.first, inquiry.last), (3, 18));
    let target = inquiry.target.unwrap();
    assert_eq!((target.asked_as, target.is_signed, target.past_parent), (Some(Role::ZoneHome), true, false));
    assert_eq!(target.path_and_query, scene.content.target.path_and_query);
    let names: Vec<&str> = target.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"ms-cv") && names.contains(&"via") && names.len() == 2, "{names:?}");

    (question.first_piece, question.asked_as) = (u64::MAX, AskedAs::Holder);
    let inquiry = scene.answerer.inquiry(question).unwrap();
    assert_eq!((inquiry.first, inquiry.last, inquiry.target.is_none()), (u64::MAX, u64::MAX, true));
    scene.pod.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_right_question_is_answered() {
    let scene = Scene::start().await;
    let mut lines = scene.answerer.answer(scene.question());
    let mut pieces = 0;
    while pieces < 3 {
        match lines.recv().await.expect("a line") {
            Line::Piece { number, .. } => {
                assert_eq!(number, pieces);
                pieces += 1;
            }
            Line::Head { .. } | Line::Running { .. } => {}
            line @ Line::Failed { .. } => panic!("{line:?}"),
        }
    }
    assert_eq!(scene.origin.sent_bytes(), scene.content.bytes.len() as u64);
    scene.pod.end().await;
}
