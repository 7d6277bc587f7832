//! What steps are granted, and what they may use.

use libtest_mimic::Trial;
use rbx_request::{FailureKind, Network, Ulimit};

use crate::fixture::{Fixture, trial};
use crate::steps::shell;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("privileges_have_to_be_granted", privileges_have_to_be_granted),
        trial("insecure_steps_may_do_all", insecure_steps_may_do_all),
        trial("devices_of_specifications", devices_of_specifications),
        trial("devices_that_cannot_be_had", devices_that_cannot_be_had),
        trial("resources_limit_steps", resources_limit_steps),
        trial("memory_that_ran_out_is_named", memory_that_ran_out_is_named),
        trial("groups_have_the_parent_asked_for", groups_have_the_parent_asked_for),
        trial("limits_that_cannot_be_are_refused_first", limits_that_cannot_be_are_refused_first),
    ]
}

fn allow(fixture: &mut Fixture, entitlements: &[&str]) {
    fixture.request.allow = entitlements.iter().map(|&it| it.to_owned()).collect();
}

fn privileges_have_to_be_granted(fixture: &mut Fixture) {
    shell(fixture, "RUN --network=host echo host\n");
    let error = fixture.build().err().expect("a refusal");
    assert_eq!((error.kind, error.reason.as_str()), (FailureKind::Invalid, "network.host is not allowed"));
    assert_eq!(error.hint.as_deref(), Some("add --allow network.host"));
    assert_eq!(error.source_range.as_ref().expect("a place").first, 6);
    allow(fixture, &["network.host"]);
    assert!(fixture.build().expect("a build").output().contains("host"));
    allow(fixture, &[]);
    fixture.request.network = Network::Host;
    fixture.build().expect("--network=host grants it as well");

    fixture.request.network = Network::Default;
    shell(fixture, "RUN --security=insecure echo insecure\n");
    for granted in [&[][..], &["network.host", "device"]] {
        allow(fixture, granted);
        let error = fixture.build().err().expect("a refusal");
        assert_eq!(error.reason, "security.insecure is not allowed");
        assert_eq!(error.hint.as_deref(), Some("add --allow security.insecure"));
    }
    shell(fixture, "RUN --security=sandbox echo sandbox\n");
    allow(fixture, &[]);
    fixture.build().expect("what every step has needs no grant");
}

fn insecure_steps_may_do_all(fixture: &mut Fixture) {
    let step = "mount -t tmpfs none /tmp 2>/dev/null && umount /tmp && grep Seccomp: /proc/self/status";
    shell(
        fixture,
        &format!("RUN mkdir -p /tmp\nRUN --security=insecure {step}\nRUN {step} || echo refused\n"),
    );
    allow(fixture, &["security.insecure"]);
    let built = fixture.build().expect("a build");
    assert_eq!(built.output(), "Seccomp:\t0\nrefused\n");
    // It is another step than one with a sandbox.
    shell(fixture, &format!("RUN mkdir -p /tmp\nRUN {step} || echo refused\n"));
    assert_eq!(fixture.build().expect("a build").output(), "refused\n");
    assert!(fixture.build().expect("a build").cached("RUN mount"));
}

const SPECIFICATION: &str = r#"{"cdiVersion": "0.6.0", "kind": "vendor.example/device", "containerEdits": {"env": ["COMMON=1"]},
    "devices": [
        {"name": "zero", "containerEdits": {"env": ["DEVICE=zero"],
            "deviceNodes": [{"path": "/dev/vendor/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 384}],
            "mounts": [{"hostPath": "MOUNTED", "containerPath": "/vendor/lib", "options": ["ro"]}]}},
        {"name": "hooked", "containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/bin/true"}]}}]}"#;

fn specify(fixture: &mut Fixture) {
    let (directory, mounted) = (fixture.context("cdi"), fixture.context("vendor"));
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::create_dir_all(&mounted).expect("a directory");
    std::fs::write(mounted.join("library"), "of the vendor\n").expect("a file");
    let text = SPECIFICATION.replace("MOUNTED", &mounted.display().to_string());
    std::fs::write(directory.join("vendor.json"), text).expect("a specification");
    fixture.steps.device_specs = vec![directory];
}

