//! Secrets, as the daemon asks for them when a step needs one.

use std::collections::BTreeMap;

use rbx_request::{MAX_SECRET_LEN, Secret, SecretSource};
use tokio::io::AsyncReadExt;
use tonic::{Request, Response, Status};

use crate::proto::secrets::secrets_server::{self, SecretsServer};
use crate::proto::secrets::{GetSecretRequest, GetSecretResponse};

/// The secrets of a build. Files are read when they are asked for.
#[derive(Debug)]
pub struct Secrets(BTreeMap<String, SecretSource>);

impl Secrets {
    /// These secrets; of those with one id, the last.
    pub fn new(secrets: &[Secret]) -> Self {
        Self(secrets.iter().map(|secret| (secret.id.clone(), secret.source.clone())).collect())
    }

    pub(crate) fn server(self) -> SecretsServer<Self> {
        SecretsServer::new(self)
    }

    async fn value(&self, id: &str) -> Result<Vec<u8>, Status> {
        let source = self.0.get(id).ok_or_else(|| Status::not_found(format!("secret {id}: not found")))?;
        let value = match source {
            SecretSource::Value(value) => value.clone(),
            SecretSource::File(path) => {
                let failed = |error: std::io::Error| {
                    let reason = rbx_request::reason(&error);
                    Status::unknown(format!("{reason}: failed to read secret {id} from {}", path.display()))
                };
                let file = tokio::fs::File::open(path).await.map_err(failed)?;
                let mut value = Vec::new();
                file.take(MAX_SECRET_LEN as u64 + 1).read_to_end(&mut value).await.map_err(failed)?;
                value
            }
        };
        if value.len() > MAX_SECRET_LEN {
            return Err(Status::unknown(format!("invalid secret size: secret {id} is larger than 500 KiB")));
        }
        Ok(value)
    }
}

#[tonic::async_trait]
impl secrets_server::Secrets for Secrets {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let data = self.value(&request.get_ref().id).await?;
        Ok(Response::new(GetSecretResponse { data }))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::proto::secrets::secrets_client::SecretsClient;
    use crate::session::testing::channel;

    #[tokio::test]
    async fn values_and_files_up_to_their_bound() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            SecretSource::File(path)
        };
        let secret = |id: &str, source| Secret { id: id.to_owned(), source };
        let secrets = [
            secret("value", SecretSource::Value(b"from the environment".to_vec())),
            secret("file", file("file", b"\0from a file\xff")),
            secret("largest", file("largest", &b"x".repeat(MAX_SECRET_LEN))),
            secret("larger", file("larger", &b"x".repeat(MAX_SECRET_LEN + 1))),
            secret("endless", SecretSource::File("/dev/zero".into())),
            secret("gone", SecretSource::File(directory.path().join("gone"))),
        ];
        let mut client = SecretsClient::new(channel(Secrets::new(&secrets).server()));
        let mut get = async |id: &str| {
            let request = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
            client.get_secret(request).await.map(|answer| answer.into_inner().data)
        };
        assert_eq!(get("value").await.unwrap(), b"from the environment");
        assert_eq!(get("file").await.unwrap(), b"\0from a file\xff");
        assert_eq!(get("largest").await.unwrap().len(), MAX_SECRET_LEN);
        assert_eq!(get("none").await.unwrap_err().code(), Code::NotFound);
        for (id, reason) in [
            ("larger", "invalid secret size: secret larger is larger than 500 KiB".to_owned()),
            ("endless", "invalid secret size: secret endless is larger than 500 KiB".to_owned()),
            (
                "gone",
                format!(
                    "no such file or directory: failed to read secret gone from {}/gone",
                    directory.path().display()
                ),
            ),
        ] {
            let error = get(id).await.unwrap_err();
            assert_eq!((error.code(), error.message()), (Code::Unknown, reason.as_str()));
        }
    }

    #[test]
    fn values_reach_no_log() {
        let source = SecretSource::Value(b"hush".to_vec());
        let secrets = Secrets::new(&[Secret { id: "a".to_owned(), source }]);
        assert!(!format!("{secrets:?}").contains("hush"));
    }
}
