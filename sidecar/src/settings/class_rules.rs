//! What holds for each class of content: the general value of a key, or that of `content.classes`.

use connected_cache_config::{self as config, ReadAheadMode};
use connected_cache_core::{ContentClass, StaleLimits};

use super::class_of;

/// What holds for one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClassRules {
    pub(crate) read_ahead: ReadAheadMode,
    /// How long stale content may be used where its origin does not say.
    pub(crate) stale: StaleLimits,
    /// Unused for so long = gone.
    pub(crate) max_age_seconds: u64,
}

/// What holds for every class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RulesByClass([ClassRules; ContentClass::ALL.len()]);

impl RulesByClass {
    pub(crate) fn new(content: &config::Content) -> Self {
        let ttl = &content.ttl;
        let general = ClassRules {
            read_ahead: content.read_ahead.mode,
            stale: StaleLimits {
                while_revalidate_seconds: ttl.stale_while_revalidate_seconds,
                if_error_seconds: ttl.stale_if_error_seconds,
            },
            max_age_seconds: ttl.max_age_seconds,
        };
        let mut rules = Self([general; ContentClass::ALL.len()]);
        for (class, options) in &content.classes {
            let of_class = &mut rules.0[usize::from(class_of(*class).number())];
            set(&mut of_class.read_ahead, options.read_ahead);
            set(&mut of_class.max_age_seconds, options.max_age_seconds);
            set(&mut of_class.stale.while_revalidate_seconds, options.stale_while_revalidate_seconds);
            set(&mut of_class.stale.if_error_seconds, options.stale_if_error_seconds);
        }
        rules
    }

    pub(crate) fn of(&self, class: ContentClass) -> &ClassRules {
        &self.0[usize::from(class.number())]
    }

    /// The shortest time after which something unused goes.
    pub(crate) fn least_max_age_seconds(&self) -> u64 {
        self.0.iter().map(|rules| rules.max_age_seconds).min().unwrap_or(u64::MAX)
    }
}

fn set<Value>(value: &mut Value, other: Option<Value>) {
    if let Some(other) = other {
        *value = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_differs_in_what_it_names_and_in_nothing_else() {
        let config = config::Config::from_yaml(
            "content: {ttl: {maxAgeSeconds: 100}, classes: {Xbox: {readAhead: WholeObject, maxAgeSeconds: 7}, Office: {staleIfErrorSeconds: 5}, Edge: {staleWhileRevalidateSeconds: 6}}}",
        )
        .unwrap();
        let rules = RulesByClass::new(&config.content);
        let general = ClassRules {
            read_ahead: ReadAheadMode::Adaptive,
            stale: StaleLimits { while_revalidate_seconds: 86_400, if_error_seconds: 604_800 },
            max_age_seconds: 100,
        };
        assert_eq!(*rules.of(ContentClass::WindowsUpdate), general);
        let xbox = ClassRules { read_ahead: ReadAheadMode::WholeObject, max_age_seconds: 7, ..general };
        assert_eq!(*rules.of(ContentClass::Xbox), xbox);
        let stale = |while_revalidate_seconds, if_error_seconds| ClassRules {
            stale: StaleLimits { while_revalidate_seconds, if_error_seconds },
            ..general
        };
        assert_eq!(*rules.of(ContentClass::Office), stale(86_400, 5));
        assert_eq!(*rules.of(ContentClass::Edge), stale(6, 604_800));
        assert_eq!(rules.least_max_age_seconds(), 7);
    }
}
