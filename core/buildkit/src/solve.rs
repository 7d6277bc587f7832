//! One build: `Control.Solve` in gateway mode, with its session and its status stream.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rbx_request::{Cancel, Cancelled, EventSender, Failure, FailureKind};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::Client;
use crate::error::{Error, ErrorKind};
use crate::gateway::{Bridge, Capabilities};
use crate::proto::{control, gateway, pb, rpc, sourcepolicy};
use crate::session::{Serving, Session};
use crate::status::Following;

/// How long the daemon's own reason is waited for when something else has failed.
const REASON: Duration = Duration::from_secs(5);
/// The same when the session has ended, which a daemon may not notice for long.
const SESSION: Duration = Duration::from_secs(2);

/// How long the last words may take where the connection is lost over which they would come.
const LOST: Duration = Duration::from_secs(1);
/// How much longer they may take about a build that was cancelled.
const LAST: Duration = Duration::from_secs(14);

/// What is decided once the daemon has said what it can do: the attributes are changed, or the build fails.
pub(crate) type Adjust =
    Box<dyn FnOnce(&Capabilities, &mut HashMap<String, String>) -> Result<(), Box<Failure>> + Send>;

/// What a build is for the daemon. The client drives it: it runs the frontend through the gateway and gives back
/// what is to be exported.
pub(crate) struct Solve {
    /// The build's id, under which the daemon's history has it.
    pub(crate) reference: String,
    /// The session that serves this build. It is opened with the build and closed with it.
    pub(crate) session: Session,
    /// What is run.
    pub(crate) work: Work,
    /// The frontend's attributes, as far as they do not depend on what the daemon can do. The history shows them.
    /// `cache-imports` is made of `cache`.
    pub(crate) attributes: HashMap<String, String>,
    /// Decides the rest of the attributes before the frontend is run.
    pub(crate) adjust: Adjust,
    /// Definitions that the attributes name as `input:`.
    pub(crate) inputs: HashMap<String, pb::Definition>,
    /// The exporters. Older daemons take the first alone, which they get in the deprecated fields.
    pub(crate) exporters: Vec<control::Exporter>,
    /// The caches to export to.
    pub(crate) cache_exports: Vec<control::CacheOptionsEntry>,
    /// The caches to import from.
    pub(crate) cache_imports: Vec<control::CacheOptionsEntry>,
    /// What steps are allowed, such as `network.host`.
    pub(crate) entitlements: Vec<String>,
    /// Rules about sources.
    pub(crate) source_policy: Option<sourcepolicy::Policy>,
    /// The history need not have it.
    pub(crate) internal: bool,
}

/// What is run in a build.
pub(crate) enum Work {
    /// A frontend: `dockerfile.v0` or `gateway.v0`.
    Frontend(String),
    /// Nothing but a definition, of whose result a file is read, at most so many bytes of it. It is answered under the
    /// name of the file, and nothing is exported.
    File { definition: pb::Definition, path: String, limit: usize },
}

/// What a build answered.
#[derive(Debug, Default)]
pub(crate) struct Solved {
    /// The exporters' answers: `containerimage.digest`, `image.name`, `cache.manifest`, …
    pub(crate) exported: HashMap<String, String>,
    /// The frontend's answers: of `--call`, `result.json`, `result.txt` and `result.statuscode`.
    pub(crate) answered: HashMap<String, Vec<u8>>,
}

