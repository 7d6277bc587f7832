//! What is said about words.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use rbx_lsp::Surroundings;
use rbx_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, media_type};
use rbx_platform::Platform;
use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{Reply, Server};

/// What is said at the mark, with its range before it.
async fn hover(text: &str) -> String {
    hover_for(text, "linux/amd64,linux/arm64,linux/arm/v7", "markdown").await
}

async fn hover_for(text: &str, platforms: &str, format: &str) -> String {
    let before = &text[..text.find('‸').unwrap()];
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap().encode_utf16().count();
    let mut client = Client::connect();
    let capabilities = json!({ "textDocument": { "hover": { "contentFormat": [format] } } });
    let options = json!({ "platforms": platforms, "buildFlags": ["--build-arg", "GIVEN=yes"] });
    client.initialize_with(json!({ "capabilities": capabilities, "initializationOptions": options })).await;
    client.open(&text.replace('‸', "")).await;
    // What rules find may be shown, too.
    client.notification("textDocument/publishDiagnostics").await;
    let answer = client.hover(u32::try_from(line).unwrap(), u32::try_from(column).unwrap()).await;
    if answer.is_null() {
        return "nothing".to_owned();
    }
    let place = |place: &Value| format!("{}:{}", place["line"], place["character"]);
    let range = &answer["range"];
    let value = answer["contents"]["value"].as_str().unwrap();
    format!("{}-{}\n{value}", place(&range["start"]), place(&range["end"]))
}

