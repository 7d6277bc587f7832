//! Help texts in the layout of docker's.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};

use crate::cli::flags::is_switch;
use crate::cli::{ABOUT, ENTRIES, Entry, Root};
use crate::docker::Called;
use crate::env::Env;

/// Columns where nobody says how wide the terminal is.
const WIDTH: usize = 80;
/// Columns that descriptions have at least, even if they have to begin further left.
const NARROWEST: usize = 24;
/// Where descriptions begin on narrow terminals.
const NARROW_COLUMN: usize = 16;
/// By how much a last line can be longer than those before it, so that no line has a lone short word.
const SLACK: usize = 5;

/// The columns to write help for.
pub(crate) fn width(env: &Env) -> usize {
    let size = if env.stdout_is_terminal { crossterm::terminal::size().ok() } else { None };
    size.map(|(columns, _)| usize::from(columns)).filter(|columns| *columns > 0).unwrap_or(WIDTH)
}

/// Help of the program.
pub(crate) fn root(called: &Called, width: usize) -> String {
    let path = &called.path;
    let mut text = format!("Usage:  {path} [OPTIONS] COMMAND\n\n{ABOUT}\n\n");
    text.push_str(&options(&Root::command(), width));
    text.push_str("\nCommands:\n");
    let shown = || ENTRIES.iter().filter(|entry| !entry.hidden);
    let column = shown().map(|entry| entry.name.len()).max().unwrap_or(0).max(11);
    for entry in shown() {
        let _ = writeln!(text, "  {:column$} {}", entry.name, entry.about);
    }
    let _ = writeln!(text, "\nRun '{path} COMMAND --help' for more information on a command.");
    text
}

/// Help of a command.
pub(crate) fn command(called: &Called, entry: &Entry, width: usize) -> String {
    let path = called.path_to(entry.name);
    let space = if entry.operands.is_empty() { "" } else { " " };
    let mut text = format!("Usage:  {path}{space}{}\n\n{}\n\n", entry.operands, entry.about);
    if let Some(alias) = entry.alias {
        let _ = writeln!(text, "Aliases:\n  {path}, {}\n", called.path_to(alias));
    }
    let definition = (entry.definition)();
    text.push_str(&options(&definition, width));
    if let Some(after) = definition.get_after_help() {
        let _ = writeln!(text, "\n{after}");
    }
    text
}

/// The table of flags.
fn options(command: &Command, width: usize) -> String {
    let mut shown: Vec<&Arg> =
        command.get_arguments().filter(|arg| arg.get_long().is_some() && !arg.is_hide_set()).collect();
    shown.sort_by_key(|arg| arg.get_long());
    let rows: Vec<(String, String)> = shown.iter().map(|arg| (left(arg), right(arg))).collect();
    let column = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0) + 3;
    let mut text = "Options:\n".to_owned();
    for (left, right) in rows {
        let _ = writeln!(text, "{left:column$}{}", wrap(&right, column, width.saturating_sub(1)));
    }
    text
}

/// `  -f, --file string`
fn left(arg: &Arg) -> String {
    let short = arg.get_short().map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
    let name = arg.get_value_names().and_then(|names| names.first());
    let value = match name {
        Some(name) if !is_switch(arg) => format!(" {name}"),
        _ => String::new(),
    };
    format!("  {short}--{}{value}", arg.get_long().unwrap_or_default())
}

/// What the flag does, and what it is by default.
fn right(arg: &Arg) -> String {
    let does = arg.get_help().map(ToString::to_string).unwrap_or_default();
    match arg.get_default_values().first() {
        Some(value) if !is_switch(arg) => format!("{does} (default {:?})", value.to_string_lossy()),
        _ => does,
    }
}

