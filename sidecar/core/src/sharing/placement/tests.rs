use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::ObjectKey;

fn candidates(names: &[(&str, Option<&str>)]) -> Vec<Candidate> {
    names
        .iter()
        .map(|(name, zone)| Candidate {
            name: (*name).to_owned(),
            zone: zone.map(str::to_owned),
            is_ready: true,
        })
        .collect()
}

fn pods(count: usize, zones: usize) -> Vec<Candidate> {
    (0..count)
        .map(|number| Candidate {
            name: format!("cache-{number}"),
            zone: (zones > 0).then(|| format!("zone-{}", number % zones)),
            is_ready: true,
        })
        .collect()
}

fn group(number: u64) -> GroupHash {
    GroupHash::numbered(&ObjectKey::from_stored("dl.example.com/a".to_owned()), number)
}

const NOBODY: fn(usize) -> bool = |_| false;

#[test]
fn a_pod_alone_asks_the_origin() {
    let alone = candidates(&[("cache-0", None)]);
    assert_eq!(Placement::new("cache-0", &alone).route(group(1), None, NOBODY), Route::Origin);
    assert_eq!(Placement::new("cache-0", &[]).route(group(1), None, NOBODY), Route::Origin);
    // A pod that nobody lists must not send its clients' requests around.
    assert_eq!(Placement::new("other", &pods(3, 0)).route(group(1), None, NOBODY), Route::Origin);
}

#[test]
fn all_pods_name_the_same_home_and_it_asks_the_origin() {
    let pods = pods(7, 0);
    for number in 0..200 {
        let routes: Vec<Route> = pods
            .iter()
            .map(|pod| Placement::new(&pod.name, &pods).route(group(number), None, NOBODY))
            .collect();
        let home = routes.iter().position(|route| *route == Route::Origin).unwrap();
        for (index, route) in routes.iter().enumerate().filter(|(index, _)| *index != home) {
            assert_eq!(*route, Route::Member(home, Role::Home), "{index}");
        }
    }
}

#[test]
fn homes_are_spread_evenly() {
    let pods = pods(10, 0);
    let placement = Placement::new("cache-0", &pods);
    let mut groups: HashMap<Route, u32> = HashMap::new();
    for number in 0..10_000 {
        *groups.entry(placement.route(group(number), None, NOBODY)).or_default() += 1;
    }
    // 1,000 each; five standard deviations of a binomial are 150.
    assert_eq!(groups.len(), 10);
    assert!(groups.values().all(|count| (850..=1_150).contains(count)), "{groups:?}");
}

#[test]
fn only_the_groups_of_a_pod_that_left_move() {
    let (before, mut after) = (pods(5, 0), pods(5, 0));
    after[3].is_ready = false;
    for number in 0..500 {
        let of = |pods: &[Candidate]| Placement::new("cache-0", pods).route(group(number), None, NOBODY);
        if of(&before) != Route::Member(3, Role::Home) {
            assert_eq!(of(&before), of(&after));
        }
        assert_ne!(of(&after), Route::Member(3, Role::Home));
    }
}

#[test]
fn who_is_left_alone_is_followed_by_the_next_in_rank() {
    let pods = pods(5, 0);
    let placement = Placement::new("cache-0", &pods);
    for number in 0..200 {
        let Route::Member(home, _) = placement.route(group(number), None, NOBODY) else { continue };
        assert_eq!(placement.ranked(group(number))[0], home);
        let next = placement.ranked(group(number))[1];
        let route = placement.route(group(number), None, |index| index == home);
        assert!(route == Route::Member(next, Role::Home) || route == Route::Origin, "{route:?}");
    }
    assert_eq!(placement.route(group(1), None, |_| true), Route::Origin);
}

#[test]
fn who_is_asked_as_the_home_asks_nobody_else() {
    let pods = pods(6, 2);
    for pod in &pods {
        for number in 0..50 {
            let placement = Placement::new(&pod.name, &pods);
            assert_eq!(placement.route(group(number), Some(Role::Home), NOBODY), Route::Origin);
        }
    }
}

#[test]
fn each_zone_gets_a_group_once_from_another() {
    let pods = pods(9, 3);
    for number in 0..200 {
        let mut between = HashMap::<String, usize>::new();
        for (index, pod) in pods.iter().enumerate() {
            let placement = Placement::new(&pod.name, &pods);
            match placement.route(group(number), None, NOBODY) {
                Route::Origin => {}
                Route::Member(home, Role::ZoneHome) => {
                    assert_eq!(pods[home].zone, pod.zone);
                    let relay = Placement::new(&pods[home].name, &pods);
                    let further = relay.route(group(number), Some(Role::ZoneHome), NOBODY);
                    let Route::Member(of_all, Role::Home) = further else { panic!("{further:?}") };
                    assert_ne!(pods[of_all].zone, pod.zone);
                }
                Route::Member(home, Role::Home) => {
                    assert_ne!(home, index);
                    if pods[home].zone != pod.zone {
                        *between.entry(pod.zone.clone().unwrap()).or_default() += 1;
                    }
                }
            }
        }
        assert_eq!(between.len(), 2, "two zones have their home elsewhere: {between:?}");
        assert!(between.values().all(|askers| *askers == 1), "{between:?}");
    }
}

#[test]
fn zones_that_are_not_known_or_all_the_same_are_none() {
    for zone in [None, Some("a")] {
        let pods = candidates(&[("cache-0", zone), ("cache-1", zone), ("cache-2", zone)]);
        for number in 0..50 {
            let route = Placement::new("cache-1", &pods).route(group(number), None, NOBODY);
            assert!(!matches!(route, Route::Member(_, Role::ZoneHome)), "{route:?}");
        }
        assert_eq!(Placement::new("cache-1", &pods).is_in_my_zone(0), None);
    }
}

proptest! {
    #[test]
    fn every_way_ends_at_an_origin_after_two_steps(
        count in 1usize..12, zones in 0usize..4, ready: u16, views: [u16; 12], number: u64, start in 0usize..12,
    ) {
        // Each pod sees others as ready or not as it likes.
        let pods = pods(count, zones);
        let see = |pod: usize| -> Placement {
            let mut seen = pods.clone();
            for (index, candidate) in seen.iter_mut().enumerate() {
                candidate.is_ready = (ready | views[pod]) >> index & 1 == 1;
            }
            Placement::new(&pods[pod].name, &seen)
        };
        let (mut pod, mut asked_as, mut steps) = (start % count, None, 0);
        while let Route::Member(next, role) = see(pod).route(group(number), asked_as, NOBODY) {
            prop_assert_ne!(next, pod);
            (pod, asked_as, steps) = (next, Some(role), steps + 1);
            prop_assert!(steps <= 2);
        }
    }
}
