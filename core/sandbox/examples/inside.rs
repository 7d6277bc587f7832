//! Prints what a process may do where it runs: the answer to every system call, to what escapes are made of, and what
//! can be seen of the world outside. Two sandboxes are compared by comparing what this prints in them.
//!
//! The end-to-end tests compile it by itself, statically (`rustc -C target-feature=+crt-static`), so that it runs in
//! any image. That is why it uses the standard library only. The numbers are those of x86-64. Run outside a sandbox it may change the system.

use std::ffi::{CStr, c_int, c_long};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn __errno_location() -> *mut c_int;
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn pipe(fds: *mut c_int) -> c_int;
    fn close(fd: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
    fn alarm(seconds: u32) -> u32;
}

/// What a call comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done,
    Error(i32),
}

impl std::fmt::Display for Answer {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Done => "ok",
            Self::Error(1) => "EPERM",
            Self::Error(2) => "ENOENT",
            Self::Error(9) => "EBADF",
            Self::Error(13) => "EACCES",
            Self::Error(14) => "EFAULT",
            Self::Error(22) => "EINVAL",
            Self::Error(38) => "ENOSYS",
            Self::Error(errno) => return write!(to, "errno {errno}"),
        };
        to.write_str(name)
    }
}

/// Makes a call in this process.
fn call(number: c_long, args: [c_long; 6]) -> Answer {
    let [first, second, third, fourth, fifth, sixth] = args;
    // SAFETY: the arguments are numbers, pointers that the kernel refuses, or memory of the callers that outlives the
    // call; and calls that do something to this process are made in one of its own.
    let result = unsafe { syscall(number, first, second, third, fourth, fifth, sixth) };
    if result == -1 {
        // SAFETY: the C library's own variable of this thread.
        return Answer::Error(unsafe { *__errno_location() });
    }
    Answer::Done
}

