//! When the certificates of the listeners expire.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Meter};

use crate::{peers::Identity, tls::Certificates};

/// A listener that is off has no series, nor has a certificate whose end can't be read.
pub(super) fn instrument(
    meter: &Meter,
    certificates: Option<&Arc<Certificates>>,
    identity: Option<&Arc<Identity>>,
) {
    let (certificates, identity) = (certificates.cloned(), identity.cloned());
    meter
        .i64_observable_gauge("connectedcache_tls_certificate_expiry_timestamp_seconds")
        .with_description("When the first of the certificates in use expires, in seconds since 1970")
        .with_callback(move |observer| {
            let https = certificates.as_ref().and_then(|certificates| certificates.expiry());
            let peers = identity.as_ref().and_then(|identity| identity.expiry());
            for (listener, expiry) in [("https", https), ("peers", peers)] {
                if let Some(expiry) = expiry {
                    observer.observe(expiry, &[KeyValue::new("listener", listener)]);
                }
            }
        })
        .build();
}

#[cfg(test)]
mod tests {
    use connected_cache_config::TlsPeers;
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use prometheus::{Registry, TextEncoder};
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn the_certificate_for_pods_has_a_series_of_its_own_and_a_listener_that_is_off_has_none() {
        let (folder, key) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap());
        let mut parameters = CertificateParams::new(vec!["pod-0".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2031, 5, 6);
        let certificate = parameters.self_signed(&key).unwrap().pem();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            Some(folder.path().join(name))
        };
        let files = TlsPeers {
            cert: write("tls.crt", &certificate),
            key: write("tls.key", &key.serialize_pem()),
            ca: write("ca.crt", &certificate),
        };
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .without_units()
            .build();
        let provider = SdkMeterProvider::builder().with_reader(exporter.unwrap()).build();
        instrument(&provider.meter("test"), None, Some(&Identity::read(&files).unwrap()));
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        // By coreutils: date -u -d 2031-05-06 +%s
        let expected =
            "connectedcache_tls_certificate_expiry_timestamp_seconds{listener=\"peers\"} 1935792000";
        assert_eq!(series, [expected]);
    }
}
