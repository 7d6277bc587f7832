//! The same steps, run by an ordinary user; and what such a user is refused.

use std::io::Write;
use std::process::{Command, Output};

use rbx_sandbox::{Rights, become_root};
use rbx_tests::{Parts, User};

use crate::world::{PATH, World};
use crate::{Test, emulation};

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

/// Runs tests as whoever this process is, after it has become root of a namespace.
pub(crate) fn play() {
    let mut out = std::io::stdout();
    match become_root(PATH) {
        Ok(rights) => writeln!(out, "{rights:?}").expect("output"),
        Err(error) => return writeln!(out, "{error}").expect("output"),
    }
    crate::play_tests(crate::all().chain(emulation::TESTS.iter().copied()));
}

fn play_as(user: &User, names: &[&str]) -> Output {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(User::runner());
    command.env("RBX_PARTS", user.home().join("parts"));
    user.run(&mut command, &program).arg(SCENE).arg(user.home()).args(names).output().expect("unshare")
}

/// Runs tests and expects them to pass.
fn all_pass(user: User, rights: &Rights, names: &[&str]) {
    // The user may not be let into the directory of the parts.
    let parts = Parts::locate().directory().canonicalize().expect("the parts");
    let show = format!("mkdir -p \"$HOME/parts\"; mount --bind {} \"$HOME/parts\"", parts.display());
    let output = play_as(&user.wrapped(&show), names);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with(&format!("{rights:?}\n")), "{said}{}", String::from_utf8_lossy(&output.stderr));
    crate::all_passed(names, &output);
}

fn rootless_with_ranges(_: &World) {
    let names: Vec<&str> = crate::all()
        .map(|(name, _)| name)
        .filter(|name| !FOR_ROOT.iter().any(|(other, _)| other == name))
        .chain(emulation::TESTS.iter().map(|(name, _)| *name))
        .collect();
    all_pass(User::with_ranges(), &Rights::Ranges, &names);
}

fn rootless_with_one_id(_: &World) {
    let user = User::with_one_id();
    let remedy = format!(
        "give {0} more ids, with the package uidmap installed: sudo usermod --add-subuids 100000-165535 \
         --add-subgids 100000-165535 {0}",
        User::NAME
    );
    let names = [
        "capabilities_and_filter",
        "usual_devices_work",
        "foreign_programs_run",
        "registrations_are_out_of_reach",
    ];
    all_pass(user, &Rights::OneId { remedy }, &names);
}
