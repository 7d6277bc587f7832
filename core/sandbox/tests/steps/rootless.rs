//! The same steps, run by an ordinary user; and what such a user is refused.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Output};

use rbx_sandbox::{Rights, become_root};
use rbx_tests::User;

use crate::Test;
use crate::world::{PATH, PLACE, World};

pub(crate) const TESTS: &[Test] =
    &[("rootless_with_ranges", rootless_with_ranges), ("rootless_with_one_id", rootless_with_one_id)];

/// The argument that starts this program as a user.
pub(crate) const SCENE: &str = "scene-rootless";

/// Tests that are not for users, with the reason.
const FOR_ROOT: &[(&str, &str)] = &[
    ("device_nodes_stay_shut", "it makes a device node"),
    ("usual_devices_are_the_steps_own", "they are the host's, which no user changes"),
    ("executable_of_the_helper_is_read_only", "the program is not the user's to begin with"),
    ("insecure_has_all", "it has what root of the host has"),
    ("users_are_told_to_be_root", "it becomes another user"),
    ("an_overlay_cannot_hold_the_store", "it mounts with the rights of the host"),
];

/// Runs tests as whoever this process is, after it has become root of a namespace: those named, or all.
pub(crate) fn play() {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [place, names @ ..] = arguments.as_slice() else { panic!("no place") };
    let mut out = std::io::stdout();
    match become_root(PATH) {
        Ok(rights) => writeln!(out, "{rights:?}").expect("output"),
        Err(error) => return writeln!(out, "{error}").expect("output"),
    }
    PLACE.set(Path::new(place).to_owned()).expect("the first place");
    for (name, test) in crate::all().filter(|(name, _)| names.iter().any(|wanted| wanted == name)) {
        // The reason is printed by the panic.
        let passed = catch_unwind(AssertUnwindSafe(|| test(&World::new()))).is_ok();
        writeln!(out, "{} {name}", if passed { "ok" } else { "FAILED" }).expect("output");
    }
}

fn play_as(user: &User, names: &[&str]) -> Output {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(User::runner());
    user.run(&mut command, &program).arg(SCENE).arg(user.home()).args(names).output().expect("unshare")
}

/// Runs the tests that are in `names`, or all that are not for root, and expects them to pass.
fn all_pass(user: &User, rights: &Rights, names: &[&str]) {
    let output = play_as(user, names);
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.starts_with(&format!("{rights:?}\n")), "{said}{errors}");
    let passed = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert_eq!(passed, names.len(), "{said}{errors}");
}

fn rootless_with_ranges(_: &World) {
    let names: Vec<&str> = crate::all()
        .map(|(name, _)| name)
        .filter(|name| !FOR_ROOT.iter().any(|(other, _)| other == name))
        .collect();
    all_pass(&User::with_ranges(), &Rights::Ranges, &names);
}

fn rootless_with_one_id(_: &World) {
    let user = User::with_one_id();
    let remedy = format!(
        "give {0} more ids, with the package uidmap installed: sudo usermod --add-subuids 100000-165535 \
         --add-subgids 100000-165535 {0}",
        User::NAME
    );
    all_pass(&user, &Rights::OneId { remedy }, &["capabilities_and_filter", "usual_devices_work"]);
}
