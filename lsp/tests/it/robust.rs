//! What the server bears: requests at any place, edits of any kind and number, messages that make no sense.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::client::{Client, URI, edit, framed};

/// Texts that are no files anybody would write.
const ODD: [&str; 14] = [
    "",
    "\n",
    "\r\r\n\n\r",
    "FROM",
    "FROM a AS\nRUN",
    "FROM a\nRUN <<A <<B\n$x\nA\n🐳${y\nB",
    "FROM a\nRUN <<A",
    "ARG 🐳=ü$\r\nFROM --platform=$🐳 a${b:-${c:+d}} AS 🐬\rCOPY --from=🐬 --chown=ü x \\\r\n # 🐳\r\n y",
    "# escape=`\nFROM a `\n\n# c\nRUN --mount=type=cache,target=/ü,from=🐳 x && `\n 'y",
    "HEALTHCHECK --interval=🐳 CMD [\"ü\", \"",
    "ONBUILD ONBUILD RUN --mount\nONBUILD COPY <<E /\nx",
    "\u{feff}FROM a\nLABEL \"a=🐳 b='c\nENV x\\",
    "FROM a\n\u{0}RUN \u{7f}\u{85}\u{2028}$(x `y",
    "syntax\n# syntax=🐳\n# check=skip=all;error=ü\nFROM ${TARGETARCH}-$x",
];

/// Whatever clients can do, as far as the server does more for it.
fn abilities(encoding: &str) -> Value {
    let dynamic = json!({ "dynamicRegistration": false });
    let tokens = json!({
        "requests": { "full": { "delta": true }, "range": true },
        "tokenTypes": [], "tokenModifiers": [], "formats": ["relative"],
    });
    json!({
        "general": { "positionEncodings": [encoding] },
        "textDocument": {
            "codeAction": {
                "codeActionLiteralSupport": { "codeActionKind": { "valueSet": ["quickfix", "refactor", "source"] } },
                "dataSupport": true, "resolveSupport": { "properties": ["edit"] },
            },
            "completion": { "completionItem": { "snippetSupport": true, "insertReplaceSupport": true } },
            "definition": { "linkSupport": true },
            "diagnostic": dynamic,
            "documentSymbol": { "hierarchicalDocumentSymbolSupport": true },
            "foldingRange": dynamic,
            "inlayHint": dynamic,
            "publishDiagnostics": { "relatedInformation": true, "tagSupport": { "valueSet": [1, 2] } },
            "rename": { "prepareSupport": true },
            "semanticTokens": tokens,
        },
        "workspace": {
            "diagnostics": { "refreshSupport": true },
            "workspaceEdit": { "documentChanges": true },
        },
    })
}

