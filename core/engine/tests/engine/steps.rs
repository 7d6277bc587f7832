//! Steps: what they see, what they leave, how they fail.

use std::collections::BTreeMap;

use libtest_mimic::Trial;
use rbx_engine::LogLimits;

use crate::fixture::{Built, Fixture, trial};
use rbx_request::FailureKind;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("run_sees_copies_and_leaves_files", run_sees_copies_and_leaves_files),
        trial("deletions_hide_lower_files", deletions_hide_lower_files),
        trial("directory_made_anew_is_empty", directory_made_anew_is_empty),
        trial("failing_step_names_itself", failing_step_names_itself),
        trial("endless_output_is_clipped", endless_output_is_clipped),
        trial("stages_not_needed_never_run", stages_not_needed_never_run),
        trial("independent_stages_run_at_the_same_time", independent_stages_run_at_the_same_time),
        trial("changed_copy_under_a_run_is_what_the_run_sees", changed_copy_under_a_run_is_what_the_run_sees),
        trial(
            "versions_of_a_copy_are_laid_out_as_differences",
            versions_of_a_copy_are_laid_out_as_differences,
        ),
        trial("links_in_the_destination_are_followed_inside", links_in_the_destination_are_followed_inside),
        trial("mounts_of_other_stages", mounts_of_other_stages),
        trial("missing_source_is_an_error_on_its_line", missing_source_is_an_error_on_its_line),
    ]
}

const SHELL: &str = "FROM scratch AS shell\nCOPY busybox /bin/busybox\nSHELL [\"/bin/busybox\", \"sh\", \"-c\"]\nRUN /bin/busybox --install -s /bin\nENV PATH=/bin\n";

pub(crate) fn shell(fixture: &mut Fixture, rest: &str) {
    fixture.busybox();
    fixture.dockerfile(&format!("{SHELL}{rest}"));
}

fn run_sees_copies_and_leaves_files(fixture: &mut Fixture) {
    fixture.write("src/a", "one");
    shell(
        fixture,
        "WORKDIR /w\nCOPY src .\nRUN cat a && echo \"$(pwd) $(id -u)\" >b && mkdir -m 750 d && ln a c\n",
    );
    let built = fixture.build().expect("a build");
    assert!(built.output().contains("one"));
    assert_eq!(built.text("w/b"), "/w 0\n");
    assert_eq!(built.entry("w/d").mode, 0o750);
    assert_eq!(built.text("w/c"), "one");
}

fn deletions_hide_lower_files(fixture: &mut Fixture) {
    shell(
        fixture,
        "RUN mkdir -p /d/e && echo 1 >/d/e/f && echo 2 >/d/g\nRUN rm -r /d/e && rm /d/g && ls /d >/listing\n",
    );
    let built = fixture.build().expect("a build");
    assert!(built.has("d") && !built.has("d/e") && !built.has("d/e/f") && !built.has("d/g"));
    assert_eq!(built.text("listing"), "");
}

fn directory_made_anew_is_empty(fixture: &mut Fixture) {
    shell(
        fixture,
        "RUN mkdir /d && echo 1 >/d/old\nRUN rm -r /d && mkdir /d && echo 2 >/d/new\nRUN ls /d >/listing\n",
    );
    let built = fixture.build().expect("a build");
    assert_eq!(built.text("listing"), "new\n");
    assert!(built.has("d/new") && !built.has("d/old"));
}

fn failing_step_names_itself(fixture: &mut Fixture) {
    shell(fixture, "RUN echo before && exit 7\n");
    let error = fixture.build().err().expect("a failure");
    assert_eq!(error.kind, FailureKind::Step(7));
    assert_eq!(error.step.as_deref(), Some("[3/3] RUN echo before && exit 7"), "{error:?}");
    assert_eq!(error.source_range.as_ref().expect("a place").first, 6);
    assert_eq!(
        error.reason,
        "process \"/bin/busybox sh -c echo before && exit 7\" did not complete successfully: exit code: 7"
    );
}

fn endless_output_is_clipped(fixture: &mut Fixture) {
    fixture.log_limits = LogLimits { size: Some(1 << 20), speed: None };
    let flood = "yes 0123456789abcde | head -c 64000000";
    shell(fixture, &format!("RUN {flood} && echo out && echo err >&2\n"));
    let built = fixture.build().expect("a build");
    let clipped = "\n[output clipped, log limit 1MiB reached]\n";
    let expected = format!("{}{clipped}err\n", "0123456789abcde\n".repeat(1 << 16));
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&built.output()), sorted(&expected));

    // What is told last of a step that fails is the end of its output.
    shell(fixture, &format!("RUN {flood}; echo the reason; false\n"));
    let (result, events) = fixture.run();
    assert_eq!(result.expect_err("a failing step").kind, FailureKind::Step(1));
    let output = Built { events, files: BTreeMap::new() }.output();
    assert!(output.ends_with("\nthe reason\n"), "{}", &output[output.len() - 100..]);
    assert_eq!(output.len(), (1 << 20) + clipped.len() + (256 << 10));
}

fn stages_not_needed_never_run(fixture: &mut Fixture) {
    shell(fixture, "FROM shell AS broken\nRUN exit 1\nFROM shell\nRUN echo fine >/fine\n");
    assert_eq!(fixture.build().expect("a build").text("fine"), "fine\n");
}

