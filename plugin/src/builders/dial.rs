//! `dial-stdio`: standard input and output become a connection to a builder's `BuildKit`.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use rbx_builder::{Builder, Kind, Node, resolve, resolve_fixed};
use rbx_driver::{Driver, DriverError, DriverKind, Io, open};
use rbx_platform::Platform;
use rbx_progress::{Colors, Options, display};
use rbx_request::EventSender;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy_buf, split};
use tokio::runtime::Handle;

use super::select::{Selected, select};
use super::surroundings::surroundings;
use crate::build::interrupt::Interrupt;
use crate::build::progress_mode;
use crate::cli::Context;
use crate::cli::builders::DialStdioArgs;
use crate::errors::CliError;
use crate::threads;

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

pub(crate) fn dial_stdio(context: &Context<'_>, args: &DialStdioArgs) -> Result<ExitCode, CliError> {
    let Selected { builder, driver, state, endpoints, .. } = select(context, &args.common)?;
    if driver == DriverKind::Embedded {
        let error = CliError::new("the embedded driver has no BuildKit to connect to");
        return Err(error.hint("choose another builder with --builder"));
    }
    let platform = args.platform.as_deref().or(context.env.filled("DOCKER_DEFAULT_PLATFORM"));
    let invalid = |text: &str, error: &dyn std::fmt::Display| {
        CliError::new(format!("{error}: invalid platform {text:?}"))
    };
    let platform = platform
        .filter(|text| !text.is_empty())
        .map(|text| Platform::parse(text).map_err(|error| invalid(text, &error)))
        .transpose()?;
    if builder.kind == Kind::Instance {
        state.change()?.touch(&builder.name)?;
    }
    let surroundings = surroundings(context)?;
    let mut nodes = Vec::new();
    for node in &builder.nodes {
        let settings = node.settings(&builder, &endpoints)?;
        nodes.push(open(driver, &settings, &surroundings)?);
    }
    let mode = progress_mode(&args.progress, false, context.env)?;
    let (colors, _) = Colors::from_settings(context.env.var("BUILDKIT_COLORS"), context.env.var("NO_COLOR"));
    let options = Options {
        title: "Connecting".to_owned(),
        builder: format!("{driver}:{}", builder.name),
        colors,
        ..Options::default()
    };

    let runtime = threads::one()?;
    let done = runtime.block_on(async {
        let interrupt = Interrupt::listen(context.env)?;
        let (events, receiver) = rbx_request::events();
        let handle = Handle::current();
        let shown = tokio::task::spawn_blocking(move || {
            handle.block_on(display(mode, receiver, &mut io::stderr(), &options))
        });
        let dialled = tokio::select! {
            dialled = dial(&builder, &nodes, platform.as_ref(), &events) => dialled,
            () = interrupt.happened() => return Ok(()),
        };
        drop(events);
        let _ = shown.await;
        let connection = dialled?;
        tokio::select! {
            passed = pass(connection, tokio::io::stdin(), tokio::io::stdout()) => {
                passed.map_err(|error| CliError::new(format!("lost the connection to the builder: {error}")))
            }
            () = interrupt.happened() => Ok(()),
        }
    });
    // Whoever holds the other end of standard input open is not waited for.
    runtime.shutdown_background();
    let _ = io::stdout().flush();
    done.map(|()| ExitCode::SUCCESS)
}

/// A connection to the node that builds for a platform.
async fn dial(
    builder: &Builder,
    nodes: &[Arc<dyn Driver>],
    platform: Option<&Platform>,
    events: &EventSender,
) -> Result<Box<dyn Io>, CliError> {
    let none = || CliError::new("no nodes available");
    let wanted: Vec<Platform> = platform.cloned().into_iter().collect();
    let fixed: Vec<Vec<Platform>> = builder.nodes.iter().map(Node::platforms).collect();
    let assigned = if let Some(assigned) = resolve_fixed(&fixed, &wanted) {
        assigned
    } else {
        let mut offered = fixed;
        for (node, platforms) in nodes.iter().zip(&mut offered) {
            node.boot(events).await?;
            platforms.extend(node.details().await?.platforms);
        }
        let (assigned, missing) = resolve(&offered, &wanted);
        if !missing.is_empty() {
            return Err(none());
        }
        assigned
    };
    let node = assigned.first().and_then(|first| nodes.get(first.node)).ok_or_else(none)?;
    node.boot(events).await?;
    node.dial().dial().await.map_err(|error| match error.downcast::<DriverError>() {
        Ok(error) => CliError::from(error),
        Err(error) => CliError::new(error.to_string()),
    })
}

/// Passes bytes on, both ways, until the builder has said all that it has to say. The end of what is read is passed on
/// as the end of what is written.
async fn pass(
    connection: Box<dyn Io>,
    input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let (from, mut to) = split(connection);
    let up = async {
        let mut input = tokio::io::BufReader::with_capacity(PIECE, input);
        // That nobody listens any more is heard below, if it was too early.
        if copy_buf(&mut input, &mut to).await.is_ok() {
            let _ = to.shutdown().await;
        }
        std::future::pending::<()>().await;
    };
    let down = async {
        let mut from = tokio::io::BufReader::with_capacity(PIECE, from);
        copy_buf(&mut from, &mut output).await?;
        output.flush().await
    };
    tokio::select! {
        () = up => Ok(()),
        done = down => done,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn the_end_of_input_is_passed_on_and_the_answer_comes_back() {
        let (ours, mut builder) = duplex(16);
        let (mut user, input) = duplex(1 << 16);
        let (output, mut shown) = duplex(1 << 16);
        let passing = tokio::spawn(pass(Box::new(ours), input, output));
        user.write_all(b"a question that is longer than the pipe").await.unwrap();
        user.shutdown().await.unwrap();
        let mut asked = String::new();
        builder.read_to_string(&mut asked).await.unwrap();
        assert_eq!(asked, "a question that is longer than the pipe");
        builder.write_all(b"the answer to it, which is longer").await.unwrap();
        drop(builder);
        passing.await.unwrap().unwrap();
        let mut answer = String::new();
        shown.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "the answer to it, which is longer");
    }

    #[tokio::test]
    async fn a_builder_that_hangs_up_ends_it() {
        let (ours, builder) = duplex(16);
        // The user says nothing and stays.
        let (_user, input) = duplex(16);
        drop(builder);
        pass(Box::new(ours), input, tokio::io::sink()).await.unwrap();
    }
}
