//! The certificates that the pods of a cache show each other, over years of a clock that is moved by hand. Whether pods trust
//! each other is asked of a TLS library.
#![allow(clippy::panic, reason = "a failed test says what it saw")]

#[path = "../common/mod.rs"]
mod common;
mod handshake;
mod lab;

use common::default_image;
use connected_cache_operator::controller::{
    build::build,
    certify::{News, covered},
    validate::validate,
};
use handshake::{are_valid, certificates, handshake, trust_each_other};
use k8s_openapi::{ByteString, jiff::SignedDuration};
use lab::{Lab, start};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// What pods are given to read their files.
const STEP: SignedDuration = SignedDuration::from_mins(10);
const DAY: SignedDuration = SignedDuration::from_hours(24);

#[test]
fn pods_trust_each_other_by_name_and_nobody_else() {
    let (mut lab, mut other_cache) = (Lab::new(2), Lab::new(2));
    lab.pass();
    other_cache.pass();
    let pods = lab.pods();
    for name in ["campus-0", "campus-1"] {
        handshake(&pods, &pods, name, lab.now).expect(name);
    }
    handshake(&pods, &pods, "campus", lab.now).expect_err("a name that no pod has was taken");
    let theirs = other_cache.pods();
    handshake(&theirs, &pods, "campus-0", lab.now).expect_err("a pod of another cache was taken");
    handshake(&pods, &theirs, "campus-0", lab.now).expect_err("a pod of another cache took ours");
}

#[test]
fn a_certificate_names_more_pods_than_there_are_and_is_replaced_when_it_names_too_few() {
    for (replicas, names) in [(0, 8), (1, 16), (2, 16), (8, 16), (9, 24), (64, 72)] {
        assert_eq!(covered(replicas), names, "{replicas} pods");
        assert!(names >= replicas + 8);
    }
    let mut lab = Lab::new(2);
    lab.pass();
    let first = lab.pods();
    for (replicas, is_kept) in [(16, true), (1, true), (17, false)] {
        lab.observed.cache.spec.replicas = replicas;
        lab.pass_after(MINUTE);
        assert_eq!(lab.pods() == first, is_kept, "{replicas} pods");
        handshake(&lab.pods(), &lab.pods(), &format!("campus-{}", replicas - 1), lab.now)
            .expect("the last pod");
    }
    // Pods that have read the new one and pods that have not.
    trust_each_other(&first, &lab.pods(), lab.now);
    let second = lab.pods();
    lab.observed.cache.spec.replicas = 2;
    lab.pass_after(MINUTE);
    assert!(lab.pods() == second, "scaling down made another certificate");
}

#[test]
fn nothing_is_written_while_nothing_is_due() {
    let mut lab = Lab::new(2);
    let first = lab.pass();
    let (authority, pods) = (lab.authority().clone(), lab.pods());
    while lab.now + DAY < first.next_look {
        let pass = lab.pass_after(DAY);
        assert_eq!((pass.next_look, pass.news), (first.next_look, Vec::new()), "at {}", lab.now);
        assert!(*lab.authority() == authority && lab.pods() == pods, "written at {}", lab.now);
    }
    // Two thirds of 90 days.
    let days = lab.now.duration_since(start()).as_hours() / 24;
    assert_eq!(days, 59, "the certificate is due after {days} days");
}

#[test]
fn over_years_pods_trust_each_other_whatever_version_of_their_files_they_have_read() {
    let mut lab = Lab::new(3);
    let mut last = lab.pass();
    let (mut given, mut given_at) = (lab.pods(), lab.now);
    let (mut certificates, mut authorities, mut changes) = (1, 1, 0);
    let end = lab.now + DAY * (3 * 365);
    let mut looks = 0;
    while lab.now < end {
        last = lab.pass_when_due(&last);
        looks += 1;
        assert!(looks < 200, "{looks} looks until {}", lab.now);
        let pods = lab.pods();
        changes += last.news.iter().filter(|news| **news == News::AuthorityChanged).count();
        if pods == given {
            continue;
        }
        let age = lab.now.duration_since(given_at);
        assert!(age >= STEP, "at {} pods had {age:#} to read what they were given", lab.now);
        // Just written, and as long as a pod may have what was there before.
        for now in [lab.now, lab.now + STEP] {
            trust_each_other(&given, &pods, now);
            trust_each_other(&pods, &pods, now);
        }
        certificates += usize::from(pods["tls.crt"] != given["tls.crt"]);
        authorities += usize::from(pods["ca.crt"].0.len() > given["ca.crt"].0.len());
        (given, given_at) = (pods, lab.now);
    }
    // 365 days of which two thirds are used, and 90 of which two thirds are used.
    assert_eq!((authorities, changes), (5, 4), "authorities in three years");
    assert!((18..=24).contains(&certificates), "{certificates} certificates in three years");
}

