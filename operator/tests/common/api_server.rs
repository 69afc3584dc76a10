//! A scripted API server: it keeps objects by path as a real one does, notes every call, and fails where it is told to.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tower_test::mock;

/// State shared between the test and the server's task.
#[derive(Clone, Default)]
pub struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    calls: Vec<Call>,
    failures: BTreeMap<(String, String), Value>,
    version: u64,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Value,
}

impl Call {
    /// As `PATCH /api/…`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub fn is_write(&self) -> bool {
        self.method != "GET"
    }
}

impl ApiServer {
    /// Starts the server in a task of the present runtime.
    pub fn start() -> (Self, Client) {
        let server = Self::default();
        let client = server.client();
        (server, client)
    }

    /// Another client of it.
    pub fn client(&self) -> Client {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
        let state = self.clone();
        tokio::spawn(async move {
            while let Some((request, respond)) = handle.next_request().await {
                respond.send_response(state.answer(request).await);
            }
        });
        Client::new(service, "default")
    }

    /// Puts an object, as if somebody had made it.
    pub fn put(&self, path: &str, object: &impl serde::Serialize) {
        let object = serde_json::to_value(object).expect("plain data");
        self.0.lock().expect("lock").objects.insert(path.to_owned(), object);
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().expect("lock").objects.get(path).cloned()
    }

    /// Removes an object, as if somebody had deleted it.
    pub fn remove(&self, path: &str) {
        self.0.lock().expect("lock").objects.remove(path).expect("the object exists");
    }

    /// Changes an object, as if somebody had edited it.
    pub fn edit(&self, path: &str, edit: impl FnOnce(&mut Value)) {
        edit(self.0.lock().expect("lock").objects.get_mut(path).expect("the object exists"));
    }

    /// Makes calls of this method and path fail from now on, until `heal`.
    pub fn fail(&self, method: &str, path: &str, code: u16, reason: &str, message: &str) {
        let answer = status(code, reason, message);
        self.0.lock().expect("lock").failures.insert((method.to_owned(), path.to_owned()), answer);
    }

    /// As `fail`, with the cause that the answer's details name.
    pub fn fail_because(&self, method: &str, path: &str, code: u16, reason: &str, cause: &str) {
        let mut answer = status(code, reason, "refused");
        answer["details"] = serde_json::json!({"causes": [{"reason": cause, "message": "", "field": ""}]});
        self.0.lock().expect("lock").failures.insert((method.to_owned(), path.to_owned()), answer);
    }

    pub fn heal(&self) {
        self.0.lock().expect("lock").failures.clear();
    }

    /// The calls since the last look.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().expect("lock").calls)
    }

    /// The writing calls since the last look, as lines.
    pub fn take_writes(&self) -> Vec<String> {
        self.take_calls().iter().filter(|call| call.is_write()).map(Call::line).collect()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let call = Call {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body,
        };
        let mut state = self.0.lock().expect("lock");
        state.calls.push(call.clone());
        if let Some(failure) = state.failures.get(&(call.method.clone(), call.path.clone())) {
            return reply(failure["code"].as_u64().unwrap_or(500), failure);
        }
        match head.method {
            Method::GET => match state.objects.get(&call.path) {
                Some(object) => reply(200, object),
                None => reply(404, &status(404, "NotFound", "not found")),
            },
            Method::POST => state.create(&call),
            Method::PUT => state.replace(&call),
            _ => state.apply(&call),
        }
    }
}

impl State {
    fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    fn create(&mut self, call: &Call) -> Response<Body> {
        let name = call.body["metadata"]["name"].as_str().expect("a name").to_owned();
        let path = format!("{}/{name}", call.path);
        if self.objects.contains_key(&path) {
            return reply(409, &status(409, "AlreadyExists", "already exists"));
        }
        let mut object = call.body.clone();
        object["metadata"]["resourceVersion"] = self.next_version().into();
        self.objects.insert(path, object.clone());
        reply(201, &object)
    }

    /// A replacement carries the resource version that was read; another one is a conflict.
    fn replace(&mut self, call: &Call) -> Response<Body> {
        let Some(present) = self.objects.get(&call.path) else {
            return reply(404, &status(404, "NotFound", "not found"));
        };
        if present["metadata"]["resourceVersion"] != call.body["metadata"]["resourceVersion"] {
            return reply(409, &status(409, "Conflict", "the object has been modified"));
        }
        let mut object = call.body.clone();
        object["metadata"]["resourceVersion"] = self.next_version().into();
        self.objects.insert(call.path.clone(), object.clone());
        reply(200, &object)
    }

    /// Near enough to server-side apply for one manager: what is stated replaces what was there, the rest stays.
    fn apply(&mut self, call: &Call) -> Response<Body> {
        let path = call.path.strip_suffix("/status").unwrap_or(&call.path).to_owned();
        let version = self.next_version();
        let object = self.objects.entry(path).or_insert_with(|| json!({}));
        merge(object, &call.body);
        object["metadata"]["resourceVersion"] = version.into();
        reply(200, object)
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message,
    })
}

fn reply(code: u64, body: &Value) -> Response<Body> {
    let code = StatusCode::from_u16(u16::try_from(code).expect("a status")).expect("a status");
    let body = serde_json::to_vec(body).expect("plain data");
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .expect("a response")
}
