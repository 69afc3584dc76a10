//! What is printed is read back to the same value.

use std::path::PathBuf;

use connected_cache_config::{
    ByteSize, ClassOptions, Config, ContentClass, ExtraOrigin, LogFormat, LogLevel, Pin, ReadAheadMode,
    Volume,
};
use proptest::{collection, option, prelude::*};

fn host() -> impl Strategy<Value = String> {
    collection::vec("[a-z][a-z0-9-]{0,8}[a-z0-9]", 2..4).prop_map(|labels| labels.join("."))
}

fn volumes() -> impl Strategy<Value = Vec<Volume>> {
    collection::vec((4u64 << 20)..u64::MAX, 1..=9).prop_map(|limits| {
        let volume = |(index, limit)| Volume {
            path: PathBuf::from(format!("/cache/data {index}: #'\"")),
            limit: ByteSize::from_bytes(limit),
        };
        limits.into_iter().enumerate().map(volume).collect()
    })
}

fn origin() -> impl Strategy<Value = ExtraOrigin> {
    let class =
        prop_oneof![Just(ContentClass::Xbox), Just(ContentClass::Other), Just(ContentClass::WindowsUpdate)];
    (host(), any::<bool>(), option::of(class), option::of(host())).prop_map(|(host, star, class, alias)| {
        ExtraOrigin { host: if star { format!("*.{host}") } else { host }, class, alias }
    })
}

/// The same names again, as pins and shares.
fn pin_of(origin: &ExtraOrigin) -> Pin {
    let seconds = origin.host.bytes().map(i64::from).sum::<i64>() * 1_000_003;
    Pin {
        host: Some(origin.host.clone()),
        prefix: origin.alias.as_ref().map(|alias| format!("/{alias}?x=#'")),
        class: origin.class,
        until: origin.class.and_then(|_| jiff::Timestamp::from_second(seconds).ok()),
    }
}

fn share_of(origin: &ExtraOrigin) -> Option<(ContentClass, ClassOptions)> {
    let max_percent = u8::try_from(origin.host.len() % 101).ok().filter(|percent| *percent > 0);
    let seconds = Some(origin.host.len() as u64);
    Some((
        origin.class?,
        ClassOptions {
            max_percent,
            read_ahead: origin.alias.as_ref().map(|_| ReadAheadMode::Off),
            max_age_seconds: seconds,
            stale_while_revalidate_seconds: seconds.filter(|seconds| seconds % 2 == 0),
            stale_if_error_seconds: None,
        },
    ))
}

fn config() -> impl Strategy<Value = Config> {
    let names = (option::of("[!-~]{1,20}"), option::of("[!-~]{1,20}"));
    let sizes = (any::<u64>(), option::of(any::<u64>()), any::<u32>());
    let addresses =
        (option::of(any::<(u32, u16)>()), collection::btree_map(host(), any::<(u128, u16)>(), 0..4));
    let modes = (
        prop_oneof![Just(LogLevel::Trace), Just(LogLevel::Error)],
        prop_oneof![Just(LogFormat::Json), Just(LogFormat::Text)],
        prop_oneof![Just(ReadAheadMode::Off), Just(ReadAheadMode::WholeObject)],
        any::<bool>(),
    );
    (names, sizes, addresses, modes, volumes(), collection::vec(origin(), 0..4)).prop_map(
        |(names, sizes, addresses, modes, volumes, origins)| {
            let mut config = Config::default();
            (config.node.name, config.node.id) = names;
            config.storage.min_free = ByteSize::from_bytes(sizes.0);
            config.storage.memory = sizes.1.map(ByteSize::from_bytes);
            config.storage.scrub_mib_per_second = sizes.2;
            config.storage.sync = sizes.2 % 2 == 0;
            config.storage.volumes = volumes;
            config.content.pins = origins.iter().map(pin_of).collect();
            config.content.classes = origins.iter().filter_map(share_of).collect();
            config.content.extra_origins = origins;
            config.content.read_ahead.mode = modes.2;
            config.content.allow_private_targets = modes.3;
            config.listen.http = addresses.0.map(|(ip, _)| (std::net::Ipv4Addr::from(ip), 8080).into());
            let resolved = addresses.1.into_iter();
            config.upstream.resolve = resolved
                .map(|(host, (ip, port))| (host, (std::net::Ipv6Addr::from(ip), port.max(1)).into()))
                .collect();
            config.log.level = modes.0;
            config.log.format = modes.1;
            config.log.access.sample_one_in = sizes.2;
            config
        },
    )
}

proptest! {
    #[test]
    fn printed_yaml_is_read_back_to_the_same_configuration(config in config()) {
        let yaml = config.to_yaml();
        let read = Config::from_yaml(&yaml);
        prop_assert_eq!(read, Ok(config), "{}", yaml);
    }

    #[test]
    fn any_text_is_a_configuration_or_an_error(text in ".{0,200}") {
        let _ = Config::from_yaml(&text);
    }
}