/// Why a build ended without a result.
enum Stop {
    /// The client's own reason.
    Failure(Box<Failure>),
    /// The daemon's, or the connection's.
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Builds. Events are sent until the daemon has said its last word, also about a build that fails or is cancelled:
/// a cancellation is passed on, so that the daemon ends its steps.
pub(crate) async fn solve(
    client: &Client,
    solve: Solve,
    events: &EventSender,
    cancel: &Cancel,
) -> Result<Solved, Failure> {
    let cancelled = Arc::new(Notify::new());
    let _listening = cancel.on_cancel({
        let (cancelled, events) = (cancelled.clone(), events.clone());
        move || {
            events.stop_waiting();
            cancelled.notify_one();
        }
    });
    let following = Following::start(client, solve.reference.clone(), events.clone());
    let mut serving = None;
    // When this is dropped, the daemon hears that nobody waits for the build any more.
    let outcome = tokio::select! {
        outcome = build(client, solve, &mut serving) => Some(outcome),
        () = cancelled.notified() => None,
    };
    if let Some(serving) = serving {
        serving.close().await;
    }
    let enough = async {
        if !matches!(&outcome, Some(Err(Stop::Error(error))) if error.kind() == ErrorKind::Lost) {
            if !cancel.is_cancelled() {
                cancelled.notified().await;
            }
            sleep(LAST).await;
        }
        sleep(LOST).await;
    };
    let names = following.last_words(enough).await;
    match outcome {
        None => Err(Failure::new(FailureKind::Cancelled, Cancelled.to_string())),
        Some(Ok(solved)) => Ok(solved),
        Some(Err(Stop::Failure(failure))) => Err(*failure),
        Some(Err(Stop::Error(error))) => Err(error.into_failure(|digest| names.get(digest).cloned())),
    }
}

/// Builds, with the session open meanwhile, which is to be closed.
async fn build(client: &Client, mut solve: Solve, serving: &mut Option<Serving>) -> Result<Solved, Stop> {
    if let Some(imports) = cache_imports(&solve.cache_imports) {
        solve.attributes.insert("cache-imports".to_owned(), imports);
    }
    let mut bridge = Bridge::new(client, &solve.reference)?;
    let mut control = client.control();
    let request = request(&solve);
    let serving = serving.insert(solve.session.serve(client)?);
    let frontend = Frontend {
        work: solve.work,
        attributes: solve.attributes,
        inputs: solve.inputs,
        adjust: solve.adjust,
    };
    let solving = async { Ok::<_, Error>(control.solve(request).await?.into_inner().exporter_response) };
    // Futures of calls are large.
    let building = Box::pin(both(solving, frontend.drive(&mut bridge)));
    with_session(building, serving).await
}

/// The result of `building`, unless the session ends meanwhile and the daemon does not say why.
async fn with_session(
    building: impl Future<Output = Result<Solved, Stop>>,
    serving: &mut Serving,
) -> Result<Solved, Stop> {
    let mut building = pin!(building);
    let lost = tokio::select! {
        biased;
        built = &mut building => return built,
        lost = serving.ended() => lost,
    };
    match timeout(SESSION, building).await {
        Ok(Ok(solved)) => Ok(solved),
        // Without a session a daemon waits for one in vain: that none could be opened is the reason.
        Ok(Err(stop)) if lost.kind() == ErrorKind::Lost => Err(stop),
        _ => Err(lost.into()),
    }
}

/// The result of a build that is driven by one future and solved by another.
async fn both(
    solving: impl Future<Output = Result<HashMap<String, String>, Error>>,
    driving: impl Future<Output = Result<HashMap<String, Vec<u8>>, Stop>>,
) -> Result<Solved, Stop> {
    let (mut solving, mut driving) = (pin!(solving), pin!(driving));
    tokio::select! {
        solved = &mut solving => {
            let exported = solved?;
            // All that it may still wait for is the answer to what ended the build.
            let answered = timeout(REASON, driving).await.unwrap_or_else(|_| Ok(HashMap::new()))?;
            Ok(Solved { exported, answered })
        }
        driven = &mut driving => match driven {
            Ok(answered) => Ok(Solved { exported: solving.await?, answered }),
            Err(Stop::Failure(failure)) => {
                // The build is over once the daemon says so.
                let _ = timeout(REASON, solving).await;
                Err(Stop::Failure(failure))
            }
            // The daemon knows best why it failed.
            Err(Stop::Error(error)) => match timeout(REASON, solving).await {
                Ok(Err(own)) if own.is_answer() => Err(own.into()),
                _ => Err(error.into()),
            },
        },
    }
}

/// What is run through the gateway.
struct Frontend {
    work: Work,
    attributes: HashMap<String, String>,
    inputs: HashMap<String, pb::Definition>,
    adjust: Adjust,
}

impl Frontend {
    /// Runs it, and gives the daemon back what it is to export. Answers what the frontend has said.
    async fn drive(self, bridge: &mut Bridge) -> Result<HashMap<String, Vec<u8>>, Stop> {
        match self.run(bridge).await {
            Ok((result, answered)) => {
                bridge.give_back(Ok(result)).await?;
                Ok(answered)
            }
            Err(stop) => {
                let status = match &stop {
                    Stop::Failure(failure) => rpc::Status {
                        code: Code::Unknown.into(),
                        message: failure.reason.clone(),
                        details: Vec::new(),
                    },
                    Stop::Error(error) => error.clone().into_status(),
                };
                // The build has failed in any case.
                let _ = bridge.give_back(Err(status)).await;
                Err(stop)
            }
        }
    }

