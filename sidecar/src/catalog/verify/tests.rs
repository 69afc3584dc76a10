//! What is asked again, and what comes of it. The catalog goes by the system's clock, so a question is made due by hand; that it
//! is due when it should be is looked at before.

use connected_cache_config::{ByteSize, Volume};
use connected_cache_core::{AllowList, ContentClass, ObjectKey};
use connected_cache_mock_control_plane::{
    self as mock, ContentEntry, Fault,
    control_plane::{Expectation, ScriptedReply, Service, WrongAnswer},
};
use connected_cache_store::Store;
use connected_cache_wire::delivery_optimization::{OriginAuthority, PieceHashFileBuilder};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    catalog::{CatalogParts, OpenRequest, Piece},
    control_plane::tests::lab::{Lab, ORIGIN, PATH, eventually, fault},
    settings::{self, RulesByClass},
    tasks::Tasks,
    upstream::Upstream,
};

/// The object of the laboratory, of three pieces, as it is before anything of it was fetched.
struct Cache {
    lab: Lab,
    catalog: Catalog,
    store: Arc<Store>,
    tasks: Tasks,
    _volume: TempDir,
}

/// One object, and how it is fetched.
struct Wanted {
    object: Arc<Object>,
    target: FetchTarget,
}

impl Cache {
    async fn start(answers: mock::ControlPlane) -> Self {
        let (lab, volume) = (Lab::start_with(answers, |_| {}).await, tempfile::tempdir().unwrap());
        let mut config = lab.config.clone();
        let limit = ByteSize::from_gibibytes(1);
        config.storage.volumes = vec![Volume { path: volume.path().to_owned(), limit }];
        config.storage.min_free = ByteSize::from_bytes(0);
        let policy = settings::policy(&config).unwrap();
        let store = Arc::new(Store::open_with(&settings::volumes(&config.storage), policy).unwrap());
        let allow_list = Arc::new(AllowList::new(Vec::new(), Vec::new()));
        let tasks = Tasks::default();
        let catalog = Catalog::new(CatalogParts {
            store: store.clone(),
            upstream: Upstream::new(&config, allow_list, None, lab.counters.clone()),
            counters: lab.counters.clone(),
            inquiries: Tasks::default(),
            tasks: tasks.clone(),
            rules: RulesByClass::new(&config.content),
            control_plane: Some(lab.control_plane.clone()),
            sharing: None,
            memory_bytes: settings::memory_bytes(&config.storage),
        });
        Self { lab, catalog, store, tasks, _volume: volume }
    }

    /// The object with its first piece. The mock takes any query, by which objects differ.
    async fn open(&self, query: &str) -> Wanted {
        let authority = OriginAuthority::parse(ORIGIN).unwrap();
        let target = FetchTarget {
            origin: AllowList::new(Vec::new(), Vec::new()).admit_exactly(&authority, 80).unwrap(),
            https: false,
            path_and_query: format!("{PATH}{query}"),
            is_signed: false,
            past_parent: false,
            asked_as: None,
            headers: Vec::new(),
        };
        let key = ObjectKey::from_stored(format!("{ORIGIN}{PATH}{query}"));
        let request =
            OpenRequest { key: &key, class: ContentClass::of_number(0), target: &target, offset: 0 };
        let opened = self.moving(self.catalog.open(&request)).await.unwrap();
        let wanted = Wanted { object: opened.object, target };
        self.until_idle(&wanted).await;
        wanted
    }

    /// Whatever is fetched of it is here, and stored if it is to be.
    async fn until_idle(&self, wanted: &Wanted) {
        let is_idle = || self.catalog.shared.transit.fills_of(&wanted.object).is_empty();
        self.moving(eventually("nothing is in transit", is_idle)).await;
    }

    async fn fetch(&self, wanted: &Wanted, number: u64) {
        let piece = wanted.object.layout().piece(number).unwrap();
        if let Piece::Filling(fill, _) = self.catalog.piece(&wanted.object, piece, &wanted.target) {
            self.moving(fill.done()).await;
        }
        self.until_idle(wanted).await;
    }

    /// A client asks for what is stored, once the question is due.
    async fn ask_again(&self, wanted: &Wanted) {
        let verification = verification(wanted);
        verification.postpone(0);
        self.catalog.ask_if_incomplete(&wanted.object, &wanted.target);
        self.moving(eventually("an answer", || !verification.is_due(now_seconds()))).await;
    }

    /// Moves the clock of pauses between tries until the work is done.
    async fn moving<T>(&self, work: impl Future<Output = T>) -> T {
        let clock = async {
            loop {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                if self.lab.control_plane.status().errors.contains_key("Geo") {
                    tokio::time::advance(Duration::from_millis(100)).await;
                }
            }
        };
        tokio::select! {
            done = work => done,
            () = clock => unreachable!("it has no end"),
        }
    }

