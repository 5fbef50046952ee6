//! The table, and a slow reference that random stores are compared with.

use std::collections::BTreeSet;

use super::*;

const NOW: u64 = 1_800_000_000;
const GIB: u64 = 1 << 30;

fn bytes(bytes: u64) -> Amount {
    Amount { bytes, inodes: 0 }
}

/// Of 100 GiB, without a number of inodes.
fn free(gib: u64) -> Room {
    Room { capacity: bytes(100 * GIB), available: bytes(gib * GIB) }
}

/// Images by (seconds since they were used, since they were seen, their layers), and layers by GiB.
fn known(layers: &[u64], images: &[(u64, u64, &[usize])]) -> Known {
    let users = |at: usize| images.iter().filter(|(_, _, all)| all.contains(&at)).count() as u64;
    let layer = |(at, gib): (usize, &u64)| KnownLayer { size: bytes(gib * GIB), users: users(at) };
    let image = |(used, detected, layers): &(u64, u64, &[usize])| KnownImage {
        used: NOW - used,
        detected: NOW - detected,
        keep: None,
        layers: layers.to_vec(),
    };
    Known {
        layers: layers.iter().enumerate().map(layer).collect(),
        images: images.iter().map(image).collect(),
    }
}

fn removed(policy: &Policy, room: &Room, known: &Known) -> Vec<usize> {
    plan(policy, room, known, NOW).removals
}

#[test]
fn from_the_high_threshold_on_the_longest_unused_go_until_the_low_one() {
    let images = known(&[3, 3, 9], &[(500, 600, &[0]), (700, 800, &[1]), (400, 900, &[2])]);
    let policy = Policy::default();
    assert_eq!(removed(&policy, &free(16), &images), [0; 0], "84 percent are used");
    // 5 GiB are wanted.
    assert_eq!(removed(&policy, &free(15), &images), [1, 0]);
    assert_eq!(removed(&policy, &free(18), &images), [0; 0]);
    let off = Policy::new(100, 80, Duration::ZERO, Duration::ZERO).unwrap();
    assert!(off.is_off() && removed(&off, &free(0), &images).is_empty());
}

#[test]
fn of_those_that_were_used_at_one_time_the_one_that_was_seen_first_goes() {
    let images = known(&[9, 9], &[(500, 600, &[0]), (500, 700, &[1])]);
    assert_eq!(removed(&Policy::default(), &free(12), &images), [1]);
}

#[test]
fn what_is_used_pinned_named_or_young_stays() {
    let old = (900, 900);
    let mut images = known(
        &[9, 9, 9, 9, 9],
        &[
            (old.0, old.1, &[0]),
            (old.0, old.1, &[1]),
            (old.0, old.1, &[2]),
            (119, 119, &[3]),
            (120, 120, &[4]),
        ],
    );
    let kept = [Keep::InUse("container/c".to_owned()), Keep::Pinned, Keep::Named];
    for (image, keep) in images.images.iter_mut().zip(&kept) {
        image.keep = Some(keep.clone());
    }
    let plan = plan(&Policy::default(), &free(0), &images, NOW);
    assert_eq!(plan.removals, [4]);
    let stays = kept.into_iter().chain([Keep::Young]).map(Verdict::Keep);
    assert_eq!(plan.verdicts[..4], stays.collect::<Vec<_>>());
}

#[test]
fn what_images_share_is_freed_by_the_last_of_them_alone() {
    // 0 and 1 share layer 0 of 8 GiB; 2 shares layer 3 with 3, which is in use.
    let layers = [8, 1, 1, 9, 1];
    let shared: [(u64, u64, &[usize]); 5] = [
        (900, 900, &[0, 1]),
        (800, 900, &[0, 2]),
        (950, 950, &[3]),
        (10, 900, &[3]),
        (700, 900, &[4]),
    ];
    let mut images = known(&layers, &shared);
    images.images[3].keep = Some(Keep::InUse("container/c".to_owned()));
    let done = plan(&Policy::default(), &free(10), &images, NOW);
    assert_eq!((done.wanted, done.frees), (bytes(10 * GIB), bytes(10 * GIB)));
    assert_eq!(done.removals, [0, 1]);
    assert_eq!(done.verdicts[2], Verdict::Keep(Keep::FreesNothing));
    assert_eq!(done.verdicts[4], Verdict::Keep(Keep::Enough));
    let frees = |gib: u64| Verdict::Remove { why: Cause::Space, frees: bytes(gib * GIB) };
    assert_eq!(done.verdicts[..2], [frees(1), frees(9)]);
}

