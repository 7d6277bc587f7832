//! What a step may not do.

use rbx_sandbox::{Mount, MountKind, Network, Security};

use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("capabilities_and_filter", capabilities_and_filter),
    ("users_have_no_capabilities", users_have_no_capabilities),
    ("forbidden_calls", forbidden_calls),
    ("device_nodes_stay_shut", device_nodes_stay_shut),
    ("usual_devices_work", usual_devices_work),
    ("usual_devices_are_the_steps_own", usual_devices_are_the_steps_own),
    ("kernel_files_are_masked", kernel_files_are_masked),
    ("sys_is_read_only", sys_is_read_only),
    ("network_none_is_loopback", network_none_is_loopback),
    ("network_host_is_the_hosts", network_host_is_the_hosts),
    ("insecure_has_all", insecure_has_all),
    ("set_user_id_works", set_user_id_works),
    ("executable_of_the_helper_is_read_only", executable_of_the_helper_is_read_only),
];

/// Docker's 14 capabilities.
const DEFAULT: &str = "00000000a80425fb";
const NONE: &str = "0000000000000000";

fn status(text: &str, key: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key} in {text}"));
    line.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

fn capabilities_and_filter(world: &World) {
    let text = world.sh("cat /proc/self/status").ok();
    for (key, expected) in [
        ("CapInh:", NONE),
        ("CapPrm:", DEFAULT),
        ("CapEff:", DEFAULT),
        ("CapBnd:", DEFAULT),
        ("CapAmb:", NONE),
        ("NoNewPrivs:", "0"),
        ("Seccomp:", "2"),
        ("Seccomp_filters:", "1"),
    ] {
        assert_eq!(status(&text, key), expected, "{key}");
    }
}

fn users_have_no_capabilities(world: &World) {
    let mut step = world.step("step", "cat /proc/self/status");
    step.user = "bob".into();
    let text = world.run(&step).expect("a step").ok();
    for (key, expected) in
        [("CapInh:", NONE), ("CapPrm:", NONE), ("CapEff:", NONE), ("CapBnd:", DEFAULT), ("CapAmb:", NONE)]
    {
        assert_eq!(status(&text, key), expected, "{key}");
    }
}

fn forbidden_calls(world: &World) {
    for script in [
        "mount -t tmpfs none /tmp",
        "umount /proc",
        "unshare -m true",
        "unshare -r true",
        "hostname other",
        "chroot / unshare -n true",
        "date -s 2001-01-01",
    ] {
        let outcome = world.sh(script);
        let refused = ["not permitted", "permission denied"].map(|words| outcome.stderr.contains(words));
        assert!(refused.contains(&true), "{script}: {outcome:?}");
    }
    assert_eq!(world.sh("chroot / echo inside; chown 5:5 /tmp; chmod 4755 /tmp; mkfifo /f").ok(), "inside\n");
}

fn device_nodes_stay_shut(world: &World) {
    // The memory and the first disk of the host, in the image and made by the step, wherever it can write.
    let node = world.path("base/zero");
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        &node,
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::from_raw_mode(0o666),
        rustix::fs::makedev(1, 5),
    );
    made.expect("a node");
    let mut step = world.step(
        "step",
        "for dir in / /tmp /dev /dev/shm /memory /host /merged; do
            mknod $dir/made c 1 5 && head -c 1 $dir/made && echo opened $dir
         done 2>/tmp/errors
         head -c 1 /zero 2>>/tmp/errors && echo opened the image
         grep -c 'Permission denied' /tmp/errors",
    );
    let host = world.directory("host");
    let mount = |target: &str, kind| Mount { target: target.to_owned(), kind };
    let (upper, work) = (world.directory("other/upper"), world.directory("other/work"));
    step.mounts = vec![
        mount("/memory", MountKind::Tmpfs { size: None, mode: 0o755, read_only: false }),
        mount("/host", MountKind::Bind { source: host, selector: String::new(), read_only: false }),
        mount(
            "/merged",
            MountKind::Overlay { lower: vec![world.path("base")], upper, work, selector: String::new() },
        ),
    ];
    assert_eq!(world.run(&step).expect("a step").ok(), "8\n");
}

fn usual_devices_work(world: &World) {
    assert_eq!(
        world
            .sh("head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo x > /dev/null; cat /dev/null
                 echo x 2>/dev/null > /dev/full || echo full; stat -c %t:%T /dev/tty
                 test -c /dev/ptmx && ls /dev/pts; echo x > /dev/shm/x && readlink /dev/fd")
            .ok(),
        "3\n3\nfull\n5:0\nptmx\n/proc/self/fd\n"
    );
    assert_eq!(world.sh("df -m /dev/shm | tail -n 1 | awk '{print $2}'").ok(), "64\n");
    let mut step = world.step("step", "df -m /dev/shm | tail -n 1 | awk '{print $2}'");
    step.shm_size = Some(8 << 20);
    assert_eq!(world.run(&step).expect("a step").ok(), "8\n");
}

fn usual_devices_are_the_steps_own(world: &World) {
    world.sh("chmod 600 /dev/null && chown 1:1 /dev/zero").ok();
    let mode =
        |path: &str| std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path).expect("a node")) & 0o777;
    assert_eq!(mode("/dev/null"), 0o666);
    assert_eq!(world.sh("stat -c %a /dev/null").ok(), "666\n", "the next step's too");
}

