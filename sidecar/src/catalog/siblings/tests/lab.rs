//! Pods of a cache in one process: each has a catalog with a volume, an origin that says what it was asked, and whatever way to the
//! others a test gives it. Tests begin with a paused clock, which only they move.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use connected_cache_config::{ByteSize, Config, Volume};
use connected_cache_core::{
    AllowList, ByteRange, ContentClass, ObjectKey, PIECE_LENGTH_BYTES, PieceIndex, QueryRule, RangeHeader,
};
use connected_cache_mock_control_plane::{self as mock, MockControlPlane, content::formula};
use connected_cache_store::{Store, Trust};
use connected_cache_wire::delivery_optimization::OriginAuthority;
use tempfile::TempDir;

use crate::{
    catalog::{
        Catalog, CatalogParts, Fill, Found, Object, ObjectHead, OpenError, OpenRequest, Opened, Piece,
        Wanted, object::index,
    },
    control_plane::{
        ControlPlane,
        tests::lab::{Hold, ORIGIN, eventually},
    },
    metrics::{Counters, Questions, Source},
    settings::{self, RulesByClass},
    sharing::{
        Patience, Sharing,
        link::Link,
        members::{Member, Members, Publisher},
        offers::Offers,
    },
    tasks::Tasks,
    upstream::{FetchTarget, Upstream, UpstreamError},
};

/// Without a sign of life.
pub(crate) const SIGN: Duration = Duration::from_millis(500);
/// Without progress.
pub(crate) const PROGRESS: Duration = Duration::from_secs(2);
/// Objects of three pieces: two and a bit.
const SHORT_BYTES: u64 = 2 * PIECE_LENGTH_BYTES + 5;
/// Objects of eleven pieces, which are two groups.
const LONG_BYTES: u64 = 10 * PIECE_LENGTH_BYTES + 5;
/// Objects of either kind: enough for one with any home.
const OBJECTS: u64 = 64;

/// A mock of the origin with objects by formula.
pub(crate) struct Origin {
    pub(crate) mock: MockControlPlane,
    pub(crate) config: Config,
    _hold: Hold,
}

/// An object of the origin.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) key: ObjectKey,
    pub(crate) target: FetchTarget,
    pub(crate) bytes: Vec<u8>,
}

/// One pod.
pub(crate) struct Pod {
    pub(crate) catalog: Catalog,
    pub(crate) sharing: Arc<Sharing>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) publisher: Publisher,
    pub(crate) volume: TempDir,
    pub(crate) store: Arc<Store>,
    tasks: Tasks,
}

/// Which object a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Three pieces.
    Short,
    /// Eleven.
    Long,
}

impl Kind {
    const fn length_bytes(self) -> u64 {
        match self {
            Self::Short => SHORT_BYTES,
            Self::Long => LONG_BYTES,
        }
    }

    fn path(self, number: u64) -> String {
        format!("/{self:?}/{number}").to_lowercase()
    }

    const fn seed(self, number: u64) -> u64 {
        number + self.length_bytes()
    }
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let formulas = [Kind::Short, Kind::Long].into_iter().flat_map(|kind| {
            (0..OBJECTS).map(move |number| mock::FormulaObject {
                path: kind.path(number),
                length_bytes: kind.length_bytes(),
                seed: kind.seed(number),
            })
        });
        let mock = MockControlPlane::start(mock::Config {
            content: mock::Content { folder: None, formulas: formulas.collect() },
            ..mock::Config::default()
        });
        let (mock, mut config) = (mock.await.unwrap(), Config::default());
        config.content.allow_private_targets = true;
        config.upstream.resolve.insert(ORIGIN.to_owned(), mock.http_address().unwrap());
        Self { mock, config, _hold: Hold::new() }
    }

    /// Path and range of each request so far.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        let requests = self.mock.requests().requests.into_iter();
        requests.map(|request| (request.target, request.range.unwrap_or_default())).collect()
    }

    /// Ranges that were asked for so far.
    pub(crate) fn ranges(&self) -> Vec<String> {
        self.asked().into_iter().map(|(_, range)| range).collect()
    }

    /// Bytes of content that it sent so far.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.mock.requests().totals.body_bytes
    }
}

/// How an object is fetched.
pub(crate) fn target_of(path_and_query: &str) -> FetchTarget {
    let authority = OriginAuthority::parse(ORIGIN).unwrap();
    FetchTarget {
        origin: AllowList::new(Vec::new(), Vec::new()).admit_exactly(&authority, 80).unwrap(),
        https: false,
        path_and_query: path_and_query.to_owned(),
        is_signed: false,
        past_parent: false,
        asked_as: None,
        headers: Vec::new(),
    }
}

