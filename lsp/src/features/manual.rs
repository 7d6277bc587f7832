//! What the keywords, flags and parser directives of the language do, in a few sentences each.

use rbx_dockerfile::Keyword;

/// Where the language is described in full.
const REFERENCE: &str = "https://docs.docker.com/reference/dockerfile/";

/// A piece of the manual. The texts are Markdown that reads well without rendering.
#[derive(Debug)]
pub(crate) struct Entry {
    /// How it is written.
    pub(crate) usage: &'static str,
    /// What it does.
    pub(crate) text: &'static str,
    /// Its section of the reference.
    anchor: &'static str,
}

impl Entry {
    /// Its section of the reference.
    pub(crate) fn link(&self) -> String {
        format!("{REFERENCE}#{}", self.anchor)
    }
}

const fn entry(usage: &'static str, anchor: &'static str, text: &'static str) -> Entry {
    Entry { usage, text, anchor }
}

/// An instruction; none for unknown ones.
pub(crate) fn instruction(keyword: Keyword) -> Option<&'static Entry> {
    Some(match keyword {
        Keyword::Add => &ADD,
        Keyword::Arg => &ARG,
        Keyword::Cmd => &CMD,
        Keyword::Copy => &COPY,
        Keyword::Entrypoint => &ENTRYPOINT,
        Keyword::Env => &ENV,
        Keyword::Expose => &EXPOSE,
        Keyword::From => &FROM,
        Keyword::Healthcheck => &HEALTHCHECK,
        Keyword::Label => &LABEL,
        Keyword::Maintainer => &MAINTAINER,
        Keyword::Onbuild => &ONBUILD,
        Keyword::Run => &RUN,
        Keyword::Shell => &SHELL,
        Keyword::Stopsignal => &STOPSIGNAL,
        Keyword::User => &USER,
        Keyword::Volume => &VOLUME,
        Keyword::Workdir => &WORKDIR,
        Keyword::Unknown => return None,
    })
}

/// A flag of an instruction; none if the instruction has no such flag.
pub(crate) fn flag(keyword: Keyword, name: &str) -> Option<&'static Entry> {
    Some(match (keyword, name) {
        (Keyword::From, "platform") => &FROM_PLATFORM,
        (Keyword::Run, "mount") => &RUN_MOUNT,
        (Keyword::Run, "network") => &RUN_NETWORK,
        (Keyword::Run, "security") => &RUN_SECURITY,
        (Keyword::Run, "device") => &RUN_DEVICE,
        (Keyword::Copy, "from") => &COPY_FROM,
        (Keyword::Copy, "parents") => &COPY_PARENTS,
        (Keyword::Copy, "chown") => &COPY_CHOWN,
        (Keyword::Copy, "chmod") => &COPY_CHMOD,
        (Keyword::Copy, "link") => &COPY_LINK,
        (Keyword::Copy, "exclude") => &COPY_EXCLUDE,
        (Keyword::Add, "keep-git-dir") => &ADD_KEEP_GIT_DIR,
        (Keyword::Add, "checksum") => &ADD_CHECKSUM,
        (Keyword::Add, "unpack") => &ADD_UNPACK,
        (Keyword::Add, "chown") => &ADD_CHOWN,
        (Keyword::Add, "chmod") => &ADD_CHMOD,
        (Keyword::Add, "link") => &ADD_LINK,
        (Keyword::Add, "exclude") => &ADD_EXCLUDE,
        (Keyword::Healthcheck, "interval") => &HEALTHCHECK_INTERVAL,
        (Keyword::Healthcheck, "timeout") => &HEALTHCHECK_TIMEOUT,
        (Keyword::Healthcheck, "start-period") => &HEALTHCHECK_START_PERIOD,
        (Keyword::Healthcheck, "start-interval") => &HEALTHCHECK_START_INTERVAL,
        (Keyword::Healthcheck, "retries") => &HEALTHCHECK_RETRIES,
        _ => return None,
    })
}

/// A parser directive.
pub(crate) fn directive(name: &str) -> Option<&'static Entry> {
    Some(match name {
        "syntax" => &SYNTAX,
        "escape" => &ESCAPE,
        "check" => &CHECK,
        _ => return None,
    })
}

