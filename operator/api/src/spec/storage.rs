//! `spec.storage`: volume claims of each pod.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Where content is kept.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.volumes.all(volume, !oldSelf.volumes.exists(old, old.name == volume.name && \
         isQuantity(volume.size) && isQuantity(old.size) && quantity(volume.size).isLessThan(quantity(old.size))))"
    ).message("storage.volumes: a volume cannot shrink: restore its previous size, or add a smaller volume under another name"),
    validation = Rule::new(
        "self.volumes.all(volume, !oldSelf.volumes.exists(old, old.name == volume.name && \
         (has(volume.storageClassName) ? (!has(old.storageClassName) || volume.storageClassName != old.storageClassName) : \
         has(old.storageClassName))))"
    ).message(
        "storage.volumes: the storage class of a volume cannot change: restore it, or add a volume with the new class under \
         another name and remove this one"
    )
)]
pub struct StorageSpec {
    /// The volumes of each pod: 1 to 9 persistent volume claims per replica, content is spread over them.
    /// Default: one volume named `data` of 100Gi from the cluster's default storage class.
    #[serde(default = "defaults::volumes")]
    #[schemars(length(min = 1, max = 9))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub volumes: Vec<VolumeSpec>,

    /// Free space on each volume's file system that the cache never uses, for example `2Gi`.
    /// Default: 2Gi, or a twentieth of the smallest volume where that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+([KMGTPE]i|[kMGTPE])?$')").message(
        "write a whole number with a suffix, such as 2Gi"
    ))]
    pub min_free: Option<String>,
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self { volumes: defaults::volumes(), min_free: None }
    }
}

/// One volume claim of each pod.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSpec {
    /// Name of the volume: the claim is called `NAME-POD`, the mount point `/cache/NAME`. Required.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message(
        "use lower-case letters, digits and hyphens, with a letter or digit at both ends"
    ))]
    pub name: String,

    /// Size of the claim, for example `500Gi`; at least 1Gi. It cannot shrink; a larger size is noted in the
    /// condition Accepted and takes effect when the cache is made anew. The cache fills nine tenths of
    /// it and leaves the rest to the file system. Default: 100Gi.
    #[serde(default = "defaults::size")]
    #[schemars(length(min = 1, max = 20))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+([KMGTPE]i|[kMGTPE])?$')").message(
        "write a whole number with a suffix, such as 500Gi"
    ))]
    #[x_kube(validation = Rule::new("!isQuantity(self) || !quantity(self).isLessThan(quantity('1Gi'))").message(
        "a volume needs at least 1Gi: raise its size"
    ))]
    pub size: String,

    /// Storage class of the claim. It cannot change once the volume exists: add a volume under another name instead.
    /// Default: the cluster's default storage class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

mod defaults {
    use super::VolumeSpec;

    /// Microsoft asks for 100 GB free for its own cache node, which is also the smallest size that holds a month of
    /// updates for one language and two Windows releases.
    pub(super) fn size() -> String {
        "100Gi".to_owned()
    }

    pub(super) fn volumes() -> Vec<VolumeSpec> {
        vec![VolumeSpec { name: "data".to_owned(), size: size(), storage_class_name: None }]
    }
}
