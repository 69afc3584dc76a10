//! From configuration to the types that the parts work with.

use connected_cache_config as config;
use connected_cache_core::{
    AllowList, AllowedOrigin, ContentClass, OriginPatternError, QueryRule, StaleLimits,
};
use connected_cache_store::{Order, VolumeOptions};
use connected_cache_wire::delivery_optimization::OriginName;

/// The allow-list of a configuration.
pub(crate) fn allow_list(content: &config::Content) -> Result<AllowList, OriginPatternError> {
    let mut extra = Vec::new();
    for origin in &content.extra_origins {
        extra.push(AllowedOrigin {
            pattern: origin.host.parse()?,
            class: origin.class.map_or(ContentClass::Other, class_of),
            // Validation has seen that it is a name.
            alias: origin.alias.as_deref().and_then(|alias| OriginName::parse(alias).ok()),
        });
    }
    let denied = content.deny_origins.iter().map(|pattern| pattern.parse()).collect::<Result<_, _>>()?;
    Ok(AllowList::new(extra, denied))
}

pub(crate) const fn query_rule(content: &config::Content) -> QueryRule {
    match content.key.ignore_query {
        config::IgnoreQuery::Auto => QueryRule::DropSignatures,
        config::IgnoreQuery::Never => QueryRule::KeepAll,
    }
}

/// How long stale content may be used where its origin does not say.
pub(crate) const fn stale_limits(ttl: &config::TimeToLive) -> StaleLimits {
    StaleLimits {
        while_revalidate_seconds: ttl.stale_while_revalidate_seconds,
        if_error_seconds: ttl.stale_if_error_seconds,
    }
}

/// The volumes of a configuration.
pub(crate) fn volumes(storage: &config::Storage) -> Vec<VolumeOptions> {
    let options = |volume: &config::Volume| VolumeOptions {
        path: volume.path.clone(),
        limit: volume.limit.bytes(),
        min_free: storage.min_free.bytes(),
    };
    storage.volumes.iter().map(options).collect()
}

/// Numbers of the classes that are evicted last.
pub(crate) fn protected(eviction: &config::Eviction) -> Vec<u8> {
    eviction.protect.iter().map(|class| class_of(*class).number()).collect()
}

/// What is evicted first.
pub(crate) const fn order(policy: config::EvictionPolicy) -> Order {
    match policy {
        config::EvictionPolicy::Auto => Order::ScanResistant,
        config::EvictionPolicy::Lru => Order::LeastRecentlyUsed,
    }
}

/// The least and the most memory that is taken without being told.
const MEMORY_BYTES: (u64, u64) = (64 << 20, 1 << 30);

/// Memory for hot objects and pieces in transit: configured, else a quarter of what the cgroup may use.
pub(crate) fn memory_bytes(storage: &config::Storage) -> u64 {
    let (least, most) = MEMORY_BYTES;
    let by_system = || cgroup_limit().map_or(least * 4, |limit| limit / 4).clamp(least, most);
    storage.memory.map_or_else(by_system, config::ByteSize::bytes)
}

/// `None` = there is no limit, or none that can be read.
fn cgroup_limit() -> Option<u64> {
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
}

/// Name of this pod: configured, else the host's.
pub(crate) fn node_name(node: &config::Node) -> String {
    node.name.clone().unwrap_or_else(|| {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if host.is_empty() { "localhost".to_owned() } else { host }
    })
}

/// Most connections unless configured: each may hold some hundred KiB of a slow client's reply, and a small pod has 1 GiB.
const MAX_DEFAULT_CONNECTIONS: usize = 4096;

/// Content connections at once: configured, else by the files that may be open.
pub(crate) fn connections(limits: &config::Limits) -> usize {
    let by_system = || {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        by_file_limit(limit.unwrap_or(65_536))
    };
    limits.connections.map_or_else(by_system, |count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// Three quarters of the files that may be open, within reason.
fn by_file_limit(open_files: u64) -> usize {
    usize::try_from(open_files / 4 * 3).unwrap_or(usize::MAX).clamp(64, MAX_DEFAULT_CONNECTIONS)
}

const fn class_of(class: config::ContentClass) -> ContentClass {
    match class {
        config::ContentClass::WindowsUpdate => ContentClass::WindowsUpdate,
        config::ContentClass::Edge => ContentClass::Edge,
        config::ContentClass::Office => ContentClass::Office,
        config::ContentClass::Intune => ContentClass::Intune,
        config::ContentClass::Teams => ContentClass::Teams,
        config::ContentClass::Outlook => ContentClass::Outlook,
        config::ContentClass::Xbox => ContentClass::Xbox,
        config::ContentClass::DeviceUpdate => ContentClass::DeviceUpdate,
        config::ContentClass::Other => ContentClass::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_of_connections_follows_the_file_limit_up_to_what_memory_bears() {
        for (open_files, connections) in [(10, 64), (1024, 768), (1 << 20, 4096), (u64::MAX, 4096)] {
            assert_eq!(by_file_limit(open_files), connections, "{open_files}");
        }
    }
}