impl Content {
    fn numbered(kind: Kind, number: u64) -> Self {
        let (path, length) = (kind.path(number), usize::try_from(kind.length_bytes()).unwrap());
        let mut bytes = vec![0; length];
        formula::fill(kind.seed(number), 0, &mut bytes);
        let target = target_of(&path);
        let key = ObjectKey::new(&target.origin, &path, None, QueryRule::KeepAll);
        Self { key, target, bytes }
    }

    /// Whether an object has so suitable homes is for the test to say.
    pub(crate) fn find(kind: Kind, is_suitable: impl Fn(&ObjectKey) -> bool) -> Self {
        let key = |number: &u64| {
            ObjectKey::new(&target_of("/").origin, &kind.path(*number), None, QueryRule::KeepAll)
        };
        let number = (0..OBJECTS).find(|number| is_suitable(&key(number)));
        Self::numbered(kind, number.expect("an object with these homes"))
    }

    pub(crate) fn piece(&self, number: u64) -> &[u8] {
        let start = usize::try_from(number * PIECE_LENGTH_BYTES).unwrap();
        let end = (start + usize::try_from(PIECE_LENGTH_BYTES).unwrap()).min(self.bytes.len());
        &self.bytes[start..end]
    }
}

/// A member that answers, at an address where nobody is.
pub(crate) fn member(name: &str) -> Member {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    Member {
        name: name.to_owned(),
        zone: None,
        swarm: nowhere,
        peers: Some(nowhere),
        is_ready: true,
        is_leaving: false,
    }
}

impl Pod {
    pub(crate) fn start(origin: &Origin, me: &str, members: Vec<Member>, link: Arc<dyn Link>) -> Self {
        Self::with(&origin.config, None, me, members, link)
    }

    pub(crate) fn with(
        config: &Config,
        control_plane: Option<ControlPlane>,
        me: &str,
        members: Vec<Member>,
        link: Arc<dyn Link>,
    ) -> Self {
        Self::within(ByteSize::from_gibibytes(1), config, control_plane, me, members, link)
    }

    /// With a volume of this size.
    pub(crate) fn within(
        limit: ByteSize,
        config: &Config,
        control_plane: Option<ControlPlane>,
        me: &str,
        members: Vec<Member>,
        link: Arc<dyn Link>,
    ) -> Self {
        let (mut config, volume) = (config.clone(), tempfile::tempdir().unwrap());
        config.storage.volumes = vec![Volume { path: volume.path().to_owned(), limit }];
        config.storage.min_free = ByteSize::from_bytes(0);
        config.storage.sync = false;
        let policy = settings::policy(&config).unwrap();
        let store = Arc::new(Store::open_with(&settings::volumes(&config.storage), policy).unwrap());
        let allow_list = Arc::new(AllowList::new(Vec::new(), Vec::new()));
        let (tasks, counters) = (Tasks::default(), Arc::<Counters>::default());
        let (members, publisher) = Members::movable(me, members);
        let patience = Patience { sign: SIGN, progress: PROGRESS };
        let sharing = Arc::new(Sharing::new(members, link, Arc::new(Offers::new()), patience));
        let catalog = Catalog::new(CatalogParts {
            store: store.clone(),
            upstream: Upstream::new(&config, allow_list, None, counters.clone()),
            counters: counters.clone(),
            inquiries: Tasks::default(),
            tasks: tasks.clone(),
            rules: RulesByClass::new(&config.content),
            control_plane,
            sharing: Some(sharing.clone()),
            memory_bytes: settings::memory_bytes(&config.storage),
        });
        Self { catalog, sharing, counters, publisher, volume, store, tasks }
    }

    /// What the origin says of an object, as another pod would have it. The origin does not remember that it was asked.
    pub(crate) async fn head_of(&self, origin: &MockControlPlane, content: &Content) -> ObjectHead {
        let wanted = Wanted { is_head: true, range: RangeHeader::Ignored, if_range: None };
        let passed = self.catalog.pass_on(&content.target, wanted).await.unwrap();
        origin.clear_requests();
        let freshness = connected_cache_core::Freshness {
            born_at: crate::catalog::now_seconds(),
            lifetime_seconds: 3600,
            must_revalidate: false,
            stale_while_revalidate_seconds: None,
            stale_if_error_seconds: None,
        };
        ObjectHead { generation: passed.generation, headers: passed.headers, freshness, policy: None }
    }

    /// Opens an object at a piece.
    pub(crate) async fn open_at(&self, content: &Content, piece: u64) -> Result<Opened, OpenError> {
        let request = OpenRequest {
            key: &content.key,
            class: ContentClass::of_number(0),
            target: &content.target,
            offset: piece * PIECE_LENGTH_BYTES,
        };
        self.catalog.open(&request).await
    }

