//! Where the builds of the table are done: servers, contexts, and the builder.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cell::Cell;
use super::{Build, Seen};
use crate::builders::{Builder, Program, Row};
use crate::corpus::date;
use crate::{PASSWORD, Parts, Registry, RegistryOptions, Server, USER};

/// What the builds of one test share: a builder, registries, and servers of files.
///
/// Over HTTP there are `Dockerfile`, which copies all, and `context.tar.gz`; over git's protocol there is `x.git`, with
/// the same in a directory `sub` of the branch `main`.
pub struct Site {
    builder: &'static Builder,
    parts: Parts,
    directory: tempfile::TempDir,
    images: Registry,
    push: OnceCell<Registry>,
    private: OnceCell<Registry>,
    token: OnceCell<Registry>,
    server: OnceCell<Server>,
}

/// What is served.
const SERVED: &str = r"
git init -q -b main work
cd work
mkdir sub
printf 'FROM scratch\nCOPY . /all/\n' >sub/Dockerfile
echo ignored >sub/.dockerignore
echo ignored >sub/ignored
printf '#!/bin/sh\n' >sub/script
chmod 755 sub/script
git add .
git commit -q -m one
cd ..
git clone -q --mirror work x.git
cp work/sub/Dockerfile Dockerfile
tar -C work/sub -cz --sort=name --owner=0 --group=0 --numeric-owner --mtime=2020-01-01 -f context.tar.gz .
rm -rf work
";

impl Site {
    /// One with the builder of a row.
    pub fn new(builder: &'static Builder) -> Self {
        Self {
            builder,
            parts: Parts::locate(),
            directory: tempfile::Builder::new()
                .prefix("rbx-table-")
                .tempdir()
                .expect("a temporary directory"),
            images: Registry::with_images(),
            push: OnceCell::new(),
            private: OnceCell::new(),
            token: OnceCell::new(),
            server: OnceCell::new(),
        }
    }

