//! Builds that are killed, interrupted and disturbed at any moment, and many builds at once. `rbx-stress` does more
//! of the same.

use libtest_mimic::{Failed, Trial};
use rbx_tests::stress::Stress;

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("killed::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("store_and_images_stay_right", || Stress::new(None).disturbed(20, 7, &mut |_| {})),
        trial("many_builds_share_a_store", || Stress::new(None).at_once(8, false, &mut |_| {})),
        trial("nothing_in_use_is_pruned", || Stress::new(None).at_once(6, true, &mut |_| {})),
    ]
}