    /// The object, with its first piece stored.
    pub(crate) async fn open(&self, content: &Content) -> Arc<Object> {
        let opened = self.open_at(content, 0).await.unwrap();
        self.until_idle(&opened.object).await;
        opened.object
    }

    /// Nothing of it is fetched any more.
    pub(crate) async fn until_idle(&self, object: &Arc<Object>) {
        eventually("nothing is in transit", || self.catalog.shared.transit.fills_of(object).is_empty()).await;
    }

    /// A piece as a client gets it, and where it came from.
    pub(crate) async fn read(
        &self,
        object: &Arc<Object>,
        content: &Content,
        number: u64,
    ) -> Result<(Vec<u8>, Source), UpstreamError> {
        let piece = object.layout().piece(number).unwrap();
        let state = self.catalog.piece(object, piece, &content.target);
        self.read_state(object, number, state).await
    }

    /// As [`Self::read`], of a piece that was looked up.
    pub(crate) async fn read_state(
        &self,
        object: &Arc<Object>,
        number: u64,
        mut state: Piece,
    ) -> Result<(Vec<u8>, Source), UpstreamError> {
        let piece = object.layout().piece(number).unwrap();
        let length = object.layout().range_of(piece).length();
        let (mut bytes, mut from) = (Vec::new(), Source::Disk);
        while (bytes.len() as u64) < length {
            let within = ByteRange { first: bytes.len() as u64, last: length - 1 };
            state = match state {
                Piece::Stored => {
                    let found = self.catalog.read(object, piece, within, false).await;
                    bytes.extend_from_slice(&found.expect("a stored piece"));
                    Piece::Stored
                }
                Piece::Filling(fill, source) => {
                    let found = fill.read(within).await?;
                    from = fill.source(source);
                    match found {
                        Found::Bytes(found) => {
                            bytes.extend_from_slice(&found);
                            Piece::Filling(fill, source)
                        }
                        Found::Stored => Piece::Stored,
                    }
                }
            };
        }
        Ok((bytes, from))
    }

    /// Begins to fetch pieces of a known object as one run.
    pub(crate) fn begin_run(
        &self,
        object: &Arc<Object>,
        content: &Content,
        first: u64,
        last: u64,
    ) -> Vec<(PieceIndex, Arc<Fill>)> {
        let piece = |number| object.layout().piece(number).unwrap();
        let run = self.catalog.fetch_ahead(object, piece(first), piece(last), &content.target).unwrap();
        assert_eq!(run.len() as u64, last - first + 1, "some of it was known");
        run
    }

    /// Waits for pieces of a run and gives where each came from, once they are found to be right.
    pub(crate) async fn sources(
        &self,
        object: &Arc<Object>,
        content: &Content,
        run: &[(PieceIndex, Arc<Fill>)],
    ) -> Vec<Source> {
        let mut sources = Vec::new();
        for (piece, fill) in run {
            let state = Piece::Filling(fill.clone(), Source::Origin);
            let (bytes, source) = self.read_state(object, piece.number(), state).await.unwrap();
            assert!(bytes == content.piece(piece.number()), "piece {} is wrong", piece.number());
            sources.push(source);
        }
        sources
    }

    /// Fetches pieces of a known object as one run, until they are stored.
    pub(crate) async fn read_run(
        &self,
        object: &Arc<Object>,
        content: &Content,
        first: u64,
        last: u64,
    ) -> Vec<Source> {
        let run = self.begin_run(object, content, first, last);
        let sources = self.sources(object, content, &run).await;
        self.until_idle(object).await;
        sources
    }

    /// Every byte as it is read once everything has settled.
    pub(crate) async fn assert_is_right(&self, object: &Arc<Object>, content: &Content) {
        for number in 0..object.layout().piece_count() {
            let (bytes, _) = self.read(object, content, number).await.unwrap();
            assert!(bytes == content.piece(number), "piece {number} is wrong");
        }
        self.until_idle(object).await;
    }

    /// How stored pieces are trusted.
    pub(crate) async fn trust(&self, object: &Arc<Object>, first: u64, last: u64) -> Vec<Trust> {
        let stored = object.stored().expect("a place in the store");
        let record = |number| {
            let piece = object.layout().piece(number).unwrap();
            stored.piece_record(index(piece)).unwrap()
        };
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || store.flush()).await.unwrap();
        (first..=last).map(|number| record(number).expect("a stored piece").trust).collect()
    }

    pub(crate) fn questions(&self) -> Questions {
        self.counters.sharing.questions()
    }

    pub(crate) fn is_left_alone(&self, name: &str) -> bool {
        self.sharing.standing.is_left_alone(name)
    }

    pub(crate) async fn end(self) {
        self.tasks.end(Duration::ZERO).await;
        tokio::task::spawn_blocking(move || self.store.close()).await.unwrap();
    }
}
