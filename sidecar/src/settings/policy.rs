//! What the store is told about keeping: order of eviction, shares of classes, and pins.

use std::{collections::BTreeMap, sync::Arc};

use connected_cache_config as config;
use connected_cache_core::{ContentClass, KeyPattern, OriginPatternError};
use connected_cache_store::{Order, PinnedUntil, Pins, Policy};

use super::class_of;

/// What goes first, what may never take too much, and what stays.
pub(crate) fn policy(config: &config::Config) -> Result<Policy, OriginPatternError> {
    let content = &config.content;
    let shares = shares(content).into_iter().map(|(class, percent)| (class.number(), percent));
    Ok(Policy {
        protected: content.eviction.protect.iter().map(|class| class_of(*class).number()).collect(),
        order: match content.eviction.policy {
            config::EvictionPolicy::Auto => Order::ScanResistant,
            config::EvictionPolicy::Lru => Order::LeastRecentlyUsed,
        },
        shares: shares.collect(),
        pins: pins(&content.pins)?,
        unsynced: !config.storage.sync,
        watcher: None,
    })
}

/// Classes with a bound, and how much of each volume they may take, in percent.
pub(crate) fn shares(content: &config::Content) -> BTreeMap<ContentClass, u8> {
    let share = |(class, options): (&config::ContentClass, &config::ClassOptions)| {
        Some((class_of(*class), options.max_percent?))
    };
    content.classes.iter().filter_map(share).collect()
}

struct Pin {
    pattern: KeyPattern,
    class: Option<u8>,
    until: PinnedUntil,
}

/// `None` = nothing is pinned, so nobody has to ask for each object.
fn pins(pins: &[config::Pin]) -> Result<Option<Pins>, OriginPatternError> {
    let pins: Vec<Pin> = pins.iter().map(pin).collect::<Result<_, _>>()?;
    if pins.is_empty() {
        return Ok(None);
    }
    let longest = move |key: &str, class: u8| {
        let meant = |pin: &&Pin| pin.class.is_none_or(|only| only == class) && pin.pattern.matches(key);
        pins.iter().filter(meant).map(|pin| pin.until).max()
    };
    Ok(Some(Arc::new(longest)))
}

fn pin(pin: &config::Pin) -> Result<Pin, OriginPatternError> {
    Ok(Pin {
        pattern: KeyPattern {
            host: pin.host.as_deref().map(str::parse).transpose()?,
            prefix: pin.prefix.clone(),
        },
        class: pin.class.map(|class| class_of(class).number()),
        until: pin.until.map_or(PinnedUntil::Forever, |until| {
            // What ended before 1970 is over as well.
            PinnedUntil::Second(u64::try_from(until.as_second()).unwrap_or(0))
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_a_pin_names_must_match_and_the_longest_of_several_counts() {
        let config = config::Config::from_yaml(
            "content: {pins: [{host: '*.a.example', prefix: /f, until: '1970-01-01T00:00:09Z'}, {class: Xbox, until: '1960-01-01T00:00:00Z'}, {class: Xbox, host: b.a.example}]}",
        )
        .unwrap();
        let pins = policy(&config).unwrap().pins.unwrap();
        let (xbox, other) = (ContentClass::Xbox.number(), ContentClass::Other.number());
        for (key, class, expected) in [
            ("b.a.example/f/1", other, Some(PinnedUntil::Second(9))),
            ("b.a.example/f/1", xbox, Some(PinnedUntil::Forever)),
            ("a.example/f?1", xbox, Some(PinnedUntil::Second(9))),
            ("b.a.example/g", other, None),
            ("c.example/f", xbox, Some(PinnedUntil::Second(0))),
            ("c.example/f", other, None),
        ] {
            assert_eq!(pins(key, class), expected, "{key} {class}");
        }
        assert!(policy(&config::Config::default()).unwrap().pins.is_none());
    }
}