#[test]
fn another_authority_is_trusted_first_then_used_and_then_trusted_alone() {
    let mut lab = Lab::new(2);
    lab.pass();
    let before = lab.pods();
    lab.ask_for_another_authority("1");
    assert_eq!(lab.pass_after(DAY).news, [News::AuthorityChanging]);
    let both = lab.pods();
    assert_eq!(certificates(&both, "ca.crt").len(), 2);
    assert_eq!(both["tls.crt"], before["tls.crt"]);
    // The time counts from when the Secret was seen to be written.
    lab.pass_after(MINUTE);
    lab.pass_after(STEP - MINUTE);
    assert_eq!(lab.pods(), both);
    lab.pass_after(MINUTE);
    let used = lab.pods();
    assert_ne!(used["tls.crt"], before["tls.crt"]);
    assert_eq!(used["ca.crt"], both["ca.crt"]);
    lab.pass_after(MINUTE);
    assert!(lab.authority()["previous.key"].0.is_empty(), "a key that signs nothing any more was kept");
    let done = lab.pass_after(STEP);
    assert_eq!(done.news, [News::AuthorityChanged]);
    let alone = lab.pods();
    assert_eq!(alone["tls.crt"], used["tls.crt"]);
    assert_eq!(certificates(&alone, "ca.crt").len(), 1);
    handshake(&before, &alone, "campus-0", lab.now).expect_err("the authority of before is still trusted");
    // The same request is heeded once, another one again, and none is none.
    let quiet = lab.pass_after(DAY);
    assert_eq!((quiet.news, lab.pods()), (Vec::new(), alone));
    lab.ask_for_another_authority("2");
    assert_eq!(lab.pass_after(DAY).news, [News::AuthorityChanging]);
}

#[test]
fn a_step_that_was_not_written_is_not_counted() {
    let mut lab = Lab::new(2);
    lab.pass();
    let before = lab.observed.peers.clone();
    lab.ask_for_another_authority("1");
    lab.pass_after(DAY);
    // The authority's Secret is written, the pods' is not, for an hour.
    for _ in 0..60 {
        lab.observed.peers.clone_from(&before);
        lab.pass_after(MINUTE);
        assert_eq!(certificates(&lab.pods(), "ca.crt").len(), 2);
        let old = &before.as_ref().expect("it is there").0.data.as_ref().expect("data")["tls.crt"];
        assert_eq!(&lab.pods()["tls.crt"], old, "a certificate that no pod can check was given out");
    }
}

#[test]
fn pods_are_given_the_certificate_of_the_authority_that_they_know_while_another_one_comes() {
    let mut lab = Lab::new(2);
    lab.pass();
    let before = lab.pods();
    lab.ask_for_another_authority("1");
    lab.pass_after(DAY);
    // One pod more than the certificate names.
    lab.observed.cache.spec.replicas = 17;
    lab.pass_after(MINUTE);
    handshake(&before, &lab.pods(), "campus-16", lab.now).expect("a pod that has read nothing new");
}

#[test]
fn what_was_lost_is_made_anew_and_what_pods_trusted_stays_trusted_meanwhile() {
    // Without the authority nobody else can sign, but what was signed is still good.
    let mut lab = Lab::new(2);
    lab.pass();
    let before = lab.pods();
    lab.observed.peers_ca = None;
    let pass = lab.pass_after(DAY);
    assert_eq!(pass.news, [News::AuthorityChanging]);
    let both = lab.pods();
    assert_eq!(both["tls.crt"], before["tls.crt"]);
    trust_each_other(&before, &both, lab.now);
    let mut last = pass;
    let mut given = both;
    for look in 0.. {
        assert!(look < 10, "the authority that was lost is trusted for ever");
        if certificates(&lab.pods(), "ca.crt").len() == 1 {
            break;
        }
        last = lab.pass_when_due(&last);
        trust_each_other(&given, &lab.pods(), lab.now);
        given = lab.pods();
    }
    handshake(&before, &given, "campus-0", lab.now).expect_err("what was lost is still trusted");

    // Without the pods' Secret the authority gives another certificate at once.
    lab.observed.peers = None;
    let pass = lab.pass_after(MINUTE);
    assert_eq!(pass.news, Vec::new());
    trust_each_other(&given, &lab.pods(), lab.now);
}

