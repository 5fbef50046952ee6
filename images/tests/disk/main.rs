//! A disk whose power is cut after any flush, and one that fails, beneath a store that pulls, imports,
//! tags, removes and collects.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod cut;
mod faults;
mod fuse;
mod medium;
mod mounted;
mod script;
#[path = "../support/mod.rs"]
mod support;
mod verbs;

use std::sync::{Mutex, PoisonError};

use cut::Dice;
use mounted::Ground;
use rrun_images::Layers;
use script::{VERBS, World};
use verbs::Verb;

/// On a thread with a mount namespace of its own, as all others have that the test starts. One test
/// at a time: the programs that another starts have, until they are executed, the locks of this one's
/// store.
fn on_ground<F: Future<Output = ()>>(test: impl FnOnce(Ground) -> F) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let ground = Ground::new();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(test(ground));
}

/// At every flush of a pull, and at some of those of all else.
fn a_power_cut_while_much_is_done(layers: Layers) {
    on_ground(|ground| async move {
        let world = World::new(layers, 10_000).await;
        let recording = script::record(&ground, &world, &VERBS).await;
        ground.reboot();
        let mut dice = Dice(11);
        let chosen = |verb: &str| match verb {
            "pull" => true,
            "pull in vain" => dice.roll(12) == 0,
            _ => dice.roll(3) == 0,
        };
        let (flushes, cuts, failed) = cut::cut_all(&ground, &world, &recording, chosen).await;
        println!("{flushes} flushes, {cuts} cuts");
        assert!(failed.is_empty(), "{} of {cuts}:\n{}", failed.len(), failed.join("\n"));
        assert!(flushes > 50 && cuts > 50);
    });
}

#[test]
fn a_power_cut_loses_no_image_and_leaves_none_that_is_not_whole() {
    a_power_cut_while_much_is_done(Layers::Directory);
}

#[test]
fn a_power_cut_loses_no_image_whose_layers_are_erofs_and_leaves_none_that_is_not_whole() {
    a_power_cut_while_much_is_done(Layers::Erofs);
}

#[test]
fn whatever_a_power_cut_leaves_of_a_layer_that_comes_in_pieces_its_next_pull_is_whole() {
    on_ground(|ground| async move {
        let world = World::new(Layers::Directory, 1_060_000).await;
        let recording = script::record(&ground, &world, &VERBS[..3]).await;
        ground.reboot();
        let mut dice = Dice(13);
        let chosen = |verb: &str| verb != "open" && dice.roll(12) == 0;
        let (_, cuts, failed) = cut::cut_all(&ground, &world, &recording, chosen).await;
        assert!(failed.is_empty(), "{} of {cuts}:\n{}", failed.len(), failed.join("\n"));
        assert!(cuts > 4);
    });
}

#[test]
fn a_layer_that_could_not_be_written_is_fetched_again_by_the_next_pull() {
    for layers in [Layers::Directory, Layers::Erofs] {
        on_ground(|ground| faults::what_was_lost_is_fetched_again(ground, layers));
    }
}

#[test]
fn a_layer_that_could_not_be_written_is_fetched_again_when_its_disk_is_mounted_again() {
    for layers in [Layers::Directory, Layers::Erofs] {
        on_ground(|ground| {
            faults::what_was_lost_before_the_disk_was_mounted_is_fetched_again(ground, layers)
        });
    }
}

#[test]
fn a_pull_fails_of_what_could_not_be_written_though_another_sync_was_told_of_it() {
    on_ground(faults::what_another_was_told_of_fails_the_pull_whose_layer_it_was);
}

#[test]
fn a_pull_on_a_disk_that_fails_or_gets_read_only_says_so_and_all_else_is_there_when_it_is_well() {
    for layers in [Layers::Directory, Layers::Erofs] {
        on_ground(|ground| faults::the_disk_fails_in_the_middle(ground, layers));
    }
}

#[test]
fn a_store_that_cannot_be_read_or_written_is_not_set_aside_as_damaged() {
    on_ground(faults::what_cannot_be_read_or_written_is_not_damaged);
}

#[test]
fn a_pull_that_fills_the_disk_says_so_and_gives_back_all_that_it_took() {
    for layers in [Layers::Directory, Layers::Erofs] {
        on_ground(|ground| faults::the_disk_is_full_in_the_middle(ground, layers));
    }
}

#[test]
fn an_import_a_tag_and_a_prune_on_a_disk_that_fails_say_so_and_all_else_is_there_when_it_is_well() {
    for layers in [Layers::Directory, Layers::Erofs] {
        for verb in Verb::ALL {
            on_ground(|ground| verbs::the_disk_fails_in_the_middle(ground, layers, verb));
        }
    }
}

#[test]
fn an_import_a_tag_and_a_prune_on_a_full_disk_say_so_or_need_no_room_and_leave_nothing() {
    for layers in [Layers::Directory, Layers::Erofs] {
        for verb in Verb::ALL {
            on_ground(|ground| verbs::the_disk_is_full(ground, layers, verb));
        }
    }
}

#[test]
fn an_import_a_tag_and_a_prune_on_a_disk_that_got_read_only_say_so_and_change_nothing() {
    for verb in Verb::ALL {
        on_ground(|ground| verbs::the_disk_gets_read_only(ground, verb));
    }
}
