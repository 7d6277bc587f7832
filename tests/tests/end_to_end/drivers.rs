//! The table: builds of every kind on builders of every driver, by docker-rbx and by buildx.
//!
//! A test is a row and a topic, and says all that is wrong in its cells. `RBX_PROGRAM=buildx` leaves docker-rbx out.

mod arguments;
mod cache;
mod contexts;
mod corpus;
mod differences;
mod failures;
mod outputs;
mod queries;
mod registries;

use libtest_mimic::{Failed, Trial};
use rbx_tests::builders::{Builder, Program, Row, buildkit_image};
use rbx_tests::table::{Build, Site, check, check_lists};

/// The columns by their topics.
const TOPICS: [(&str, &[Build]); 7] = [
    ("arguments", arguments::BUILDS),
    ("cache", cache::BUILDS),
    ("contexts", contexts::BUILDS),
    ("failures", failures::BUILDS),
    ("outputs", outputs::BUILDS),
    ("queries", queries::BUILDS),
    ("registries", registries::BUILDS),
];

/// The topics of a row, where they are not all: those whose builds depend on the way to BuildKit, which is the same
/// BuildKit as in other rows. That of an image which only stands for BuildKit's is, too.
fn is_tried(row: Row, topic: &str) -> bool {
    match row {
        Row::Embedded | Row::DockerContainerd | Row::DockerGraph | Row::ContainerDind => true,
        Row::ContainerBuildKit => buildkit_image().is_some() || ["cache", "contexts"].contains(&topic),
        Row::RemoteUnix => ["cache", "contexts", "outputs"].contains(&topic),
        Row::RemoteTls => topic == "failures",
    }
}

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![Trial::test("drivers::lists_are_of_columns", || {
        let builds: Vec<&Build> = TOPICS.iter().flat_map(|(_, builds)| *builds).collect();
        check_lists(&builds, &differences::LISTS).map_err(Failed::from)
    })];
    let corpus = format!("drivers::{}::corpus", Row::DockerContainerd.name());
    trials.push(Trial::test(corpus, || corpus::check().map_err(Failed::from)));
    for row in Row::ALL {
        // Its builder is slow to start, and each test may be a process of its own.
        if row.is_container() {
            let topics = TOPICS.iter().filter(|(topic, _)| is_tried(row, topic));
            let all: Vec<Build> = topics.flat_map(|(_, builds)| *builds).copied().collect();
            trials.push(Trial::test(format!("drivers::{}::all", row.name()), move || {
                check_all(row, &all).map_err(Failed::from)
            }));
            continue;
        }
        for (topic, builds) in TOPICS {
            if !is_tried(row, topic) {
                continue;
            }
            trials.push(Trial::test(format!("drivers::{}::{topic}", row.name()), move || {
                check_all(row, builds).map_err(Failed::from)
            }));
        }
    }
    trials
}

/// Checks the cells of a row; `$RBX_COLUMN` picks one.
fn check_all(row: Row, builds: &[Build]) -> Result<(), String> {
    let site = Site::new(Builder::shared(row));
    let programs: &[Program] = match std::env::var("RBX_PROGRAM").as_deref() {
        Ok("buildx") => &[Program::Buildx],
        _ => &[Program::Buildx, Program::Rbx],
    };
    let only = std::env::var("RBX_COLUMN").ok();
    let reports: Vec<String> = builds
        .iter()
        .filter(|build| only.as_ref().is_none_or(|only| only == build.name))
        .filter_map(|build| check(&site, build, &differences::LISTS, programs).err())
        .collect();
    if reports.is_empty() {
        return Ok(());
    }
    Err(format!("{} of {} cells:\n{}", reports.len(), builds.len(), reports.join("\n\n")))
}