/// The same through the 32-bit interface.
#[cfg(target_arch = "x86_64")]
fn call32(number: c_long, args: [c_long; 6]) -> Answer {
    let number = i32::try_from(number).unwrap_or(-1);
    let result: c_long;
    let [first, second, third, fourth, fifth, _] = args;
    // SAFETY: as for `call`. The sixth argument stays what it is, RBX is put back.
    unsafe {
        std::arch::asm!(
            "push rbx", "mov ebx, {first:e}", "int 0x80", "pop rbx",
            first = in(reg) first, inlateout("rax") c_long::from(number) => result, in("rcx") second, in("rdx") third,
            in("rsi") fourth, in("rdi") fifth, lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    // The answer is the lower half.
    #[expect(clippy::cast_possible_truncation, reason = "the upper half means nothing")]
    let low = result as i32;
    if (-4095..0).contains(&low) { Answer::Error(-low) } else { Answer::Done }
}

/// What an attempt comes to in a process of its own, as text.
fn apart(attempt: impl FnOnce() -> Answer) -> String {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors; this process has one thread, so its copy is whole.
    let child = unsafe {
        assert_eq!(pipe(ends.as_mut_ptr()), 0, "a pipe");
        fork()
    };
    let [reader, writer] = ends;
    if child == 0 {
        let own = std::process::id();
        // SAFETY: standard input is not used in this process; what a call does to it is not to reach a device.
        unsafe {
            close(0);
            close(reader);
            alarm(2);
        }
        let answer = attempt();
        // A call such as `fork` returns twice.
        if std::process::id() == own {
            // SAFETY: the writing end of the pipe, which nobody else here owns.
            let mut pipe = unsafe { fs::File::from_raw_fd(writer) };
            let _ = pipe.write_all(answer.to_string().as_bytes());
        }
        // SAFETY: ends the process.
        unsafe { _exit(0) }
    }
    // SAFETY: the reading end belongs to this file alone, and the writing end is the child's.
    let mut pipe = unsafe {
        close(writer);
        fs::File::from_raw_fd(reader)
    };
    let mut text = String::new();
    let _ = pipe.read_to_string(&mut text);
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    unsafe { waitpid(child, &raw mut status, 0) };
    match (text.is_empty(), status & 0x7f) {
        (false, _) => text,
        (true, 14) => "waits".to_owned(),
        (true, 0) => format!("exit {}", status >> 8),
        (true, signal) => format!("signal {signal}"),
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    out.write_all(line.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .expect("output");
}

/// Every number of every interface, with arguments that mean nothing.
fn numbers() {
    const NOTHING: [[c_long; 6]; 2] = [[-1; 6], [0; 6]];
    /// `vfork` lends its memory, `sync` disturbs others; the rest waits: `pause`, `select` and its like, `wait4`'s.
    const NOT: [c_long; 7] = [58, 162, 23, 34, 70, 270, 271];
    const NOT32: [c_long; 7] = [190, 36, 29, 142, 309, 414, 7];
    const X32: c_long = 0x4000_0000;
    for number in (0..480).chain([600, 1000, 100_000]).filter(|number| !NOT.contains(number)) {
        for args in NOTHING {
            say(&format!("call {number} ({}): {}", args[0], apart(|| call(number, args))));
        }
    }
    for number in (0..600).filter(|number| !NOT.contains(number)) {
        say(&format!("x32 {number}: {}", apart(|| call(number | X32, [-1; 6]))));
    }
    #[cfg(target_arch = "x86_64")]
    for number in (0..480).chain([600, 1000]).filter(|number| !NOT32.contains(number)) {
        for args in NOTHING {
            say(&format!("i386 {number} ({}): {}", args[0], apart(|| call32(number, args))));
        }
    }
}

fn text(text: &'static CStr) -> c_long {
    text.as_ptr() as c_long
}

fn memory<T>(value: &T) -> c_long {
    std::ptr::from_ref(value) as c_long
}

/// What escapes are made of, with arguments that would work.
#[expect(clippy::type_complexity, reason = "a list of attempts")]
fn attempts() {
    const AT_FDCWD: c_long = -100;
    const SIGCHLD: c_long = 0x11;
    let mknod = |mode: c_long, major: c_long, minor: c_long| {
        move || call(133, [text(c"/tmp/node"), mode | 0o666, (major << 8) | minor, 0, 0, 0])
    };
    let open_node = |mode: c_long, major: c_long, minor: c_long| {
        move || match call(133, [text(c"/tmp/opened"), mode | 0o666, (major << 8) | minor, 0, 0, 0]) {
            Answer::Done => call(2, [text(c"/tmp/opened"), 0x800, 0, 0, 0, 0]),
            refused @ Answer::Error(_) => refused,
        }
    };
    let open = |path: &'static CStr, flags: c_long| move || call(2, [text(path), flags, 0, 0, 0, 0]);
    let write = |path: &'static CStr| {
        move || match fs::OpenOptions::new().append(true).open(path.to_str().expect("ASCII")) {
            Ok(_) => Answer::Done,
            Err(error) => Answer::Error(error.raw_os_error().unwrap_or(0)),
        }
    };
    // struct perf_event_attr: a software clock of this process; bpf_attr: an array of one number.
    let perf: [u64; 16] = [1 | (128 << 32), 0, 0, 0, 0, 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let map: [u32; 16] = [2, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let clone3: [u64; 8] = [0, 0, 0, 0, 17, 0, 0, 0];
    let handle: [u32; 34] = [
        128, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0,
    ];
    let time: [i64; 2] = [1_000_000_000, 0];
    let pair: [u64; 2] = [0; 2];
    let limit: [u64; 2] = [1 << 22, 1 << 22];
    let attempts: Vec<(&str, Box<dyn FnOnce() -> Answer>)> = vec![
        ("mount tmpfs", Box::new(|| call(165, [text(c"none"), text(c"/tmp"), text(c"tmpfs"), 0, 0, 0]))),
        ("mount proc", Box::new(|| call(165, [text(c"proc"), text(c"/tmp"), text(c"proc"), 0, 0, 0]))),
        ("remount /proc/sys", Box::new(|| call(165, [0, text(c"/proc/sys"), 0, 0x1020, 0, 0]))),
        ("bind mount", Box::new(|| call(165, [text(c"/"), text(c"/tmp"), 0, 0x1000, 0, 0]))),
        ("umount /proc", Box::new(|| call(166, [text(c"/proc"), 2, 0, 0, 0, 0]))),
        ("fsopen", Box::new(|| call(430, [text(c"tmpfs"), 0, 0, 0, 0, 0]))),
        ("open_tree", Box::new(|| call(428, [AT_FDCWD, text(c"/"), 1, 0, 0, 0]))),
        ("move_mount", Box::new(|| call(429, [AT_FDCWD, text(c"/tmp"), AT_FDCWD, text(c"/tmp"), 0, 0]))),
        ("mount_setattr", Box::new(move || call(442, [AT_FDCWD, text(c"/"), 0, memory(&pair), 32, 0]))),
        ("pivot_root", Box::new(|| call(155, [text(c"/"), text(c"/tmp"), 0, 0, 0, 0]))),
        ("chroot", Box::new(|| call(161, [text(c"/tmp"), 0, 0, 0, 0, 0]))),
        ("mknod null", Box::new(mknod(0o020_000, 1, 3))),
        ("mknod fifo", Box::new(mknod(0o010_000, 0, 0))),
        ("mknod whiteout", Box::new(mknod(0o020_000, 0, 0))),
        ("mknod block", Box::new(mknod(0o060_000, 8, 0))),
        ("open own /dev/zero", Box::new(open_node(0o020_000, 1, 5))),
        ("open own /dev/mem", Box::new(open_node(0o020_000, 1, 1))),
        ("open own /dev/kmsg", Box::new(open_node(0o020_000, 1, 11))),
        ("open own /dev/fuse", Box::new(open_node(0o020_000, 10, 229))),
        ("open own loop", Box::new(open_node(0o060_000, 7, 0))),
        ("open own disk", Box::new(open_node(0o060_000, 254, 0))),
        ("open /dev/mem", Box::new(open(c"/dev/mem", 0))),
        ("open /dev/kmsg", Box::new(open(c"/dev/kmsg", 0))),
        ("open /dev/fuse", Box::new(open(c"/dev/fuse", 2))),
        ("open /dev/loop-control", Box::new(open(c"/dev/loop-control", 2))),
        ("open /dev/tty", Box::new(open(c"/dev/tty", 2))),
        ("open /dev/ptmx", Box::new(open(c"/dev/ptmx", 2))),
        ("open /dev/console", Box::new(open(c"/dev/console", 2))),
        ("write /proc/sysrq-trigger", Box::new(write(c"/proc/sysrq-trigger"))),
        ("write /proc/sys/kernel/core_pattern", Box::new(write(c"/proc/sys/kernel/core_pattern"))),
        ("write /proc/sys/kernel/hostname", Box::new(write(c"/proc/sys/kernel/hostname"))),
        ("write /proc/sys/net/ipv4/ip_forward", Box::new(write(c"/proc/sys/net/ipv4/ip_forward"))),
        ("write /proc/sys/fs/binfmt_misc/register", Box::new(write(c"/proc/sys/fs/binfmt_misc/register"))),
        ("write /proc/self/oom_score_adj", Box::new(write(c"/proc/self/oom_score_adj"))),
        ("write /sys/kernel/uevent_helper", Box::new(write(c"/sys/kernel/uevent_helper"))),
        ("write /sys/kernel/mm/ksm/run", Box::new(write(c"/sys/kernel/mm/ksm/run"))),
        ("open /proc/kcore", Box::new(open(c"/proc/kcore", 0))),
        ("open /proc/1/root", Box::new(open(c"/proc/1/root", 0x10000))),
        ("open /proc/1/mem", Box::new(open(c"/proc/1/mem", 2))),
        ("setuid 5", Box::new(|| call(105, [5, 0, 0, 0, 0, 0]))),
        ("setgid 5", Box::new(|| call(106, [5, 0, 0, 0, 0, 0]))),
        ("setgroups none", Box::new(|| call(116, [0, 0, 0, 0, 0, 0]))),
        ("setfsuid 5", Box::new(|| call(122, [5, 0, 0, 0, 0, 0]))),
        ("chown", Box::new(|| call(92, [text(c"/tmp"), 5, 5, 0, 0, 0]))),
        ("chmod set-user-id", Box::new(|| call(90, [text(c"/tmp"), 0o4777, 0, 0, 0, 0]))),
        (
            "setxattr security.capability",
            Box::new(|| {
                let value: [u32; 5] = [0x0200_0001, 1, 0, 0, 0];
                call(188, [text(c"/out/inside"), text(c"security.capability"), memory(&value), 20, 0, 0])
            }),
        ),
        (
            "setxattr trusted",
            Box::new(|| call(188, [text(c"/tmp"), text(c"trusted.x"), text(c"x"), 1, 0, 0])),
        ),
        ("ptrace traceme", Box::new(|| call(101, [0, 0, 0, 0, 0, 0]))),
        ("ptrace attach 1", Box::new(|| call(101, [0x4206, 1, 0, 0, 0, 0]))),
        ("process_vm_readv", Box::new(|| call(310, [1, 0, 0, 0, 0, 0]))),
        ("kcmp", Box::new(|| call(312, [1, 1, 0, 0, 0, 0]))),
        ("pidfd_open", Box::new(|| call(434, [1, 0, 0, 0, 0, 0]))),
        ("pidfd_getfd", Box::new(|| call(438, [0, 0, 0, 0, 0, 0]))),
        ("keyctl", Box::new(|| call(250, [0, -3, 0, 0, 0, 0]))),
        ("add_key", Box::new(|| call(248, [text(c"user"), text(c"x"), text(c"x"), 1, -3, 0]))),
        ("request_key", Box::new(|| call(249, [text(c"user"), text(c"x"), 0, -3, 0, 0]))),
        ("bpf", Box::new(move || call(321, [0, memory(&map), 64, 0, 0, 0]))),
        ("perf_event_open", Box::new(move || call(298, [memory(&perf), 0, -1, -1, 0, 0]))),
        ("userfaultfd", Box::new(|| call(323, [0, 0, 0, 0, 0, 0]))),
        ("clone3", Box::new(move || call(435, [memory(&clone3), 64, 0, 0, 0, 0]))),
        ("io_uring_setup", Box::new(|| call(425, [1, text(c""), 0, 0, 0, 0]))),
        (
            "name_to_handle_at",
            Box::new(move || {
                let mount = 0_i32;
                call(303, [AT_FDCWD, text(c"/"), memory(&handle), memory(&mount), 0, 0])
            }),
        ),
        ("open_by_handle_at", Box::new(move || call(304, [AT_FDCWD, memory(&handle), 0, 0, 0, 0]))),
        ("sethostname", Box::new(|| call(170, [text(c"other"), 5, 0, 0, 0, 0]))),
        ("setdomainname", Box::new(|| call(171, [text(c"other"), 5, 0, 0, 0, 0]))),
        ("reboot, ctrl-alt-del off", Box::new(|| call(169, [0xfee1_dead, 672_274_793, 0, 0, 0, 0]))),
        ("kexec_load", Box::new(|| call(246, [0, 0, 0, 0, 0, 0]))),
        ("init_module", Box::new(|| call(175, [text(c""), 0, text(c""), 0, 0, 0]))),
        ("delete_module", Box::new(|| call(176, [text(c"absent"), 0, 0, 0, 0, 0]))),
        ("swapon", Box::new(|| call(167, [text(c"/absent"), 0, 0, 0, 0, 0]))),
        ("swapoff", Box::new(|| call(168, [text(c"/absent"), 0, 0, 0, 0, 0]))),
        ("iopl", Box::new(|| call(172, [3, 0, 0, 0, 0, 0]))),
        ("ioperm", Box::new(|| call(173, [0x80, 1, 1, 0, 0, 0]))),
        ("syslog", Box::new(|| call(103, [10, 0, 0, 0, 0, 0]))),
        ("acct", Box::new(|| call(163, [0, 0, 0, 0, 0, 0]))),
        ("quotactl", Box::new(|| call(179, [0x0080_0001, text(c"/dev/null"), 0, 0, 0, 0]))),
        ("clock_settime", Box::new(move || call(227, [-1, memory(&time), 0, 0, 0, 0]))),
        ("settimeofday", Box::new(|| call(164, [0, 0, 0, 0, 0, 0]))),
        (
            "adjtimex",
            Box::new(|| {
                let buffer = [0_u64; 64];
                call(159, [memory(&buffer), 0, 0, 0, 0, 0])
            }),
        ),
        ("nice -5", Box::new(|| call(141, [0, 0, -5, 0, 0, 0]))),
        (
            "sched_setscheduler fifo",
            Box::new(|| {
                let priority = 1_i32;
                call(144, [0, 1, memory(&priority), 0, 0, 0])
            }),
        ),
        ("raise the limit of files", Box::new(move || call(160, [7, memory(&limit), 0, 0, 0, 0]))),
        ("mlockall", Box::new(|| call(151, [1, 0, 0, 0, 0, 0]))),
        ("mbind", Box::new(|| call(237, [0, 0, 0, 0, 0, 0]))),
        ("set_mempolicy", Box::new(|| call(238, [0, 0, 0, 0, 0, 0]))),
        ("lookup_dcookie", Box::new(|| call(212, [0, 0, 0, 0, 0, 0]))),
        ("fanotify_init", Box::new(|| call(300, [0, 0, 0, 0, 0, 0]))),
        ("memfd_create", Box::new(|| call(319, [text(c"x"), 0, 0, 0, 0, 0]))),
        ("memfd_secret", Box::new(|| call(447, [0, 0, 0, 0, 0, 0]))),
        ("landlock_create_ruleset", Box::new(|| call(444, [0, 0, 1, 0, 0, 0]))),
        ("seccomp strict", Box::new(|| call(317, [0, 1, 0, 0, 0, 0]))),
        ("set no_new_privs", Box::new(|| call(157, [38, 1, 0, 0, 0, 0]))),
        ("set not dumpable", Box::new(|| call(157, [4, 0, 0, 0, 0, 0]))),
        ("raise an ambient capability", Box::new(|| call(157, [47, 2, 0, 0, 0, 0]))),
        (
            "setns",
            Box::new(|| match fs::File::open("/proc/1/ns/mnt") {
                Ok(file) => call(308, [c_long::from(std::os::fd::AsRawFd::as_raw_fd(&file)), 0, 0, 0, 0, 0]),
                Err(error) => Answer::Error(error.raw_os_error().unwrap_or(0)),
            }),
        ),
        ("vhangup", Box::new(|| call(153, [0, 0, 0, 0, 0, 0]))),
        ("nfsservctl", Box::new(|| call(180, [0, 0, 0, 0, 0, 0]))),
        ("kill the parent of all", Box::new(|| call(62, [1, 0, 0, 0, 0, 0]))),
        ("ioctl TIOCSTI", Box::new(|| call(16, [1, 0x5412, text(c"x"), 0, 0, 0]))),
    ];
    for (name, attempt) in attempts {
        say(&format!("try {name}: {}", apart(attempt)));
    }
    for bit in 7..32 {
        let flag: c_long = 1 << bit;
        say(&format!("unshare {flag:#x}: {}", apart(move || call(272, [flag, 0, 0, 0, 0, 0]))));
        // CLONE_VM, CLONE_VFORK, CLONE_THREAD and what makes no process of its own.
        if ![8, 14, 16].contains(&bit) {
            say(&format!("clone {flag:#x}: {}", apart(move || call(56, [flag | SIGCHLD, 0, 0, 0, 0, 0]))));
        }
    }
    for family in 0..48 {
        for (kind, name) in [(1, "stream"), (2, "dgram"), (3, "raw"), (5, "seqpacket")] {
            say(&format!("socket {family} {name}: {}", apart(move || call(41, [family, kind, 0, 0, 0, 0]))));
        }
    }
    for (what, family, kind, protocol) in [
        ("icmp raw", 2, 3, 1),
        ("icmp ping", 2, 2, 1),
        ("all frames", 17, 3, 0x300),
        ("netlink audit", 16, 3, 9),
        ("netlink route", 16, 3, 0),
        ("alg", 38, 5, 0),
        ("vsock", 40, 1, 0),
    ] {
        say(&format!("socket {what}: {}", apart(move || call(41, [family, kind, protocol, 0, 0, 0]))));
    }
    for value in [0, 8, 0x20000, 0x20008, 0xffff_ffff, 0x40000, 4, 0x0040_0000] {
        say(&format!("personality {value:#x}: {}", apart(move || call(135, [value, 0, 0, 0, 0, 0]))));
    }
    for option in 1..80 {
        say(&format!("prctl {option}: {}", apart(move || call(157, [option, -1, -1, -1, -1, 0]))));
    }
    for command in 0..40 {
        say(&format!("bpf {command}: {}", apart(move || call(321, [command, 0, 0, 0, 0, 0]))));
        say(&format!("keyctl {command}: {}", apart(move || call(250, [command, -1, -1, -1, -1, 0]))));
    }
}

/// What this process is and has.
fn state() {
    /// What differs from run to run.
    const CHANGING: [&str; 18] = [
        "Pid",
        "PPid",
        "Tgid",
        "Ngid",
        "NSpid",
        "NStgid",
        "NSpgid",
        "NSsid",
        "VmPeak",
        "VmSize",
        "VmHWM",
        "VmRSS",
        "VmData",
        "VmExe",
        "VmStk",
        "voluntary_ctxt_switches",
        "nonvoluntary_ctxt_switches",
        "SigQ",
    ];
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
    for line in read("/proc/self/status").lines() {
        let name = line.split(':').next().unwrap_or_default();
        if !CHANGING.contains(&name) && !name.starts_with("Rss") && !name.starts_with("Vm") {
            say(&format!("status {}", line.replacen(":\t", ": ", 1)));
        }
    }
    for line in read("/proc/self/limits").lines() {
        say(&format!("limits {}", line.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    for line in read("/proc/self/cgroup").lines() {
        // The names of groups are chance; whether it is in one counts.
        let (hierarchy, group) = line.rsplit_once(':').unwrap_or_default();
        say(&format!("cgroup {hierarchy}: {}", if group == "/" { "all" } else { "a group" }));
    }
    for name in [
        "oom_score_adj",
        "personality",
        "loginuid",
        "sessionid",
        "timerslack_ns",
        "setgroups",
        "uid_map",
        "gid_map",
        "coredump_filter",
        "attr/current",
        "comm",
    ] {
        for line in read(&format!("/proc/self/{name}")).lines() {
            say(&format!("{name} {line}"));
        }
    }
    let stat = read("/proc/self/stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Process group and session are numbers of processes; whether they are this namespace's is what counts.
    let own = |index: usize| fields.get(index).is_some_and(|value| *value != "0");
    say(&format!(
        "own group {}, own session {}, terminal {}",
        own(2),
        own(3),
        fields.get(4).copied().unwrap_or_default()
    ));
    say(&format!(
        "nice {}, policy {}",
        fields.get(16).copied().unwrap_or_default(),
        fields.get(38).copied().unwrap_or_default()
    ));
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.display().to_string();
        let target = target.split('[').next().unwrap_or_default();
        if !target.starts_with("/proc/") {
            names.push(format!("fd {} {target}", entry.file_name().display()));
        }
    }
    names.sort();
    for line in &names {
        say(line);
    }
    #[expect(clippy::disallowed_methods, reason = "the environment is one of the things to compare")]
    for (name, value) in std::env::vars() {
        say(&format!("env {name}={value}"));
    }
    let mut processes: Vec<String> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name().display().to_string();
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            processes.push(read(&format!("/proc/{name}/cmdline")).replace('\0', " "));
        }
    }
    processes.sort();
    for line in &processes {
        say(&format!("process {line}"));
    }
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("numbers") => numbers(),
        Some("attempts") => attempts(),
        Some("state") => state(),
        _ => say("inside numbers|attempts|state"),
    }
}