static FROM: Entry = entry(
    "FROM [--platform=<platform>] <image>[:<tag>|@<digest>] [AS <name>]",
    "from",
    "Begins a stage on top of an image, an earlier stage or `scratch`, which is empty. What follows, up to the \
     next `FROM`, belongs to the stage. With `AS`, later instructions can refer to it: `FROM name`, \
     `COPY --from=name`, `RUN --mount=from=name`. The last stage is built unless `--target` names another, and of \
     the others only those that it needs.\n\nOnly an `ARG` before the first `FROM` can be used here.",
);
static FROM_PLATFORM: Entry = entry(
    "--platform=<os>/<arch>[/<variant>]",
    "from",
    "The platform of the image to start from, if it is to be another than the one the build is for. With \
     `$BUILDPLATFORM` the stage's commands run natively on the building machine, which is how cross-compilers are \
     used; `$TARGETPLATFORM` is what happens without the flag.",
);
static RUN: Entry = entry(
    "RUN [<flags>] <command>\nRUN [<flags>] [\"<executable>\", \"<argument>\", …]",
    "run",
    "Runs a command in the stage as it is so far, and keeps what it changed as a new layer. The first form goes \
     through the shell (`/bin/sh -c` on Linux, see `SHELL`), the second does not. Several lines can be written \
     with `\\` at their ends or as a here-document, `RUN <<EOF`.\n\nThe layer is reused as long as neither the \
     command nor anything before it changes: what the command fetches does not count.",
);
static RUN_MOUNT: Entry = entry(
    "--mount=type=<bind|cache|tmpfs|secret|ssh>[,<option>=<value>…]",
    "run---mount",
    "Makes something available to this command only, none of which ends up in the layer: files of the context or \
     of another stage (`bind`, the type if none is given), a directory that is kept between builds (`cache`), \
     memory (`tmpfs`), a secret (`secret`) or an SSH agent (`ssh`). `target=` says where. Can be repeated.",
);
static RUN_NETWORK: Entry = entry(
    "--network=<default|none|host>",
    "run---network",
    "The network of this command: the build's (`default`), no more than a loopback device (`none`), or the \
     machine's own (`host`, which the build has to allow with `--allow network.host`).",
);
static RUN_SECURITY: Entry = entry(
    "--security=<sandbox|insecure>",
    "run---security",
    "With `insecure` the command runs without the sandbox, with all capabilities. The build has to allow it with \
     `--allow security.insecure`.",
);
static RUN_DEVICE: Entry = entry(
    "--device=<name>[,required]",
    "run---device",
    "Gives this command access to a device that the builder offers under the name, by the Container Device \
     Interface. Without `required` the command runs also where there is no such device. Can be repeated.",
);
static CMD: Entry = entry(
    "CMD [\"<executable>\", \"<argument>\", …]\nCMD [\"<argument>\", …]\nCMD <command>",
    "cmd",
    "What a container of the image runs if nothing else is asked for. If there is an `ENTRYPOINT`, the words are \
     its arguments. In the first form the program itself is process 1 and gets signals; in the last it runs under \
     a shell, which does not pass them on. Only the last `CMD` of a stage counts.",
);
static ENTRYPOINT: Entry = entry(
    "ENTRYPOINT [\"<executable>\", \"<argument>\", …]\nENTRYPOINT <command>",
    "entrypoint",
    "The program that a container of the image runs. What is given to `docker run` after the image, or else \
     `CMD`, is added as arguments. In the second form, under a shell, both are ignored and signals do not reach \
     the program. Only the last `ENTRYPOINT` of a stage counts; it takes back a `CMD` of the base image.",
);
static LABEL: Entry = entry(
    "LABEL <key>=<value> …",
    "label",
    "Adds metadata to the image. Keys that others are to understand are best taken from the OCI annotations, \
     such as `org.opencontainers.image.source`. Labels of the base image are kept unless they are set again.",
);
static MAINTAINER: Entry = entry(
    "MAINTAINER <name>",
    "maintainer-deprecated",
    "Sets the image's author. Deprecated: use `LABEL org.opencontainers.image.authors=\"<name>\"`, which can be \
     seen with `docker inspect`.",
);
static EXPOSE: Entry = entry(
    "EXPOSE <port>[-<port>][/<tcp|udp>] …",
    "expose",
    "Says on which ports the container listens. It publishes none of them: that is what `docker run -p` does, or \
     `-P` for all that are said here. The protocol is TCP if none is given.",
);
static ENV: Entry = entry(
    "ENV <name>=<value> …",
    "env",
    "Sets environment variables for what follows in the stage and for containers of the image. They win over an \
     `ARG` of the same name. Not for secrets: everybody who has the image can read them.",
);
static ARG: Entry = entry(
    "ARG <name>[=<default>] …",
    "arg",
    "Declares a variable that can be set with `--build-arg`, from here to the end of the stage. Unlike `ENV` it is \
     not there when the container runs, but it is seen in the image's history: it is not for secrets. One that \
     stands before the first `FROM` is for `FROM` only; a stage that wants it declares it again, without a \
     default.\n\n`TARGETPLATFORM`, `TARGETOS`, `TARGETARCH`, `TARGETVARIANT` and the same with `BUILD` have values \
     without being given any, once they are declared. A default given to one of them wins on every platform.",
);
static ADD: Entry = entry(
    "ADD [<flags>] <source> … <destination>",
    "add",
    "Copies into the image as `COPY` does, and can do more: sources may be addresses of files or of git \
     repositories, and local archives are unpacked. Where none of that is wanted, `COPY` is clearer.",
);
static ADD_KEEP_GIT_DIR: Entry = entry(
    "--keep-git-dir[=<true|false>]",
    "add---keep-git-dir",
    "Keeps the `.git` directory of a repository that is added by its address.",
);
static ADD_CHECKSUM: Entry = entry(
    "--checksum=<algorithm>:<hex>",
    "add---checksum",
    "What a file that is added by its address must hash to, such as `sha256:…`, or the commit that a repository \
     must be at. The build fails if it is something else.",
);
static ADD_UNPACK: Entry = entry(
    "--unpack[=<true|false>]",
    "add---unpack",
    "Whether archives are unpacked. Without the flag local ones are and those from an address are not.",
);
static ADD_CHOWN: Entry = entry("--chown=<user>[:<group>]", "add---chown---chmod", CHOWN_TEXT);
static ADD_CHMOD: Entry = entry("--chmod=<mode>", "add---chown---chmod", CHMOD_TEXT);
static ADD_LINK: Entry = entry("--link[=<true|false>]", "add---link", LINK_TEXT);
static ADD_EXCLUDE: Entry = entry("--exclude=<pattern>", "add---exclude", EXCLUDE_TEXT);
static COPY: Entry = entry(
    "COPY [<flags>] <source> … <destination>\nCOPY [<flags>] [\"<source>\", …, \"<destination>\"]",
    "copy",
    "Copies files and directories from the build context into the image; of a directory, what is in it. Sources \
     may have wildcards and may be here-documents (`COPY <<EOF /file`). A destination that ends with `/` is a \
     directory; a relative one starts at `WORKDIR`. What `.dockerignore` excludes cannot be copied. The layer is \
     reused as long as the files are the same.",
);
static COPY_FROM: Entry = entry(
    "--from=<stage|context|image>",
    "copy---from",
    "Copies from an earlier stage (by name or number), from a context given with `--build-context`, or from an \
     image, instead of the build context.",
);
static COPY_PARENTS: Entry = entry(
    "--parents[=<true|false>]",
    "copy---parents",
    "Keeps the directories that lead to a source: `COPY --parents a/b/c.txt /d/` makes `/d/a/b/c.txt`. With `/./` \
     in a source, only those after it.",
);
static COPY_CHOWN: Entry = entry("--chown=<user>[:<group>]", "copy---chown---chmod", CHOWN_TEXT);
static COPY_CHMOD: Entry = entry("--chmod=<mode>", "copy---chown---chmod", CHMOD_TEXT);
static COPY_LINK: Entry = entry("--link[=<true|false>]", "copy---link", LINK_TEXT);
static COPY_EXCLUDE: Entry = entry("--exclude=<pattern>", "copy---exclude", EXCLUDE_TEXT);