#[tokio::test]
async fn variables_have_their_values() {
    let text = "ARG V=1.2\nFROM a:${‸V} AS b\n";
    assert_snapshot!(hover(text).await, @"
    1:9-1:10
    **V**

    `1.2`, the default in line 1, on all platforms
    ");
    let text = "FROM a\nARG TARGETARCH\nARG TARGETVARIANT\nRUN get 🐳 $TARGET‸ARCH${TARGETVARIANT}\n";
    assert_snapshot!(hover(text).await, @"
    3:12-3:22
    **TARGETARCH**

    The architecture that the image is for: `arm` of `linux/arm/v7`.

    - linux/amd64: `amd64`, set by the builder
    - linux/arm64: `arm64`, set by the builder
    - linux/arm/v7: `arm`, set by the builder
    ");
    let text = "FROM a\nARG TARGETVARIANT\nRUN ${TARGETVARIANT‸:-none}\n";
    assert_snapshot!(hover(text).await, @"
    2:6-2:19
    **TARGETVARIANT**

    The variant of the architecture that the image is for: `v7` of `linux/arm/v7`. Often empty.

    - linux/amd64, linux/arm64: empty, set by the builder
    - linux/arm/v7: `v7`, set by the builder
    ");
    // Where it is set, what it is then.
    assert_snapshot!(hover("FROM a\nENV A=1\nENV A‸=$A:2 B=$A\n").await, @"
    2:4-2:5
    **A**

    `1:2`, by `ENV` in line 3, on all platforms
    ");
    assert_snapshot!(hover("FROM a\nARG GIVEN‸=no\n").await, @"
    1:4-1:9
    **GIVEN**

    `yes`, given by `--build-arg`, on all platforms
    ");
    // Not declared, with a value that is not for a line, and one that is no variable.
    assert_snapshot!(hover("ARG V=1\nFROM a\nCOPY $V‸ /\n").await, @"
    2:6-2:7
    **V**

    unset, on all platforms

    A stage has it after `ARG V`.
    ");
    assert_snapshot!(hover("FROM a\nENV A=\"a`b\\\n c\"\nUSER $‸A\n").await, @"
    3:6-3:7
    **A**

    `` a`b c ``, by `ENV` in line 2, on all platforms
    ");
    assert_snapshot!(hover("FROM a\nENV A=\"\"\nRUN $A‸\n").await, @"
    2:5-2:6
    **A**

    empty, by `ENV` in line 2, on all platforms
    ");
    assert_snapshot!(hover("FROM a\nRUN \\$A‸ x\n").await, @"nothing");
}

#[tokio::test]
async fn words_are_expanded() {
    let text = "ARG V=1.2\nFROM tools‸-$TARGETARCH:$V AS b\n";
    assert_snapshot!(hover(text).await, @"
    1:5-1:25
    **tools-$TARGETARCH:$V**

    - linux/amd64: `tools-amd64:1.2`
    - linux/arm64: `tools-arm64:1.2`
    - linux/arm/v7: `tools-arm:1.2`

    **tools-amd64:1.2**, **tools-arm64:1.2**, **tools-arm:1.2**

    Nothing is known of it yet: registries are asked where `rbx.online` is true.
    ");
    assert_snapshot!(hover_for(text, "linux/s390x", "plaintext").await, @"
    1:5-1:25
    tools-$TARGETARCH:$V

    tools-s390x:1.2

    tools-s390x:1.2

    Nothing is known of it yet: registries are asked where rbx.online is true.
    ");
    assert_snapshot!(hover("FROM a\nARG D=/d\nCOPY --from=b x $D/\\\n‸y\n").await, @"
    2:16-3:1
    **$D/y**

    `/d/y`, on all platforms
    ");
    assert_snapshot!(hover("FROM a\nUSER ${x‸").await, @"
    1:7-1:8
    **x**

    unset, on all platforms
    ");
}

#[tokio::test]
async fn stages_say_what_they_are() {
    let text = "FROM --platform=$BUILDPLATFORM a AS build\nCOPY a /\nRUN b\nFROM scratch AS unused\nFROM scratch\nCOPY --from=‸build a /\n";
    assert_snapshot!(hover_for(text, "linux/s390x,linux/riscv64", "markdown").await.replace(&host(), "HOST"), @"
    5:12-5:17
    ```dockerfile
    FROM --platform=$BUILDPLATFORM a AS build
    ```

    **build, stage 0**: 2 instructions, from line 1 on

    Runs
    - on HOST for linux/s390x, linux/riscv64

    **a**

    Nothing is known of it yet: registries are asked where `rbx.online` is true.
    ");
    assert_snapshot!(hover("FROM scratch\nRUN b\nFROM scratch AS x\nRUN --mount=from=‸0,target=/a b\n").await, @"
    3:17-3:18
    **0**

    Nothing is known of it yet: registries are asked where `rbx.online` is true.
    ");
    assert_snapshot!(hover("FROM scratch AS u‸nused\nFROM scratch\n").await, @"
    0:16-0:22
    ```dockerfile
    FROM scratch AS unused
    ```

    **unused, stage 0**: 0 instructions, from line 1 on; the last stage does not need it

    Runs on linux/amd64, linux/arm64, linux/arm/v7.
    ");
}

fn host() -> String {
    Platform::host().format_all()
}

#[tokio::test]
async fn other_words_are_explained() {
    assert_snapshot!(hover("FROM a\nEXPOSE 8080‸/TCP\n").await, @"
    1:7-1:15
    **Port 8080/tcp**: usually HTTP

    `docker run -p <port>:8080` makes it reachable; by itself this does not.
    ");
    assert_snapshot!(hover("FROM a\nEXPOSE 1-‸9\n").await, @"
    1:7-1:10
    **Ports 1-9/tcp**

    `docker run -p <port>:1-9` makes it reachable; by itself this does not.
    ");
    assert_snapshot!(hover("FROM a\nSTOPSIGNAL QU‸IT\n").await, @r"
    1:11-1:15
    **SIGQUIT**, 3: as Ctrl-\; nginx and PHP end their requests first.
    ");
    assert_snapshot!(hover("FROM a\nUSER 1000:st‸aff\n").await, @"
    1:5-1:15
    **1000**: the user, a number, which need not exist; **staff**: the group, looked up in `/etc/group`.
    ");
    assert_snapshot!(hover("FROM a\nONBUILD USER a‸pp\n").await, @"
    1:13-1:16
    **app**: the user, looked up in `/etc/passwd`.
    ");
    assert_snapshot!(hover("FROM a\nCOPY <<-'E‸OF' /x\n\ta\n\tb\nEOF\n").await, @"
    1:9-1:12
    **EOF**: a here-document of 2 lines.

    Variables in it stay as they are, since its name is quoted.

    Tabs at the beginnings of its lines are removed.
    ");
    assert_snapshot!(hover("FROM scra‸tch\n").await, @"
    0:5-0:12
    **scratch**: nothing, an empty image.
    ");
    assert_snapshot!(hover("FROM --platform=linux/arm‸64 a\n").await, @"
    0:16-0:27
    **linux/arm64**, 64-bit ARM

    This file is built for it, as the settings say.
    ");
    assert_snapshot!(hover("FROM --platform=linux/ris‸cv64 a\n").await, @"
    0:16-0:29
    **linux/riscv64**, 64-bit RISC-V

    This file is built for linux/amd64, linux/arm64, linux/arm/v7, as the settings say.
    ");
    assert_snapshot!(hover("# rbx: platforms=linux/amd64,linux/s3‸90x\nFROM a\n").await, @"
    0:29-0:40
    **linux/s390x**, IBM Z

    This file is built for it, as the comment in it says.
    ");
    assert_snapshot!(hover("FROM a\n# DL3‸008 is good\nRUN b\n").await, @"nothing");
    for text in [
        "# check=skip=Stage‸NameCasing\nFROM a\n",
        "FROM a\n# rbx: ignore=DL3008,Stage‸NameCasing remark\nRUN b\n",
    ] {
        let page = hover(text).await;
        assert!(page.lines().nth(1).unwrap().starts_with("**StageNameCasing** (buildkit)"), "{page}");
        assert!(page.ends_with("[Reference](https://docs.docker.com/go/dockerfile/rule/stage-name-casing/)"));
    }
    assert_snapshot!(hover("FROM a AS b\nWORKDIR x‸\n").await, @"
    1:8-1:9
    **WorkdirRelativePath**: Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes
    ");
}

/// A registry with an image for two platforms.
async fn registry() -> Server {
    let mut documents: BTreeMap<String, (&str, Vec<u8>)> = BTreeMap::new();
    let mut add = |kind: &str, media_type: &'static str, bytes: Vec<u8>| {
        let digest = Digest::sha256_of(&bytes);
        let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
        documents.insert(format!("{kind}/{digest}"), (media_type, bytes));
        descriptor
    };
    let mut images = Vec::new();
    for (number, name) in ["linux/amd64", "linux/arm64"].iter().enumerate() {
        let platform = Platform::parse(name).unwrap();
        let mut config = ImageConfig::new(&platform);
        config.config.user = "app".into();
        config.config.working_dir = "/srv".into();
        config.config.entrypoint = ["/bin/server", "--listen"].map(str::to_owned).to_vec();
        config.config.exposed_ports = ["80/tcp", "443/tcp"].map(str::to_owned).into();
        let config = add("blobs", media_type::OCI_CONFIG, config.to_bytes());
        let layer = |size| Descriptor::new(media_type::OCI_LAYER_GZIP, Digest::sha256_of(b"layer"), size);
        let layers = vec![layer(25_300_000), layer(1000 * (number as u64 + 1))];
        let manifest = Manifest::new(media_type::OCI_MANIFEST, config, layers);
        images.push(add("manifests", media_type::OCI_MANIFEST, manifest.to_bytes()).with_platform(&platform));
    }
    let index = Index::new(media_type::OCI_INDEX, images).to_bytes();
    add("manifests", media_type::OCI_INDEX, index.clone());
    documents.insert("manifests/1".to_owned(), (media_type::OCI_INDEX, index));
    Server::start(move |request, _| {
        match request.target.strip_prefix("/v2/team/app/").and_then(|thing| documents.get(thing)) {
            Some((media_type, bytes)) => Reply::ok(bytes.clone())
                .header("Content-Type", *media_type)
                .header("Docker-Content-Digest", Digest::sha256_of(bytes).to_string()),
            None => Reply::status(404),
        }
    })
    .await
}

#[tokio::test]
async fn images_are_described_by_registries() {
    let server = registry().await;
    let kept = tempfile::tempdir().unwrap();
    let address = server.authority();
    let text = format!(
        "# syntax={address}/team/none:1\nFROM {address}/team/app:1\nCOPY --from={address}/team/app:1 a b\n"
    );
    let mut client = Client::connect_in(Surroundings {
        registries: Some(kept.path().to_owned()),
        ..Surroundings::default()
    });
    let options = json!({ "platforms": "linux/amd64,linux/arm64,linux/s390x" });
    let capabilities = json!({ "textDocument": { "hover": { "contentFormat": ["markdown"] } } });
    client.initialize_with(json!({ "capabilities": capabilities, "initializationOptions": options })).await;
    client.open(&text).await;
    let said = |answer: Value| answer["contents"]["value"].as_str().unwrap().replace(&address, "SERVER");
    assert_snapshot!(said(client.hover(1, 10).await), @"
    **SERVER/team/app:1**

    Nothing is known of it yet: registries are asked where `rbx.online` is true.
    ");
    assert_eq!(server.requests().len(), 0, "nobody was asked");

    let online = |online: bool| json!({ "settings": { "rbx": { "online": online } } });
    client.notify("workspace/didChangeConfiguration", online(true)).await;
    let described = said(client.hover(1, 10).await);
    assert_snapshot!(described, @r#"
    **SERVER/team/app:1**

    `sha256:59b8f64109fe`, for linux/amd64, linux/arm64

    - linux/amd64: `sha256:d3ca1cb90842`, 25.3 MB
    - linux/arm64: `sha256:dd1fdc1415d1`, 25.3 MB
    - linux/s390x: no image

    - user: `app`
    - directory: `/srv`
    - entrypoint: `["/bin/server", "--listen"]`
    - ports: `443/tcp 80/tcp`
    "#);
    assert_eq!(said(client.hover(2, 20).await), described);
    assert_snapshot!(said(client.hover(0, 12).await), @"
    **SERVER/team/none:1**

    The registry has no such image.
    ");

    // What was said before is known without asking.
    client.notify("workspace/didChangeConfiguration", online(false)).await;
    assert_eq!(said(client.hover(1, 10).await), described);
}
