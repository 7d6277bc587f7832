//! docker-rbx as its users run it, on real parts. Each case of the corpus and each topic of the language is a
//! test of its own.

mod check;
mod container;
mod doctor;
mod drivers;
mod editor;
mod emulation;
mod facts;
mod faults;
mod flood;
mod full;
mod inside;
mod interrupted;
mod killed;
mod loads;
mod mounts;
mod outputs;
mod platforms;
mod plugin;
mod push;
mod registries;
mod sources;
mod storage;
mod together;
mod tutorials;
mod users;
mod walkthrough;

use libtest_mimic::{Arguments, Failed, Trial};
use rbx_tests::corpus::Case;
use rbx_tests::language::Topic;

fn main() {
    let arguments = Arguments::from_args();
    let corpus = Case::all().into_iter().flat_map(|case| {
        let name = case.name.clone();
        let trial = |kind: &str, check: fn(&Case) -> Result<(), String>| {
            let case = case.clone();
            Trial::test(format!("{kind}::{name}"), move || check(&case).map_err(Failed::from))
        };
        let one_id = trial("one_id", Case::check_with_one_id);
        [trial("corpus", Case::check), trial("rootless", Case::check_rootless)]
            .into_iter()
            .chain(case.needs_ids().then_some(one_id))
            .chain(case.is_for_two_platforms().then(|| trial("two_platforms", Case::check_two_platforms)))
    });
    let language = Topic::all().into_iter().map(|topic| {
        Trial::test(format!("language::{}", topic.name), move || topic.check().map_err(Failed::from))
    });
    let trials = corpus
        .chain(check::trials())
        .chain(container::trials())
        .chain(doctor::trials())
        .chain(drivers::trials())
        .chain(editor::trials())
        .chain(emulation::trials())
        .chain(facts::trials())
        .chain(faults::trials())
        .chain(flood::trials())
        .chain(full::trials())
        .chain(language)
        .chain(inside::trials())
        .chain(interrupted::trials())
        .chain(killed::trials())
        .chain(loads::trials())
        .chain(mounts::trials())
        .chain(outputs::trials())
        .chain(platforms::trials())
        .chain(plugin::trials())
        .chain(push::trials())
        .chain(registries::trials())
        .chain(sources::trials())
        .chain(storage::trials())
        .chain(together::trials())
        .chain(tutorials::trials())
        .chain(users::trials())
        .chain(walkthrough::trials())
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
