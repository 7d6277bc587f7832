//! What only shows when an ordinary user builds.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::{Failed, Trial};
use rbx_tests::{Entry, Image, Kind, Parts, User, interrupt, rbx, rbx_as};

/// The tests of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(format!("users::{name}"), move || test().map_err(Failed::from))
    };
    vec![
        trial("packages_install_as_for_root", packages_install_as_for_root),
        trial("devices_of_a_base_image_stay", devices_of_a_base_image_stay),
        trial("with_one_id_layers_have_their_owners", with_one_id_layers_have_their_owners),
        trial("files_belong_to_the_user", files_belong_to_the_user),
        trial("groups_of_the_user_count", groups_of_the_user_count),
        trial("a_store_has_one_map", a_store_has_one_map),
        trial("what_maps_ids_is_missing", what_maps_ids_is_missing),
        trial("what_maps_ids_has_no_rights", what_maps_ids_has_no_rights),
        trial("ranges_that_are_wrong", ranges_that_are_wrong),
        trial("namespaces_are_turned_off", namespaces_are_turned_off),
        trial("proc_is_masked", proc_is_masked),
        trial("runtimes_are_for_root", runtimes_are_for_root),
        trial("copies_need_no_rights", copies_need_no_rights),
        trial("an_interrupted_build_ends", an_interrupted_build_ends),
    ]
}

/// A directory of a user with a context in it.
struct Work {
    user: User,
    directory: tempfile::TempDir,
    parts: Parts,
}

