//! What the fuzz targets need and no caller does.

use prost::Message;
use rbx_request::{Event, Failure};
use tonic::{Code, Status};

use crate::error::Error;
use crate::proto::{control, rpc};
use crate::status::as_events;

/// The events of a message of the status stream, if it is one.
pub fn events(message: &[u8]) -> Option<Vec<Event>> {
    Some(as_events(control::StatusResponse::decode(message).ok()?).collect())
}

/// The failure that a daemon's error with these details (`google.rpc.Status`) becomes.
pub fn failure(details: &[u8]) -> Failure {
    let status = rpc::Status::decode(details).unwrap_or_default();
    let code = Code::from(status.code);
    let error = Error::from(Status::with_details(code, status.message, details.to_vec().into()));
    error.into_failure(|digest| Some(digest.to_owned()))
}
