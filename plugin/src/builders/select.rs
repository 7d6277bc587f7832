//! The builder that a command works with.

use rbx_builder::{Builder, Chosen, EMBEDDED, Kind, Node, State, Why};
use rbx_driver::DriverKind;
use rbx_driver::docker::{EndpointChoice, current_context};

use super::Place;
use crate::cli::{Common, Context};
use crate::errors::CliError;

/// The builder that a command works with, and why it is this one.
#[derive(Debug)]
pub(crate) struct Selected {
    /// The builder.
    pub(crate) builder: Builder,
    /// Its driver.
    pub(crate) driver: DriverKind,
    /// Why it is this one.
    pub(crate) why: Why,
    /// Where builders are kept.
    pub(crate) state: State,
    /// docker's endpoints.
    pub(crate) endpoints: EndpointChoice,
}

impl Selected {
    /// Whether images go to the Docker Engine unless they are sent elsewhere.
    pub(crate) fn default_load(&self) -> bool {
        matches!(self.driver, DriverKind::Embedded | DriverKind::Docker)
            || self.builder.nodes.iter().any(Node::default_load)
    }
}

/// Finds the builder for a command that needs its driver. Asks nobody.
pub(crate) fn select(context: &Context<'_>, common: &Common) -> Result<Selected, CliError> {
    let place = match Place::new(context.called, context.env) {
        Ok(place) => place,
        // Who has no home has created none.
        Err(_) => Place {
            state: State::new("/nonexistent".into(), None),
            endpoints: context.called.endpoint(context.env),
        },
    };
    let Chosen { builder, why } = place.choose(context, common, None)?;
    let driver = match builder.kind {
        Kind::Context => {
            refuse_other_context(&builder, &place.endpoints)?;
            DriverKind::Docker
        }
        Kind::Embedded => DriverKind::Embedded,
        Kind::Instance => builder
            .known_driver()
            .ok_or_else(|| CliError::new(format!("failed to find driver {:?}", builder.driver)))?,
    };
    let Place { state, endpoints } = place;
    Ok(Selected { builder, driver, why, state, endpoints })
}

/// Says that the embedded builder is there whatever becomes of others.
pub(crate) fn with_hint(error: CliError) -> CliError {
    error.hint(format!("--builder {EMBEDDED} needs no other"))
}

/// A context of docker is a builder only where it is the current one.
fn refuse_other_context(builder: &Builder, endpoints: &EndpointChoice) -> Result<(), CliError> {
    let name = &builder.name;
    match current_context(endpoints) {
        Ok(current) if current != *name => {
            Err(CliError::new(format!("use `docker --context={name} rbx` to switch to context {name:?}")))
        }
        _ => Ok(()),
    }
}
