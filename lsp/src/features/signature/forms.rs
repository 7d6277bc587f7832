//! The forms of instructions and flags, and their parameters.

use rbx_dockerfile::Keyword;

/// A way to write something, and its parameters in order: pieces of it, and what they are.
#[derive(Debug)]
pub(super) struct Form(pub(super) &'static str, pub(super) &'static [(&'static str, &'static str)]);

const FLAGS: (&str, &str) = ("[<flags>]", "Words that begin with two dashes, before all others.");
const COMMAND: (&str, &str) = ("<command>", "A command for the shell, see `SHELL`.");
const EXECUTABLE: (&str, &str) = ("\"<executable>\"", "The program, which is run without a shell.");
const ARGUMENTS: (&str, &str) =
    ("\"<argument>\", …", "What the program is given, a string for each argument.");
const SOURCE: (&str, &str) = ("<source> …", "Files, directories, patterns, or here-documents (`<<EOF`).");
const SOURCES: (&str, &str) = ("\"<source>\", …", "Files, directories or patterns.");
const DESTINATION: (&str, &str) = ("<destination>", "Where to. It is a directory if it ends with a slash.");

/// The forms of an instruction; those of JSON arrays come last.
pub(super) fn of_instruction(keyword: Keyword) -> &'static [Form] {
    match keyword {
        Keyword::From => &[Form(
            "FROM [--platform=<platform>] <image>[:<tag>|@<digest>] [AS <name>]",
            &[
                ("[--platform=<platform>]", "The platform of the image, if not the one that is built for."),
                ("<image>[:<tag>|@<digest>]", "An image, an earlier stage, or `scratch`."),
                ("AS", "A name follows."),
                ("<name>", "The name of the stage, for `FROM`, `--from=` and `--target`."),
            ],
        )],
        Keyword::Arg => &[Form(
            "ARG <name>[=<default>] …",
            &[
                ("<name>", "The argument, as `--build-arg` has it."),
                ("<default>", "Its value if none is given."),
            ],
        )],
        Keyword::Env => &[Form(
            "ENV <name>=<value> …",
            &[("<name>", "The variable."), ("<value>", "Its value, in quotes if there are spaces in it.")],
        )],
        Keyword::Label => &[Form(
            "LABEL <key>=<value> …",
            &[
                ("<key>", "The name of the label, such as `org.opencontainers.image.source`."),
                ("<value>", "Its value, in quotes if there are spaces in it."),
            ],
        )],
        Keyword::Run => &[
            Form("RUN [<flags>] <command>", &[FLAGS, COMMAND]),
            Form("RUN [<flags>] [\"<executable>\", \"<argument>\", …]", &[FLAGS, EXECUTABLE, ARGUMENTS]),
        ],
        Keyword::Cmd => &[
            Form("CMD <command>", &[COMMAND]),
            Form("CMD [\"<executable>\", \"<argument>\", …]", &[EXECUTABLE, ARGUMENTS]),
        ],
        Keyword::Entrypoint => &[
            Form("ENTRYPOINT <command>", &[COMMAND]),
            Form("ENTRYPOINT [\"<executable>\", \"<argument>\", …]", &[EXECUTABLE, ARGUMENTS]),
        ],
        Keyword::Copy => &[
            Form("COPY [<flags>] <source> … <destination>", &[FLAGS, SOURCE, DESTINATION]),
            Form("COPY [<flags>] [\"<source>\", …, \"<destination>\"]", &[FLAGS, SOURCES, DESTINATION]),
        ],
        Keyword::Add => &[
            Form(
                "ADD [<flags>] <source> … <destination>",
                &[
                    FLAGS,
                    ("<source> …", "What `COPY` takes, and addresses of files and git repositories."),
                    DESTINATION,
                ],
            ),
            Form("ADD [<flags>] [\"<source>\", …, \"<destination>\"]", &[FLAGS, SOURCES, DESTINATION]),
        ],
        Keyword::Expose => &[Form(
            "EXPOSE <port>[-<port>][/<protocol>] …",
            &[
                ("<port>[-<port>]", "A port, or the first and the last of several."),
                ("<protocol>", "`tcp`, as without it, `udp` or `sctp`."),
            ],
        )],
        Keyword::Healthcheck => &[
            Form("HEALTHCHECK [<flags>] CMD <command>", &[FLAGS, ("CMD", "The command follows."), COMMAND]),
            Form("HEALTHCHECK NONE", &[("NONE", "Takes back what the base image has.")]),
        ],
        Keyword::Maintainer => &[Form("MAINTAINER <name>", &[("<name>", "Who maintains the image.")])],
        Keyword::Onbuild => &[Form(
            "ONBUILD <instruction>",
            &[("<instruction>", "What stages that stand on this image begin with.")],
        )],
        Keyword::Shell => &[Form(
            "SHELL [\"<executable>\", \"<argument>\", …]",
            &[
                ("\"<executable>\"", "The shell."),
                ("\"<argument>\", …", "What it is given before the command, such as `-c`."),
            ],
        )],
        Keyword::Stopsignal => {
            &[Form("STOPSIGNAL <signal>", &[("<signal>", "A name, such as `SIGTERM`, or a number.")])]
        }
        Keyword::User => &[Form(
            "USER <user>[:<group>]",
            &[
                ("<user>", "A name or a number."),
                ("<group>", "A name or a number; else the user's own group."),
            ],
        )],
        Keyword::Volume => &[
            Form("VOLUME <path> …", &[("<path> …", "Where data lives outside of the container.")]),
            Form(
                "VOLUME [\"<path>\", …]",
                &[("\"<path>\", …", "Where data lives outside of the container.")],
            ),
        ],
        Keyword::Workdir => &[Form(
            "WORKDIR <path>",
            &[("<path>", "A directory, from the one before if it does not begin with a slash.")],
        )],
        Keyword::Unknown => &[],
    }
}

