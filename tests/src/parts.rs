//! Where the real parts are.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::{hub, images};

/// The real parts that `cargo xtask parts` fetched.
#[derive(Debug, Clone)]
pub struct Parts {
    directory: PathBuf,
}

impl Parts {
    /// The parts in `$RBX_PARTS`, else in `target/parts` of this workspace.
    ///
    /// # Panics
    ///
    /// If they are not there; the message has the command that fetches them.
    pub fn locate() -> Self {
        let directory =
            std::env::var_os("RBX_PARTS").map_or_else(|| target_directory().join("parts"), PathBuf::from);
        assert!(
            directory.join("versions").exists(),
            "the parts that this test runs on are not in {}: run `cargo xtask parts`",
            directory.display()
        );
        Self { directory }
    }

    /// The directory of all parts.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A program of the parts by name: `docker`, `docker-buildx`, `dockerd`, `docker-registry`, `crane`,
    /// `qemu-aarch64`, …
    ///
    /// # Panics
    ///
    /// If there is no such program.
    pub fn program(&self, name: &str) -> PathBuf {
        let root = self.directory.join("root/usr");
        ["bin", "sbin", "libexec/docker/cli-plugins"]
            .iter()
            .map(|directory| root.join(directory).join(name))
            .find(|path| path.exists())
            .unwrap_or_else(|| panic!("the parts have no program {name:?}: run `cargo xtask parts`"))
    }

    /// The static busybox of a Debian architecture (`amd64`, `armhf`, …).
    pub fn busybox(&self, debian_architecture: &str) -> PathBuf {
        self.directory.join("busybox").join(debian_architecture).join("usr/bin/busybox")
    }

    /// A Neovim that is newer than the machine's.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn neovim(&self) -> PathBuf {
        let program = self.directory.join("neovim/nvim");
        assert!(program.exists(), "the parts have no Neovim: run `cargo xtask parts`");
        program
    }

    /// `PATH` with the parts first, then what the machine has.
    pub fn path(&self) -> OsString {
        let mut path = OsString::from(self.directory.join("root/usr/bin"));
        path.push(":");
        path.push(self.directory.join("root/usr/sbin"));
        path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        path
    }

    /// Which version each part has, as `cargo xtask parts` recorded it: a line each.
    pub fn versions(&self) -> String {
        fs::read_to_string(self.directory.join("versions")).expect("the record of versions can be read")
    }

    /// A base image as an OCI layout directory: `busybox` (for seven platforms), `configured` and `onbuild` (the same
    /// files under other configurations).
    pub fn layout(&self, image: &str) -> PathBuf {
        let layout = self.images().join(image);
        assert!(layout.join("index.json").exists(), "there is no base image {image:?}");
        layout
    }

    /// A small Debian with apt as an OCI layout directory, for this machine's architecture. The first call makes it, in
    /// about half a minute.
    pub fn debian(&self) -> PathBuf {
        let layout = self.directory.join("debian");
        let is_made = || layout.join("index.json").exists();
        if !is_made() {
            let _lock = self.lock("debian");
            if !is_made() {
                images::make_debian(&layout);
            }
        }
        layout
    }

    /// A repository of Debian packages for arm64, as apt reads it: `make`, and `build-tools`, which needs that.
    pub fn repository(&self) -> PathBuf {
        self.hub().join("repository")
    }

    /// The directory of what is under the names of Docker Hub, made at the first call in some seconds: `registry`, the
    /// storage of a registry, and `repository`.
    pub(crate) fn hub(&self) -> PathBuf {
        let directory = self.directory.join("hub");
        self.make("hub", &hub::recipe(self), || hub::make(self, &directory));
        directory
    }

    /// The directory of base images, made at the first call: an OCI layout for each, and `registry`, the storage of a
    /// registry that has them all.
    pub(crate) fn images(&self) -> PathBuf {
        let directory = self.directory.join("images");
        self.make("images", images::RECIPE, || images::make(self, &directory));
        directory
    }

    /// Makes a directory of this name, unless there is one made by the same recipe.
    pub(crate) fn make(&self, name: &str, recipe: &str, make: impl FnOnce()) {
        let stamp = self.directory.join(name).join("recipe");
        let made = || fs::read_to_string(&stamp).is_ok_and(|recorded| recorded == recipe);
        if !made() {
            let _lock = self.lock(name);
            if !made() {
                make();
                fs::write(&stamp, recipe).expect("the recipe can be recorded");
            }
        }
    }

    /// Waits for, and takes, a lock of this name among all processes that share the parts. Dropping it releases it.
    pub(crate) fn lock(&self, name: &str) -> File {
        let path = self.directory.join(format!(".lock-{name}"));
        let lock = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        lock.lock().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        lock
    }
}

/// Cargo's target directory, from where the running program lies in it: `target/PROFILE/…/program`.
pub(crate) fn target_directory() -> PathBuf {
    let program = std::env::current_exe().expect("the running program has a path");
    program
        .ancestors()
        .find(|ancestor| ancestor.join("CACHEDIR.TAG").exists())
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), Path::to_path_buf)
}
