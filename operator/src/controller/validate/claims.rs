//! Volume claims: those that the spec wants, those that exist, and the difference in words. Kubernetes refuses any change
//! to a StatefulSet's claim templates, so a difference must be known before anything is applied.

use k8s_openapi::api::apps::v1::StatefulSet;

use connected_cache_api::spec::StorageSpec;
use connected_cache_config::ByteSize;

use super::ValidVolume;

/// The claims that the spec asks for.
pub(super) fn wanted(storage: &StorageSpec, problems: &mut Vec<String>) -> Vec<ValidVolume> {
    let mut volumes = Vec::with_capacity(storage.volumes.len());
    for (index, volume) in storage.volumes.iter().enumerate() {
        match volume.size.parse::<ByteSize>() {
            Ok(size) => volumes.push(ValidVolume {
                name: volume.name.clone(),
                size,
                storage_class_name: volume.storage_class_name.clone(),
            }),
            Err(error) => problems.push(format!("storage.volumes[{index}].size: {error}")),
        }
    }
    volumes
}

/// The claims of an existing StatefulSet; `None` when they are not of our making and can't be read.
pub(super) fn existing(stateful_set: &StatefulSet) -> Option<Vec<ValidVolume>> {
    let templates = stateful_set.spec.as_ref()?.volume_claim_templates.as_ref()?;
    templates
        .iter()
        .map(|template| {
            let spec = template.spec.as_ref()?;
            let size = spec.resources.as_ref()?.requests.as_ref()?.get("storage")?;
            Some(ValidVolume {
                name: template.metadata.name.clone()?,
                size: size.0.parse().ok()?,
                storage_class_name: spec.storage_class_name.clone(),
            })
        })
        .collect()
}

/// What differs, in words; `None` when nothing does. The order of volumes carries no meaning.
pub(super) fn difference(existing: &[ValidVolume], wanted: &[ValidVolume]) -> Option<String> {
    let mut differences = Vec::new();
    for volume in wanted {
        match existing.iter().find(|other| other.name == volume.name) {
            None => differences.push(format!("volume {} would be added", volume.name)),
            Some(other) => {
                if other.size != volume.size {
                    differences.push(format!(
                        "volume {} would change from {} to {}",
                        volume.name, other.size, volume.size
                    ));
                }
                if other.storage_class_name != volume.storage_class_name {
                    differences.push(format!("volume {} would change its storage class", volume.name));
                }
            }
        }
    }
    for other in existing {
        if !wanted.iter().any(|volume| volume.name == other.name) {
            differences.push(format!("volume {} would be removed", other.name));
        }
    }
    (!differences.is_empty()).then(|| differences.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, gibibytes: u32) -> ValidVolume {
        ValidVolume {
            name: name.to_owned(),
            size: ByteSize::from_gibibytes(gibibytes),
            storage_class_name: None,
        }
    }

    #[test]
    fn the_order_of_volumes_is_no_difference() {
        let (a, b) = (volume("a", 1), volume("b", 2));
        assert_eq!(difference(&[a.clone(), b.clone()], &[b, a]), None);
    }

    #[test]
    fn every_difference_is_named() {
        let text = difference(&[volume("a", 1), volume("b", 2)], &[volume("a", 3), volume("c", 2)]);
        assert_eq!(
            text.as_deref(),
            Some("volume a would change from 1Gi to 3Gi, volume c would be added, volume b would be removed")
        );
    }
}