fn kernel_files_are_masked(world: &World) {
    let script = "for file in kcore keys timer_list latency_stats sched_debug; do
            test -e /proc/$file || continue
            test $(head -c 1 /proc/$file | wc -c) = 0 || echo $file is there
        done
        for dir in /proc/acpi /proc/scsi /proc/asound /sys/firmware /sys/devices/virtual/powercap; do
            test -d $dir || continue
            test $(ls $dir | wc -l) = 0 || echo $dir is there
            touch $dir/x 2>/dev/null && echo $dir can be written
        done
        for file in sysrq-trigger sys/kernel/hostname sys/vm/swappiness; do
            (echo h > /proc/$file) 2>/dev/null && echo $file can be written
        done
        test $(head -c 1 /proc/interrupts | wc -c) = 1 && echo interrupts";
    assert_eq!(world.sh(script).ok(), "interrupts\n");
}

fn sys_is_read_only(world: &World) {
    let script = "test -d /sys/class/net && test -d /sys/fs/cgroup || echo missing
        find /sys/fs/cgroup -maxdepth 2 -type d | while read -r dir; do
            mkdir $dir/made 2>/dev/null && echo $dir can be written
        done
        grep ' /sys' /proc/mounts | awk '{print $4}' | grep -v '^ro,'; true";
    assert_eq!(world.sh(script).ok(), "");
}

fn interfaces(text: &str) -> Vec<String> {
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect();
    names.sort();
    names
}

fn network_none_is_loopback(world: &World) {
    let mut step =
        world.step("step", "cat /proc/net/dev; ls /sys/class/net >&2; ping -c 1 -W 1 127.0.0.1 >/dev/null");
    step.network = Network::None;
    let outcome = world.run(&step).expect("a step");
    let seen: Vec<&str> =
        outcome.stderr.lines().filter(|name| !name.starts_with("bonding_masters")).collect();
    assert!(seen.contains(&"lo") && !seen.contains(&"eth0"), "{seen:?}");
    let names = interfaces(&outcome.ok());
    // Tunnels that some kernels make in every namespace lead nowhere.
    let tunnels =
        ["sit0", "ip6tnl0", "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6gre0"];
    let real: Vec<&String> = names.iter().filter(|name| !tunnels.contains(&name.as_str())).collect();
    assert_eq!(real, ["lo"]);
}

fn network_host_is_the_hosts(world: &World) {
    let host = std::fs::read_to_string("/proc/net/dev").expect("interfaces");
    assert_eq!(interfaces(&world.sh("cat /proc/net/dev").ok()), interfaces(&host));
}

fn insecure_has_all(world: &World) {
    let own = std::fs::read_to_string("/proc/self/status").expect("a status");
    let mut step = world.step(
        "step",
        "cat /proc/self/status; mount -t tmpfs none /tmp && unshare -m true && hostname other &&
         mkdir -p /sys/fs/cgroup && test -w /proc/sys/kernel/hostname && test -b /dev/loop0 &&
         test -c /dev/kmsg && echo x > /dev/null && mknod /n c 1 5 && head -c 1 /n | wc -c",
    );
    step.security = Security::Insecure;
    let text = world.run(&step).expect("a step").ok();
    assert_eq!(status(&text, "CapEff:"), status(&own, "CapEff:"));
    assert_eq!(status(&text, "Seccomp:"), "0");
    assert!(text.ends_with("1\n"), "{text}");
    world.clear("step");

    let mut step = world.step("step", "cat /proc/self/status");
    step.security = Security::Insecure;
    step.user = "bob".into();
    let text = world.run(&step).expect("a step").ok();
    assert_eq!(
        status(&text, "CapEff:"),
        status(&own, "CapEff:"),
        "by ambient capabilities, as with BuildKit"
    );
}

fn set_user_id_works(world: &World) {
    // `ping` needs a raw socket, which bob may not open and root may.
    world.directory("base/suid");
    std::fs::copy(world.path("base/bin/busybox"), world.path("base/suid/ping")).expect("a copy");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    std::fs::set_permissions(world.path("base/suid/ping"), mode).expect("a mode");
    let script = "ping -c 1 127.0.0.1 >/dev/null 2>&1 || echo refused; /suid/ping -c 1 127.0.0.1 >/dev/null && echo sent";
    let mut step = world.step("step", script);
    step.user = "bob".into();
    step.network = Network::None;
    assert_eq!(world.run(&step).expect("a step").ok(), "refused\nsent\n");
}

fn executable_of_the_helper_is_read_only(_: &World) {
    let helper = crate::life::helper_of(std::process::id()).expect("a helper");
    let writable = |path: &str| {
        rustix::fs::accessat(
            rustix::fs::CWD,
            path,
            rustix::fs::Access::WRITE_OK,
            rustix::fs::AtFlags::empty(),
        )
    };
    assert_eq!(writable("/proc/self/exe"), Ok(()), "root may write the program itself");
    assert_eq!(writable(&format!("/proc/{helper}/exe")), Err(rustix::io::Errno::ROFS));
}
