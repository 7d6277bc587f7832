//! What the user says about emulation.

use std::path::PathBuf;

use rbx_platform::Platform;

/// Where handlers may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Registration {
    /// Wherever one works: see [`Means`](crate::Means) for the order.
    #[default]
    Auto,
    /// In a namespace of the build alone. The kernel's version is not asked then: one that was changed to have
    /// `binfmt_misc` in namespaces may say any.
    Namespace,
    /// On the host alone, where somebody else registered them: what kernels before 6.7 leave.
    Host,
    /// Nowhere: what the CPU does not run is not run.
    None,
}

/// What the user says about emulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where handlers may be.
    pub registration: Registration,
    /// Where QEMU is looked for, in this order.
    pub qemu_directories: Vec<PathBuf>,
    /// The image that has QEMU where no directory has it, such as `tonistiigi/binfmt`; `None` to use no image. Fetching
    /// it is the engine's.
    pub qemu_image: Option<String>,
    /// Platforms that are emulated even if the CPU runs them.
    pub always: Vec<Platform>,
    /// Where the host's `binfmt_misc` is mounted, if it is.
    pub binfmt_misc: PathBuf,
}

impl Settings {
    /// The image that QEMU is taken from unless another is set.
    pub const IMAGE: &str = "tonistiigi/binfmt";
}

impl Default for Settings {
    /// `Auto`, QEMU from no directory but [`Settings::IMAGE`], `binfmt_misc` where every system mounts it.
    fn default() -> Self {
        Self {
            registration: Registration::Auto,
            qemu_directories: Vec::new(),
            qemu_image: Some(Self::IMAGE.to_owned()),
            always: Vec::new(),
            binfmt_misc: PathBuf::from("/proc/sys/fs/binfmt_misc"),
        }
    }
}