    fn in_simple_mode(&self, reason: SimpleMode) -> u64 {
        self.lab.counters.simple_mode_objects.of(reason)
    }

    fn rejected(&self) -> u64 {
        self.lab.counters.pieces_rejected.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.tasks.end(Duration::ZERO).await;
        tokio::task::spawn_blocking(move || self.store.close()).await.unwrap();
    }
}

fn verification(wanted: &Wanted) -> &Verification {
    wanted.object.verification().unwrap()
}

fn is_authenticated(wanted: &Wanted) -> bool {
    matches!(verification(wanted).verdict(), Verdict::Authenticated(_))
}

fn is_disputed(wanted: &Wanted) -> bool {
    matches!(verification(wanted).verdict(), Verdict::Disputed(_))
}

fn corrupt(piece: u64, times: Option<u64>) -> Fault {
    Fault { path: PATH.to_owned(), corrupt_piece: Some(piece), times, ..Fault::default() }
}

/// The object has the authentic hashes of another one, of which it has no piece.
fn of_another() -> mock::ControlPlane {
    let entry =
        ContentEntry { path: PATH.into(), hashes_of: Some("/another".into()), ..ContentEntry::default() };
    mock::ControlPlane { contents: vec![entry], ..mock::ControlPlane::default() }
}

/// Puts the content beside the usual one; gives its `HashOfHashes`.
fn put(lab: &Lab, name: &str, bytes: &[u8]) -> String {
    std::fs::write(lab.folder.path().join("content").join(name), bytes).unwrap();
    let mut builder = PieceHashFileBuilder::new();
    builder.push(bytes).unwrap();
    builder.finish().hash_of_hashes().to_base64()
}

