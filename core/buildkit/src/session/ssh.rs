//! SSH agents for steps: the daemon listens in the step's place, and every connection comes here.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use rbx_request::SshForward;
use rbx_ssh::{Agent, AgentError};
use tokio::sync::Semaphore;
use tokio_util::io::{ReaderStream, StreamReader};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

use crate::proto::ssh::ssh_server::{self, SshServer};
use crate::proto::ssh::{BytesMessage, CheckAgentRequest, CheckAgentResponse};

/// The header that names the agent.
const ID: &str = "buildkit.ssh.id";
/// The agent of whoever names none.
const DEFAULT: &str = "default";
/// Bytes of a message.
const CHUNK: usize = 32 << 10;
/// Connections at a time; further ones wait.
const CONNECTIONS: usize = 32;

/// The SSH agents of a build, by id.
#[derive(Debug)]
pub struct Ssh {
    agents: BTreeMap<String, Arc<Agent>>,
    free: Arc<Semaphore>,
}

impl Ssh {
    /// Finds out what every `--ssh` names, and reads keys. Blocks on files.
    pub fn open(forwards: &[SshForward]) -> Result<Self, AgentError> {
        let agents = Agent::open_all(forwards)?;
        Ok(Self { agents, free: Arc::new(Semaphore::new(CONNECTIONS)) })
    }

    pub(crate) fn server(self) -> SshServer<Self> {
        SshServer::new(self)
    }

    fn agent(&self, id: &str) -> Result<Arc<Agent>, Status> {
        let id = if id.is_empty() { DEFAULT } else { id };
        let agent = self.agents.get(id).cloned();
        agent.ok_or_else(|| Status::unknown(format!("unset ssh forward key {id}")))
    }
}

#[tonic::async_trait]
impl ssh_server::Ssh for Ssh {
    type ForwardAgentStream = BoxStream<'static, Result<BytesMessage, Status>>;

    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        self.agent(&request.get_ref().id)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = request.metadata().get(ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let agent = self.agent(id)?;
        let free = self.free.clone();
        let sent = request.into_inner().map(|message| match message {
            Ok(message) => Ok(io::Cursor::new(message.data)),
            Err(status) => Err(io::Error::other(status.message().to_owned())),
        });
        let (answers, answering) = tokio::io::duplex(CHUNK);
        let serving = tokio::spawn(async move {
            let _permit = free.acquire_owned().await;
            // What goes wrong, the client sees by its connection's end.
            let _ = agent.serve(tokio::io::join(StreamReader::new(sent), answering)).await;
        });
        // Ends with the stream, whoever ends that.
        let serving = AbortOnDropHandle::new(serving);
        let answers = ReaderStream::with_capacity(answers, CHUNK).map(move |chunk| {
            let _ = &serving;
            match chunk {
                Ok(chunk) => Ok(BytesMessage { data: chunk.into() }),
                Err(error) => Err(Status::unknown(rbx_request::reason(&error))),
            }
        });
        Ok(Response::new(answers.boxed()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rbx_request::SshForward;
    use tokio::net::UnixListener;

    use super::*;
    use crate::proto::ssh::ssh_client::SshClient;
    use crate::session::testing::channel;

    const LIST: &[u8] = &[0, 0, 0, 1, 11];
    const REFUSAL: &[u8] = &[0, 0, 0, 1, 5];

    fn forward(id: &str, path: &Path) -> SshForward {
        SshForward { id: id.to_owned(), paths: vec![path.to_owned()] }
    }

    /// Sends messages as they are cut, and hears all that is answered.
    async fn ask(
        client: &mut SshClient<tonic::transport::Channel>,
        id: Option<&str>,
        messages: &[&'static [u8]],
    ) -> Result<Vec<u8>, Status> {
        let messages: Vec<_> =
            messages.iter().map(|message| BytesMessage { data: message.to_vec() }).collect();
        let mut request = Request::new(tokio_stream::iter(messages));
        if let Some(id) = id {
            request.metadata_mut().insert(ID, id.parse().unwrap());
        }
        let mut answers = client.forward_agent(request).await?.into_inner();
        let mut heard = Vec::new();
        while let Some(answer) = answers.message().await? {
            heard.extend(answer.data);
        }
        Ok(heard)
    }

    #[tokio::test]
    async fn agents_are_found_by_id_and_only_list_and_sign() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .status()
            .expect("ssh-keygen: run `cargo xtask setup`");
        assert!(made.success());
        let silent = folder.path().join("silent");
        let listener = UnixListener::bind(&silent).unwrap();
        let forwards = [forward("default", &key), forward("silent", &silent)];
        let mut client = SshClient::new(channel(Ssh::open(&forwards).unwrap().server()));

        for (id, known) in [("", true), ("default", true), ("silent", true), ("other", false)] {
            let checked = client.check_agent(CheckAgentRequest { id: id.to_owned() }).await;
            assert_eq!(checked.is_ok(), known, "{id}");
        }
        let error = ask(&mut client, Some("other"), &[]).await.unwrap_err();
        assert_eq!(error.message(), "unset ssh forward key other");

        for id in [None, Some("default")] {
            // One request cut in two, then what would remove all keys.
            let heard = ask(&mut client, id, &[&LIST[..3], &LIST[3..], &[0, 0, 0, 1, 19]]).await.unwrap();
            let text = String::from_utf8_lossy(&heard);
            assert!(text.contains("ssh-ed25519") && heard.ends_with(REFUSAL), "{heard:?}");
        }
        assert_eq!(ask(&mut client, None, &[]).await.unwrap(), b"");
        assert_eq!(ask(&mut client, None, &[&[255; 8]]).await.unwrap(), b"", "no message");

        // An agent that does not answer holds up nobody else, and is left with its client.
        let mut hanging = client.clone();
        let hanging = tokio::spawn(async move { ask(&mut hanging, Some("silent"), &[LIST]).await });
        let (mut agent, _) = listener.accept().await.unwrap();
        let mut heard = [0; 5];
        tokio::io::AsyncReadExt::read_exact(&mut agent, &mut heard).await.unwrap();
        assert_eq!(heard, LIST);
        assert!(!ask(&mut client, None, &[LIST]).await.unwrap().is_empty());
        hanging.abort();
        let mut rest = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut agent, &mut rest).await.unwrap();
        assert!(rest.is_empty());
    }
}