fn devices_of_specifications(fixture: &mut Fixture) {
    specify(fixture);
    let rest = "RUN --device=vendor.example/device=zero,required echo $COMMON $DEVICE; \
                head -c 2 /dev/vendor/zero | wc -c; stat -c %a:%t:%T /dev/vendor/zero; cat /vendor/lib/library; \
                touch /vendor/lib/x 2>/dev/null || echo read-only\n\
                RUN ls /dev/vendor /vendor 2>/dev/null; echo $DEVICE gone\n";
    shell(fixture, rest);
    allow(fixture, &["device=vendor.example/device=zero"]);
    let built = fixture.build().expect("a build");
    assert_eq!(built.output(), "1 zero\n2\n600:1:5\nof the vendor\nread-only\ngone\n");
    assert!(!built.has("vendor") && !built.has("dev/vendor"), "nothing of it stays in the layer");
    // The first of its kind is the same device under another name; the file is not asked for its content.
    assert!(fixture.build().expect("a build").cached("RUN --device"));
    // Without the grant nothing runs.
    allow(fixture, &[]);
    let error = fixture.build().err().expect("a refusal");
    let device = "vendor.example/device=zero";
    assert_eq!(error.reason, format!("device {device} is requested by the build but not allowed"));
    assert_eq!(error.hint, Some(format!("add --allow device={device}")));
    assert!(error.source_range.is_some());
}

fn devices_that_cannot_be_had(fixture: &mut Fixture) {
    specify(fixture);
    allow(fixture, &["device"]);
    shell(fixture, "RUN --device=vendor.example/device=none echo optional\n");
    assert!(fixture.build().expect("a build").output().contains("optional"));
    shell(fixture, "RUN --device=vendor.example/device=none,required true\n");
    let error = fixture.build().err().expect("a refusal");
    assert_eq!(error.reason, "required device \"vendor.example/device=none\" is not registered");
    shell(fixture, "RUN touch /ran\nRUN --device=vendor.example/device=hooked true\n");
    let (result, events) = fixture.run();
    let error = result.expect_err("a refusal");
    assert!(error.reason.ends_with("createContainer hooks are programs of the host, and none are run here"));
    assert!(events.iter().all(|event| !format!("{event:?}").contains("RUN touch")), "before the first step");
}

fn resource(fixture: &mut Fixture, key: &str, value: &str) {
    fixture.request.resources.insert(key.to_owned(), value.to_owned());
}

fn resources_limit_steps(fixture: &mut Fixture) {
    resource(fixture, "cpuset-cpus", "0");
    resource(fixture, "memory", "67108864");
    shell(
        fixture,
        "RUN nproc; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true\n",
    );
    let built = fixture.build().expect("a build");
    assert_eq!(built.output(), "1\n67108864\n");
    assert!(fixture.build().expect("a build").cached("RUN nproc"));
    // A command can tell what it is limited to: another limit is another step.
    resource(fixture, "memory", "134217728");
    assert_eq!(fixture.build().expect("a build").output(), "1\n134217728\n");
}

fn memory_that_ran_out_is_named(fixture: &mut Fixture) {
    shell(fixture, "RUN head -c 64m /dev/zero | tail -c 60m >/dev/null; exit 137\n");
    resource(fixture, "memory", "16777216");
    let error = fixture.build().err().expect("a failure");
    assert_eq!(error.kind, FailureKind::Step(137));
    assert!(error.reason.ends_with("did not complete successfully: cannot allocate memory"), "{error:?}");
    assert!(error.hint.as_deref().is_some_and(|hint| hint.starts_with("out of memory: ")), "{error:?}");
}

fn groups_have_the_parent_asked_for(fixture: &mut Fixture) {
    let parent = format!("rbxtest-engine-{}", std::process::id());
    fixture.request.cgroup_parent = Some(parent.clone());
    shell(fixture, "RUN cat /proc/self/cgroup\n");
    let built = fixture.build();
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").expect("control groups").flatten() {
        let _ = std::fs::remove_dir(hierarchy.path().join(&parent));
    }
    let output = built.expect("a build").output();
    assert!(output.lines().all(|line| line.contains(&format!(":/{parent}/rbx-"))), "{output}");
}

fn limits_that_cannot_be_are_refused_first(fixture: &mut Fixture) {
    shell(fixture, "RUN true\n");
    fixture.request.ulimits = vec![Ulimit { name: "nofile".to_owned(), soft: 1 << 40, hard: 1 << 40 }];
    let error = fixture.build().err().expect("a refusal");
    assert!(error.reason.contains("nofile=1099511627776"), "{error:?}");
    assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("fs.nr_open")), "{error:?}");
    fixture.request.ulimits = vec![Ulimit { name: "nofile".to_owned(), soft: 77, hard: 99 }];
    shell(fixture, "RUN ulimit -n; ulimit -Hn\n");
    assert_eq!(fixture.build().expect("a build").output(), "77\n99\n");
}