#[test]
fn what_was_not_used_for_the_maximum_age_goes_though_the_disk_is_empty() {
    let policy = Policy::new(100, 80, Duration::ZERO, Duration::from_secs(3_600)).unwrap();
    assert!(!policy.is_off());
    let images = known(&[1, 1], &[(3_601, 9_000, &[0]), (3_600, 9_000, &[1])]);
    assert_eq!(removed(&policy, &free(99), &images), [0]);
    // One whose last use is not known was at least seen.
    let mut never = known(&[1], &[(0, 3_600, &[0])]);
    never.images[0].used = 0;
    assert!(removed(&policy, &free(99), &never).is_empty());
}

#[test]
fn inodes_count_too_and_where_there_is_no_number_of_them_they_do_not() {
    let mut images = known(&[1, 1], &[(900, 900, &[0]), (800, 800, &[1])]);
    for layer in &mut images.layers {
        layer.size.inodes = 6;
    }
    let mut room = free(90);
    assert!(removed(&Policy::default(), &room, &images).is_empty());
    (room.capacity.inodes, room.available.inodes) = (100, 10);
    let done = plan(&Policy::default(), &room, &images, NOW);
    assert_eq!((done.wanted, done.removals), (Amount { bytes: 0, inodes: 10 }, vec![0, 1]));
    let told = shortage(&room, done.wanted, Amount::default());
    assert!(told.starts_with("Insufficient free inodes on the node's image filesystem (90%"));
}

#[test]
fn thresholds_that_make_no_sense_are_refused_by_their_key() {
    let new = |high, low| Policy::new(high, low, Duration::ZERO, Duration::ZERO);
    assert!(new(100, 0).is_ok() && new(1, 0).is_ok());
    for (high, low, key) in [
        (101, 80, "image_gc_high_threshold_percent"),
        (85, 101, "image_gc_low_threshold_percent"),
        (80, 80, "image_gc_low_threshold_percent"),
    ] {
        assert!(new(high, low).unwrap_err().to_string().starts_with(key), "{high} {low}");
    }
}

#[test]
fn a_prune_takes_what_nobody_uses_and_only_what_has_no_name_unless_all_are_asked_for() {
    let mut images = known(&[1, 2, 4], &[(1, 1, &[0]), (2, 2, &[1]), (3, 3, &[2])]);
    images.images[0].keep = Some(Keep::Pinned);
    let some = prune(&images, &[false, true, false]);
    assert_eq!((some.removals, some.frees), (vec![2], bytes(4 * GIB)));
    assert_eq!(some.verdicts[1], Verdict::Keep(Keep::HasName));
    assert_eq!(prune(&images, &[]).removals, [2, 1]);
}

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // Knuth's multiplier; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// A store with up to 8 images over up to 8 layers, some of which somebody else has.
fn random(random: &mut Random) -> Known {
    let count = random.below(8) as usize;
    let mut known = Known::default();
    for _ in 0..count {
        let size = Amount { bytes: random.below(9), inodes: random.below(5) };
        known.layers.push(KnownLayer { size, users: u64::from(random.below(6) == 0) });
    }
    for _ in 0..random.below(8) {
        let layers: Vec<usize> = (0..count).filter(|_| random.below(3) == 0).collect();
        layers.iter().for_each(|at| known.layers[*at].users += 1);
        let keep = (random.below(4) == 0).then_some(Keep::Pinned);
        let (used, detected) = (random.below(6), random.below(6));
        known.images.push(KnownImage { detected, used, keep, layers });
    }
    known
}

/// What layers are there when these images are, and all that others have.
fn present(known: &Known, images: &BTreeSet<usize>) -> Amount {
    let mut all = Amount::default();
    for (at, layer) in known.layers.iter().enumerate() {
        let own = known.images.iter().filter(|image| image.layers.contains(&at)).count() as u64;
        let of_others = layer.users > own;
        if of_others || images.iter().any(|image| known.images[*image].layers.contains(&at)) {
            all = all + layer.size;
        }
    }
    all
}