const CHOWN_TEXT: &str = "The owner of what is copied, by name or number; names are looked up in the image's \
                          `/etc/passwd` and `/etc/group`. Without the flag it is root (0:0).";
const CHMOD_TEXT: &str = "The permissions of what is copied, as octal digits (`755`) or in symbols (`u=rwX,go=rX`). \
                          Without the flag they stay as they are at the source.";
const LINK_TEXT: &str = "Makes a layer that does not depend on those before it, so that it is reused, even on a new \
                         base image, as long as the files are the same. Symbolic links of the image are not \
                         followed in the destination.";
const EXCLUDE_TEXT: &str =
    "Leaves out what matches the pattern, in the grammar of `.dockerignore`. Can be repeated.";

static VOLUME: Entry = entry(
    "VOLUME <path> …\nVOLUME [\"<path>\", …]",
    "volume",
    "Says that the container's data at these paths is to live outside of it: if nothing is mounted there, each \
     container gets a new volume, filled with what the image has at the path.",
);
static USER: Entry = entry(
    "USER <user>[:<group>]",
    "user",
    "The user, by name or number, as whom the stage's further `RUN` commands and the container run. The user need \
     not exist; without a group the command runs in the user's own, or as root's.",
);
static WORKDIR: Entry = entry(
    "WORKDIR <path>",
    "workdir",
    "The directory in which further instructions work and in which the container starts. It is made if it does \
     not exist. A relative path starts at the one before.",
);
static ONBUILD: Entry = entry(
    "ONBUILD <instruction>",
    "onbuild",
    "An instruction that is not carried out now but at the beginning of any stage that is built `FROM` this image.",
);
static STOPSIGNAL: Entry = entry(
    "STOPSIGNAL <signal>",
    "stopsignal",
    "The signal that asks the container to stop, by name (`SIGINT`) or number. Without it, it is `SIGTERM`.",
);
static HEALTHCHECK: Entry = entry(
    "HEALTHCHECK [<flags>] CMD <command>\nHEALTHCHECK NONE",
    "healthcheck",
    "A command that is run in the container from time to time: the container is healthy as long as it exits with \
     0 and unhealthy with 1. `NONE` takes back what the base image has. Only the last of a stage counts.",
);
static HEALTHCHECK_INTERVAL: Entry = entry(
    "--interval=<duration>",
    "healthcheck",
    "The time from the end of one check to the next, such as `30s`, which it is if nothing else is said.",
);
static HEALTHCHECK_TIMEOUT: Entry = entry(
    "--timeout=<duration>",
    "healthcheck",
    "How long a check may take before it counts as failed; `30s` if nothing else is said.",
);
static HEALTHCHECK_START_PERIOD: Entry = entry(
    "--start-period=<duration>",
    "healthcheck",
    "For how long after the start failed checks do not count; `0s` if nothing else is said. The first check that \
     succeeds ends it.",
);
static HEALTHCHECK_START_INTERVAL: Entry = entry(
    "--start-interval=<duration>",
    "healthcheck",
    "The time between checks during the start period; `5s` if nothing else is said.",
);
static HEALTHCHECK_RETRIES: Entry = entry(
    "--retries=<number>",
    "healthcheck",
    "How many checks in a row have to fail for the container to be unhealthy; 3 if nothing else is said.",
);
static SHELL: Entry = entry(
    "SHELL [\"<executable>\", \"<argument>\", …]",
    "shell",
    "The shell of `RUN`, `CMD` and `ENTRYPOINT` commands that are not written as JSON arrays, for what follows in \
     the stage: `[\"/bin/sh\", \"-c\"]` on Linux if nothing else is said.",
);
static SYNTAX: Entry = entry(
    "# syntax=<image>",
    "syntax",
    "The image of the front end that reads this file, such as `docker/dockerfile:1`. With it, one file means the \
     same on builders of any age. It has to stand before everything but other parser directives.",
);
static ESCAPE: Entry = entry(
    "# escape=<\\|`>",
    "escape",
    "The character that continues a line and escapes others: a backslash if nothing else is said. A backtick is \
     handy where paths have backslashes.",
);
static CHECK: Entry = entry(
    "# check=skip=<rule|all>[,…][;error=<true|false>]",
    "check",
    "Which of the build checks are not made (`skip`), and whether findings make the build fail (`error`).",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_language_is_explained() {
        for keyword in Keyword::ALL {
            let entry = instruction(keyword).unwrap();
            assert!(entry.usage.starts_with(keyword.name()), "{entry:?}");
            for spec in keyword.flags() {
                let entry = flag(keyword, spec.name).unwrap_or_else(|| panic!("{keyword:?} --{}", spec.name));
                assert!(entry.usage.starts_with(&format!("--{}", spec.name)), "{entry:?}");
            }
        }
        assert!(flag(Keyword::User, "chown").is_none());
        assert!(instruction(Keyword::Unknown).is_none());
    }

    #[test]
    fn entries_lead_to_their_section() {
        assert_eq!(RUN_MOUNT.link(), "https://docs.docker.com/reference/dockerfile/#run---mount");
    }
}
