//! The root of a step: the merged tree, the kernel's file systems in it as Docker arranges them, the step's mounts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, makedev};
use rustix::io::Errno;

use super::cgroup::Layout;
use super::failure::{During, Failure, Result, Stage};
use super::group::Group;
use super::mount::{self, INERT, Layers, NO_DEVICES, NO_SETUID, READ_ONLY};
use super::resolve::{Missing, find_or_make, open_inside};
use super::sys;
use super::user::{self, Ids};
use crate::{DeviceKind, Mount, MountKind, Security, Step};

/// Device nodes every container has: name, major and minor number.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Character devices that BuildKit adds for `--security=insecure`. `/dev/loopN` come on top.
pub(super) const DEVICES_OF_INSECURE: [(&str, u32, u32); 6] = [
    ("kmsg", 1, 11),
    ("cuse", 10, 203),
    ("fuse", 10, 229),
    ("kvm", 10, 232),
    ("net/tun", 10, 200),
    ("loop-control", 10, 237),
];
pub(super) const LOOP_MAJOR: u32 = 7;
pub(super) const LOOP_DEVICES: u32 = 8;

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Hidden in a `RUN` (containerd's list, which BuildKit takes; `docker run` has more).
pub(super) const MASKED_PROC: [&str; 9] =
    ["acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi"];
pub(super) const MASKED_SYS: [&str; 2] = ["firmware", "devices/virtual/powercap"];
pub(super) const READ_ONLY_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

pub(super) const SHM_SIZE: u64 = 64 << 20;
/// The group of terminals, in every distribution.
const TTY_GROUP: u32 = 5;

/// A root, mounted and complete, but not yet the process's own.
pub(super) struct Root {
    pub(super) fd: OwnedFd,
    pub(super) ids: Ids,
    /// Mount points made in the upper tree, to be removed after the step.
    pub(super) stubs: Vec<Vec<u8>>,
}

/// Builds the root of `step` in this process's mount namespace.
pub(super) fn build(step: &Step, cgroups: &Layout, group: Option<&Group>) -> Result<Root> {
    let builder = Builder::new(step)?;
    let ids = user::resolve(builder.root.as_fd(), &step.user)?;
    builder.make_working_directory(&step.working_dir, &ids)?;

    let proc = builder.mount_proc()?;
    builder.mount_dev(&proc, step.shm_size)?;
    let sys = builder.mount_sys(cgroups, group)?;
    let mut stubs = Vec::new();
    for (index, mount) in step.mounts.iter().enumerate() {
        builder.mount(index, mount, &mut stubs)?;
    }
    if step.security == Security::Sandbox {
        builder.mask(&proc, &MASKED_PROC)?;
        builder.mask(&sys, &MASKED_SYS)?;
        for path in READ_ONLY_PROC {
            make_read_only(&proc, path)?;
        }
    }
    Ok(Root { fd: builder.root, ids, stubs })
}

pub(super) struct Builder {
    root: OwnedFd,
    /// A file system in memory that the step cannot reach: what it shows of it are single mounts.
    scratch: OwnedFd,
    sandboxed: bool,
    /// Whether the device nodes are the step's own, in `scratch`: in a user namespace nobody makes any, and those of
    /// the host are shown.
    own_devices: bool,
}

impl Builder {
    pub(super) fn new(step: &Step) -> Result<Self> {
        let sandboxed = step.security == Security::Sandbox;
        let tree = &step.rootfs;
        // It needs a place in this namespace, or nothing can be bound from it before Linux 6.15. In the work directory
        // nobody looks at anything but `work`, which the overlay makes.
        let scratch = || "mounting a file system for the sandbox".to_owned();
        let fd = mount::filesystem("tmpfs", &[("mode", "700")], NO_SETUID).during(Stage::Mount, scratch)?;
        let work =
            rustix::fs::open(&tree.work, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .during(Stage::Overlay, || format!("opening {}", tree.work.display()))?;
        rustix::fs::mkdirat(&work, "scratch", Mode::from_raw_mode(0o700))
            .and_then(|()| mount::attach(&fd, mount::place(&work, "scratch")?))
            .during(Stage::Mount, scratch)?;
        for directory in ["empty", "root"] {
            rustix::fs::mkdirat(&fd, directory, Mode::from_raw_mode(0o755)).during(Stage::Mount, scratch)?;
        }
        let own_devices = make_own_devices(&fd)?;
        let layers = Layers { lower: &tree.lower, writable: Some((&tree.upper, &tree.work)) };
        let root = merge(&fd, "root", &layers, sandboxed)?;
        Ok(Self { root, scratch: fd, sandboxed, own_devices })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Makes one of the step's mounts beside the root, for somebody else to take it, and returns its name in the
    /// scratch file system.
    pub(super) fn park(&self, index: usize, mount: &Mount) -> Result<String> {
        let what = || format!("mounting {}", mount.target);
        let name = format!("parked{index}");
        let source = self.source(index, &mount.kind)?;
        let stat = rustix::fs::fstat(&source).during(Stage::Mount, what)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            rustix::fs::mkdirat(&self.scratch, &*name, Mode::from_raw_mode(0o755))
                .during(Stage::Mount, what)?;
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&self.scratch, &*name, flags, Mode::from_raw_mode(0o644))
                .during(Stage::Mount, what)?;
        }
        let place = mount::place(&self.scratch, &*name).during(Stage::Mount, what)?;
        mount::attach(&source, place).during(Stage::Mount, what)?;
        Ok(name)
    }

    /// The attributes for a mount that holds files of an image or of the user.
    fn for_files(&self) -> rustix::mount::MountAttrFlags {
        if self.sandboxed { NO_DEVICES } else { rustix::mount::MountAttrFlags::empty() }
    }

    pub(super) fn make_working_directory(&self, path: &str, ids: &Ids) -> Result<()> {
        let missing = Missing::Owned { uid: ids.uid, gid: ids.gid };
        find_or_make(self.root.as_fd(), path, missing)
            .map(drop)
            .during(Stage::Ids, || format!("failed to create working directory {path}"))
    }

    /// The place of one of the kernel's file systems. If it has to be made, it stays in the layer, as with BuildKit.
    fn system_place(&self, path: &str) -> Result<OwnedFd> {
        find_or_make(self.root.as_fd(), path, Missing::Directory)
            .map(|found| found.fd)
            .during(Stage::Mount, || format!("finding /{path}"))
    }

    fn mount_proc(&self) -> Result<OwnedFd> {
        let what = || "mounting /proc".to_owned();
        let proc = mount::filesystem("proc", &[], INERT).during(Stage::Proc, what)?;
        mount::attach(&proc, self.system_place("proc")?).during(Stage::Mount, what)?;
        Ok(proc)
    }

    fn mount_dev(&self, proc: &OwnedFd, shm_size: Option<u64>) -> Result<()> {
        let what = || "mounting /dev".to_owned();
        let strict =
            NO_SETUID.union(rustix::mount::MountAttrFlags::MOUNT_ATTR_STRICTATIME).union(self.for_files());
        let options = [("mode", "755"), ("size", "65536k")];
        let dev = mount::filesystem("tmpfs", &options, strict).during(Stage::Mount, what)?;
        mount::attach(&dev, self.system_place("dev")?).during(Stage::Mount, what)?;

        let shm_size = shm_size.unwrap_or(SHM_SIZE).to_string();
        let shm = [("source", "shm"), ("mode", "1777"), ("size", &shm_size)];
        let pts = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
        // A user namespace without that group does not take the option, which is the last.
        let pts = if has_group(TTY_GROUP) { &pts[..] } else { &pts[..pts.len() - 1] };
        let silent = NO_SETUID.union(rustix::mount::MountAttrFlags::MOUNT_ATTR_NOEXEC);
        let below = |name: &str, kind: &str, options: &[(&str, &str)], attributes| {
            rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))
                .and_then(|()| mount::filesystem(kind, options, attributes))
                .and_then(|mount| mount::attach(mount, mount::place(&dev, name)?))
                .during(Stage::Mount, || format!("mounting /dev/{name}"))
        };
        below("pts", "devpts", pts, silent)?;
        below("shm", "tmpfs", &shm, INERT)?;
        below("mqueue", "mqueue", &[], INERT)?;
        // As runc does: only where the kernel has that file.
        let core = mount::place(proc, "kcore").ok().map(|_| ("core", "/proc/kcore"));
        for (name, target) in LINKS.into_iter().chain(core) {
            rustix::fs::symlinkat(target, &dev, name).during(Stage::Mount, what)?;
        }
        if self.sandboxed || !self.own_devices { self.bind_devices(&dev) } else { make_devices(&dev) }
    }

    /// Shows the usual devices in a `/dev` that allows none: each is a mount of its own, of a node that belongs to
    /// this step where that can be, so that `chmod` on it changes nothing else. A step without a sandbox has those of
    /// the others that the host has.
    fn bind_devices(&self, dev: &OwnedFd) -> Result<()> {
        let silent = NO_SETUID.union(rustix::mount::MountAttrFlags::MOUNT_ATTR_NOEXEC);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let insecure = DEVICES_OF_INSECURE
            .iter()
            .map(|(name, ..)| *name)
            .filter(|name| !self.sandboxed && std::fs::exists(format!("/dev/{name}")).unwrap_or(false));
        if !self.sandboxed {
            rustix::fs::mkdirat(dev, "net", Mode::from_raw_mode(0o755))
                .during(Stage::Mount, || "making /dev/net".to_owned())?;
        }
        for name in DEVICES.iter().map(|(name, ..)| *name).chain(insecure) {
            rustix::fs::openat(dev, name, flags, Mode::from_raw_mode(0o666))
                .and_then(|_| self.device(name, silent))
                .and_then(|mount| mount::attach(mount, mount::place(dev, name)?))
                .during(Stage::Mount, || format!("mounting /dev/{name}"))?;
        }
        Ok(())
    }

    /// A mount, not attached yet, of the device node `name`.
    fn device(&self, name: &str, attributes: rustix::mount::MountAttrFlags) -> rustix::io::Result<OwnedFd> {
        if self.own_devices {
            mount::bind(&self.scratch, name, attributes)
        } else {
            // Its owner and mode are the host's, and root of a user namespace may have the right to change them.
            mount::bind(CWD, format!("/dev/{name}"), attributes.union(READ_ONLY))
        }
    }

    fn mount_sys(&self, cgroups: &Layout, group: Option<&Group>) -> Result<OwnedFd> {
        let attributes = if self.sandboxed { INERT.union(READ_ONLY) } else { INERT };
        let what = || "mounting /sys".to_owned();
        let (sys, bound) = match mount::filesystem("sysfs", &[], attributes) {
            // It belongs to the network, and the host's network is not the user namespace's.
            Err(Errno::PERM) => (mount::bind(CWD, "/sys", INERT.union(READ_ONLY)), true),
            sys => (sys, false),
        };
        let sys = sys.during(Stage::Mount, what)?;
        if bound {
            // What is mounted there later on is not for the step.
            sys::make_private(&sys).during(Stage::Mount, what)?;
        }
        mount::attach(&sys, self.system_place("sys")?).during(Stage::Mount, what)?;
        if bound {
            // Nor is what is there already: the kernel's own insides, which root of a user namespace with the ids of
            // the host could read. In such a namespace mounts cannot be taken apart, but covered.
            self.mask(
                &sys,
                &mounts_below_sys(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()),
            )?;
        }
        match mount::place(&sys, "fs/cgroup") {
            // A kernel without control groups.
            Err(Errno::NOENT) => {}
            place => place
                .and_then(|place| cgroups.mount(place, group, self.sandboxed))
                .during(Stage::Mount, || "mounting /sys/fs/cgroup".to_owned())?,
        }
        Ok(sys)
    }

    /// Makes one of the step's mounts.
    pub(super) fn mount(&self, index: usize, mount: &Mount, stubs: &mut Vec<Vec<u8>>) -> Result<()> {
        let target = &mount.target;
        let what = || format!("mounting {target}");
        let source = self.source(index, &mount.kind)?;
        let kind = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let missing = match kind(&source).during(Stage::Mount, what)? {
            FileType::Directory => Missing::Directory,
            _ => Missing::File,
        };
        let root = self.root.as_fd();
        let found = find_or_make(root, target, missing).during(Stage::Mount, what)?;
        // The kernel's security modules are configured through files there: nothing may stand in for them.
        let filesystem = rustix::fs::fstatfs(&found.fd).during(Stage::Mount, what)?;
        if filesystem.f_type == rustix::fs::PROC_SUPER_MAGIC {
            return Err(Failure::new(
                Stage::Mount,
                format!("{target:?} cannot be mounted because it is inside /proc"),
            ));
        }
        let at_root = same_file(&found.fd, &self.root).during(Stage::Mount, what)?;
        if at_root {
            return Err(Failure::new(Stage::Mount, format!("mount target {target:?} is the root")));
        }
        match (missing, kind(&found.fd).during(Stage::Mount, what)?) {
            (Missing::Directory, FileType::Directory) => {}
            (Missing::Directory, _) => {
                return Err(Failure::new(
                    Stage::Mount,
                    format!("{}: a directory cannot lie over a file", what()),
                ));
            }
            (_, FileType::Directory) => {
                return Err(Failure::new(
                    Stage::Mount,
                    format!("{}: a file cannot lie over a directory", what()),
                ));
            }
            _ => {}
        }
        if let MountKind::Tmpfs { read_only, .. } = &mount.kind {
            // As runc: what it covers says who may look into it.
            if found.made.is_empty() {
                let mode = rustix::fs::fstat(&found.fd).during(Stage::Mount, what)?.st_mode & 0o7777;
                rustix::fs::chmodat(&source, ".", Mode::from_raw_mode(mode), AtFlags::empty())
                    .during(Stage::Mount, what)?;
            }
            if *read_only {
                sys::mount_setattr(&source, READ_ONLY.bits().into(), false).during(Stage::Mount, what)?;
            }
        }
        mount::attach(&source, &found.fd).during(Stage::Mount, what)?;
        stubs.extend(self.in_upper(found.made));
        Ok(())
    }

    /// Those of the paths just made that lie in the root's own tree, not in something mounted over it.
    fn in_upper(&self, made: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let device = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| stat.st_dev).ok();
        let root = device(&self.root);
        let Some(first) = made.first() else { return made };
        let parent = first.iter().rposition(|&byte| byte == b'/').map_or(&b""[..], |slash| &first[..slash]);
        let parent = String::from_utf8_lossy(parent);
        let parent = open_inside(&self.root, &parent, OFlags::PATH).ok();
        if parent.as_ref().and_then(device) == root { made } else { Vec::new() }
    }

    /// A mount, not attached yet, of what a [`MountKind`] names.
    fn source(&self, index: usize, kind: &MountKind) -> Result<OwnedFd> {
        let name = format!("mount{index}");
        let files = self.for_files();
        let merged = |layers: &Layers<'_>, selector: &str| {
            rustix::fs::mkdirat(&self.scratch, &*name, Mode::from_raw_mode(0o755))
                .during(Stage::Mount, || "making a mount point".to_owned())?;
            let tree = merge(&self.scratch, &name, layers, self.sandboxed)?;
            let attributes = if layers.writable.is_some() { files } else { files.union(READ_ONLY) };
            select(&tree, selector, attributes)
        };
        match kind {
            MountKind::Bind { source, selector, read_only } => {
                let attributes = if *read_only { files.union(READ_ONLY) } else { files };
                let place = mount::place(CWD, source)
                    .during(Stage::Mount, || format!("opening {}", source.display()))?;
                select(&place, selector, attributes)
            }
            MountKind::Overlay { lower, upper, work, selector } => {
                merged(&Layers { lower, writable: Some((upper, work)) }, selector)
            }
            MountKind::Tree { lower, selector } if lower.is_empty() => {
                let empty = mount::place(&self.scratch, "empty")
                    .during(Stage::Mount, || "opening an empty directory".to_owned())?;
                select(&empty, selector, files.union(READ_ONLY))
            }
            MountKind::Tree { lower, selector } => merged(&Layers { lower, writable: None }, selector),
            MountKind::Tmpfs { size, mode, .. } => {
                let mode = format!("{:o}", mode & 0o7777);
                let size = size.map(|size| size.to_string());
                let mut options = vec![("mode", mode.as_str())];
                options.extend(size.as_deref().map(|size| ("size", size)));
                mount::filesystem("tmpfs", &options, files.union(NO_SETUID))
                    .during(Stage::Mount, || "making a tmpfs".to_owned())
            }
            MountKind::Device { source, kind, major, minor, mode, uid, gid } => {
                let what = || format!("making the device node {}", source.display());
                let silent = NO_SETUID.union(rustix::mount::MountAttrFlags::MOUNT_ATTR_NOEXEC);
                let kind = match kind {
                    DeviceKind::Character => FileType::CharacterDevice,
                    DeviceKind::Block => FileType::BlockDevice,
                };
                let (number, closed) = (makedev(*major, *minor), Mode::empty());
                match rustix::fs::mknodat(&self.scratch, &*name, kind, closed, number) {
                    // Without the right to make one it is the host's, which `chmod` in the step is not to change.
                    Err(Errno::PERM) => {
                        mount::bind(CWD, source, silent.union(READ_ONLY)).during(Stage::Mount, what)
                    }
                    made => {
                        let (owner, group) =
                            (rustix::fs::Uid::from_raw(*uid), rustix::fs::Gid::from_raw(*gid));
                        made.and_then(|()| mount::place(&self.scratch, &*name))
                            .and_then(|node| {
                                let flags = rustix::fs::AtFlags::EMPTY_PATH;
                                rustix::fs::chownat(&node, "", Some(owner), Some(group), flags)
                            })
                            .and_then(|()| {
                                let mode = Mode::from_raw_mode(mode & 0o777);
                                rustix::fs::chmodat(&self.scratch, &*name, mode, rustix::fs::AtFlags::empty())
                            })
                            .and_then(|()| mount::bind(&self.scratch, &*name, silent))
                            .during(Stage::Mount, what)
                    }
                }
            }
            MountKind::File { content, read_only, mode, uid, gid } => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                let what = || "making a file in memory".to_owned();
                let file = rustix::fs::openat(&self.scratch, &*name, flags, Mode::from_raw_mode(0o600))
                    .during(Stage::Mount, what)?;
                let mut rest = &content[..];
                while !rest.is_empty() {
                    let written = rustix::io::write(&file, rest).during(Stage::Mount, what)?;
                    rest = rest.get(written..).unwrap_or_default();
                }
                let (owner, group) = (rustix::fs::Uid::from_raw(*uid), rustix::fs::Gid::from_raw(*gid));
                rustix::fs::fchown(&file, Some(owner), Some(group))
                    .during(Stage::Ids, || format!("giving a file to {uid}:{gid}"))?;
                rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777)).during(Stage::Mount, what)?;
                let executable = mode & 0o111 != 0;
                let inert = if executable { NO_SETUID.union(NO_DEVICES) } else { INERT };
                let attributes = if *read_only { inert.union(READ_ONLY) } else { inert };
                mount::bind(&self.scratch, &*name, attributes).during(Stage::Mount, what)
            }
        }
    }

    /// Hides `paths`: files behind the null device, directories behind an empty one.
    fn mask(&self, dir: &OwnedFd, paths: &[impl AsRef<str>]) -> Result<()> {
        for path in paths {
            let path = path.as_ref();
            let what = || format!("masking {path}");
            let place = match open_inside(dir, path, OFlags::PATH) {
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                place => place.during(Stage::Mount, what)?,
            };
            let stat = rustix::fs::fstat(&place).during(Stage::Mount, what)?;
            let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                mount::bind(&self.scratch, "empty", INERT.union(READ_ONLY))
            } else {
                self.device("null", NO_SETUID)
            };
            cover.and_then(|cover| mount::attach(cover, place)).during(Stage::Mount, what)?;
        }
        Ok(())
    }
}

