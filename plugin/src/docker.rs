//! The program as a plugin of the docker CLI: how it was called, what it says of itself, and docker's configuration.

mod config;
mod socket;

use std::path::PathBuf;

use clap::CommandFactory;
use rbx_driver::docker::{EndpointChoice, TlsChoice};
use serde_json::json;

pub(crate) use config::{
    Proxies, collection_limits, emulation_settings, git_config, prune_filters, registry_config,
    registry_setup,
};
pub(crate) use socket::watch;

use crate::cli::flags::{self, Mixed};
use crate::cli::{ABOUT, DockerOptions, parse_line};
use crate::env::Env;
use crate::errors::CliError;
use crate::version::VERSION;

/// The plugin's name: `docker rbx`.
pub(crate) const NAME: &str = "rbx";
/// Set by docker to what it was called as itself; its presence means that docker runs the program.
pub(crate) const RUN_BY_DOCKER: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";
/// Set where plugins are to reach the Engine through docker itself.
const USE_DIAL_STDIO: &str = "DOCKER_CLI_PLUGIN_USE_DIAL_STDIO";
/// The command by which docker asks a program what plugin it is.
pub(crate) const METADATA_COMMAND: &str = "docker-cli-plugin-metadata";

/// How the program was called.
#[derive(Debug, Clone, Default)]
pub(crate) struct Called {
    /// By docker, as a plugin.
    pub(crate) plugin: bool,
    /// The program the user called: `docker`, or this one's name.
    pub(crate) binary: String,
    /// What comes before a command: `docker rbx`, or this program's name.
    pub(crate) path: String,
    /// docker's own flags.
    pub(crate) docker: DockerOptions,
    /// The words that these were read from.
    pub(crate) docker_words: Vec<String>,
    /// All words from the command on.
    pub(crate) args: Vec<String>,
}

impl Called {
    /// A command as the user calls it.
    pub(crate) fn path_to(&self, command: &str) -> String {
        if command.is_empty() { self.path.clone() } else { format!("{} {command}", self.path) }
    }

    /// What is wrong with a flag of a command.
    pub(crate) fn flag_error(&self, message: String, command: &str, operands: &str) -> CliError {
        let path = self.path_to(command);
        CliError::Flag { message, path, operands: operands.to_owned(), plugin: self.plugin }
    }

    /// docker was asked to say more.
    pub(crate) fn debug(&self) -> bool {
        self.docker.debug || self.docker.log_level.as_deref() == Some("debug")
    }

    /// docker's configuration directory.
    pub(crate) fn config_dir(&self, env: &Env) -> Option<PathBuf> {
        let flag = self.docker.config.as_ref().map(|path| env.cwd.join(path));
        flag.or_else(|| env.path("DOCKER_CONFIG")).or_else(|| env.home().map(|home| home.join(".docker")))
    }

    /// The command that is a connection to the Engine, where docker wants plugins to go that way: docker itself, with
    /// the flags that it got.
    fn dial_stdio(&self, env: &Env) -> Option<Vec<String>> {
        env.filled(USE_DIAL_STDIO).filter(|_| self.plugin)?;
        let docker = env.filled(RUN_BY_DOCKER).unwrap_or("docker");
        let words = std::iter::once(docker.to_owned()).chain(self.docker_words.iter().cloned());
        Some(words.chain(["system", "dial-stdio"].map(str::to_owned)).collect())
    }

    /// What is said about the Engine to use, by flags and environment.
    pub(crate) fn endpoint(&self, env: &Env) -> EndpointChoice {
        let owned = |name: &str| env.filled(name).map(str::to_owned);
        let file = |path: &Option<String>| path.as_ref().map(|path| env.cwd.join(path));
        EndpointChoice {
            host: self.docker.host.first().cloned(),
            context: self.docker.context.clone(),
            docker_host: owned("DOCKER_HOST"),
            docker_context: owned("DOCKER_CONTEXT"),
            config_dir: self.config_dir(env),
            tls: TlsChoice {
                enabled: self.docker.tls || env.filled("DOCKER_TLS").is_some(),
                verify: self.docker.tlsverify || env.filled("DOCKER_TLS_VERIFY").is_some(),
                cert_path: env.path("DOCKER_CERT_PATH"),
                ca: file(&self.docker.tlscacert),
                cert: file(&self.docker.tlscert),
                key: file(&self.docker.tlskey),
            },
            default_socket: None,
            dial_stdio: self.dial_stdio(env),
        }
    }
}

/// Finds out how the program was called with these words after its name.
pub(crate) fn called(args: &[String], env: &Env) -> Result<Called, CliError> {
    let plugin =
        env.filled(RUN_BY_DOCKER).is_some() || args.first().is_some_and(|arg| arg == METADATA_COMMAND);
    if !plugin {
        let name = env.program_name();
        return Ok(Called { binary: name.clone(), path: name, args: args.to_vec(), ..Called::default() });
    }
    let mut called =
        Called { plugin, binary: "docker".to_owned(), path: format!("docker {NAME}"), ..Called::default() };
    let flag_error = |message| CliError::Flag {
        message,
        path: "docker".to_owned(),
        operands: format!("[OPTIONS] {NAME} [ARG...]"),
        plugin,
    };
    let line = flags::read(&DockerOptions::command(), args, Mixed::No).map_err(flag_error)?;
    called.docker = parse_line(&line.flags, &[]).map_err(flag_error)?;
    check(&called.docker)?;
    called.docker_words = args.iter().take_while(|word| *word != NAME).cloned().collect();
    called.args = match line.operands.first().map(String::as_str) {
        // `docker --help rbx` asks for what `docker rbx --help` does.
        Some(NAME) if called.docker.help => vec!["help".to_owned()],
        Some(NAME) => line.rest,
        // `help rbx build`, `__complete rbx build …`: the name is for docker.
        Some(word @ ("help" | "__complete" | "__completeNoDesc")) => {
            let name = line.rest.iter().position(|word| word == NAME).map_or(0, |name| name + 1);
            std::iter::once(word.to_owned()).chain(line.rest[name..].iter().cloned()).collect()
        }
        Some(METADATA_COMMAND) => vec![METADATA_COMMAND.to_owned()],
        Some(word) => return Err(CliError::new(format!("docker: unknown command: docker {word}"))),
        None => Vec::new(),
    };
    Ok(called)
}

