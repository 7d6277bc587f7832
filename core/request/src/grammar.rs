//! The grammars of `--output`, `--cache-from`, `--secret` and the other flags that have one, shared by the command
//! line, bake files and editor settings.
//!
//! They accept what buildx accepts and say what buildx says where they do not. Most of them are a comma-separated
//! list of `key=value` with quotes as in RFC 4180.
//!
//! Where a value needs the user's directory or environment there are two steps, because bake files are merged and
//! printed before that is known: an entry such as [`OutputEntry`] is what was written, and `resolve` makes of it
//! what a builder is asked for.

use rbx_oci::ReferenceError;
use rbx_platform::ParsePlatformError;

mod annotation;
mod attestation;
mod cache;
mod call;
mod fields;
mod hosts;
mod layout;
mod limits;
mod names;
mod number;
mod output;
mod secret;
mod ssh;

pub use annotation::{Annotation, AnnotationKind};
pub use call::Call;
pub use fields::{FieldsError, fields};
pub use hosts::{LOCAL_DELETE, parse_entitlements};
pub use layout::LayoutAddress;
pub use limits::{parse_resources, parse_size};
pub use names::{parse_contexts, parse_pairs, parse_platforms};
pub use number::{NumberError, parse_bool};
pub use output::OutputEntry;
pub use secret::{MAX_SECRET_LEN, SecretEntry};
pub use ssh::SshEntry;

/// Looks a variable of the user's environment up.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a value does not fit its grammar. The messages are buildx's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// Quotes of a list do not match, or the list is empty.
    #[error(transparent)]
    Fields(#[from] FieldsError),
    /// A field is not `key=value`, or its key or value is unknown.
    #[error("invalid value {0}")]
    Value(String),
    /// A field has to be `true` or `false`.
    #[error("invalid value {field}: {source}")]
    Bool {
        /// The field.
        field: String,
        /// Why it is neither.
        source: NumberError,
    },

    /// `--output` without a type.
    #[error("type is required for output")]
    OutputType,
    /// `--output` of a type that does not exist.
    #[error("exporter {0:?} could not be found")]
    Exporter(String),
    /// An exporter that writes a directory was given none.
    #[error("dest is required for {0} exporter")]
    DestinationRequired(String),
    /// An exporter that writes a directory was told to write to standard output.
    #[error("dest cannot be stdout for {0} exporter")]
    DestinationStdout(String),
    /// Only one `--output` can write to standard output.
    #[error("multiple outputs configured to write to stdout")]
    SeveralStdout,

    /// `--cache-from` or `--cache-to` without a type.
    #[error("type required for {0:?}")]
    CacheType(String),

    /// Quotes of a `--secret` do not match.
    #[error("failed to parse csv secret: {0}")]
    SecretFields(#[source] FieldsError),
    /// A field of `--secret` is not `key=value`.
    #[error("invalid field '{0}' must be a key=value pair")]
    SecretField(String),
    /// A type of `--secret` that does not exist.
    #[error("unsupported secret type {0:?}")]
    SecretType(String),
    /// A key of `--secret` that does not exist.
    #[error("unexpected key '{key}' in '{field}'")]
    SecretKey {
        /// The key.
        key: String,
        /// The field it is in.
        field: String,
    },
    /// `--secret` without an id.
    #[error("secret missing ID")]
    SecretId,

    /// `--ssh` without a path where no agent runs.
    #[error("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")]
    SshSocket,
    /// Two `--ssh` with the same id.
    #[error("duplicate agent ID {0:?}")]
    SshDuplicate(String),

    /// `--add-host` is not `host=address`.
    #[error("invalid host {0}")]
    Host(String),
    /// `--network` is neither `default`, `none` nor `host`.
    #[error(
        "network mode {0:?} not supported by buildkit - you can define a custom network for your builder using the \
         network driver-opt in buildx create"
    )]
    Network(String),
    /// `--allow` of something that does not exist.
    #[error("unknown entitlement {0}")]
    Entitlement(String),
    /// `--allow=buildx.local.delete=…`.
    #[error("{LOCAL_DELETE} does not accept a value")]
    EntitlementValue,

    /// `--ulimit` is not `type=soft[:hard]`.
    #[error("invalid ulimit argument: {0}")]
    Ulimit(String),
    /// A type of `--ulimit` that does not exist.
    #[error("invalid ulimit type: {0}")]
    UlimitType(String),
    /// `--ulimit` with more than two limits.
    #[error("too many limit value arguments - {0}, can only have up to two, `soft[:hard]`")]
    UlimitCount(String),
    /// `--ulimit` without a soft limit but with a hard one.
    #[error("ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {0}")]
    UlimitUnlimited(i64),
    /// A soft limit above the hard one.
    #[error("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")]
    UlimitOrder {
        /// The soft limit.
        soft: i64,
        /// The hard limit.
        hard: i64,
    },
    /// A size without a number, or a negative one.
    #[error("invalid size: '{0}'")]
    Size(String),
    /// A size in units that do not exist.
    #[error("invalid suffix: '{0}'")]
    SizeSuffix(String),
    /// A number is none.
    #[error(transparent)]
    Number(#[from] NumberError),
    /// `--resource` is not `key=value`.
    #[error("invalid resource {0:?}, expected key=value")]
    Resource(String),
    /// A key of `--resource` that does not exist.
    #[error("unknown resource {0:?}")]
    ResourceKey(String),
    /// A value of `--resource` that is no size or number.
    #[error("invalid value {value:?} for resource {key}: {source}")]
    ResourceValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        source: Box<GrammarError>,
    },

    /// `--attest` without a type.
    #[error("attestation type not specified")]
    AttestationType,

    /// `--annotation` without `=`.
    #[error("invalid annotation {0:?}, expected key=value")]
    Annotation(String),
    /// What stands before the `:` of `--annotation` is not `type[platform]`.
    #[error("invalid annotation type {0:?}, expected type and optional platform in square brackets")]
    AnnotationType(String),
    /// A type of `--annotation` that does not exist.
    #[error("unknown annotation type {0:?}")]
    UnknownAnnotationType(String),
    /// The platform of an `--annotation`.
    #[error("invalid platform {platform:?}: {source}")]
    AnnotationPlatform {
        /// The platform.
        platform: String,
        /// What is wrong with it.
        source: ParsePlatformError,
    },

    /// `--platform`.
    #[error(transparent)]
    Platform(#[from] ParsePlatformError),
    /// `--build-arg` or `--label` that begins with `=`.
    #[error("invalid key-value pair {0:?}: empty key")]
    EmptyKey(String),
    /// `--build-context` without `=`.
    #[error("invalid context value: {0}, expected key=value")]
    Context(String),
    /// The name of a `--build-context` is not one an image can have.
    #[error("invalid context name {name}: {source}")]
    ContextName {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: ReferenceError,
    },

    /// `--call` with two names.
    #[error("invalid print value: {0}")]
    Call(String),
    /// A key of `--call` that does not exist.
    #[error("invalid print field: {0}")]
    CallField(String),
    /// `ignorestatus` of `--call` is neither true nor false.
    #[error("invalid ignorestatus print value: {value}: {source}")]
    CallIgnoreStatus {
        /// The value.
        value: String,
        /// Why it is neither.
        source: NumberError,
    },
}