fn make_read_only(dir: &OwnedFd, path: &str) -> Result<()> {
    let what = || format!("making {path} read-only");
    let place = match open_inside(dir, path, OFlags::PATH) {
        Err(Errno::NOENT) => return Ok(()),
        place => place.during(Stage::Mount, what)?,
    };
    mount::bind(&place, "", INERT.union(READ_ONLY))
        .and_then(|mount| mount::attach(mount, place))
        .during(Stage::Mount, what)
}

/// Mounts merged trees on `name` in `scratch` and opens their root.
fn merge(scratch: &OwnedFd, name: &str, layers: &Layers<'_>, no_devices: bool) -> Result<OwnedFd> {
    let what = || "opening a merged tree".to_owned();
    let empty = mount::place(scratch, "empty").during(Stage::Overlay, what)?;
    let target = mount::place(scratch, name).during(Stage::Overlay, what)?;
    mount::overlay(layers, empty.as_fd(), &target, no_devices)?;
    mount::place(scratch, name).during(Stage::Overlay, what)
}

/// A mount of the part of `tree` that `selector` names.
fn select(tree: &OwnedFd, selector: &str, attributes: rustix::mount::MountAttrFlags) -> Result<OwnedFd> {
    let part = selector.trim_matches('/');
    let what = || format!("open /{part}");
    if part.is_empty() {
        return mount::bind(tree, "", attributes).during(Stage::Mount, what);
    }
    let place = open_inside(tree, selector, OFlags::PATH).during(Stage::Source, what)?;
    mount::bind(&place, "", attributes).during(Stage::Mount, what)
}

