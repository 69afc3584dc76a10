//! The mock's own paths, all under `/_`: health, CA, manifest, request log, faults, arrays and expectations.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::Shared;
use super::answer::{Answer, Body};
use super::connection::Request;
use crate::config::{ConfigError, expectations_from_json, faults_from_json};
use crate::control_plane::Services;
use crate::tls::Certificates;

pub(super) async fn answer(request: &Request, shared: &Shared) -> Answer {
    // HEAD is answered like GET; the sender leaves out the body.
    let method = if request.is_head() { "GET" } else { request.method.as_str() };
    match (method, request.path.as_str()) {
        ("GET", "/_healthz") => Answer::text(200, "ok"),
        ("GET", "/_ca") => certificate(shared),
        ("GET", "/_manifest") => manifest(shared).await,
        ("GET", "/_requests") => Answer::json(200, &shared.log.snapshot()),
        ("DELETE", "/_requests") => {
            shared.log.clear();
            Answer { status: 204, headers: Vec::new(), body: Body::None }
        }
        ("GET", "/_faults") => Answer::json(200, &shared.faults.current()),
        ("PUT", "/_faults") => replace_faults(request, shared),
        (method, path @ ("/_arrays" | "/_expectations")) => match &shared.services {
            Some(services) => control_plane(method, path, request, services),
            None => Answer::text(404, "there is no control plane, set controlPlane in the configuration"),
        },
        (_, "/_healthz" | "/_ca" | "/_manifest" | "/_requests" | "/_faults") => not_allowed(),
        _ => Answer::text(
            404,
            "known here are /_healthz, /_ca, /_manifest, /_requests, /_faults, /_arrays and /_expectations",
        ),
    }
}

fn control_plane(method: &str, path: &str, request: &Request, services: &Services) -> Answer {
    match (method, path) {
        ("GET", "/_arrays") => Answer::json(200, &services.snapshot()),
        ("GET", "/_expectations") => Answer::json(200, &services.expectations()),
        ("PUT", "/_expectations") => {
            let replaced = expectations_from_json(&request.body).and_then(|list| services.expect(list));
            match replaced {
                Ok(()) => Answer::json(200, &services.expectations()),
                Err(ConfigError { errors }) => Answer::json(400, &json!({ "errors": errors })),
            }
        }
        _ => not_allowed(),
    }
}

fn not_allowed() -> Answer {
    Answer::text(405, "this method is not for this path")
}

fn certificate(shared: &Shared) -> Answer {
    match shared.certificates.as_ref().and_then(Certificates::ca_pem) {
        Some(pem) => Answer {
            status: 200,
            headers: vec![("Content-Type", "application/x-pem-file".to_owned())],
            body: Body::Memory(Bytes::from(pem)),
        },
        None => Answer::text(404, "there is no own CA: HTTPS is off or has a given certificate"),
    }
}

async fn manifest(shared: &Shared) -> Answer {
    let catalogue = Arc::clone(&shared.catalogue);
    match tokio::task::spawn_blocking(move || catalogue.manifest()).await {
        Ok(Ok(entries)) => Answer::json(200, &entries),
        Ok(Err(error)) => Answer::text(500, &error.to_string()),
        Err(error) => Answer::text(500, &format!("failed to make the manifest: {error}")),
    }
}

fn replace_faults(request: &Request, shared: &Shared) -> Answer {
    let replaced = faults_from_json(&request.body).and_then(|faults| shared.faults.replace(faults));
    match replaced {
        Ok(()) => Answer::json(200, &shared.faults.current()),
        Err(ConfigError { errors }) => Answer::json(400, &json!({ "errors": errors })),
    }
}