impl Work {
    fn new(user: User, dockerfile: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        user.own(directory.path());
        fs::create_dir(directory.path().join("context")).expect("a context");
        fs::write(directory.path().join("context/Dockerfile"), dockerfile).expect("a Dockerfile");
        Self { user, directory, parts: Parts::locate() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A build of the context by the user, on an image that the Dockerfile calls `base`.
    fn command(&self, base: &Path, output: &str) -> Command {
        self.arguments(rbx_as(&self.user, &self.parts, self.directory.path()), base, output)
    }

    fn arguments(&self, mut command: Command, base: &Path, output: &str) -> Command {
        let base = format!("base=oci-layout://{}", base.display());
        command.current_dir(self.directory.path());
        command.args(["build", "--builder=embedded", "--progress=plain", "--build-context", &base]);
        command.args(["--output", output, "context"]);
        command
    }

    fn busybox(&self) -> PathBuf {
        self.parts.layout("busybox")
    }

    /// Builds an archive and reads it back.
    fn image(&self, command: impl FnOnce(&str) -> Command) -> Result<Image, String> {
        let archive = self.path("image.tar");
        succeed(&mut command(&format!("type=oci,dest={}", archive.display())))?;
        Image::read_all(&archive).pop().ok_or_else(|| "no image".to_owned())
    }

    /// A build that has to fail: its last lines.
    fn failure(&self) -> Result<String, String> {
        let output = self.command(&self.busybox(), "type=cacheonly").output().map_err(|it| it.to_string())?;
        let said = text(&output);
        if output.status.code() != Some(1) {
            return Err(format!("it ended with {}:\n{said}", output.status));
        }
        Ok(said)
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeed(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let said = text(&output);
    if output.status.success() { Ok(said) } else { Err(format!("it ended with {}:\n{said}", output.status)) }
}

fn expect(said: &str, words: &[&str]) -> Result<(), String> {
    match words.iter().find(|words| !said.contains(**words)) {
        None => Ok(()),
        Some(missing) => Err(format!("{missing:?} is not in:\n{said}")),
    }
}

/// Builds a package whose script makes a user, gives files to it, and installs a set-user-ID program.
fn package(directory: &Path) {
    let root = directory.join("package");
    fs::create_dir_all(root.join("DEBIAN")).expect("a directory");
    fs::create_dir_all(root.join("usr/share/rbx-test")).expect("a directory");
    fs::write(root.join("usr/share/rbx-test/file"), "content\n").expect("a file");
    let control = "Package: rbx-test\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example>\n\
                   Description: a test\n";
    fs::write(root.join("DEBIAN/control"), control).expect("a file");
    let script = "#!/bin/sh\nset -e\n\
                  echo 'rbx-test:x:1234:1234::/nonexistent:/bin/false' >> /etc/passwd\n\
                  echo 'rbx-test:x:1234:' >> /etc/group\n\
                  install -d -o rbx-test -g rbx-test -m 2750 /var/lib/rbx-test\n\
                  install -o root -g rbx-test -m 4750 /usr/bin/id /usr/bin/rbx-test\n";
    fs::write(root.join("DEBIAN/postinst"), script).expect("a file");
    fs::set_permissions(root.join("DEBIAN/postinst"), fs::Permissions::from_mode(0o755)).expect("a mode");
    let built = Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .arg(&root)
        .arg(directory.join("context/rbx-test.deb"))
        .output();
    assert!(built.as_ref().is_ok_and(|output| output.status.success()), "{built:?}");
}

fn packages_install_as_for_root() -> Result<(), String> {
    let dockerfile = "FROM base\nCOPY rbx-test.deb /tmp/\n\
        RUN apt-get install -y /tmp/rbx-test.deb && rm -rf /var/log/apt /var/log/dpkg.log /var/cache/ldconfig\n\
        RUN chgrp 1001 /usr/bin/rbx-test && chmod 4750 /usr/bin/rbx-test\n\
        USER 1001:1001\nWORKDIR /home/somebody\n\
        RUN id -u > plain && rbx-test -u > set-user-id && touch /tmp/kept\n";
    let work = Work::new(User::with_ranges(), dockerfile);
    package(work.directory.path());
    let debian = work.parts.debian();
    let rootless = work.image(|output| work.command(&debian, output))?.root();
    for (path, content) in [("plain", "1001"), ("set-user-id", "0")] {
        let file = &rootless[&format!("home/somebody/{path}")];
        let said = file.content.clone().unwrap_or_default();
        expect(&said, &[&format!("{content}\\n")])?;
        if (file.uid, file.gid) != (1001, 1001) {
            return Err(format!("{path} belongs to {}:{}", file.uid, file.gid));
        }
    }
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    let rooted = work.image(|output| work.arguments(rbx(&work.parts, home.path()), &debian, output))?.root();
    let differences: Vec<String> = rooted
        .iter()
        .filter(|(path, entry)| rootless.get(*path).is_none_or(|other| !is_alike(entry, other)))
        .map(|(path, entry)| format!("{path}: {entry:?} | {:?}", rootless.get(path)))
        .chain(rootless.keys().filter(|path| !rooted.contains_key(*path)).cloned())
        .collect();
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
}

/// Whether two files are of one kind, owner and mode. When they were written, and what logs say, differs.
fn is_alike(one: &Entry, other: &Entry) -> bool {
    let part = |entry: &Entry| (entry.kind, entry.mode, entry.uid, entry.gid, entry.link.clone());
    part(one) == part(other) && one.xattrs == other.xattrs
}

fn devices_of_a_base_image_stay() -> Result<(), String> {
    let work = Work::new(
        User::with_ranges(),
        "FROM base\nRUN ls /d > /seen && echo x > /d/new\nRUN rm -r /e && mkdir /e && echo x > /e/new\n",
    );
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    let made = "FROM base\nRUN mkdir /d /e && mknod /d/null c 1 3 && mknod -m 600 /d/disk b 8 1 && cp -a /d/null /e\n";
    fs::write(home.path().join("Dockerfile"), made).map_err(|error| error.to_string())?;
    let layout = work.path("layout");
    let mut root = rbx(&work.parts, home.path());
    root.args(["build", "--builder=embedded", "--build-context"])
        .arg(format!("base=oci-layout://{}", work.busybox().display()))
        .arg(format!("--output=type=oci,tar=false,dest={}", layout.display()))
        .arg(home.path());
    succeed(&mut root)?;
    let image = work.image(|output| work.command(&layout, output))?.root();
    let device = |path: &str| image.get(path).map(|entry| (entry.kind, entry.mode, entry.device));
    let expected = [
        ("d/null", Some((Kind::Character, 0o644, Some((1, 3))))),
        ("d/disk", Some((Kind::Block, 0o600, Some((8, 1))))),
        ("e/null", None),
    ];
    for (path, expected) in expected {
        if device(path) != expected {
            return Err(format!("{path}: {:?}", device(path)));
        }
    }
    let seen = image["seen"].content.clone().unwrap_or_default();
    if seen != "\"\"" && !seen.is_empty() {
        return Err(format!("a step saw {seen}"));
    }
    Ok(())
}

fn with_one_id_layers_have_their_owners() -> Result<(), String> {
    let work = Work::new(
        User::with_one_id(),
        "FROM base AS made\nCOPY --chown=5:6 . /d/\n\
         RUN echo more >> /d/appended && chmod 600 /d/changed && mv /d/moved /d/elsewhere && \
             echo new > /d/other && mv /d/other /d/replaced && touch /d/made && ln /d/linked /d/link\n\
         RUN touch /d\n\
         FROM base\nCOPY --from=made /d /copied\n",
    );
    for name in ["appended", "changed", "moved", "replaced", "untouched", "linked"] {
        fs::write(work.path("context").join(name), "text").map_err(|error| error.to_string())?;
    }
    let image = work.image(|output| work.command(&work.busybox(), output))?.root();
    let owners = |name: &str| image.get(&format!("copied/{name}")).map(|entry| (entry.uid, entry.gid));
    for (name, owner) in [
        ("appended", (5, 6)),
        ("changed", (5, 6)),
        ("replaced", (5, 6)),
        ("untouched", (5, 6)),
        ("linked", (5, 6)),
        ("elsewhere", (0, 0)),
        ("made", (0, 0)),
    ] {
        if owners(name) != Some(owner) {
            return Err(format!("{name}: {:?}", owners(name)));
        }
    }
    Ok(())
}

fn files_belong_to_the_user() -> Result<(), String> {
    let work =
        Work::new(User::with_ranges(), "FROM base\nRUN mkdir /d && echo x > /d/f && chown -R 5:6 /d\n");
    succeed(&mut work.command(&work.busybox(), "type=local,dest=out"))?;
    for path in ["out", "out/d", "out/d/f", "store/v1"] {
        let found = fs::symlink_metadata(work.path(path)).map_err(|error| format!("{path}: {error}"))?;
        if (found.uid(), found.gid()) != (User::ID, User::ID) {
            return Err(format!("{path} belongs to {}:{}", found.uid(), found.gid()));
        }
    }
    // What steps have left is of other ids, and goes all the same.
    let mut prune = rbx_as(&work.user, &work.parts, work.directory.path());
    succeed(prune.args(["prune", "--builder=embedded", "--all", "--force"]))?;
    let trees = fs::read_dir(work.path("store/v1/trees")).map_err(|error| error.to_string())?.count();
    if trees == 0 { Ok(()) } else { Err(format!("{trees} trees are left")) }
}

/// A file that only members of a group may read stands for all that is open to a group: the Engine's socket, too.
fn groups_of_the_user_count() -> Result<(), String> {
    let dockerfile = "FROM base\nCOPY shared /\nRUN cat /shared\n";
    for (user, may) in [(User::with_ranges().in_group(7777), true), (User::with_ranges(), false)] {
        let work = Work::new(user, dockerfile);
        let shared = work.path("context/shared");
        fs::write(&shared, "text").map_err(|error| error.to_string())?;
        chown(&shared, Some(0), Some(7777)).map_err(|error| error.to_string())?;
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o640)).map_err(|error| error.to_string())?;
        let built = succeed(&mut work.command(&work.busybox(), "type=cacheonly"));
        match (built, may) {
            (Ok(_), true) => {}
            (Err(said), false) => expect(&said, &["ermission denied", "shared"])?,
            (built, _) => return Err(format!("member {may}: {built:?}")),
        }
    }
    Ok(())
}

const STEP: &str = "FROM base\nRUN true\n";

fn a_store_has_one_map() -> Result<(), String> {
    let work = Work::new(User::with_one_id(), STEP);
    succeed(&mut work.command(&work.busybox(), "type=cacheonly"))?;
    for file in ["subuid", "subgid"] {
        work.user.set_etc(file, &format!("{}:{}:65536\n", User::NAME, User::FIRST));
    }
    let said = work.failure()?;
    expect(&said, &["ids of another id map (0:4242:1 / 0:4242:1, now 0:4242:1 1:1000000:65536", "RBX_ROOT"])
}

fn what_maps_ids_is_missing() -> Result<(), String> {
    let work = Work::new(User::with_ranges().wrapped("mount --bind /dev/null /usr/bin/newgidmap"), STEP);
    expect(&work.failure()?, &["newgidmap is not in PATH", "Hint: install it: the package is uidmap"])
}

fn what_maps_ids_has_no_rights() -> Result<(), String> {
    let wrap = "cp /usr/bin/newuidmap \"$HOME/plain\"; chmod 755 \"$HOME/plain\"
        mount --bind \"$HOME/plain\" /usr/bin/newuidmap";
    let work = Work::new(User::with_ranges().wrapped(wrap), STEP);
    expect(&work.failure()?, &["/usr/bin/newuidmap is not set-user-ID root", "chmod u+s /usr/bin/newuidmap"])
}

fn ranges_that_are_wrong() -> Result<(), String> {
    let user = User::new(&format!("{}:4000:1000\n", User::NAME));
    let said = Work::new(user, STEP).failure()?;
    expect(&said, &["/etc/subuid cannot be mapped: the range 4000:1000 holds the user's own id 4242"])?;
    let user = User::with_ranges();
    user.set_etc("subgid", "");
    expect(
        &Work::new(user, STEP).failure()?,
        &["/etc/subgid cannot be mapped: none, though /etc/subuid has some"],
    )
}

fn namespaces_are_turned_off() -> Result<(), String> {
    // The setting is one of each user namespace: here it is made in one that shows every id as itself.
    let wrap = r#"own=$(readlink /proc/self/ns/user)
        unshare --user sleep 60 &
        holder=$!
        while test "$(readlink /proc/$holder/ns/user)" = "$own"; do sleep 0.01; done
        echo "0 0 4294967295" > /proc/$holder/uid_map
        echo "0 0 4294967295" > /proc/$holder/gid_map
        code=0
        nsenter --user=/proc/$holder/ns/user --preserve-credentials sh -euc '
            echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"' sh "$@" || code=$?
        kill $holder
        exit $code"#;
    let work = Work::new(User::with_one_id().wrapped(wrap), STEP);
    let said = work.failure()?;
    expect(
        &said,
        &["user.max_user_namespaces is 0", "Hint: turn them on: sudo sysctl -w user.max_user_namespaces"],
    )?;
    if said.contains("RUN true") { Err(format!("a step was begun:\n{said}")) } else { Ok(()) }
}

fn proc_is_masked() -> Result<(), String> {
    let work = Work::new(User::with_ranges().wrapped("mount --bind /dev/null /proc/keys"), STEP);
    let said = work.failure()?;
    expect(&said, &["no /proc can be mounted", "Hint: in a container", "systempaths=unconfined"])?;
    if said.contains("RUN true") { Err(format!("a step was begun:\n{said}")) } else { Ok(()) }
}

fn runtimes_are_for_root() -> Result<(), String> {
    let user = User::with_ranges().wrapped("export RBX_OCI_RUNTIME=runc");
    let said = Work::new(user, STEP).failure()?;
    expect(&said, &["steps are run by an OCI runtime for root only", "Hint: run it with sudo, or leave"])
}

/// Who may not make namespaces can still build what has no steps.
fn copies_need_no_rights() -> Result<(), String> {
    let user = User::with_ranges().wrapped("mount --bind /dev/null /usr/bin/newgidmap");
    let work = Work::new(user, "FROM scratch\nCOPY --chown=5:6 Dockerfile /\n");
    let image = work.image(|output| work.command(&work.busybox(), output))?.root();
    let owner = (image["Dockerfile"].uid, image["Dockerfile"].gid);
    if owner == (5, 6) { Ok(()) } else { Err(format!("{owner:?}")) }
}

fn an_interrupted_build_ends() -> Result<(), String> {
    let work = Work::new(User::with_ranges(), "FROM base\nRUN echo begun; sleep 1000\n");
    let log = work.path("log");
    let file = fs::File::create(&log).map_err(|error| error.to_string())?;
    let mut child = work
        .command(&work.busybox(), "type=cacheonly")
        .stderr(Stdio::from(file))
        .spawn()
        .map_err(|error| error.to_string())?;
    while !fs::read_to_string(&log).unwrap_or_default().contains(" begun\n") {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("it ended with {status}: {}", fs::read_to_string(&log).unwrap_or_default()));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    interrupt(&child);
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.code() == Some(130) { Ok(()) } else { Err(format!("it ended with {status}")) }
}