/// Refuses what docker refuses.
fn check(options: &DockerOptions) -> Result<(), CliError> {
    if options.host.len() > 1 {
        return Err(CliError::new("specify only one -H"));
    }
    if !options.host.is_empty() && options.context.is_some() {
        return Err(CliError::new("conflicting options: cannot specify both --host and --context"));
    }
    match options.log_level.as_deref() {
        None | Some("trace" | "debug" | "info" | "warn" | "warning" | "error" | "fatal" | "panic") => Ok(()),
        Some(level) => Err(CliError::new(format!("unable to parse logging level: {level}"))),
    }
}

/// What docker is told about the plugin.
pub(crate) fn metadata() -> String {
    let metadata = json!({
        "SchemaVersion": "0.1.0",
        "Vendor": "rbx",
        "Version": VERSION,
        "ShortDescription": ABOUT,
    });
    format!("{metadata:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_docker(args: &[&str]) -> Result<Called, CliError> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        called(&args, &Env::with(&[(RUN_BY_DOCKER, "/usr/bin/docker"), ("HOME", "/home/ann")]))
    }

    fn refused(args: &[&str]) -> String {
        let mut text = Vec::new();
        by_docker(args).unwrap_err().report(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_command_is_found_behind_what_is_for_docker() {
        let table: &[(&[&str], &[&str])] = &[
            (&["rbx", "build", "."], &["build", "."]),
            (&["--context", "c", "-D", "rbx", "-D", "ls"], &["-D", "ls"]),
            (&["help", "rbx"], &["help"]),
            (&["help", "rbx", "build"], &["help", "build"]),
            (&["__complete", "rbx", "build", ""], &["__complete", "build", ""]),
            (&["__completeNoDesc", "-c", "c", "rbx", "b"], &["__completeNoDesc", "b"]),
            (&["docker-cli-plugin-metadata"], &["docker-cli-plugin-metadata"]),
            (&["--help", "rbx"], &["help"]),
            (&[], &[]),
        ];
        for (args, wanted) in table {
            assert_eq!(by_docker(args).unwrap().args, *wanted, "{args:?}");
        }
    }

    #[test]
    fn the_flags_of_docker_choose_the_engine() {
        let called = by_docker(&["--config", "c", "-H", "tcp://h:1", "--tlsverify", "rbx"]).unwrap();
        let choice =
            called.endpoint(&Env::with(&[("DOCKER_HOST", "tcp://other"), ("DOCKER_CERT_PATH", "/certs")]));
        assert_eq!(choice.host.as_deref(), Some("tcp://h:1"));
        assert_eq!(choice.docker_host.as_deref(), Some("tcp://other"));
        assert_eq!(choice.config_dir, Some(PathBuf::from("/work/c")));
        assert!(choice.tls.verify && !choice.tls.enabled);
        assert_eq!(choice.tls.cert_path, Some(PathBuf::from("/certs")));
        let env = Env::with(&[("HOME", "/home/ann")]);
        assert_eq!(Called::default().config_dir(&env), Some(PathBuf::from("/home/ann/.docker")));
    }

    #[test]
    fn docker_may_want_to_be_the_way_to_the_engine() {
        let called = by_docker(&["-H", "tcp://h:1", "rbx", "-D", "ls"]).unwrap();
        let env = [(RUN_BY_DOCKER, "/usr/bin/docker"), (USE_DIAL_STDIO, "1")];
        let command = called.endpoint(&Env::with(&env)).dial_stdio.unwrap();
        assert_eq!(command, ["/usr/bin/docker", "-H", "tcp://h:1", "system", "dial-stdio"]);
        assert_eq!(called.endpoint(&Env::with(&env[..1])).dial_stdio, None);
        assert_eq!(Called::default().endpoint(&Env::with(&env)).dial_stdio, None);
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        insta::assert_snapshot!(refused(&["--foo", "rbx"]), @r"
        unknown flag: --foo

        Usage:  docker [OPTIONS] rbx [ARG...]

        Run 'docker --help' for more information
        ");
        assert_eq!(
            refused(&["-H", "a", "-c", "b", "rbx"]),
            "ERROR: conflicting options: cannot specify both --host and --context\n"
        );
        assert_eq!(refused(&["-l", "loud", "rbx"]), "ERROR: unable to parse logging level: loud\n");
    }

    #[test]
    fn called_alone_the_program_goes_by_its_own_name() {
        let called = called(&["rbx".to_owned()], &Env::with(&[])).unwrap();
        assert_eq!((called.plugin, called.path.as_str()), (false, "docker-rbx"));
        assert_eq!(called.args, ["rbx"]);
    }
}
