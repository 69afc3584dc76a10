//! The checker can say no: right replies pass, and each kind of mistake is found.

use std::collections::HashSet;

use super::{Evidence, Finding, Question, check, check_none, stronger};
use crate::{
    client::{End, NoReply, Reply},
    object::{Object, Policy, Validators},
    origin::Announced,
    random::Random,
    range::Asked,
};

const LENGTH: usize = 5000;

/// Two states of the same length.
fn object() -> Object {
    let mut object = Object::new(0, vec![LENGTH, LENGTH], &mut Random::new(1));
    (object.validators, object.policy) = (Validators::StrongAndDate, Policy::MaxAge);
    object
}

/// An origin that has announced both states, is at the second, and is in order.
fn evidence(object: &Object) -> Evidence<'_> {
    let announced = [0, 1].map(|generation| Announced { generation, label: object.label(generation) });
    Evidence {
        object,
        announced: announced.to_vec(),
        totals: Vec::new(),
        refusals: HashSet::new(),
        present: 1,
        is_troubled: false,
        present_when_asked: 1,
        newest_seen: 0,
        has_mirrors: false,
        is_kept: false,
        allows_stale: false,
        is_last: false,
    }
}

fn question(asked: Asked) -> Question {
    Question { is_head: false, asked, if_range: None, if_none_match: None, if_modified_since: None }
}

const WHOLE: Question = Question {
    is_head: false,
    asked: Asked::Whole,
    if_range: None,
    if_none_match: None,
    if_modified_since: None,
};

fn reply(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let length = body.len().to_string();
    let usual = [("Content-Length", length.as_str()), ("Accept-Ranges", "bytes"), ("X-Cache", "HIT")];
    let headers = usual.iter().chain(headers);
    let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Reply { status, headers, body: body.to_vec(), end: End::Whole }
}

/// The right reply to a request for bytes 100 to 299 of a state.
fn part(object: &Object, generation: usize) -> Reply {
    let label = object.label(generation);
    let headers = [
        ("Content-Range", "bytes 100-299/5000"),
        ("ETag", label.etag.as_deref().unwrap()),
        ("Last-Modified", label.last_modified.as_deref().unwrap()),
    ];
    reply(206, &headers, &object.bytes(generation)[100..300])
}

/// The right reply to a request for everything of a state.
fn whole(object: &Object, generation: usize) -> Reply {
    let label = object.label(generation);
    let headers = [
        ("ETag", label.etag.as_deref().unwrap()),
        ("Last-Modified", label.last_modified.as_deref().unwrap()),
    ];
    reply(200, &headers, object.bytes(generation))
}

fn replace(reply: &mut Reply, name: &str, value: &str) {
    let header = reply.headers.iter_mut().find(|(spelt, _)| spelt == name).unwrap();
    value.clone_into(&mut header.1);
}

/// What is wrong, which something has to be.
fn mistake(question: &Question, reply: &Reply, evidence: &Evidence<'_>) -> String {
    match check(question, reply, evidence) {
        Err(mistake) => mistake,
        Ok(finding) => panic!("{reply:?} passed as {finding:?}"),
    }
}

#[test]
fn right_replies_of_each_state_pass() {
    let object = object();
    let evidence = evidence(&object);
    for generation in [0, 1] {
        let found = check(&question(Asked::FromTo(100, 299)), &part(&object, generation), &evidence);
        let label = object.label(generation);
        let generations = vec![generation];
        assert_eq!(
            found,
            Ok(Finding::Content {
                label: label.clone(),
                generations: generations.clone(),
                first: 100,
                is_part: true
            })
        );
        let found = check(&WHOLE, &whole(&object, generation), &evidence);
        assert_eq!(found, Ok(Finding::Content { label, generations, first: 0, is_part: false }));
    }
}

#[test]
fn one_wrong_byte_anywhere_is_found() {
    let object = object();
    for place in [0, 1, 99, 199] {
        let mut reply = part(&object, 1);
        reply.body[place] ^= 1;
        let mistake = mistake(&question(Asked::FromTo(100, 299)), &reply, &evidence(&object));
        assert!(mistake.contains(&format!("WRONG BYTE at offset {}", 100 + place)), "{mistake}");
    }
}

#[test]
fn a_body_of_two_states_is_found_wherever_they_meet() {
    let object = object();
    for place in [1, 2, 2500, LENGTH - 1] {
        for (before, after) in [(0, 1), (1, 0)] {
            let mut reply = whole(&object, before);
            reply.body[place..].copy_from_slice(&object.bytes(after)[place..]);
            let mistake = mistake(&WHOLE, &reply, &evidence(&object));
            assert!(mistake.contains(&format!("offset {place}:")), "{mistake}");
            assert!(mistake.ends_with(&format!("but of [{after}]")), "{mistake}");
        }
    }
}