    /// Answers what is to be given back, and what was said.
    async fn run(mut self, bridge: &mut Bridge) -> Result<(gateway::Result, HashMap<String, Vec<u8>>), Stop> {
        let capabilities = bridge.ping().await?;
        (self.adjust)(&capabilities, &mut self.attributes).map_err(Stop::Failure)?;
        let frontend = match self.work {
            Work::Frontend(frontend) => frontend,
            Work::File { definition, path, limit } => {
                let content = bridge.file_of(definition, &path, limit).await?;
                return Ok((gateway::Result::default(), HashMap::from([(path, content)])));
            }
        };
        let request = gateway::SolveRequest {
            frontend,
            frontend_opt: self.attributes,
            frontend_inputs: self.inputs,
            allow_result_return: true,
            allow_result_array_ref: true,
            ..gateway::SolveRequest::default()
        };
        let solved = match bridge.solve(request.clone()).await {
            Ok(result) => Ok(result),
            Err(unknown) => match fallback(request, &unknown) {
                Some(request) => bridge.solve(request).await.map_err(|_| unknown),
                None => Err(unknown),
            },
        };
        let result = solved?;
        let answered = result.metadata.clone();
        Ok((result, answered))
    }
}

/// The frontends that answer what a daemon's own does not know yet, as buildx has them.
const OUTLINE: &str =
    "docker/dockerfile:1.7.1@sha256:a57df69d0ea827fb7266491f2813635de6f17269be881f696fbfdf2d83dda33e";
const LINT: &str =
    "docker/dockerfile:1.8.1@sha256:e87caa74dcb7d46cd820352bfea12591f3dba3ddc4285e19c7dcd13359f7cefd";

/// The same request for a frontend that knows what is asked, if the error says that the daemon's own does not.
fn fallback(mut request: gateway::SolveRequest, error: &Error) -> Option<gateway::SolveRequest> {
    let asked = request.frontend_opt.get("requestid")?;
    let source = match asked.as_str() {
        "frontend.lint" => LINT,
        "frontend.outline" | "frontend.targets" => OUTLINE,
        _ => return None,
    };
    let unknown = error.details().subrequest.as_ref() == Some(asked)
        // The daemon in Engine 20.10 has no details.
        || error.to_string().contains(&format!("unsupported request {asked}"));
    if !unknown {
        return None;
    }
    request.frontend_opt.insert("build-arg:BUILDKIT_SYNTAX".to_owned(), source.to_owned());
    Some(request)
}

/// The build as the daemon is asked for it.
fn request(solve: &Solve) -> control::SolveRequest {
    let first = solve.exporters.first();
    control::SolveRequest {
        r#ref: solve.reference.clone(),
        exporter_deprecated: first.map(|exporter| exporter.r#type.clone()).unwrap_or_default(),
        exporter_attrs_deprecated: first.map(|exporter| exporter.attrs.clone()).unwrap_or_default(),
        exporters: solve.exporters.clone(),
        session: solve.session.id().to_owned(),
        frontend_attrs: solve.attributes.clone(),
        cache: Some(control::CacheOptions {
            exports: solve.cache_exports.clone(),
            imports: solve.cache_imports.clone(),
            ..control::CacheOptions::default()
        }),
        entitlements: solve.entitlements.clone(),
        source_policy: solve.source_policy.clone(),
        internal: solve.internal,
        ..control::SolveRequest::default()
    }
}

/// The caches to import from, as frontends read them.
fn cache_imports(imports: &[control::CacheOptionsEntry]) -> Option<String> {
    if imports.is_empty() {
        return None;
    }
    let entries = imports.iter().map(|import| {
        let attributes: BTreeMap<&String, &String> = import.attrs.iter().collect();
        serde_json::json!({ "Type": import.r#type, "Attrs": attributes })
    });
    Some(serde_json::Value::Array(entries.collect()).to_string())
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    fn asked(id: &str) -> gateway::SolveRequest {
        let frontend_opt = [("requestid".to_owned(), id.to_owned())].into();
        gateway::SolveRequest { frontend_opt, ..gateway::SolveRequest::default() }
    }

    /// What a frontend says that does not know a request, with typed details and, as in Engine 20.10, without.
    fn unknown(id: &str) -> [Error; 2] {
        let any = bollard_buildkit_proto::google::protobuf::Any {
            type_url: "github.com/moby/buildkit/errdefs.Subrequest+json".to_owned(),
            value: format!("{{\"name\":\"{id}\"}}").into_bytes(),
        };
        let message = "unsupported request".to_owned();
        let details = rpc::Status { code: 2, message: message.clone(), details: vec![any] };
        let details = prost::Message::encode_to_vec(&details).into();
        [
            Status::with_details(Code::Unknown, message, details).into(),
            Status::unknown(format!("failed to solve: unsupported request {id}")).into(),
        ]
    }

    #[test]
    fn another_frontend_is_asked_for_what_one_does_not_know() {
        let expected = [
            ("frontend.lint", "docker/dockerfile:1.8.1@"),
            ("frontend.outline", "docker/dockerfile:1.7.1@"),
            ("frontend.targets", "docker/dockerfile:1.7.1@"),
        ];
        for (id, image) in expected {
            for error in unknown(id) {
                let again = fallback(asked(id), &error).unwrap();
                assert!(again.frontend_opt["build-arg:BUILDKIT_SYNTAX"].starts_with(image), "{again:?}");
                assert_eq!(fallback(asked("frontend.other"), &error), None);
                assert_eq!(fallback(gateway::SolveRequest::default(), &error), None);
            }
            assert_eq!(fallback(asked(id), &Status::unknown("dockerfile parse error").into()), None);
        }
    }

    #[test]
    fn caches_are_handed_to_the_frontend_as_go_writes_them() {
        let attrs =
            [("ref", "r/c"), ("digest", "sha256:a")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let import = control::CacheOptionsEntry { r#type: "registry".to_owned(), attrs };
        assert_eq!(
            cache_imports(&[import]).unwrap(),
            r#"[{"Type":"registry","Attrs":{"digest":"sha256:a","ref":"r/c"}}]"#
        );
        assert_eq!(cache_imports(&[]), None);
    }
}