/// The bytes of the usual content.
fn content(lab: &Lab) -> Vec<u8> {
    std::fs::read(lab.folder.path().join("content").join(&PATH[1..])).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_dispute_ends_after_a_quarter_of_an_hour_and_the_hashes_are_believed_again() {
    let cache = Cache::start(mock::ControlPlane::default()).await;
    let wanted = cache.open("").await;
    cache.fetch(&wanted, 2).await;
    cache.lab.set_faults(vec![corrupt(1, None)]);
    let before = now_seconds();
    cache.fetch(&wanted, 1).await;
    let after = now_seconds();
    assert!(is_disputed(&wanted), "{:?}", verification(&wanted).verdict());
    assert_eq!(cache.in_simple_mode(SimpleMode::BadPieces), 1);
    assert_eq!(wanted.object.counts(), (2, 2, 3));
    assert!(!verification(&wanted).is_due(before + 15 * 60 - 1));
    assert!(verification(&wanted).is_due(after + 15 * 60));
    // Until then nobody is asked, whoever wants what is missing.
    cache.fetch(&wanted, 1).await;
    assert_eq!(cache.lab.called(Service::ContentPolicy), 1);
    assert_eq!(cache.in_simple_mode(SimpleMode::BadPieces), 1);

    cache.ask_again(&wanted).await;
    assert!(is_authenticated(&wanted), "{:?}", verification(&wanted).verdict());
    let asked = [Service::ContentPolicy, Service::PieceHashFile].map(|service| cache.lab.called(service));
    assert_eq!(asked, [2, 2], "what was remembered is no answer");
    // So a bad piece is fetched once more, and the right one is kept.
    let rejected = cache.rejected();
    cache.lab.set_faults(vec![corrupt(1, Some(1))]);
    cache.fetch(&wanted, 1).await;
    assert_eq!((cache.rejected() - rejected, wanted.object.counts()), (1, (3, 3, 3)));
    cache.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_still_insists_disputes_the_hashes_anew() {
    let cache = Cache::start(mock::ControlPlane::default()).await;
    let wanted = cache.open("").await;
    cache.lab.set_faults(vec![corrupt(1, None)]);
    cache.fetch(&wanted, 1).await;
    cache.ask_again(&wanted).await;
    assert!(is_authenticated(&wanted));
    cache.fetch(&wanted, 1).await;
    assert!(is_disputed(&wanted));
    assert!(!verification(&wanted).is_due(now_seconds() + 14 * 60));
    assert_eq!(cache.in_simple_mode(SimpleMode::BadPieces), 2, "it was well in between");
    cache.end().await;
}

#[tokio::test(start_paused = true)]
async fn hashes_that_stay_disputed_are_asked_for_every_quarter_of_an_hour_and_not_by_every_request() {
    let cache = Cache::start(of_another()).await;
    put(&cache.lab, "another", &vec![7; content(&cache.lab).len()]);
    let wanted = cache.open("").await;
    cache.fetch(&wanted, 2).await;
    assert!(is_disputed(&wanted) && verification(&wanted).is_of_other_content());
    cache.ask_again(&wanted).await;
    assert!(is_disputed(&wanted), "nothing has changed");
    assert_eq!(cache.lab.called(Service::ContentPolicy), 2);
    let now = now_seconds();
    assert!(!verification(&wanted).is_due(now + 14 * 60) && verification(&wanted).is_due(now + 15 * 60));
    for _ in 0..20 {
        cache.catalog.ask_if_incomplete(&wanted.object, &wanted.target);
    }
    cache.fetch(&wanted, 1).await;
    assert_eq!(cache.lab.called(Service::ContentPolicy), 2);
    assert_eq!(cache.in_simple_mode(SimpleMode::BadPieces), 1);
    cache.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_away_at_the_end_of_a_dispute_is_asked_again_soon_and_not_by_every_request() {
    let cache = Cache::start(mock::ControlPlane::default()).await;
    let wanted = cache.open("").await;
    cache.lab.set_faults(vec![corrupt(1, None)]);
    cache.fetch(&wanted, 1).await;
    cache
        .lab
        .set_faults(vec![corrupt(1, None), Fault { status: Some(401), ..fault(Service::ContentPolicy) }]);
    let before = now_seconds();
    cache.ask_again(&wanted).await;
    let after = now_seconds();
    assert!(is_disputed(&wanted), "{:?}", verification(&wanted).verdict());
    assert!(!verification(&wanted).is_due(before + 59) && verification(&wanted).is_due(after + 60));
    cache.end().await;
}

#[tokio::test(start_paused = true)]
async fn another_hash_of_hashes_drops_what_only_the_older_one_authenticated() {
    let mut answers = mock::ControlPlane::default();
    answers.content_policy.max_cache_age_seconds = 3600;
    let cache = Cache::start(answers).await;
    let mut changed = content(&cache.lab);
    changed[5] ^= 1;
    let hash = put(&cache.lab, "changed", &changed);
    let wanted = cache.open("").await;
    cache.fetch(&wanted, 1).await;
    let older = wanted.object.head().policy.clone().unwrap().hash_of_hashes.to_base64();
    assert_eq!((wanted.object.counts(), older != hash), ((2, 2, 3), true));

    let json = json!({
        "ContentId": format!("DO-{}", hash.replace('/', "-").replace('+', "_")), "HashOfHashes": hash,
        "PiecesHashFileCdnUrls": [format!("http://{ORIGIN}/changed/pieceshash")],
    });
    let policy = Expectation {
        reply: Some(ScriptedReply { status: 200, json }),
        ..Expectation::any(Service::ContentPolicy)
    };
    cache.lab.mock.expect(Some(vec![policy, Expectation::any(Service::PieceHashFile)])).unwrap();
    // The policy has expired.
    tokio::time::advance(Duration::from_mins(61)).await;
    cache.ask_again(&wanted).await;
    eventually("the first piece is dropped", || wanted.object.counts() == (1, 1, 3)).await;
    assert!(!wanted.object.has(wanted.object.layout().piece(0).unwrap()));
    assert_eq!(cache.rejected(), 1);
    assert_eq!(wanted.object.head().policy.clone().unwrap().hash_of_hashes.to_base64(), hash);
    assert!(is_authenticated(&wanted));
    cache.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_object_is_counted_once_by_its_reason_while_a_service_stays_away() {
    let cache = Cache::start(mock::ControlPlane::default()).await;
    cache.lab.set_faults(vec![Fault { status: Some(500), ..fault(Service::Geo) }]);
    let wanted = cache.open("").await;
    for _ in 0..10 {
        cache.ask_again(&wanted).await;
    }
    assert_eq!(cache.in_simple_mode(SimpleMode::Unreachable), 1);
    assert_eq!(cache.lab.called(Service::Geo), 3, "asked while nobody should");
    let other = cache.open("?n=2").await;
    cache.ask_again(&other).await;
    assert_eq!(cache.in_simple_mode(SimpleMode::Unreachable), 2, "each object is counted");

    // Another reason is another one.
    tokio::time::advance(Duration::from_mins(10)).await;
    cache.lab.set_faults(vec![Fault { answer: Some(WrongAnswer::WrongContentType), ..fault(Service::Geo) }]);
    for _ in 0..3 {
        cache.ask_again(&wanted).await;
    }
    let counts = [SimpleMode::Unreachable, SimpleMode::CaptivePortal, SimpleMode::Pending];
    assert_eq!(counts.map(|reason| cache.in_simple_mode(reason)), [2, 1, 0]);
    cache.end().await;
}
