//! The objects of a history: bytes by formula, validators and caching rules by kind, one state after the other.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::random::{Random, mix};

/// Hosts of the built-in list that objects live on; all of them lead to the history's own origin.
pub(crate) const HOSTS: [&str; 2] = ["dl.delivery.mp.microsoft.com", "officecdn.microsoft.com"];
/// Where permitted redirects lead.
pub(crate) const OTHER_HOST: &str = "assets1.xboxlive.com";
/// Unit in which the cache stores and fetches.
pub(crate) const PIECE: usize = 1 << 20;

/// Which validators the origin sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validators {
    Strong,
    Weak,
    Date,
    StrongAndDate,
    WeakAndDate,
    None,
}

impl Validators {
    /// Nothing in them says that two answers belong together.
    pub(crate) fn prove_nothing(self) -> bool {
        matches!(self, Self::None | Self::Weak)
    }
}

/// What the origin says about reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Unsaid,
    MaxAge,
    MaxAgeZero,
    NoCache,
    NoStore,
    Private,
    VaryStar,
}

impl Policy {
    /// The header line, if there is one.
    pub(crate) fn header(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Unsaid => None,
            Self::MaxAge => Some(("Cache-Control", "public, max-age=86400")),
            Self::MaxAgeZero => Some(("Cache-Control", "max-age=0")),
            Self::NoCache => Some(("Cache-Control", "no-cache")),
            Self::NoStore => Some(("Cache-Control", "no-store")),
            Self::Private => Some(("Cache-Control", "private, max-age=600")),
            Self::VaryStar => Some(("Vary", "*")),
        }
    }
}

/// One object of the origin.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) host: &'static str,
    pub(crate) path: String,
    /// Every one of these leads to the object; empty = no query.
    pub(crate) queries: Vec<String>,
    pub(crate) validators: Validators,
    pub(crate) policy: Policy,
    key: u64,
    /// Length of each state.
    lengths: Vec<usize>,
    bytes: Vec<OnceLock<Bytes>>,
    number: usize,
}

/// What identifies an answer's object state on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) etag: Option<String>,
    pub(crate) last_modified: Option<String>,
    pub(crate) total: usize,
}

impl Object {
    pub(crate) fn new(number: usize, lengths: Vec<usize>, random: &mut Random) -> Self {
        let host = HOSTS[usize::from(random.percent(20))];
        let (path, queries) = if random.percent(15) {
            let guid = format!("52fa8751-747d-479d-8f22-{:012x}", random.next() >> 16);
            let signatures = (0..3).map(|index| format!("P1={index}&P2=404&P4=a%2fb%2B{index}"));
            (format!("/filestreamingservice/files/{guid}"), signatures.collect())
        } else {
            // Objects that differ by nothing but the query.
            let query = if random.percent(30) { format!("v={number}&x=%20+") } else { String::new() };
            let path = if query.is_empty() { format!("/d/{number}/f.cab") } else { "/d/f.cab".to_owned() };
            (path, vec![query])
        };
        let validators = random.weighted(&[
            (4, Validators::Strong),
            (1, Validators::Weak),
            (2, Validators::Date),
            (4, Validators::StrongAndDate),
            (1, Validators::WeakAndDate),
            (1, Validators::None),
        ]);
        let policy = random.weighted(&[
            (3, Policy::Unsaid),
            (5, Policy::MaxAge),
            (1, Policy::MaxAgeZero),
            (1, Policy::NoCache),
            (1, Policy::NoStore),
            (1, Policy::Private),
            (1, Policy::VaryStar),
        ]);
        let bytes = lengths.iter().map(|_| OnceLock::new()).collect();
        Self { host, path, queries, validators, policy, key: random.next(), lengths, bytes, number }
    }

    /// How many states it goes through.
    pub(crate) fn generations(&self) -> usize {
        self.lengths.len()
    }

    pub(crate) fn length(&self, generation: usize) -> usize {
        self.lengths[generation]
    }

    /// All bytes of a state. Bytes of two states differ at every offset, and so do, but for chance, those of two offsets or
    /// two objects.
    pub(crate) fn bytes(&self, generation: usize) -> &Bytes {
        self.bytes[generation].get_or_init(|| {
            let mask = u64::from(u8::try_from(generation).unwrap()) * 0x0101_0101_0101_0101;
            let length = self.lengths[generation];
            let mut bytes = Vec::with_capacity(length + 8);
            let mut word = self.key;
            while bytes.len() < length {
                word = word.wrapping_add(1);
                bytes.extend_from_slice(&(mix(word) ^ mask).to_le_bytes());
            }
            bytes.truncate(length);
            Bytes::from(bytes)
        })
    }

    /// What a state is called.
    pub(crate) fn label(&self, generation: usize) -> Label {
        let number = self.number;
        let etag = match self.validators {
            Validators::Strong | Validators::StrongAndDate => Some(format!("\"o{number}g{generation}\"")),
            Validators::Weak | Validators::WeakAndDate => Some(format!("W/\"o{number}g{generation}\"")),
            Validators::Date | Validators::None => None,
        };
        let has_date =
            matches!(self.validators, Validators::Date | Validators::StrongAndDate | Validators::WeakAndDate);
        let last_modified = has_date.then(|| date(generation));
        Label { etag, last_modified, total: self.lengths[generation] }
    }

    /// What another mirror of the origin calls the same state.
    pub(crate) fn other_label(&self, generation: usize) -> Label {
        let label = self.label(generation);
        match &label.etag {
            Some(etag) => Label { etag: Some(etag.replace("\"o", "\"mirror-o")), ..label },
            None => {
                Label { last_modified: label.last_modified.is_some().then(|| date(generation + 30)), ..label }
            }
        }
    }
}

/// A minute for each state.
fn date(generation: usize) -> String {
    format!("Mon, 01 Jan 2024 00:{generation:02}:00 GMT")
}