    /// The builder.
    pub fn builder(&self) -> &'static Builder {
        self.builder
    }

    fn push(&self) -> &Registry {
        self.push.get_or_init(Registry::start)
    }

    /// A registry that asks for a user, whom the builder's configuration knows, with the busybox as `base`.
    fn closed(&self, options: RegistryOptions) -> Registry {
        let registry = Registry::with(options);
        let login = ["auth", "login", registry.address(), "-u", USER, "-p", PASSWORD];
        for config in [self.builder.engine().config(), self.directory.path().join("config")] {
            run(registry.crane().env("DOCKER_CONFIG", &config).args(login));
        }
        let config = self.directory.path().join("config");
        let mut push = registry.crane();
        push.env("DOCKER_CONFIG", config).arg("push").arg(self.parts.layout("busybox"));
        run(push.arg(format!("{}/base", registry.address())));
        registry
    }

    fn server(&self) -> &Server {
        self.server.get_or_init(|| {
            let directory = self.directory.path().join("served");
            fs::create_dir(&directory).expect("a directory can be made");
            let mut shell = Command::new("sh");
            for name in ["AUTHOR", "COMMITTER"] {
                shell.env(format!("GIT_{name}_DATE"), "2020-02-03T04:05:06Z");
                shell.env(format!("GIT_{name}_NAME"), "name").env(format!("GIT_{name}_EMAIL"), "mail");
            }
            shell.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("TZ", "UTC");
            run(shell.args(["-euc", SERVED]).current_dir(&directory));
            date(&directory);
            Server::start(&directory)
        })
    }

    /// A text with what its words in braces stand for, and what is to be put back in what is said.
    fn filled(&self, text: &str, who: Program, place: &Path) -> (String, Vec<(String, &'static str)>) {
        let text = &text.replace("{image}", &self.image_flags(place));
        let mut values: Vec<(&'static str, String)> = Vec::new();
        let add = |name: &'static str, value: String, values: &mut Vec<_>| {
            if text.contains(name) {
                values.push((name, value));
            }
        };
        add("{registry}", self.images.address().to_owned(), &mut values);
        add("{context}", context(place).display().to_string(), &mut values);
        add("{out}", place.join("out").display().to_string(), &mut values);
        add("{busybox}", self.parts.layout("busybox").display().to_string(), &mut values);
        if text.contains("{push}") {
            values.push(("{push}", format!("{}/{}", self.push().address(), who.name())));
        }
        if text.contains("{private}") {
            let options = RegistryOptions { password: true, ..RegistryOptions::default() };
            let registry = self.private.get_or_init(|| self.closed(options));
            values.push(("{private}", registry.address().to_owned()));
        }
        if text.contains("{token}") {
            let options = RegistryOptions { tokens: true, ..RegistryOptions::default() };
            let registry = self.token.get_or_init(|| self.closed(options));
            values.push(("{token}", registry.address().to_owned()));
        }
        if ["{http}", "{git}"].iter().any(|name| text.contains(name)) {
            let names = self.server().names();
            values.push(("{http}", names[0].1.clone()));
            values.push(("{git}", names[1].1.clone()));
        }
        let filled = values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
        (filled, values.into_iter().map(|(name, value)| (value, name)).collect())
    }

    /// The flags that make an image be written as it can be here.
    fn image_flags(&self, place: &Path) -> String {
        match self.builder.row() {
            Row::DockerGraph => format!("--load -t {}", image_name(place)),
            _ => format!("-o type=oci,dest={}", place.join(ARCHIVE).display()),
        }
    }

    fn image(&self, place: &Path) -> Result<PathBuf, String> {
        match self.builder.row() {
            Row::DockerGraph => self.saved(&image_name(place), place),
            _ => Ok(place.join(ARCHIVE)),
        }
    }

    /// Does a column's builds with a program.
    ///
    /// # Panics
    ///
    /// If the context cannot be made or the program cannot be run.
    pub fn run(&self, who: Program, build: &Build) -> Cell {
        // BuildKit updates one copy of all contexts whose directories have the same name, and takes files of the same
        // size and time for equal. What one program sends must not stand in for what the other does.
        let place = self.directory.path().join(format!("{}-{}", build.name, who.name()));
        let context = context(&place);
        fs::create_dir_all(&context).expect("a context can be made");
        fs::create_dir_all(place.join("out")).expect("a directory can be made");
        let mut names = vec![(place.display().to_string(), "{place}")];
        let mut fill = |text: &str| {
            let (text, more) = self.filled(text, who, &place);
            names.extend(more);
            text
        };
        for (name, text) in build.files {
            let path = context.join(name);
            fs::create_dir_all(path.parent().expect("it is in the context"))
                .expect("a directory can be made");
            fs::write(path, fill(text)).expect("a file can be written");
        }
        let script = fill(build.script);
        run(Command::new("sh").args(["-euc", &script]).current_dir(&context).env("TZ", "UTC"));
        date(&context);
        let mut cell = Cell::default();
        // Whoever takes away what others have built waits for them, and they for it.
        let prunes = build.commands.iter().any(|line| line.starts_with("prune"));
        let _others = (!prunes).then(|| self.builder.kept());
        let _alone = prunes.then(|| self.builder.pruned());
        for line in build.commands {
            let mut words = shell_words(&fill(line));
            if words[0] == "build" {
                let has =
                    |flags: &[&str]| words.iter().any(|word| flags.iter().any(|it| word.starts_with(it)));
                let mut more = Vec::new();
                if !has(&["--network"]) {
                    more.push("--network=host".to_owned());
                }
                if !has(&["--provenance", "--attest", "--sbom"]) {
                    more.push("--provenance=false".to_owned());
                }
                words.splice(1..1, more);
            }
            let mut command = self.builder.command(who);
            command.args(words).current_dir(&place).env("BUILDKIT_PROGRESS", "plain");
            command.envs(build.environment.iter().copied());
            command.stdin(match build.stdin {
                "" => Stdio::null(),
                name => File::open(context.join(name)).expect("a file of the context").into(),
            });
            cell.add(&command.output().expect("the program can be run"));
        }
        // The longest first: some begin with others.
        names.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        names.dedup();
        cell.name(names);
        if cell.is_well() {
            for seen in build.seen {
                cell.see(*seen, &place.join("out"), |name| match seen {
                    Seen::Pushed(_) => self.pulled(who, name, &place),
                    Seen::Image => self.image(&place),
                    _ => self.saved(name, &place),
                });
            }
        }
        cell
    }

    /// The images of a name in the registry that takes all, as an archive.
    fn pulled(&self, who: Program, name: &str, place: &Path) -> Result<PathBuf, String> {
        let directory = place.join("pulled");
        let _ = fs::remove_dir_all(&directory);
        let name = format!("{}/{}/{name}", self.push().address(), who.name());
        let mut crane = self.push().crane();
        tried(crane.args(["pull", "--format=oci", &name]).arg(&directory))?;
        packed(&directory)
    }

    /// The images of a name in the Engine, as an archive. They are removed there.
    fn saved(&self, name: &str, place: &Path) -> Result<PathBuf, String> {
        let archive = place.join("saved.tar");
        let engine = self.builder.engine();
        tried(engine.docker().args(["save", "--output"]).arg(&archive).arg(name))?;
        tried(engine.docker().args(["rmi", "--force", name]))?;
        Ok(archive)
    }
}

/// Where `{image}` is written.
const ARCHIVE: &str = "image.tar";

/// What `{image}` is called in an Engine: the same for both programs.
fn image_name(place: &Path) -> String {
    let name = place.file_name().expect("a place has a name").to_string_lossy();
    format!("table/{}", name.rsplit_once('-').map_or(&*name, |(column, _)| column))
}

fn context(place: &Path) -> PathBuf {
    let name = place.file_name().expect("a place has a name").to_string_lossy();
    place.join(format!("context-{name}"))
}

/// A directory that is an OCI layout as an archive.
pub(super) fn packed(directory: &Path) -> Result<PathBuf, String> {
    let archive = directory.with_extension("packed");
    let entries = ["index.json", "oci-layout", "blobs"];
    tried(Command::new("tar").arg("-C").arg(directory).arg("-cf").arg(&archive).args(entries))?;
    Ok(archive)
}

/// A directory as a tar.
pub(super) fn packed_files(directory: &Path) -> Result<PathBuf, String> {
    let archive = directory.with_extension("packed");
    tried(Command::new("tar").arg("-C").arg(directory).args(["--xattrs", "-cf"]).arg(&archive).arg("."))?;
    Ok(archive)
}

/// Words in blanks, some of them in quotes.
fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            letter => word.push(letter),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

fn tried(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn run(command: &mut Command) {
    tried(command).unwrap_or_else(|error| panic!("{error}"));
}