/// The requests by which a client uses what a server says it can, at a place.
fn requests(capabilities: &Value, place: &Value, whole: &Value) -> Vec<(&'static str, Value)> {
    let document = json!({ "uri": URI });
    let here = || json!({ "textDocument": document, "position": place });
    let with = |more: Value| {
        let mut params = here();
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let of_it = || json!({ "textDocument": document });
    let point = json!({ "start": place, "end": place });
    let range = json!({ "textDocument": document, "range": whole });
    let options = json!({ "tabSize": 4, "insertSpaces": true });
    let mut all = Vec::new();
    for (name, value) in capabilities.as_object().unwrap() {
        if value == &json!(false) {
            continue;
        }
        all.extend(match name.as_str() {
            "positionEncoding"
            | "textDocumentSync"
            | "workspace"
            | "executeCommandProvider"
            | "experimental" => vec![],
            "hoverProvider" => vec![("textDocument/hover", here())],
            "completionProvider" => vec![("textDocument/completion", here())],
            "signatureHelpProvider" => vec![("textDocument/signatureHelp", here())],
            "declarationProvider" => vec![("textDocument/declaration", here())],
            "definitionProvider" => vec![("textDocument/definition", here())],
            "typeDefinitionProvider" => vec![("textDocument/typeDefinition", here())],
            "implementationProvider" => vec![("textDocument/implementation", here())],
            "referencesProvider" => {
                let context = json!({ "context": { "includeDeclaration": true } });
                vec![("textDocument/references", with(context))]
            }
            "documentHighlightProvider" => vec![("textDocument/documentHighlight", here())],
            "linkedEditingRangeProvider" => vec![("textDocument/linkedEditingRange", here())],
            "renameProvider" => vec![
                ("textDocument/prepareRename", here()),
                ("textDocument/rename", with(json!({ "newName": "other" }))),
            ],
            "selectionRangeProvider" => vec![(
                "textDocument/selectionRange",
                json!({ "textDocument": document, "positions": [place] }),
            )],
            "codeActionProvider" => vec![(
                "textDocument/codeAction",
                json!({ "textDocument": document, "range": point, "context": { "diagnostics": [] } }),
            )],
            "documentOnTypeFormattingProvider" => {
                vec![("textDocument/onTypeFormatting", with(json!({ "ch": "\n", "options": options })))]
            }
            "documentSymbolProvider" => vec![("textDocument/documentSymbol", of_it())],
            "codeLensProvider" => vec![("textDocument/codeLens", of_it())],
            "documentLinkProvider" => vec![("textDocument/documentLink", of_it())],
            "foldingRangeProvider" => vec![("textDocument/foldingRange", of_it())],
            "diagnosticProvider" => vec![("textDocument/diagnostic", of_it())],
            "inlayHintProvider" => vec![("textDocument/inlayHint", range.clone())],
            "documentFormattingProvider" => {
                vec![("textDocument/formatting", json!({ "textDocument": document, "options": options }))]
            }
            "documentRangeFormattingProvider" => vec![(
                "textDocument/rangeFormatting",
                json!({ "textDocument": document, "range": whole, "options": options }),
            )],
            "semanticTokensProvider" => vec![
                ("textDocument/semanticTokens/full", of_it()),
                ("textDocument/semanticTokens/range", range.clone()),
            ],
            "workspaceSymbolProvider" => vec![("workspace/symbol", json!({ "query": "a" }))],
            other => panic!("how is {other} asked for? This table is to say it"),
        });
    }
    all
}

/// The lines of a text, as a client counts them: how many columns each has.
fn lines(text: &str, utf8: bool) -> Vec<u64> {
    let mut lines = Vec::new();
    let mut rest = text;
    loop {
        let end = rest.find(['\r', '\n']).unwrap_or(rest.len());
        let line = &rest[..end];
        lines.push(if utf8 { line.len() } else { line.encode_utf16().count() } as u64);
        let after = &rest[end..];
        let Some(next) = after.strip_prefix("\r\n").or_else(|| after.get(1..)) else { return lines };
        rest = next;
    }
}

/// Whether all ranges of an answer are in the document, forwards.
fn check_ranges(answer: &Value, lines: &[u64], about: &str) {
    match answer {
        Value::Object(fields) => {
            if let (Some(start), Some(end)) = (fields.get("start"), fields.get("end")) {
                let place = |it: &Value| Some((it["line"].as_u64()?, it["character"].as_u64()?));
                if let (Some(start), Some(end)) = (place(start), place(end)) {
                    assert!(start <= end, "{about}: {answer}");
                    for (line, column) in [start, end] {
                        let columns = lines.get(usize::try_from(line).unwrap());
                        assert!(columns.is_some_and(|columns| column <= *columns), "{about}: {answer}");
                    }
                }
            }
            fields.values().for_each(|value| check_ranges(value, lines, about));
        }
        Value::Array(items) => items.iter().for_each(|value| check_ranges(value, lines, about)),
        _ => {}
    }
}

/// Asks everything at a place in a text that is open.
async fn ask_all(client: &mut Client, capabilities: &Value, id: &mut i64, place: Value, lines: &[u64]) {
    let last = json!({ "line": lines.len() - 1, "character": lines.last() });
    let whole = json!({ "start": { "line": 0, "character": 0 }, "end": last });
    let requests = requests(capabilities, &place, &whole);
    let first = *id;
    for (method, params) in &requests {
        client.begin(*id, method, params.clone()).await;
        *id += 1;
    }
    for ((method, _), id) in requests.iter().zip(first..) {
        let answer = client.answer(id).await;
        assert_ne!(answer["code"], -32603, "{method} at {place}: a fault");
        check_ranges(&answer, lines, &format!("{method} at {place}"));
    }
}

/// Every request that the server knows, at places all over the corpus. With `RBX_LSP_EVERY` set, at each place, which
/// takes minutes.
async fn everything_everywhere(encoding: &str) {
    let utf8 = encoding == "utf-8";
    let every = std::env::var_os("RBX_LSP_EVERY").is_some();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    let mut texts: Vec<(String, bool)> = ODD.map(|text| (text.to_owned(), true)).to_vec();
    let mut paths: Vec<_> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    texts.extend(
        paths
            .iter()
            .filter_map(|path| fs::read_to_string(path.join("Dockerfile")).ok().map(|text| (text, every))),
    );
    assert!(texts.len() > 100);

    let mut client = Client::connect();
    let options = json!({ "platforms": ["linux/amd64", "linux/arm64"] });
    let params = json!({ "capabilities": abilities(encoding), "initializationOptions": options });
    let answer = client.initialize_with(params).await;
    let capabilities = answer["capabilities"].clone();
    let mut id = 1000;
    for (number, (text, all)) in texts.iter().enumerate() {
        client.open(text).await;
        let lines = lines(text, utf8);
        let mut places: Vec<(u64, u64)> = Vec::new();
        for (line, columns) in (0..).zip(&lines) {
            places.extend((0..=*columns + 1).map(|column| (line, column)));
        }
        places.extend([(lines.len() as u64, 0), (0, u64::from(u32::MAX)), (u64::from(u32::MAX), 7)]);
        // Of the others, a few each time, at other places in each file.
        let step = if *all { 1 } else { (places.len() / 4).max(1) };
        for (line, character) in places.iter().skip(if *all { 0 } else { number % step }).step_by(step) {
            let place = json!({ "line": line, "character": character });
            ask_all(&mut client, &capabilities, &mut id, place, &lines).await;
        }
    }
    assert_eq!(client.pushed(), 0);
    client.end().await;
}

#[tokio::test]
async fn everything_is_asked_everywhere_in_utf8() {
    everything_everywhere("utf-8").await;
}

#[tokio::test]
async fn everything_is_asked_everywhere_in_utf16() {
    everything_everywhere("utf-16").await;
}

/// What the outline says of a text that was never edited.
async fn outline(client: &mut Client, uri: &str) -> Value {
    client.request("textDocument/documentSymbol", json!({ "textDocument": { "uri": uri } })).await
}

/// An edit as a generator makes it: of which document, from where, how far, and what is put there.
type Cut = (bool, usize, usize, String);

/// Makes edits in two documents in one session; answers what is wrong.
async fn edits(cuts: Vec<Cut>, utf8: bool) -> Result<(), String> {
    let uris = ["file:///work/a.Dockerfile", "file:///work/b.Dockerfile"];
    let mut client = Client::connect();
    client.initialize(abilities(if utf8 { "utf-8" } else { "utf-16" })).await;
    let mut texts: [Vec<char>; 2] =
        ["FROM a AS x\r\nRUN b\nUSER 🐳", "ARG ü\rFROM c"].map(|it| it.chars().collect());
    for (uri, text) in uris.iter().zip(&texts) {
        let item = json!({ "uri": uri, "languageId": "dockerfile", "version": 0, "text": text.iter().collect::<String>() });
        client.notify("textDocument/didOpen", json!({ "textDocument": item })).await;
    }
    let place = |text: &[char], at: usize| {
        let before: String = text[..at].iter().collect();
        // A carriage return right before a line feed does not end a line by itself, but no editor stops between them.
        let counted = lines(&before, utf8);
        json!({ "line": counted.len() - 1, "character": counted.last() })
    };
    for (version, (second, from, length, insert)) in (1..).zip(cuts) {
        let text = &mut texts[usize::from(second)];
        let splits = |at: usize| at > 0 && text.get(at) == Some(&'\n') && text[at - 1] == '\r';
        let (from, to) = (from.min(text.len()), (from + length).min(text.len()));
        if splits(from) || splits(to) {
            continue;
        }
        let range = json!({ "start": place(text, from), "end": place(text, to) });
        text.splice(from..to, insert.chars());
        let params = json!({
            "textDocument": { "uri": uris[usize::from(second)], "version": version },
            "contentChanges": [{ "range": range, "text": insert }],
        });
        client.notify("textDocument/didChange", params).await;
    }
    for (uri, text) in uris.iter().zip(texts) {
        let edited = outline(&mut client, uri).await;
        let text: String = text.into_iter().collect();
        client.open(&text).await;
        let fresh = outline(&mut client, URI).await;
        if edited != fresh {
            return Err(format!("{text:?}: {edited} is not {fresh}"));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn documents_are_the_clients_after_any_edits(
        cuts in proptest::collection::vec((any::<bool>(), 0..60usize, 0..12usize, "[a 🐬ü\r\n#\\\\]{0,5}|FROM x|RUN <<E\n"), 0..40),
        utf8: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        prop_assert_eq!(runtime.block_on(edits(cuts, utf8)), Ok(()));
    }
}

#[tokio::test]
async fn places_within_characters_and_beyond_lines_are_no_trouble() {
    let mut client = Client::with("FROM 🐳 AS x\r\n").await;
    // From the second half of a pair of surrogates, which counts as the first, to a column that is not there.
    client.notify("textDocument/didChange", edit(2, (0, 6), (0, 999), "y")).await;
    assert_eq!(client.symbols().await[0]["detail"], "FROM y");
    client.notify("textDocument/didChange", edit(3, (9, 9), (9, 3), "USER z")).await;
    assert_eq!(client.symbols().await[0]["children"][0]["name"], "USER z");
    // The end before the beginning.
    client.notify("textDocument/didChange", edit(4, (1, 4), (0, 2), "S")).await;
    assert_eq!(client.symbols().await[0]["children"][0]["name"], "USERS z");
    // A document that is not open.
    let mut other = edit(5, (0, 0), (0, 1), "x");
    other["textDocument"]["uri"] = "file:///other".into();
    client.notify("textDocument/didChange", other).await;
    assert_eq!(client.symbols().await[0]["detail"], "FROM y");
}

#[tokio::test]
async fn long_files_are_files() {
    let mut text = String::from("FROM scratch AS a\n");
    for i in 1..50_000 {
        let _ = match i % 4 {
            0 if i % 500 == 0 => writeln!(text, "FROM a AS s{i}"),
            0 => writeln!(text, "USER {i}"),
            1 => writeln!(text, "RUN echo $x && echo {i} \\\n  && true"),
            2 => writeln!(text, "ENV x{i}=🐳"),
            _ => writeln!(text, "COPY a{i} b"),
        };
    }
    let mut client = Client::connect();
    let options = json!({ "platforms": ["linux/amd64"] });
    let params = json!({ "capabilities": abilities("utf-16"), "initializationOptions": options });
    let answer = client.initialize_with(params).await;
    client.open(&text).await;
    let mut id = 1000;
    let mut capabilities = answer["capabilities"].clone();
    // What is worked out by the checks is not waited for here.
    capabilities
        .as_object_mut()
        .unwrap()
        .retain(|name, _| !["diagnosticProvider", "codeActionProvider"].contains(&name.as_str()));
    let counted = lines(&text, false);
    let place = json!({ "line": counted.len() / 2, "character": 3 });
    ask_all(&mut client, &capabilities, &mut id, place, &counted).await;
    client.notify("textDocument/didChange", edit(2, (0, 16), (0, 17), "zz")).await;
    assert_eq!(client.symbols().await[0]["name"], "zz");
    client.end().await;
}

#[tokio::test]
async fn typing_is_faster_than_asking() {
    let mut client = Client::with("FROM a AS s1\n").await;
    let document = json!({ "textDocument": { "uri": URI } });
    let (mut asked, mut answered) = (Vec::new(), 0);
    for version in 2..300_i32 {
        let before = (version - 1).to_string().len() + 1;
        let end = 10 + u32::try_from(before).unwrap();
        client
            .notify("textDocument/didChange", edit(version, (0, 10), (0, end), &format!("s{version}")))
            .await;
        let id = 5000 + i64::from(version);
        client.begin(id, "textDocument/documentSymbol", document.clone()).await;
        asked.push((id, version));
        match version % 3 {
            0 => client.notify("$/cancelRequest", json!({ "id": id })).await,
            1 => client.notify("$/cancelRequest", json!({ "id": id - 1 })).await,
            _ => {}
        }
    }
    for (id, version) in asked {
        let answer = client.answer(id).await;
        if answer.is_array() {
            // It is about the text as it was when it was asked.
            assert_eq!(answer[0]["name"], format!("s{version}"));
            answered += 1;
        } else {
            assert!(answer["code"] == -32800 || answer["code"] == -32801, "{answer}");
        }
    }
    assert!(answered >= 90, "{answered}");
}

#[tokio::test]
async fn edits_do_not_wait_for_requests_that_do() {
    let mut client = Client::connect();
    client.initialize(abilities("utf-16")).await;
    client.open("FROM a AS s0\n").await;
    // Eight that wait for something to change, behind a client that does not read …
    for id in 0..8 {
        let params = json!({ "previousResultIds": [], "partialResultToken": id });
        client.begin(3000 + id, "workspace/diagnostic", params).await;
    }
    // … and that writes all it has to say at once.
    let mut burst = String::new();
    for version in 1..=10_000_i32 {
        let end = 11 + u32::try_from((version - 1).to_string().len()).unwrap();
        let params = edit(version, (0, 11), (0, end), &version.to_string());
        burst += &framed(&json!({ "jsonrpc": "2.0", "method": "textDocument/didChange", "params": params }));
    }
    client.output.write_all(burst.as_bytes()).await.unwrap();
    assert_eq!(client.symbols().await[0]["name"], "s10000");
    for id in 0..8 {
        client.notify("$/cancelRequest", json!({ "id": 3000 + id })).await;
        assert_eq!(client.answer(3000 + id).await["code"], -32800);
    }
    client.end().await;
}

#[tokio::test]
async fn a_client_that_answers_nothing_is_served() {
    let mut client = Client::connect();
    let asks = json!({ "workspace": { "configuration": true, "codeLens": { "refreshSupport": true } } });
    client.silent = true;
    client.initialize(asks).await;
    client.open("FROM a AS x\n").await;
    for _ in 0..2000 {
        client.notify("workspace/didChangeConfiguration", json!({ "settings": null })).await;
    }
    assert_eq!(client.symbols().await[0]["name"], "x");
    client.end().await;
}

#[tokio::test]
async fn a_burst_of_edits_is_one_publication() {
    let mut client = Client::with("FROM a\n").await;
    client.notification("textDocument/publishDiagnostics").await;
    let mut burst = String::new();
    for version in 2..=31 {
        let params = edit(version, (1, 0), (1, 0), "RUN x\n");
        burst += &framed(&json!({ "jsonrpc": "2.0", "method": "textDocument/didChange", "params": params }));
    }
    client.output.write_all(burst.as_bytes()).await.unwrap();
    let mut publications = 0;
    loop {
        publications += 1;
        if client.notification("textDocument/publishDiagnostics").await["version"] == 31 {
            break;
        }
    }
    // One on a machine that does nothing else.
    assert!(publications <= 3, "{publications}");
}

#[tokio::test]
async fn messages_that_make_no_sense_are_answered() {
    let mut client = Client::connect();
    let send = |text: &str| format!("Content-Length: {}\r\n\r\n{text}", text.len());
    let mut said = String::new();
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"textDocument/hover"}"#,
        r#"{"jsonrpc":"2.0","method":"#,
        r#"[{"jsonrpc":"2.0","id":2,"method":"shutdown"}]"#,
        r#"{"jsonrpc":"1.0","id":3,"method":"shutdown"}"#,
        r#"{"jsonrpc":"2.0","id":4}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"shutdown"}"#,
        "7",
        "",
    ] {
        client.output.write_all(send(text).as_bytes()).await.unwrap();
        let answer = client.receive().await;
        let _ = writeln!(said, "{} {} {}", answer["id"], answer["error"]["code"], answer["error"]["message"]);
    }
    client.output.write_all(b"no header\r\n\r\n").await.unwrap();
    let answer = client.receive().await;
    let _ = writeln!(said, "{} {} {}", answer["id"], answer["error"]["code"], answer["error"]["message"]);
    insta::assert_snapshot!(said, @r#"
    1 -32002 "Server not initialized"
    null -32700 "the message is not JSON"
    null -32600 "the protocol has no batches"
    3 -32600 "the message is no request"
    4 -32600 "the message is neither a request nor an answer"
    null -32600 "the message is no request"
    null -32600 "the message is neither a request nor an answer"
    null -32700 "the message is not JSON"
    null -32700 "the header is not made of fields"
    "#);

    client.initialize(json!({})).await;
    for (method, params) in [
        ("$/nothing", json!({})),
        ("nothing/atAll", json!([])),
        ("$/setTrace", json!({ "value": "verbose" })),
        ("textDocument/didSave", json!({ "textDocument": { "uri": URI } })),
        ("textDocument/didOpen", json!({ "textDocument": 7 })),
        ("$/cancelRequest", json!({ "id": 99 })),
    ] {
        client.notify(method, params).await;
    }
    client.open("FROM a AS x").await;
    assert_eq!(client.request("textDocument/hover", json!({ "textDocument": 7 })).await["code"], -32602);
    assert_eq!(client.symbols().await[0]["name"], "x");
    client.end().await;
}
