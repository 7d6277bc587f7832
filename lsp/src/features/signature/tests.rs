use serde_json::json;

use super::*;
use crate::capabilities::{Abilities, Signatures};
use crate::documents::tests::snapshot_of;

/// The signatures at the mark, a line each: the active one with an arrow, the active parameter in »«.
fn shown(text: &str, asked: bool) -> String {
    let offset = text.find('‸').unwrap();
    let signatures = Signatures { markdown: true, offsets: true };
    let abilities = Abilities { signatures, ..Abilities::default() };
    let snapshot = snapshot_of(&text.replace('‸', ""), &json!({}), abilities);
    let position = snapshot.text.position(offset, abilities.encoding);
    let Some(help) = signature(&snapshot, position, asked) else { return "nothing".to_owned() };
    let line = |(index, signature): (usize, &SignatureInformation)| {
        if Some(index) != help.active_signature.map(|it| it as usize) {
            return format!("  {}", signature.label);
        }
        let parameters = signature.parameters.as_ref().unwrap();
        let ParameterLabel::LabelOffsets([start, end]) =
            parameters[help.active_parameter.unwrap() as usize].label
        else {
            panic!("{signature:?}");
        };
        let units: Vec<u16> = signature.label.encode_utf16().collect();
        let (start, end) = (start as usize, end as usize);
        let text = |units: &[u16]| String::from_utf16(units).unwrap();
        format!("> {}»{}«{}", text(&units[..start]), text(&units[start..end]), text(&units[end..]))
    };
    help.signatures.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_parameter_that_is_written_is_marked() {
    let places = [
        "FROM ‸",
        "FROM --pl‸",
        "FROM --platform=$X a‸",
        "FROM a ‸",
        "FROM a AS ‸",
        "ARG ‸",
        "ARG A=‸",
        "ARG A=1 ‸",
        "ENV A=b C=‸",
        "LABEL a‸",
        "COPY ‸",
        "COPY --link a ‸",
        "COPY [\"a\", ‸",
        "ADD --‸",
        "EXPOSE ‸",
        "EXPOSE 80/‸",
        "USER a:‸",
        "WORKDIR ‸",
        "VOLUME ‸",
        "STOPSIGNAL ‸",
        "SHELL [\"a\", \"‸",
        "RUN ‸",
        "RUN [\"a\", \"-b‸\"]",
        "CMD [‸",
        "ENTRYPOINT ‸",
        "HEALTHCHECK ‸",
        "HEALTHCHECK --retries=1 CMD ‸",
        "HEALTHCHECK NONE‸",
        "ONBUILD ‸",
        "ONBUILD COPY a ‸",
        "MAINTAINER ‸",
        "COPY a \\\n  ‸",
    ];
    let all = places.map(|text| format!("{text}\n{}", shown(text, false)));
    insta::assert_snapshot!(all.join("\n"), @r#"
    FROM ‸
    > FROM [--platform=<platform>] »<image>[:<tag>|@<digest>]« [AS <name>]
    FROM --pl‸
    > FROM »[--platform=<platform>]« <image>[:<tag>|@<digest>] [AS <name>]
    FROM --platform=$X a‸
    > FROM [--platform=<platform>] »<image>[:<tag>|@<digest>]« [AS <name>]
    FROM a ‸
    > FROM [--platform=<platform>] <image>[:<tag>|@<digest>] [»AS« <name>]
    FROM a AS ‸
    > FROM [--platform=<platform>] <image>[:<tag>|@<digest>] [AS »<name>«]
    ARG ‸
    > ARG »<name>«[=<default>] …
    ARG A=‸
    > ARG <name>[=»<default>«] …
    ARG A=1 ‸
    > ARG »<name>«[=<default>] …
    ENV A=b C=‸
    > ENV <name>=»<value>« …
    LABEL a‸
    > LABEL »<key>«=<value> …
    COPY ‸
    > COPY [<flags>] »<source> …« <destination>
      COPY [<flags>] ["<source>", …, "<destination>"]
    COPY --link a ‸
    > COPY [<flags>] <source> … »<destination>«
      COPY [<flags>] ["<source>", …, "<destination>"]
    COPY ["a", ‸
      COPY [<flags>] <source> … <destination>
    > COPY [<flags>] ["<source>", …, "»<destination>«"]
    ADD --‸
    > ADD »[<flags>]« <source> … <destination>
      ADD [<flags>] ["<source>", …, "<destination>"]
    EXPOSE ‸
    > EXPOSE »<port>[-<port>]«[/<protocol>] …
    EXPOSE 80/‸
    > EXPOSE <port>[-<port>][/»<protocol>«] …
    USER a:‸
    > USER <user>[:»<group>«]
    WORKDIR ‸
    > WORKDIR »<path>«
    VOLUME ‸
    > VOLUME »<path> …«
      VOLUME ["<path>", …]
    STOPSIGNAL ‸
    > STOPSIGNAL »<signal>«
    SHELL ["a", "‸
    > SHELL ["<executable>", »"<argument>", …«]
    RUN ‸
    > RUN [<flags>] »<command>«
      RUN [<flags>] ["<executable>", "<argument>", …]
    RUN ["a", "-b‸"]
      RUN [<flags>] <command>
    > RUN [<flags>] ["<executable>", »"<argument>", …«]
    CMD [‸
      CMD <command>
    > CMD [»"<executable>"«, "<argument>", …]
    ENTRYPOINT ‸
    > ENTRYPOINT »<command>«
      ENTRYPOINT ["<executable>", "<argument>", …]
    HEALTHCHECK ‸
    > HEALTHCHECK [<flags>] »CMD« <command>
      HEALTHCHECK NONE
    HEALTHCHECK --retries=1 CMD ‸
    > HEALTHCHECK [<flags>] CMD »<command>«
      HEALTHCHECK NONE
    HEALTHCHECK NONE‸
      HEALTHCHECK [<flags>] CMD <command>
    > HEALTHCHECK »NONE«
    ONBUILD ‸
    > ONBUILD »<instruction>«
    ONBUILD COPY a ‸
    > COPY [<flags>] <source> … »<destination>«
      COPY [<flags>] ["<source>", …, "<destination>"]
    MAINTAINER ‸
    > MAINTAINER »<name>«
    COPY a \
      ‸
    > COPY [<flags>] <source> … »<destination>«
      COPY [<flags>] ["<source>", …, "<destination>"]
    "#);
}

#[test]
fn values_of_flags_have_parts() {
    let places = [
        "FROM --platform=‸",
        "FROM --platform=linux/arm/‸",
        "COPY --chown=a:‸",
        "COPY --from=‸",
        "COPY --link=‸",
        "ADD --checksum=sha256:‸",
        "HEALTHCHECK --interval=‸",
        "RUN --device=a,‸",
        "RUN --mount=‸",
        "RUN --mount=type=cache,target=/a,sharing=‸",
        "RUN --mount=type=secret,‸",
        "# escape=‸",
        "# check=skip=a;error=‸",
        "# syntax=‸",
    ];
    let all = places.map(|text| format!("{text}\n{}", shown(text, false)));
    insta::assert_snapshot!(all.join("\n"), @r"
    FROM --platform=‸
    > --platform=»<os>«/<arch>[/<variant>]
    FROM --platform=linux/arm/‸
    > --platform=<os>/<arch>[/»<variant>«]
    COPY --chown=a:‸
    > --chown=<user>[:»<group>«]
    COPY --from=‸
    > --from=»<stage|context|image>«
    COPY --link=‸
    > --link=»<true|false>«
    ADD --checksum=sha256:‸
    > --checksum=<algorithm>:»<hex>«
    HEALTHCHECK --interval=‸
    > --interval=»<duration>«
    RUN --device=a,‸
    > --device=<name>[,»required«]
    RUN --mount=‸
    > --mount=»type=<bind|cache|tmpfs|secret|ssh>«[,target=<…>][,from=<…>][,source=<…>][,readonly][,rw]
    RUN --mount=type=cache,target=/a,sharing=‸
    > --mount=type=cache[,target=<…>][,from=<…>][,source=<…>][,id=<…>][,»sharing=<…>«][,readonly][,mode=<…>][,uid=<…>][,gid=<…>]
    RUN --mount=type=secret,‸
    > --mount=»type=secret«[,target=<…>][,id=<…>][,env=<…>][,required][,mode=<…>][,uid=<…>][,gid=<…>]
    # escape=‸
    > # escape=»<\|`>«
    # check=skip=a;error=‸
    > # check=skip=<rule|all>[,…][;»error=<true|false>«]
    # syntax=‸
    > # syntax=»<image>«
    ");
}

#[test]
fn scripts_are_left_alone_unless_the_user_asks() {
    assert_eq!(shown("RUN make ‸", false), "nothing");
    insta::assert_snapshot!(shown("RUN make ‸", true), @r#"
    > RUN [<flags>] »<command>«
      RUN [<flags>] ["<executable>", "<argument>", …]
    "#);
    for none in
        ["FROM‸", "‸", "FROM a\n# check=skip=‸", "XYZ ‸", "RUN <<E\na ‸\nE", "RUN --nonsense=‸", "# x=‸"]
    {
        assert_eq!(shown(none, true), "nothing", "{none}");
    }
}