fn independent_stages_run_at_the_same_time(fixture: &mut Fixture) {
    shell(
        fixture,
        "FROM shell AS one\nRUN sleep 1 && echo 1 >/one\nFROM shell AS two\nRUN sleep 1 && echo 2 >/two\n\
         FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\n",
    );
    let built = fixture.build().expect("a build");
    assert_eq!((built.text("one"), built.text("two")), ("1\n".to_owned(), "2\n".to_owned()));
    let (one, two) = (built.times("echo 1"), built.times("echo 2"));
    assert!(one.0 < two.1 && two.0 < one.1, "one after the other: {one:?}, {two:?}");
}

fn changed_copy_under_a_run_is_what_the_run_sees(fixture: &mut Fixture) {
    for name in ["a", "b", "c/d"] {
        fixture.write(&format!("src/{name}"), name);
    }
    shell(fixture, "COPY src /src\nRUN cd /src && find . -type f | sort | xargs cat >/all\n");
    assert_eq!(fixture.build().expect("a build").text("all"), "abc/d");
    fixture.write("src/b", "changed");
    std::fs::remove_file(fixture.context("src/a")).expect("removal");
    fixture.write("src/c/e", "added");
    let built = fixture.build().expect("a build");
    assert_eq!(built.text("all"), "changedc/dadded");
    assert!(!built.has("src/a"));
}

fn versions_of_a_copy_are_laid_out_as_differences(fixture: &mut Fixture) {
    for number in 0..100 {
        fixture.write(&format!("src/d{}/f{number}", number % 10), &number.to_string());
    }
    shell(
        fixture,
        "COPY src /src\nRUN cd /src && find . | sort >/names && cat $(find . -type f | sort) >/all\n\
         FROM scratch\nCOPY --from=shell /src /copy\nCOPY --from=shell /names /all /\n",
    );
    for round in 0..12 {
        match round % 4 {
            0 => fixture.write("src/d3/f3", &format!("round {round}")),
            1 => fixture.write(&format!("src/new{round}/deep/file"), "new"),
            2 => std::fs::remove_file(fixture.context(&format!("src/d5/f{round}5"))).unwrap_or_default(),
            _ => {
                std::fs::remove_dir_all(fixture.context(&format!("src/new{}", round - 2))).expect("removal");
                fixture.write(&format!("src/new{}", round - 2), "a file now");
            }
        }
        let built = fixture.build().expect("a build");
        let mut names: Vec<String> = built
            .files
            .keys()
            .filter_map(|path| path.strip_prefix("copy"))
            .map(|path| format!(".{path}"))
            .collect();
        names.sort();
        let seen: Vec<String> = built.text("names").lines().map(str::to_owned).collect();
        assert_eq!(seen, names, "round {round}");
        let on_disk: String = seen
            .iter()
            .filter_map(|name| std::fs::read_to_string(fixture.context("src").join(name)).ok())
            .collect();
        assert_eq!(built.text("all"), on_disk, "round {round}");
        let copied: String = names
            .iter()
            .filter_map(|name| built.files.get(&format!("copy{}", &name[1..])))
            .map(|(_, content)| String::from_utf8_lossy(content).into_owned())
            .collect();
        assert_eq!(copied, on_disk, "round {round}");
    }
    // Eight of the twelve hang together by then; all were differences but the first and those after a row's end.
    let trees = fixture.directory.path().join("store/v1/trees");
    let differences = std::fs::read_dir(trees)
        .expect("trees")
        .filter(|tree| tree.as_ref().is_ok_and(|tree| tree.path().join("base").exists()))
        .count();
    assert!(differences >= 8, "{differences} differences");
}

fn links_in_the_destination_are_followed_inside(fixture: &mut Fixture) {
    fixture.write("f", "one");
    shell(
        fixture,
        "RUN mkdir /real && ln -s /real /abs && ln -s ../../../real /rel && ln -s /nowhere /dangling\n\
         COPY f /abs/a\nCOPY f /rel/b\nCOPY f /dangling/c\n",
    );
    let built = fixture.build().expect("a build");
    for path in ["real/a", "real/b", "nowhere/c"] {
        assert_eq!(built.text(path), "one", "{path}");
    }
}

fn mounts_of_other_stages(fixture: &mut Fixture) {
    shell(
        fixture,
        "FROM shell AS tools\nRUN mkdir /t && echo tool >/t/x\nFROM shell\n\
         RUN --mount=type=bind,from=tools,source=/t,target=/mnt --mount=type=tmpfs,target=/tmp \
         cat /mnt/x >/seen && echo gone >/tmp/x\n",
    );
    let built = fixture.build().expect("a build");
    assert_eq!(built.text("seen"), "tool\n");
    assert!(!built.has("mnt/x") && !built.has("tmp/x"));
}

fn missing_source_is_an_error_on_its_line(fixture: &mut Fixture) {
    fixture.dockerfile("FROM scratch\n\nCOPY nowhere /\n");
    let error = fixture.build().err().expect("a failure");
    assert_eq!(error.kind, FailureKind::Invalid);
    assert!(error.reason.contains("\"/nowhere\": not found"), "{}", error.reason);
    assert_eq!(error.source_range.as_ref().expect("a place").first, 3);
}