/// The form of a flag, but for `--mount`, which has one for each type.
pub(super) fn of_flag(keyword: Keyword, name: &str) -> Option<&'static Form> {
    static PLATFORM: Form = Form(
        "--platform=<os>/<arch>[/<variant>]",
        &[
            ("<os>", "The operating system: `linux` or `windows`, or a variable for all of it."),
            ("<arch>", "The architecture, such as `amd64` or `arm64`."),
            ("<variant>", "Its variant, such as `v7` of `arm`."),
        ],
    );
    static NETWORK: Form = Form(
        "--network=<default|none|host>",
        &[("<default|none|host>", "That of the build, none, or the machine's own.")],
    );
    static SECURITY: Form = Form(
        "--security=<sandbox|insecure>",
        &[("<sandbox|insecure>", "As usual, or with all capabilities.")],
    );
    static DEVICE: Form = Form(
        "--device=<name>[,required]",
        &[("<name>", "The device by its CDI name."), ("required", "The build fails without it.")],
    );
    static FROM: Form = Form(
        "--from=<stage|context|image>",
        &[("<stage|context|image>", "An earlier stage by name or number, a named context, or an image.")],
    );
    static CHOWN: Form = Form(
        "--chown=<user>[:<group>]",
        &[("<user>", "A name or a number."), ("<group>", "A name or a number; else that of the user.")],
    );
    static CHMOD: Form = Form(
        "--chmod=<mode>",
        &[("<mode>", "Octal digits, such as `755`, or symbols, such as `u=rwX,go=rX`.")],
    );
    static EXCLUDE: Form =
        Form("--exclude=<pattern>", &[("<pattern>", "What is left out, in the grammar of `.dockerignore`.")]);
    static CHECKSUM: Form = Form(
        "--checksum=<algorithm>:<hex>",
        &[("<algorithm>", "Such as `sha256`."), ("<hex>", "What the file hashes to.")],
    );
    static DURATION: Form =
        Form("=<duration>", &[("<duration>", "A number with its unit, such as `30s`, `5m` or `1m30s`.")]);
    static RETRIES: Form = Form("--retries=<number>", &[("<number>", "How many checks in a row fail.")]);
    static BOOL: Form = Form("=<true|false>", &[("<true|false>", "Without a value it is true.")]);
    keyword.flags().iter().find(|flag| flag.name == name)?;
    Some(match name {
        "platform" => &PLATFORM,
        "network" => &NETWORK,
        "security" => &SECURITY,
        "device" => &DEVICE,
        "from" => &FROM,
        "chown" => &CHOWN,
        "chmod" => &CHMOD,
        "exclude" => &EXCLUDE,
        "checksum" => &CHECKSUM,
        "retries" => &RETRIES,
        "interval" | "timeout" | "start-period" | "start-interval" => &DURATION,
        "link" | "parents" | "keep-git-dir" | "unpack" => &BOOL,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_language_has_forms() {
        let is_sound = |Form(label, parameters): &Form| {
            assert!(!parameters.is_empty(), "{label}");
            let mut rest = *label;
            for (piece, _) in *parameters {
                let at = rest.find(piece).unwrap_or_else(|| panic!("{piece} is not in {rest}"));
                rest = &rest[at + piece.len()..];
            }
        };
        for keyword in Keyword::ALL {
            assert!(!of_instruction(keyword).is_empty());
            of_instruction(keyword).iter().for_each(is_sound);
            for flag in keyword.flags().iter().filter(|flag| flag.name != "mount") {
                is_sound(of_flag(keyword, flag.name).unwrap());
            }
        }
        assert!(of_flag(Keyword::User, "chown").is_none());
    }
}