/// Breaks a text at spaces, to stand in lines of `width` columns from `column` on.
fn wrap(text: &str, column: usize, width: usize) -> String {
    let (mut out, mut indent) = (String::new(), column);
    if width.saturating_sub(indent) < NARROWEST {
        indent = NARROW_COLUMN;
        let _ = write!(out, "\n{:indent$}", "");
    }
    let room = width.saturating_sub(indent).max(NARROWEST);
    let mut rest = text;
    while rest.len() > room {
        let limit = rest.floor_char_boundary(room - SLACK);
        let Some(space) = rest[..limit].rfind(' ').filter(|space| *space > 0) else { break };
        let _ = write!(out, "{}\n{:indent$}", &rest[..space], "");
        rest = &rest[space + 1..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::cli;

    fn by_docker() -> Called {
        Called {
            plugin: true,
            binary: "docker".to_owned(),
            path: "docker rbx".to_owned(),
            ..Called::default()
        }
    }

    fn alone() -> Called {
        Called { binary: "docker-rbx".to_owned(), path: "docker-rbx".to_owned(), ..Called::default() }
    }

    #[test]
    fn the_program_is_explained() {
        assert_snapshot!(root(&by_docker(), 80), @r##"
        Usage:  docker rbx [OPTIONS] COMMAND

        Build images for many platforms, with or without a daemon

        Options:
              --builder string   Use this builder instance
          -D, --debug            Enable debug logging

        Commands:
          build       Build an image from a Dockerfile
          check       Check Dockerfiles for each platform they are built for
          create      Create a builder, or change one
          dial-stdio  Connect standard input and output to a builder's BuildKit
          doctor      Show what can be built here, and what is missing
          du          Show what the builder keeps and what that takes
          inspect     Show a builder
          ls          List builders
          lsp         Run the language server for Dockerfiles
          prune       Remove what the builder keeps
          rm          Remove builders
          stop        Stop a builder
          use         Choose the builder that is used
          version     Show version information

        Run 'docker rbx COMMAND --help' for more information on a command.
        "##);
    }

    #[test]
    fn build_is_explained() {
        assert_snapshot!(command(&by_docker(), cli::entry("build").unwrap(), 80), @r#"
        Usage:  docker rbx build [OPTIONS] PATH | URL | -

        Build an image from a Dockerfile

        Aliases:
          docker rbx build, docker rbx b

        Options:
              --add-host strings              Add a line to the hosts file of
                                              steps (format: "host:ip")
              --allow stringArray             Grant the build a privilege (e.g.,
                                              "network.host",
                                              "security.insecure", "device",
                                              "buildx.local.delete")
              --annotation stringArray        Annotate the image (format:
                                              "[type:]key=value")
              --attest stringArray            Attach an attestation (format:
                                              "type=sbom,generator=image")
              --build-arg stringArray         Set a variable of the Dockerfile's
                                              ARG (format: "name=value")
              --build-context stringArray     Name another build context (format:
                                              "name=path")
              --builder string                Use this builder instance
              --cache-from stringArray        Read cache from elsewhere (e.g.,
                                              "user/app:cache",
                                              "type=local,src=path/to/dir")
              --cache-to stringArray          Write cache elsewhere (e.g.,
                                              "user/app:cache",
                                              "type=local,dest=path/to/dir")
              --call string                   What to do with the Dockerfile
                                              ("build", "check", "dry-run",
                                              "outline", "targets") (default "build")
              --cgroup-parent string          Control group above those of "RUN"
                                              instructions
              --check                         Same as "--call=check"
          -D, --debug                         Enable debug logging
              --dry-run                       Same as "--call=dry-run": show
                                              which steps are cached and what
                                              runs the others, and build nothing
          -f, --file string                   Path of the Dockerfile (default:
                                              "PATH/Dockerfile")
              --iidfile string                Write the image ID to this file
              --label stringArray             Label the image (format: "key=value")
              --load                          Same as "--output=type=docker"
              --metadata-file string          Write what the build answers to
                                              this file, as JSON
              --network string                Network of "RUN" instructions
                                              ("default", "host", "none")
                                              (default "default")
              --no-cache                      Do not use the cache
              --no-cache-filter stringArray   Do not use the cache for this stage
              --oci-runtime string            OCI runtime that runs steps in
                                              place of the engine's own sandbox
                                              (e.g., "runc", "/path/to/crun")
          -o, --output stringArray            Where the result goes (format:
                                              "type=local,dest=path")
              --platform stringArray          Platform to build for (format:
                                              "os/arch[/variant]")
              --policy stringArray            Check sources against a policy
                                              (format: "filename=path[,strict=bool]")
              --progress string               How progress is shown ("auto",
                                              "none", "plain", "quiet",
                                              "rawjson", "tty"). "plain" shows
                                              all output of steps (default "auto")
              --provenance string             Same as "--attest=type=provenance"
              --pull                          Ask the registry for base images
                                              even if they are here
              --push                          Same as
                                              "--output=type=registry,unpack=false"
          -q, --quiet                         Show no progress, and print the
                                              image ID in the end
              --resource stringArray          Limit what steps use (e.g.,
                                              "memory=2g", "cpu-quota=50000")
              --sbom string                   Same as "--attest=type=sbom"
              --secret stringArray            Show steps a secret (format:
                                              "id=mysecret[,src=/local/secret]")
              --shm-size bytes                Size of /dev/shm in steps
              --ssh stringArray               Show steps an SSH agent or keys
                                              (format:
                                              "default|<id>[=<socket>|<key>[,<key>]]")
          -t, --tag stringArray               Name the image (format:
                                              "[registry/]repository[:tag]")
              --target string                 Build this stage
              --ulimit ulimit                 Limit processes of steps (format:
                                              "type=soft[:hard]")
        "#);
    }

    #[test]
    fn doctor_is_explained() {
        assert_snapshot!(command(&by_docker(), cli::entry("doctor").unwrap(), 80), @r##"
        Usage:  docker rbx doctor [OPTIONS]

        Show what can be built here, and what is missing

        Options:
              --builder string     Use this builder instance
          -D, --debug              Enable debug logging
              --format string      Format the output ("pretty", "json", or a Go
                                   template) (default "pretty")
              --timeout duration   How long to wait for the Docker Engine
                                   (default "20s")
        "##);
    }

    #[test]
    fn called_alone_the_program_is_explained_by_its_own_name() {
        assert_snapshot!(command(&alone(), cli::entry("version").unwrap(), 80), @r##"
        Usage:  docker-rbx version

        Show version information

        Options:
              --builder string   Use this builder instance
          -D, --debug            Enable debug logging
        "##);
    }

    #[test]
    fn descriptions_fit_the_terminal() {
        assert_eq!(wrap("one two three four five six", 10, 40), "one two three four five six");
        let text = "Shared memory size for what is built here, and so on to the end";
        assert_eq!(
            wrap(text, 10, 40),
            "Shared memory size for\n          what is built here, and\n          so on to the end"
        );
        // On a narrow terminal the description begins on a line of its own.
        let narrow = wrap("one two three four five six seven", 36, 50);
        assert_eq!(narrow, format!("\n{0}one two three four five six seven", " ".repeat(16)));
        assert_eq!(wrap(&"x".repeat(100), 10, 40), "x".repeat(100));
    }

    #[test]
    fn commands_are_in_the_order_of_their_names() {
        assert!(ENTRIES.is_sorted_by_key(|entry| entry.name));
    }
}
