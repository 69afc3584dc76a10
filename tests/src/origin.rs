//! The mock origin as a pod: the "internet" of a case, whose bytes are counted.

use anyhow::Result;
use kube::Client;
use serde_json::Value;

use crate::mock::Mock;
pub use crate::mock::{Asked, Content, Totals};

/// The name that Windows machines ask for in these cases; the cache resolves it to the mock origin.
pub const ORIGIN_HOST: &str = "dl.delivery.mp.microsoft.com";
/// Name of the origin's pod and Service.
pub const NAME: &str = "origin";

/// A running mock origin.
#[derive(Clone, Debug)]
pub struct Origin {
    mock: Mock,
    address: String,
}

impl Origin {
    /// Starts the origin in `namespace` and waits until it answers.
    pub async fn start(client: &Client, namespace: &str, content: &Content) -> Result<Self> {
        let mock = Mock::start(client, namespace, NAME, content).await?;
        Ok(Self { address: mock.address(), mock })
    }

    pub(crate) const fn mock(&self) -> &Mock {
        &self.mock
    }

    /// `IP:port` of the origin's Service, for `spec.upstream.resolve`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where a pod of the same cluster reads the list of objects with their hashes.
    #[must_use]
    pub fn manifest_url(&self) -> String {
        format!("http://{}/_manifest", self.address)
    }

    /// The list of objects with their hashes.
    pub async fn manifest(&self, client: &Client) -> Result<String> {
        self.mock.get(client, "/_manifest").await
    }

    /// Where a pod of the same cluster reads one object from the origin itself.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What crossed the "internet" since the last [`Self::clear`].
    pub async fn totals(&self, client: &Client) -> Result<Totals> {
        self.mock.totals(client).await
    }

    /// Body bytes of one object that were sent since the last [`Self::clear`], whatever else was asked for.
    pub async fn body_bytes_of(&self, client: &Client, path: &str) -> Result<u64> {
        let asked = self.mock.asked(client).await?;
        let of_path = asked.iter().filter(|asked| asked.target.split('?').next() == Some(path));
        Ok(of_path.map(|asked| asked.body_bytes).sum())
    }

    /// The same without what the services of a control plane sent: content alone.
    pub async fn content_bytes(&self, client: &Client) -> Result<u64> {
        let of_services = self.mock.asked(client).await?.into_iter().filter(|asked| asked.service.is_some());
        let of_services: u64 = of_services.map(|asked| asked.body_bytes).sum();
        Ok(self.totals(client).await?.body_bytes.saturating_sub(of_services))
    }

    /// Forgets the requests so far.
    pub async fn clear(&self, client: &Client) -> Result<()> {
        self.mock.clear(client).await
    }

    /// Has the piece hashes of all objects made now: a cache waits for them only so long.
    pub async fn make_piece_hashes(&self, client: &Client) -> Result<()> {
        self.mock.make_piece_hashes(client).await.map(drop)
    }

    /// Replaces the list of faults.
    pub async fn set_faults(&self, client: &Client, faults: &Value) -> Result<()> {
        self.mock.set_faults(client, faults).await
    }

    /// How often each fault is still to come; `None` = always.
    pub async fn faults_left(&self, client: &Client) -> Result<Vec<Option<u64>>> {
        let faults: Vec<Value> = self.mock.get_json(client, "/_faults").await?;
        Ok(faults.iter().map(|fault| fault["times"].as_u64()).collect())
    }
}
