//! The mock control plane as a pod, and what a cache needs to trust it.

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::kubernetes::{apply, wait_for};
use crate::mock::{Asked, Content, Mock};
use crate::origin::Origin;

/// Name of a control plane's own pod and Service.
pub const NAME: &str = "control-plane";
/// The ConfigMap with the certificate of its authority, and the key in it.
const AUTHORITY: (&str, &str) = ("control-plane-ca", "mock.pem");

/// A running mock control plane.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    mock: Mock,
}

impl ControlPlane {
    /// Starts a mock that knows `content` beside the origin that serves it, so that it can be taken away alone.
    pub async fn start(client: &Client, namespace: &str, content: &Content) -> Result<Self> {
        let mock = Mock::start(client, namespace, NAME, content).await?;
        Self { mock }.trusted(client).await
    }

    /// The services of a mock that is the origin as well.
    pub async fn of(client: &Client, origin: &Origin) -> Result<Self> {
        Self { mock: origin.mock().clone() }.trusted(client).await
    }

    /// Puts the authority that signs the mock's certificates into a ConfigMap. The mock makes it anew at every start.
    async fn trusted(self, client: &Client) -> Result<Self> {
        let authority = self.mock.get(client, "/_ca").await?;
        let (name, key) = AUTHORITY;
        let config_map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": self.mock.namespace()},
            "data": {key: authority},
        });
        apply(client, config_map).await?;
        Ok(self)
    }

    /// `spec.controlPlane` of a cache in the same namespace.
    #[must_use]
    pub fn spec(&self) -> Value {
        let (name, key) = AUTHORITY;
        let host = format!("{}.{}.svc", self.mock.name(), self.mock.namespace());
        json!({
            "mode": "Custom", "geoUrl": format!("https://{host}/geo"), "caConfigMap": {"name": name, "key": key},
        })
    }

    /// Has the hashes of all objects made now: a cache waits for an answer only so long. Gives how many pieces there are.
    pub async fn make_piece_hashes(&self, client: &Client) -> Result<u64> {
        self.mock.make_piece_hashes(client).await
    }

    /// The calls of services so far; downloads of piece hash files are not among them.
    pub async fn calls(&self, client: &Client) -> Result<Vec<Asked>> {
        let mut asked = self.mock.asked(client).await?;
        asked.retain(|asked| asked.service.as_ref().is_some_and(|service| service != "PieceHashFile"));
        Ok(asked)
    }

    /// Forgets the calls so far.
    pub async fn clear(&self, client: &Client) -> Result<()> {
        self.mock.clear(client).await
    }

    /// Ends it at once; its name and address stay, and nobody answers there.
    pub async fn take_away(&self, client: &Client) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), self.mock.namespace());
        pods.delete(self.mock.name(), &DeleteParams::default().grace_period(0)).await?;
        wait_for(pods, self.mock.name(), "gone", |pod: Option<&Pod>| pod.is_none()).await.map(drop)
    }
}
