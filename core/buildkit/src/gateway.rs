//! The gateway: how a client drives a build, as a frontend would.

use std::collections::HashMap;

use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

use crate::Client;
use crate::error::Error;
use crate::proto::gateway::llb_bridge_client::LlbBridgeClient;
use crate::proto::{apicaps, gateway, pb, rpc};

/// The header that says which build is meant.
const BUILD_ID: &str = "buildkit-controlapi-buildid";

/// The gateway of one build.
#[derive(Debug, Clone)]
pub(crate) struct Bridge {
    client: LlbBridgeClient<Channel>,
    build: AsciiMetadataValue,
}

/// What a daemon can do, as it says when a build begins.
#[derive(Debug, Default)]
pub(crate) struct Capabilities {
    llb: HashMap<String, bool>,
}

impl Capabilities {
    /// Whether the solver can do this, such as `exporter.image.attestations`.
    pub(crate) fn has_llb(&self, id: &str) -> bool {
        self.llb.get(id).copied().unwrap_or_default()
    }
}

fn capabilities(list: Vec<apicaps::ApiCap>) -> HashMap<String, bool> {
    list.into_iter().map(|cap| (cap.id, cap.enabled)).collect()
}

impl Bridge {
    /// The gateway of the build of that id.
    pub(crate) fn new(client: &Client, build: &str) -> Result<Self, Error> {
        let build = AsciiMetadataValue::try_from(build).map_err(Error::transport)?;
        Ok(Self { client: client.bridge(), build })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(BUILD_ID, self.build.clone());
        request
    }

    /// Waits for the build to begin, and asks what the daemon can do.
    pub(crate) async fn ping(&mut self) -> Result<Capabilities, Error> {
        let request = self.request(gateway::PingRequest {});
        let pong = self.client.ping(request).await?.into_inner();
        Ok(Capabilities { llb: capabilities(pong.llb_caps) })
    }

    /// Runs a frontend.
    pub(crate) async fn solve(&mut self, solve: gateway::SolveRequest) -> Result<gateway::Result, Error> {
        let request = self.request(solve);
        let answer = self.client.solve(request).await?.into_inner();
        Ok(answer.result.unwrap_or_else(|| gateway::Result {
            result: Some(gateway::result::Result::RefDeprecated(answer.r#ref)),
            ..gateway::Result::default()
        }))
    }

    /// Reads a file of what a definition makes.
    pub(crate) async fn file_of(
        &mut self,
        definition: pb::Definition,
        path: &str,
        limit: usize,
    ) -> Result<Vec<u8>, Error> {
        let request = gateway::SolveRequest {
            definition: Some(definition),
            allow_result_return: true,
            allow_result_array_ref: true,
            ..gateway::SolveRequest::default()
        };
        let reference = match self.solve(request).await?.result {
            Some(gateway::result::Result::Ref(reference)) => reference.id,
            Some(gateway::result::Result::RefDeprecated(id)) => id,
            _ => return Err(Error::answer("the builder answered no single result")),
        };
        let request = self.request(gateway::ReadFileRequest {
            r#ref: reference,
            file_path: path.to_owned(),
            // One more than there may be.
            range: Some(gateway::FileRange {
                offset: 0,
                length: i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1),
            }),
            ..gateway::ReadFileRequest::default()
        });
        let content = self.client.read_file(request).await?.into_inner().data;
        if content.len() > limit {
            return Err(Error::answer(&format!("{path} bigger than allowed max size ({limit} bytes)")));
        }
        Ok(content)
    }

    /// Ends the build: with what is to be exported, or with an error.
    pub(crate) async fn give_back(
        &mut self,
        result: Result<gateway::Result, rpc::Status>,
    ) -> Result<(), Error> {
        let request = match result {
            Ok(result) => gateway::ReturnRequest { result: Some(result), error: None },
            Err(error) => gateway::ReturnRequest { result: None, error: Some(error) },
        };
        let request = self.request(request);
        self.client.r#return(request).await?;
        Ok(())
    }
}
