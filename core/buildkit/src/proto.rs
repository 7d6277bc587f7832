//! The messages and services of the protocol, by shorter names.

pub(crate) mod content;

#[cfg(test)]
pub(crate) use bollard_buildkit_proto::fsutil::types as fsutil;
pub(crate) use bollard_buildkit_proto::google::protobuf as google;
pub(crate) use bollard_buildkit_proto::google::rpc;
pub(crate) use bollard_buildkit_proto::health;
pub(crate) use bollard_buildkit_proto::moby::buildkit::secrets::v1 as secrets;
pub(crate) use bollard_buildkit_proto::moby::buildkit::v1 as control;
pub(crate) use bollard_buildkit_proto::moby::buildkit::v1::apicaps;
pub(crate) use bollard_buildkit_proto::moby::buildkit::v1::frontend as gateway;
pub(crate) use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy;
pub(crate) use bollard_buildkit_proto::moby::buildkit::v1::types;
pub(crate) use bollard_buildkit_proto::moby::filesync::v1 as filesync;
pub(crate) use bollard_buildkit_proto::moby::sshforward::v1 as ssh;
pub(crate) use bollard_buildkit_proto::moby::upload::v1 as upload;
pub(crate) use bollard_buildkit_proto::pb;