fn less(a: Amount, b: Amount) -> Amount {
    Amount { bytes: a.bytes - b.bytes, inodes: a.inodes - b.inodes }
}

/// The same decisions, each taken by looking at everything again.
fn slowly(policy: &Policy, wanted: Amount, known: &Known, now: u64) -> Vec<usize> {
    let all: BTreeSet<usize> = (0..known.images.len()).collect();
    let mut left = all.clone();
    let mut gone = Vec::new();
    let mut refused = BTreeSet::new();
    let next = |left: &BTreeSet<usize>, refused: &BTreeSet<usize>, old: bool| {
        let may = |at: &&usize| {
            let image = &known.images[**at];
            let unused = now - image.used.max(image.detected);
            let is_old = policy.max_age.as_secs() > 0 && unused > policy.max_age.as_secs();
            let is_young = now - image.detected < policy.min_age.as_secs();
            let is_meant = if old { is_old } else { !is_young };
            image.keep.is_none() && !refused.contains(*at) && is_meant
        };
        let order = |at: &&usize| (known.images[**at].used, known.images[**at].detected, **at);
        left.iter().filter(may).min_by_key(order).copied()
    };
    while let Some(at) = next(&left, &refused, true) {
        left.remove(&at);
        gone.push(at);
    }
    // Whoever may still go, young ones aside: what is left of it all then stays in any case.
    let mut bare = left.clone();
    while let Some(at) = next(&bare, &refused, false) {
        bare.remove(&at);
    }
    while !less(present(known, &all), present(known, &left)).covers(wanted) {
        let Some(at) = next(&left, &refused, false) else { break };
        // Sizes of nothing tell nothing: layers are looked at by themselves.
        let adds = known.images[at].layers.iter().any(|layer| {
            let own = known.images.iter().filter(|image| image.layers.contains(layer)).count();
            let of_others = known.layers[*layer].users > own as u64;
            !of_others && !bare.iter().any(|other| known.images[*other].layers.contains(layer))
        });
        if adds {
            left.remove(&at);
            gone.push(at);
        } else {
            refused.insert(at);
        }
    }
    gone
}

#[test]
fn random_stores_are_collected_as_a_slow_reference_does_it() {
    let mut dice = Random(8);
    for round in 0..20_000 {
        let known = random(&mut dice);
        let now = 6 + dice.below(4);
        let seconds = Duration::from_secs;
        let ages = (seconds(dice.below(6)), seconds(dice.below(12)));
        let low = dice.below(90) as u8;
        let high = low + 1 + dice.below(u64::from(100 - low)) as u8;
        let policy = Policy::new(high, low, ages.0, ages.1).unwrap();
        let capacity = Amount { bytes: 60, inodes: [0, 40][dice.below(2) as usize] };
        let available = Amount { bytes: dice.below(61), inodes: dice.below(41) };
        let room = Room { capacity, available };
        let done = plan(&policy, &room, &known, now);
        let slow = slowly(&policy, done.wanted, &known, now);
        assert_eq!(done.removals, slow, "round {round}: {policy:?} {room:?} {known:?}");

        let all: BTreeSet<usize> = (0..known.images.len()).collect();
        let left = all.iter().filter(|at| !done.removals.contains(at)).copied().collect();
        let freed = less(present(&known, &all), present(&known, &left));
        assert_eq!(freed, done.frees, "round {round}");
        for (at, verdict) in done.verdicts.iter().enumerate() {
            let goes = matches!(verdict, Verdict::Remove { .. });
            assert_eq!(goes, done.removals.contains(&at), "round {round}");
            assert!(!goes || known.images[at].keep.is_none(), "round {round}");
        }
        if let Some(last) = done.removals.last()
            && let Verdict::Remove { why: Cause::Space, frees } = &done.verdicts[*last]
        {
            // It stops as soon as there is enough.
            assert!(!less(done.frees, *frees).covers(done.wanted), "round {round}");
        }
    }
}
