//! `create`.

use std::process::ExitCode;

use rbx_builder::{Builder, BuilderError, Creation, Kind, NodeGroup, create as work_out, leave};

use super::Place;
use super::boot::boot;
use crate::build::warn;
use crate::cli::builders::CreateArgs;
use crate::cli::{Context, print};
use crate::errors::CliError;

pub(crate) fn create(context: &Context<'_>, args: &CreateArgs) -> Result<ExitCode, CliError> {
    let env = context.env;
    let place = Place::new(context.called, env)?;
    if args.leave {
        let name = |given: &Option<String>| given.clone().unwrap_or_default();
        leave(&place.state.change()?, &name(&args.name), &name(&args.node))?;
        return Ok(ExitCode::SUCCESS);
    }
    let configuration = args.buildkitd_config.as_ref().or(args.config.as_ref());
    let mut creation = Creation {
        name: args.name.clone(),
        driver: args.driver.clone(),
        node: args.node.clone(),
        platforms: args.platform.clone(),
        driver_opts: args.driver_opt.clone(),
        flags: args.buildkitd_flags.clone().unwrap_or_default(),
        configuration: configuration.filter(|path| !path.is_empty()).map(|path| env.cwd.join(path)),
        endpoint: args.endpoint.clone().filter(|endpoint| !endpoint.is_empty()),
        append: args.append,
        endpoints: place.endpoints.clone(),
        buildkit_host: env.filled("BUILDKIT_HOST").map(str::to_owned),
    };

    // Nodes may take their time, in which others are not to wait for the lock: it is worked out once more after that,
    // from what there is then.
    let group = work_out(&place.state.change()?, &creation)?.group;
    creation.name = Some(group.name.clone());
    for loaded in place.load(context, vec![of(group)], args.timeout)? {
        if let Some(error) = loaded.error {
            return Err(CliError::new(error));
        }
        for node in loaded.nodes {
            if let Err(reason) = node.status {
                let (builder, node) = (loaded.builder.name.clone(), node.node.name);
                return Err(BuilderError::Node { builder, node, reason }.into());
            }
        }
    }

    let change = place.state.change()?;
    let created = work_out(&change, &creation)?;
    change.save(&created.group)?;
    if args.use_it {
        change.set_used(&place.key()?, &created.group.name, false, false)?;
    }
    drop(change);
    if created.restart {
        warn("new settings may not be used until builder is restarted");
    }
    if args.bootstrap {
        // It stays, whatever comes of it.
        boot(context, &place, &of(created.group.clone()), args.timeout)?;
    }
    print(&format!("{}\n", created.group.name))
}

/// The builder that a group of nodes is.
fn of(group: NodeGroup) -> Builder {
    Builder {
        name: group.name,
        kind: Kind::Instance,
        driver: group.driver,
        nodes: group.nodes,
        last_activity: None,
    }
}
