//! Certificates and authorities that change while requests run.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::pod::{BOTH, Lab, Pod, ask, get};
use crate::support::{Authority, eventually};

/// Writes files of a pod and waits until they are in use.
async fn change(pod: &Pod, files: &[(&str, &str)]) {
    let before = pod.identity.generation();
    for (name, text) in files {
        // At once, as Kubernetes does.
        let new = pod.file("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, pod.file(name)).unwrap();
    }
    eventually("the new files are in use", || async { pod.identity.generation() > before }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_is_replaced_without_a_failed_request() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let pods = Arc::new([lab.pod("pod-0").await, lab.pod("pod-1").await]);
    let (is_over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let asking = [0, 1].map(|index| {
        let (pods, is_over, asked) = (pods.clone(), is_over.clone(), asked.clone());
        tokio::spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                let text = ask(&pods[index], &pods[1 - index], "/bytes/1000").await;
                assert_eq!(text.map(|text| text.len()), Ok(1000));
                asked.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    let still_asked = async || {
        let before = asked.load(Ordering::SeqCst);
        eventually("requests go on", || async { asked.load(Ordering::SeqCst) > before + 20 }).await;
    };
    let (old, new) = (&lab.authority, Authority::new("the next authority"));
    still_asked().await;
    for pod in pods.iter() {
        change(pod, &[("ca.crt", &(old.pem() + &new.pem()))]).await;
        still_asked().await;
    }
    for (pod, name) in pods.iter().zip(["pod-0", "pod-1"]) {
        let (certificate, key) = new.sign_for(&[name], &BOTH, |_| {});
        change(pod, &[("tls.crt", &certificate), ("tls.key", &key)]).await;
        still_asked().await;
    }
    for pod in pods.iter() {
        change(pod, &[("ca.crt", &new.pem())]).await;
        still_asked().await;
    }
    is_over.store(true, Ordering::SeqCst);
    for asking in asking {
        asking.await.unwrap();
    }
    // The old authority is believed no more.
    let late = lab.pod("pod-0").await;
    assert_eq!(get(&late, &pods[1], "/echo").await.unwrap_err().label(), "untrusted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_let_in_by_an_authority_that_is_gone_has_to_come_again() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    assert_eq!(ask(&one, &other, "/echo").await.unwrap(), "pod-0 asks /echo with ");
    let new = Authority::new("the next authority");
    let (certificate, key) = new.sign_for(&["pod-1"], &BOTH, |_| {});
    change(&other, &[("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &new.pem())]).await;
    eventually("its connection is gone", || async { other.counters.peer_connections("in") == 0 }).await;
    assert_eq!(get(&one, &other, "/echo").await.unwrap_err().label(), "untrusted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_files_leave_the_old_ones_in_use() {
    let lab = Lab::new(&["pod-0", "pod-1"]);
    let (one, other) = (lab.pod("pod-0").await, lab.pod("pod-1").await);
    let (certificate, key) = (std::fs::read_to_string(other.file("tls.crt")).unwrap(), "no key");
    for (name, text) in [("ca.crt", ""), ("tls.key", key), ("tls.crt", "no certificate")] {
        std::fs::write(other.file(name), text).unwrap();
    }
    assert_eq!(ask(&one, &other, "/echo").await.unwrap(), "pod-0 asks /echo with ");
    // They were looked at by the time at which good ones are in use.
    let (longer, key) = lab.authority.sign_for(&["pod-1"], &BOTH, |parameters| {
        parameters.not_after = rcgen::date_time_ymd(2031, 5, 6);
    });
    assert_ne!(longer, certificate);
    change(&other, &[("tls.crt", &longer), ("tls.key", &key), ("ca.crt", &lab.authority.pem())]).await;
    // By coreutils: date -u -d 2031-05-06 +%s
    assert_eq!(other.identity.expiry(), Some(1_935_792_000));
    assert_eq!(ask(&one, &other, "/echo").await.unwrap(), "pod-0 asks /echo with ");
}