#[test]
fn the_bytes_of_one_state_under_the_name_of_another_are_found() {
    let object = object();
    let mut reply = whole(&object, 0);
    reply.body = object.bytes(1).to_vec();
    assert!(mistake(&WHOLE, &reply, &evidence(&object)).contains("WRONG BYTE at offset 0"));
    // A name that no state has, or a length.
    for (name, value) in [("ETag", "\"else\""), ("Last-Modified", "Tue, 02 Jan 2024 00:00:00 GMT")] {
        let mut reply = whole(&object, 0);
        replace(&mut reply, name, value);
        assert!(mistake(&WHOLE, &reply, &evidence(&object)).contains("never announced"), "{name}");
    }
    let mut reply = whole(&object, 0);
    reply.body.pop();
    replace(&mut reply, "Content-Length", "4999");
    assert!(mistake(&WHOLE, &reply, &evidence(&object)).contains("never announced"));
}

#[test]
fn a_200_to_a_range_is_found_also_with_if_range_of_the_same_state() {
    let object = object();
    let mut question = question(Asked::FromTo(100, 299));
    assert!(
        mistake(&question, &whole(&object, 1), &evidence(&object)).contains("200 to a satisfiable range")
    );
    question.if_range = object.label(1).etag;
    assert!(
        mistake(&question, &whole(&object, 1), &evidence(&object)).contains("200 to a satisfiable range")
    );
    // Of another state the whole is right, and the part is not.
    let found = check(&question, &whole(&object, 0), &evidence(&object));
    assert!(matches!(found, Ok(Finding::Content { is_part: false, .. })), "{found:?}");
    assert!(mistake(&question, &part(&object, 0), &evidence(&object)).contains("206 although"));
}

#[test]
fn wrong_ranges_and_lengths_are_found() {
    let object = object();
    let evidence = evidence(&object);
    let shown = [
        "bytes 100-298/5000",
        "bytes 101-300/5000",
        "bytes 100-299/*",
        "bytes 100-299",
        "bytes 299-100/5000",
    ];
    for shown in shown {
        let mut reply = part(&object, 1);
        replace(&mut reply, "Content-Range", shown);
        mistake(&question(Asked::FromTo(100, 299)), &reply, &evidence);
    }
    mistake(&question(Asked::From(100)), &part(&object, 1), &evidence);
    mistake(&question(Asked::Suffix(200)), &part(&object, 1), &evidence);
    mistake(&WHOLE, &part(&object, 1), &evidence);
    mistake(&question(Asked::From(LENGTH)), &whole(&object, 1), &evidence);
    for total in ["4999", "5001", "*"] {
        let reply = reply(416, &[("Content-Range", &format!("bytes */{total}"))], b"no");
        mistake(&question(Asked::From(LENGTH + 1)), &reply, &evidence);
    }
    let right = reply(416, &[("Content-Range", "bytes */5000")], b"no");
    assert_eq!(check(&question(Asked::From(LENGTH)), &right, &evidence), Ok(Finding::Unsatisfiable));
    mistake(&question(Asked::From(LENGTH - 1)), &right, &evidence);
    mistake(&WHOLE, &right, &evidence);
}

#[test]
fn what_clients_misread_on_the_wire_is_found() {
    let object = object();
    let mut chunked = whole(&object, 1);
    chunked.headers.push(("Transfer-Encoding".into(), "chunked".into()));
    let mut without_length = whole(&object, 1);
    without_length.headers.retain(|(name, _)| name != "Content-Length");
    let mut broken_length = whole(&object, 1);
    replace(&mut broken_length, "Content-Length", "+5000");
    let mut twice = whole(&object, 1);
    twice.headers.push(("Content-Length".into(), "5000".into()));
    let mut lower_case = whole(&object, 1);
    lower_case.headers[0].0 = "content-length".into();
    let mut title_case = whole(&object, 1);
    title_case.headers.iter_mut().find(|(name, _)| name == "ETag").unwrap().0 = "Etag".into();
    let mut encoded = whole(&object, 1);
    encoded.headers.push(("Content-Encoding".into(), "gzip".into()));
    let mut unnamed = whole(&object, 1);
    unnamed.headers.retain(|(name, _)| name != "X-Cache");
    for reply in [chunked, without_length, broken_length, twice, lower_case, title_case, encoded, unnamed] {
        mistake(&WHOLE, &reply, &evidence(&object));
    }
    let head = Question { is_head: true, ..WHOLE };
    assert!(mistake(&head, &whole(&object, 1), &evidence(&object)).contains("HEAD has a body"));
}

