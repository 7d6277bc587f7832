//! The command of a step: its environment, and where it is found. The words for failures are those of runc, which
//! takes them from Go's `os/exec`.

use std::convert::Infallible;
use std::ffi::CString;

use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use super::failure::{Failure, Result, Stage, describe};
use super::sys;
use crate::Step;

/// A command ready to be executed.
pub(super) struct Command {
    name: String,
    /// The last `PATH` of the environment.
    path: String,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Command {
    /// The command of `step`, run by somebody whose home directory is `home`.
    pub(super) fn new(step: &Step, home: &str) -> Result<Self> {
        let name =
            step.args.first().cloned().ok_or_else(|| Failure::new(Stage::Exec, "no command specified"))?;
        let args = step.args.iter().map(|arg| c_string(arg.clone())).collect::<Result<_>>()?;
        let mut variables: Vec<(&str, &str)> = Vec::new();
        for (key, value) in &step.env {
            match variables.iter_mut().find(|(known, _)| known == key) {
                Some(known) => known.1 = value,
                None => variables.push((key, value)),
            }
        }
        if !variables.iter().any(|(key, _)| *key == "HOME") {
            variables.push(("HOME", home));
        }
        let path =
            variables.iter().find(|(key, _)| *key == "PATH").map_or("", |(_, value)| *value).to_owned();
        let env =
            variables.iter().map(|(key, value)| c_string(format!("{key}={value}"))).collect::<Result<_>>()?;
        Ok(Self { name, path, args, env })
    }

    /// The environment, `NAME=VALUE` each.
    pub(super) fn environment(&self) -> Vec<String> {
        self.env.iter().map(|variable| variable.to_string_lossy().into_owned()).collect()
    }

    /// Executes `file`, which [`Command::find`] has found, and returns only if that fails.
    pub(super) fn execute(&self, file: &str) -> Result<Infallible> {
        let path = c_string(file.to_owned())?;
        sys::execve(&path, &self.args, &self.env).map_err(|errno| Failure {
            stage: Stage::Exec,
            message: format!("exec {file}: {}", describe(errno)),
            errno: Some(errno.raw_os_error()),
        })
    }

    /// The file to execute, looked up in the current root and directory with the rights of the current user.
    pub(super) fn find(&self) -> Result<String> {
        let name = &self.name;
        let failed = |reason: &str| Failure::new(Stage::Exec, format!("exec: {name:?}: {reason}"));
        if name.contains('/') {
            return match executable(name) {
                Ok(()) => Ok(name.clone()),
                Err(Problem::Stat(errno)) => Err(failed(&format!("stat {name}: {}", describe(errno)))),
                Err(Problem::Not(errno)) => Err(failed(&describe(errno))),
            };
        }
        for directory in self.path.split(':') {
            let directory = if directory.is_empty() { "." } else { directory };
            let file = format!("{}/{name}", directory.trim_end_matches('/'));
            if !name.is_empty() && executable(&file).is_ok() {
                if !file.starts_with('/') {
                    return Err(failed("cannot run executable found relative to current directory"));
                }
                return Ok(file);
            }
        }
        Err(failed("executable file not found in $PATH"))
    }
}

enum Problem {
    Stat(Errno),
    Not(Errno),
}

fn executable(path: &str) -> std::result::Result<(), Problem> {
    let stat = rustix::fs::stat(path).map_err(Problem::Stat)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Problem::Not(Errno::ISDIR));
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).map_err(Problem::Not)
}

fn c_string(text: String) -> Result<CString> {
    CString::new(text).map_err(|error| {
        Failure::new(
            Stage::Exec,
            format!("a NUL byte stands in {:?}", String::from_utf8_lossy(&error.into_vec())),
        )
    })
}
