//! How steps are run: devices, and an OCI runtime in place of the engine's own sandbox.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rbx_engine::Steps;

use crate::cli::build::BuildArgs;
use crate::env::Env;
use crate::errors::CliError;

/// Where vendors specify their devices (CDI).
const DEVICE_SPECS: [&str; 3] = ["/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"];

/// What flags and environment say about it.
pub(crate) fn steps(args: &BuildArgs, env: &Env) -> Result<Steps, CliError> {
    let named = args.oci_runtime.as_deref().or_else(|| env.filled("RBX_OCI_RUNTIME"));
    Ok(Steps {
        device_specs: DEVICE_SPECS.iter().map(PathBuf::from).collect(),
        oci_runtime: named.filter(|name| !name.is_empty()).map(|name| find_runtime(name, env)).transpose()?,
    })
}

/// The program that a name or path means.
fn find_runtime(name: &str, env: &Env) -> Result<PathBuf, CliError> {
    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let found = if name.contains('/') {
        Some(env.cwd.join(name)).filter(|path| is_program(path))
    } else {
        // Where runtimes are, even if the user's PATH does not lead there.
        let path = env.filled("PATH").unwrap_or_default();
        let directories = path.split(':').filter(|it| it.starts_with('/')).chain(["/usr/sbin", "/sbin"]);
        directories.map(|directory| Path::new(directory).join(name)).find(|path| is_program(path))
    };
    found.ok_or_else(|| {
        CliError::new(format!("OCI runtime {name:?} is not an executable file, nor one in $PATH"))
            .hint("leave --oci-runtime and RBX_OCI_RUNTIME out to use the engine's own sandbox")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_found_by_name_and_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("runc");
        std::fs::write(&program, "").expect("a file");
        let mut env = Env::default();
        directory.path().clone_into(&mut env.cwd);
        assert!(find_runtime("./runc", &env).is_err(), "it cannot be executed");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("a mode");
        assert_eq!(find_runtime("./runc", &env).expect("a program"), directory.path().join("./runc"));
        let error = format!("{:?}", find_runtime("no-such-runtime", &env).expect_err("an error"));
        assert!(error.contains("no-such-runtime"), "{error}");
    }
}