fn same_file(one: &OwnedFd, other: &OwnedFd) -> rustix::io::Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// The devices of a step without a sandbox: real nodes, as it may make any itself.
fn make_devices(dev: &OwnedFd) -> Result<()> {
    rustix::fs::mkdirat(dev, "net", Mode::from_raw_mode(0o755))
        .during(Stage::Mount, || "making /dev/net".to_owned())?;
    for (name, major, minor) in DEVICES.into_iter().chain(DEVICES_OF_INSECURE) {
        make_device(dev, name, FileType::CharacterDevice, major, minor)?;
    }
    for minor in 0..LOOP_DEVICES {
        make_device(dev, &format!("loop{minor}"), FileType::BlockDevice, LOOP_MAJOR, minor)?;
    }
    Ok(())
}

/// Makes the devices every container has; `false` where this process may make none.
fn make_own_devices(dir: &OwnedFd) -> Result<bool> {
    for (name, major, minor) in DEVICES {
        match make_device(dir, name, FileType::CharacterDevice, major, minor) {
            Err(Failure { errno: Some(errno), .. }) if errno == Errno::PERM.raw_os_error() => {
                return Ok(false);
            }
            made => made?,
        }
    }
    Ok(true)
}

/// The places of mounts below `/sys`, from there, by `/proc/self/mountinfo`; but for those of control groups, which a
/// step sees otherwise.
fn mounts_below_sys(mountinfo: &str) -> Vec<String> {
    let places = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)?.strip_prefix("/sys/"));
    // The kernel writes a space as \040 and the like. No file system of its own has one in its place, and what else
    // somebody has mounted there is not found then, and not covered.
    places.filter(|place| !place.starts_with("fs/cgroup")).map(str::to_owned).collect()
}

/// Whether this process's user namespace has a group.
fn has_group(gid: u32) -> bool {
    let map = std::fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u32>().unwrap_or(0));
        let (first, _, count) = (numbers.next().unwrap_or(0), numbers.next(), numbers.next().unwrap_or(0));
        (first..first.saturating_add(count)).contains(&gid)
    })
}

fn make_device(dir: &OwnedFd, name: &str, kind: FileType, major: u32, minor: u32) -> Result<()> {
    rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(0o666), makedev(major, minor))
        .during(Stage::Mount, || format!("making /dev/{name}"))
}