#[test]
fn an_operator_that_was_away_for_too_long_makes_everything_anew() {
    let mut lab = Lab::new(2);
    lab.pass();
    let before = lab.pods();
    lab.now += DAY * 1000;
    handshake(&before, &before, "campus-0", lab.now).expect_err("an old certificate was taken");
    lab.pass();
    trust_each_other(&lab.pods(), &lab.pods(), lab.now);
    are_valid(&lab.pods(), lab.now);
    assert_eq!(certificates(&lab.pods(), "ca.crt").len(), 1, "what has expired is still trusted");

    // The same in the middle of a change.
    lab.ask_for_another_authority("1");
    lab.pass();
    lab.pass_after(DAY * 1000);
    trust_each_other(&lab.pods(), &lab.pods(), lab.now);
    are_valid(&lab.pods(), lab.now);
}

#[test]
fn a_clock_that_was_wrong_leaves_nothing_behind() {
    let mut lab = Lab::new(2);
    lab.now += DAY * 3650;
    lab.pass();
    lab.ask_for_another_authority("1");
    let mut last = lab.pass_after(MINUTE);
    last = lab.pass_when_due(&last);
    assert!(last.next_look > lab.now);
    lab.now = start();
    lab.pass();
    trust_each_other(&lab.pods(), &lab.pods(), lab.now);
    are_valid(&lab.pods(), lab.now);

    // A certificate alone that was made too late.
    let mut lab = Lab::new(2);
    lab.pass();
    lab.pass_after(DAY * 61);
    lab.now = start() + DAY;
    lab.pass();
    trust_each_other(&lab.pods(), &lab.pods(), lab.now);
}

#[test]
fn secrets_that_hold_anything_at_all_are_replaced_or_kept_and_never_in_the_way() {
    let texts: [&[u8]; 6] = [
        b"",
        b"nonsense",
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
        &[0xff; 1000],
        b"9999-12-30T22:00:00.999999999Z",
    ];
    let mut lab = Lab::new(2);
    lab.pass();
    lab.ask_for_another_authority("1");
    lab.pass_after(MINUTE);
    lab.pass_after(MINUTE);
    let whole = (lab.observed.peers_ca.clone(), lab.observed.peers.clone());
    let keys: Vec<(bool, String)> = lab.authority().keys().map(|key| (true, key.clone())).collect();
    let keys = keys.into_iter().chain(lab.pods().into_keys().map(|key| (false, key)));
    for (of_authority, key) in keys {
        for text in texts {
            (lab.observed.peers_ca, lab.observed.peers) = whole.clone();
            let secret = if of_authority { &mut lab.observed.peers_ca } else { &mut lab.observed.peers };
            let data = secret.as_mut().expect("it is there").0.data.as_mut().expect("data");
            data.insert(key.clone(), ByteString(text.to_vec()));
            let pass = lab.pass();
            assert!(pass.next_look > lab.now, "{key}: {text:?}");
            trust_each_other(&lab.pods(), &lab.pods(), lab.now);
        }
        // A key that is missing, and a Secret without data.
        (lab.observed.peers_ca, lab.observed.peers) = whole.clone();
        let secret = if of_authority { &mut lab.observed.peers_ca } else { &mut lab.observed.peers };
        let data = &mut secret.as_mut().expect("it is there").0.data;
        data.as_mut().expect("data").remove(&key);
        lab.pass();
        trust_each_other(&lab.pods(), &lab.pods(), lab.now);
    }
    (lab.observed.peers_ca, lab.observed.peers) = whole;
    lab.observed.peers_ca.as_mut().expect("it is there").0.data = None;
    lab.observed.peers.as_mut().expect("it is there").0.data = None;
    let pass = lab.pass();
    assert_eq!(pass.news, [News::AuthorityUnreadable, News::CertificateUnreadable]);
    trust_each_other(&lab.pods(), &lab.pods(), lab.now);
}

