use super::*;

const NOW: i64 = 10_000;

/// `pod/name@seconds` that it was made at.
fn dead(text: &str) -> Dead {
    let (what, at) = text.split_once('@').unwrap();
    let (pod, name) = what.split_once('/').unwrap();
    let seconds: i64 = at.parse().unwrap();
    let created_at = Timestamp::from_nanos(seconds * SECOND);
    Dead { pod: pod.into(), name: name.into(), id: text.into(), created_at }
}

fn policy(age: i64, per_container: i32, total: i32) -> GcPolicy {
    GcPolicy::new(age * SECOND, per_container, total).unwrap()
}

fn removed(policy: &GcPolicy, all: &str) -> String {
    let all: Vec<Dead> = all.split_whitespace().map(dead).collect();
    let gone = surplus(policy, &all, Timestamp::from_nanos(NOW * SECOND));
    gone.iter().map(|(one, _)| one.id.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_three_steps_come_in_their_order() {
    for (why, age, per, total, all, gone) in [
        ("nothing is dead", 60, 2, 100, "", ""),
        ("the newest of each are kept", 60, 1, 100, "p/a@1 p/a@3 p/a@2 p/b@1", "p/a@1 p/a@2"),
        ("units are of one pod each", 60, 1, 100, "p/a@1 q/a@1 q/a@2", "q/a@1"),
        ("what is too young counts for nothing", 60, 1, 1, "p/a@9941 p/a@9990 p/a@9980", ""),
        ("it may go at its very age", 60, 0, 100, "p/a@9940 p/a@9941", "p/a@9940"),
        ("an age of 0 lets all go", 0, 0, 100, "p/a@10000", "p/a@10000"),
        ("made after now, by another clock", 0, 0, 100, "p/a@10001", ""),
        ("0 of each keeps none", 60, 0, -1, "p/a@1 p/b@2", "p/a@1 p/b@2"),
        ("a negative number of each is no limit", 60, -1, -1, "p/a@1 p/a@2 p/a@3", ""),
        ("a negative number of each leaves the other", 60, -1, 2, "p/a@1 p/a@2 p/a@3", "p/a@1"),
        ("as many as may be stay", 60, 2, 4, "p/a@1 p/a@2 p/b@1 p/b@2", ""),
        ("4 in 2 units: 2 of each", 60, -1, 4, "p/a@1 p/a@2 p/a@3 p/b@4 p/b@5", "p/a@1"),
        ("the share is even, the sum below", 60, -1, 3, "p/a@1 p/a@2 p/b@1 p/b@3", "p/a@1 p/b@1"),
        (
            "a share is one at least, then the oldest go",
            60,
            2,
            1,
            "p/a@1 p/a@2 q/b@3",
            "p/a@1 p/a@2",
        ),
        ("0 in all keeps none", 60, 2, 0, "p/a@2 q/b@1", "q/b@1 p/a@2"),
        ("0 of each and 0 in all", 60, 0, 0, "p/a@2 q/b@1", "p/a@2 q/b@1"),
    ] {
        assert_eq!(removed(&policy(age, per, total), all), gone, "{why}");
    }
}

#[test]
fn each_step_is_the_cause_of_what_it_takes() {
    let all: Vec<Dead> = ["p/a@1", "p/a@2", "p/a@3", "q/b@4", "r/c@5"].map(dead).into();
    let gone = surplus(&policy(0, 2, 2), &all, Timestamp::from_nanos(NOW * SECOND));
    let causes: Vec<Cause> = gone.into_iter().map(|(_, cause)| cause).collect();
    let want = [
        Cause::PerContainer { kept: 2 },
        Cause::Share { maximum: 2, share: 1 },
        Cause::Oldest { maximum: 2 },
    ];
    assert_eq!(causes, want);
}

#[test]
fn a_negative_age_is_refused_in_the_kubelets_words() {
    let refused = GcPolicy::new(-60 * SECOND, 2, 100).unwrap_err();
    assert_eq!(refused.to_string(), "invalid minimum garbage collection age: -1m0s");
    assert_eq!(GcPolicy::new(60 * SECOND, 2, 100).unwrap(), GcPolicy::default());
}

#[test]
fn the_worker_leaves_the_last_state_of_a_container_whatever_the_numbers_are() {
    for (per_container, kept) in [(-1, 1), (0, 1), (1, 1), (2, 2), (7, 7)] {
        assert_eq!(policy(0, per_container, -1).kept_at_once(), kept);
    }
}

/// The same rules, one container at a time and by counting alone.
fn slowly(policy: &GcPolicy, all: &[Dead], now: i64) -> Vec<String> {
    let old = |one: &&Dead| one.created_at.nanos() <= now - policy.min_age;
    let mut left: Vec<&Dead> = all.iter().filter(old).collect();
    let unit = |one: &Dead| (one.pod.clone(), one.name.clone());
    let units: std::collections::BTreeSet<_> = left.iter().map(|one| unit(one)).collect();
    let oldest = |left: &[&Dead], of: Option<&(String, String)>| {
        let mine = left.iter().filter(|one| of.is_none_or(|of| unit(one) == *of));
        mine.min_by_key(|one| one.created_at).map(|one| one.id.clone())
    };
    let mut gone = Vec::new();
    let mut take = |left: &mut Vec<&Dead>, of: Option<&(String, String)>| {
        let id = oldest(left, of).unwrap();
        left.retain(|one| one.id != id);
        gone.push(id);
    };
    let size =
        |left: &[&Dead], of: &(String, String)| left.iter().filter(|o| unit(o) == *of).count();
    for unit in &units {
        while policy.per_container.is_some_and(|kept| size(&left, unit) > kept) {
            take(&mut left, Some(unit));
        }
    }
    if let Some(total) = policy.total.filter(|total| left.len() > *total) {
        for unit in &units {
            while size(&left, unit) > 1.max(total / units.len()) {
                take(&mut left, Some(unit));
            }
        }
        while left.len() > total {
            take(&mut left, None);
        }
    }
    gone.sort();
    gone
}

#[test]
fn any_containers_under_any_policy_go_as_a_slow_reading_of_the_rules_says() {
    // Numerical Recipes' generator: the same cases at every run.
    let mut seed = 7_u32;
    let mut below = |n: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % n
    };
    for round in 0..5_000 {
        let count = below(40);
        // Each was made at a time of its own: which of two of one time goes is nobody's promise.
        let mut times: Vec<u32> = (0..60).collect();
        let all: Vec<Dead> = (0..count)
            .map(|_| {
                let at = times.swap_remove(below(times.len() as u32) as usize);
                dead(&format!("p{}/c{}@{at}", below(4), below(3)))
            })
            .collect();
        let (age, per, total) = (below(70).into(), below(5) as i32 - 1, below(30) as i32 - 1);
        let policy = policy(age, per, total);
        let now = 60 * SECOND;
        let found = surplus(&policy, &all, Timestamp::from_nanos(now));
        let mut found: Vec<String> = found.into_iter().map(|(one, _)| one.id.clone()).collect();
        found.sort();
        assert_eq!(found, slowly(&policy, &all, now), "round {round}: {policy:?} {all:?}");
    }
}