#[test]
fn statuses_need_their_reason() {
    let object = object();
    let calm = evidence(&object);
    let troubled = Evidence { is_troubled: true, refusals: HashSet::from([404]), ..calm.clone() };
    for status in [502, 503, 504] {
        mistake(&WHOLE, &reply(status, &[], b"no"), &calm);
        assert_eq!(check(&WHOLE, &reply(status, &[], b"no"), &troubled), Ok(Finding::Failed(status)));
    }
    mistake(&WHOLE, &reply(404, &[], b"no"), &calm);
    assert_eq!(check(&WHOLE, &reply(404, &[], b"no"), &troubled), Ok(Finding::Refused(404)));
    for status in [201, 204, 302, 400, 403, 410, 412, 429, 500, 501] {
        mistake(&WHOLE, &reply(status, &[], b""), &troubled);
    }
    let kept = Evidence { is_kept: true, ..troubled };
    mistake(&WHOLE, &reply(404, &[], b"no"), &kept);
    mistake(&WHOLE, &reply(502, &[], b"no"), &kept);
    for error in [NoReply::Silence, NoReply::Refused(String::new()), NoReply::Broken(String::new())] {
        assert!(check_none(&error, &kept).is_err(), "{error:?}");
    }
    assert!(check_none(&NoReply::Ended, &calm).is_err());
}

#[test]
fn not_modified_needs_a_state_that_the_client_named() {
    let object = object();
    let evidence = evidence(&object);
    let not_modified = Reply { status: 304, headers: Vec::new(), body: Vec::new(), end: End::Whole };
    for tag in [object.label(1).etag, Some("W/\"o0g1\"".into())] {
        let question = Question { if_none_match: tag, ..WHOLE };
        assert_eq!(check(&question, &not_modified, &evidence), Ok(Finding::NotModified));
    }
    let dated = Question { if_modified_since: object.label(1).last_modified, ..WHOLE };
    assert_eq!(check(&dated, &not_modified, &evidence), Ok(Finding::NotModified));
    let other = Question { if_none_match: Some("\"else\"".into()), ..dated };
    mistake(&other, &not_modified, &evidence);
    mistake(&WHOLE, &not_modified, &evidence);
}

#[test]
fn a_short_body_needs_its_reason() {
    let object = object();
    let calm = evidence(&object);
    let cut = |generation: usize| {
        let mut reply = whole(&object, generation);
        reply.body.truncate(1000);
        Reply { end: End::Cut, ..reply }
    };
    mistake(&WHOLE, &cut(1), &calm);
    // The first state is no longer the present one.
    assert!(check(&WHOLE, &cut(0), &calm).is_ok());
    mistake(&WHOLE, &cut(0), &Evidence { is_last: true, ..calm.clone() });
    let troubled = Evidence { is_troubled: true, ..calm };
    assert!(check(&WHOLE, &cut(1), &troubled).is_ok());
    mistake(&WHOLE, &cut(1), &Evidence { is_kept: true, ..troubled });
}

#[test]
fn a_state_that_is_too_old_is_found_where_the_check_is_on() {
    let object = object();
    let old = whole(&object, 0);
    let seen = Evidence { newest_seen: 1, ..evidence(&object) };
    assert_eq!(check(&WHOLE, &old, &seen).is_err(), stronger::is_in_force(stronger::Check::NeverGoesBack));
    assert!(check(&WHOLE, &whole(&object, 1), &seen).is_ok());
    let policies = [
        (Policy::NoStore, stronger::Check::NeverStored),
        (Policy::Private, stronger::Check::NeverStored),
        (Policy::VaryStar, stronger::Check::NeverStored),
        (Policy::NoCache, stronger::Check::NoCacheIsRevalidated),
        (Policy::MaxAgeZero, stronger::Check::StaleIsRevalidated),
    ];
    for (policy, rule) in policies {
        let mut object = self::object();
        object.policy = policy;
        let found = check(&WHOLE, &whole(&object, 0), &evidence(&object));
        assert_eq!(found.is_err(), stronger::is_in_force(rule), "{policy:?}");
        // It was the present one when the request was sent.
        let asked_before = Evidence { present_when_asked: 0, ..evidence(&object) };
        assert!(check(&WHOLE, &whole(&object, 0), &asked_before).is_ok(), "{policy:?}");
    }
}
