//! The tags of a repository.

use rbx_oci::Reference;
use reqwest::Method;
use reqwest::header::LINK;
use serde::Deserialize;

use crate::client::{Access, Ask, Client, all_failed, note};
use crate::endpoint::Endpoint;
use crate::error::RegistryError;
use crate::manifest;

/// Tags that are asked for at a time.
const PAGE: usize = 1000;
/// Pages that are read of one repository, at most.
const MAX_PAGES: usize = 5;

#[derive(Deserialize)]
struct Page {
    /// Some registries say `null` of a repository without tags.
    tags: Option<Vec<String>>,
}

impl Client {
    /// The tags of the repository that a reference names, in the registry's order, which is nearly always that of the
    /// alphabet: 5,000 or a few more at most. What is no tag is left out.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>, RegistryError> {
        let what = reference.name();
        let mut failures = Vec::new();
        for endpoint in self.endpoints(reference)? {
            match self.tags_from(&endpoint, &what).await {
                Ok(mut tags) => {
                    tags.retain(|tag| reference.with_tag(tag).is_ok());
                    return Ok(tags);
                }
                Err(error) => note(&mut failures, error),
            }
        }
        Err(all_failed(failures))
    }

    async fn tags_from(&self, endpoint: &Endpoint, what: &str) -> Result<Vec<String>, RegistryError> {
        let mut tags: Vec<String> = Vec::new();
        for _ in 0..MAX_PAGES {
            let after = tags.last().map(|last| format!("&last={last}")).unwrap_or_default();
            let thing = format!("tags/list?n={PAGE}{after}");
            let ask = Ask {
                method: Method::GET,
                thing,
                accept: None,
                from: 0,
                what,
                access: Access::Pull,
                content: None,
            };
            let response = self.request(endpoint, &ask).await?;
            let has_more = response.headers().contains_key(LINK);
            let host = &endpoint.host.authority;
            let bytes = manifest::read(response, what, host).await?;
            let page: Page = serde_json::from_slice(&bytes).map_err(|error| RegistryError::Status {
                what: what.to_owned(),
                host: host.clone(),
                status: 200,
                message: error.to_string(),
            })?;
            let new = page.tags.unwrap_or_default();
            let ends = !has_more || new.is_empty() || new.last() == tags.last();
            tags.extend(new);
            // The last one is sent back as it came.
            if ends
                || !tags
                    .last()
                    .is_some_and(|last| last.bytes().all(|b| b.is_ascii_graphic() && b != b'&' && b != b'#'))
            {
                break;
            }
        }
        Ok(tags)
    }
}