#[test]
fn a_certificate_of_another_authority_is_replaced() {
    let (mut lab, mut other) = (Lab::new(2), Lab::new(2));
    lab.pass();
    other.pass();
    lab.observed.peers.clone_from(&other.observed.peers);
    lab.pass_after(MINUTE);
    assert_ne!(lab.pods()["tls.crt"], other.pods()["tls.crt"]);
    trust_each_other(&lab.pods(), &lab.pods(), lab.now);
}

#[test]
fn a_certificate_that_only_one_end_may_show_is_replaced() {
    let mut lab = Lab::new(2);
    lab.pass();
    let authority = lab.authority().clone();
    let text = |key: &str| std::str::from_utf8(&authority[key].0).expect("PEM");
    let signer = KeyPair::from_pem(text("tls.key")).expect("a key");
    let issuer = Issuer::from_ca_cert_pem(text("tls.crt"), signer).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    for usage in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth] {
        let names: Vec<String> = (0..16).map(|pod| format!("campus-{pod}")).collect();
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.extended_key_usages = vec![usage];
        parameters.not_before = date_time_ymd(2026, 1, 1);
        parameters.not_after = date_time_ymd(2026, 3, 1);
        let certificate = parameters.signed_by(&key, &issuer).expect("a certificate").pem();
        let data = lab.published();
        data.insert("tls.crt".to_owned(), ByteString(certificate.clone().into_bytes()));
        data.insert("tls.key".to_owned(), ByteString(key.serialize_pem().into_bytes()));
        lab.pass_after(MINUTE);
        assert_ne!(lab.pods()["tls.crt"].0, certificate.as_bytes());
        trust_each_other(&lab.pods(), &lab.pods(), lab.now);
    }
}

#[test]
fn what_does_not_belong_together_is_replaced() {
    let other = {
        let mut other = Lab::new(2);
        other.pass();
        other.authority().clone()
    };
    let mut lab = Lab::new(2);
    // The key of another authority.
    lab.pass();
    lab.authority().insert("tls.key".to_owned(), other["tls.key"].clone());
    assert_eq!(lab.pass_after(MINUTE).news, [News::AuthorityUnreadable]);
    // A certificate that may sign nothing.
    let pods = lab.pods();
    for file in ["tls.crt", "tls.key"] {
        lab.authority().insert(file.to_owned(), pods[file].clone());
    }
    assert_eq!(lab.pass_after(MINUTE).news, [News::AuthorityUnreadable]);
    // The key of another certificate.
    lab.published().insert("tls.key".to_owned(), other["tls.key"].clone());
    assert_eq!(lab.pass_after(MINUTE).news, [News::CertificateUnreadable]);
    trust_each_other(&lab.pods(), &lab.pods(), lab.now);
}

#[test]
fn a_changed_certificate_changes_no_pod() {
    let mut lab = Lab::new(2);
    let template = |lab: &Lab| {
        let valid = validate(&lab.observed, &default_image()).expect("a valid spec");
        common::plain(&build(&valid).stateful_set)
    };
    lab.pass();
    let before = template(&lab);
    lab.observed.peers_ca = None;
    lab.observed.peers = None;
    lab.pass_after(DAY);
    assert_eq!(template(&lab), before);
}

#[test]
fn the_secrets_belong_to_the_cache_and_say_what_they_are() {
    let mut lab = Lab::new(2);
    lab.pass();
    for (secret, name, kind) in [
        (&lab.observed.peers_ca, "campus-peers-ca", "Opaque"),
        (&lab.observed.peers, "campus-peers", "kubernetes.io/tls"),
    ] {
        let secret = common::plain(&secret.as_ref().expect("it is there").0);
        assert_eq!(secret["metadata"]["name"], name);
        assert_eq!(secret["type"], kind);
        assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], common::UID);
        assert_eq!(secret["metadata"]["labels"]["app.kubernetes.io/managed-by"], "connected-cache-operator");
    }
    assert!(!lab.pods().contains_key("previous.key"));
}
