//! Tables for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::lint::Peer;
use crate::measure::{Runs, Sample, Side, Sides};
use crate::rows::Row;

/// Least, middle and greatest of what a function sees in the samples, if there are any.
fn spread(runs: Option<&Runs>, of: impl Fn(&Sample) -> f64) -> Option<[f64; 3]> {
    let mut values: Vec<f64> = runs?.as_ref().ok()?.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        *values.get(middle)?
    } else {
        (values.get(middle)? + values.get(middle.checked_sub(1)?)?) / 2.0
    };
    Some([*values.first()?, median, *values.last()?])
}

fn time(runs: Option<&Runs>) -> Option<[f64; 3]> {
    spread(runs, |sample| sample.milliseconds)
}

fn show(milliseconds: f64) -> String {
    match milliseconds {
        it if it >= 1000.0 => format!("{:.2} s", it / 1000.0),
        it if it >= 10.0 => format!("{it:.0} ms"),
        it => format!("{it:.1} ms"),
    }
}

fn show_spread(spread: Option<[f64; 3]>) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |[least, median, greatest]| format!("{} ({}-{})", show(median), show(least), show(greatest)),
    )
}

/// The median of the greatest memory of a side: client, and daemons where it has them.
fn memory(runs: Option<&Runs>) -> String {
    let median = |of: fn(&Sample) -> f64| spread(runs, of).map(|[_, median, _]| median);
    match (median(|sample| sample.client), median(|sample| sample.daemons)) {
        (Some(client), Some(daemons)) if daemons > 0.0 => format!("{client:.0}+{daemons:.0} MiB"),
        (Some(client), _) => format!("{client:.0} MiB"),
        _ => "-".to_owned(),
    }
}

/// The table: medians, with the least and the greatest in brackets.
pub(crate) fn table(results: &[(&Row, Sides)]) -> String {
    let mut lines = vec![
        ["work", "BuildKit", "rbx", "ratio", "budget", "memory BuildKit", "memory rbx"].map(str::to_owned),
    ];
    for (row, sides) in results {
        let (buildkit, rbx) = (time(sides.of(Side::BuildKit)), time(sides.of(Side::Rbx)));
        let ratio =
            buildkit.zip(rbx).map_or("-".to_owned(), |([_, a, _], [_, b, _])| format!("{:.1}x", a / b));
        let budget = row.budget.map_or("-".to_owned(), |budget| {
            let kept = rbx.map_or("", |[_, median, _]| if median <= budget { " kept" } else { " MISSED" });
            format!("{}{kept}", show(budget))
        });
        lines.push([
            row.title.to_owned(),
            show_spread(buildkit),
            show_spread(rbx),
            ratio,
            budget,
            memory(sides.of(Side::BuildKit)),
            memory(sides.of(Side::Rbx)),
        ]);
    }
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    for (row, sides) in results {
        for (side, reason) in sides.failures() {
            writeln!(text, "{}: {side:?} failed: {reason}", row.key).expect("a string takes text");
        }
    }
    text
}

/// What is the client's alone, for the rows where both are clients of one Engine: CPU time, and time in which no step
/// of the daemon ran.
pub(crate) fn shares(results: &[(&Row, Sides)]) -> String {
    let mut text = String::new();
    for (row, sides) in results {
        let (buildkit, rbx) = (sides.of(Side::BuildKit), sides.of(Side::Rbx));
        let known = |runs: Option<&Runs>| runs.is_some_and(|it| it.as_ref().is_ok_and(|it| !it.is_empty()));
        if !row.client || !known(buildkit) || !known(rbx) {
            continue;
        }
        if text.is_empty() {
            text.push_str("\nOf the client alone (buildx, rbx, ratio):\n");
        }
        let mut line = format!("  {:56}", row.title);
        let share = |sample: &Sample| sample.share.unwrap_or(sample.milliseconds);
        for (name, theirs, ours) in [
            ("CPU", spread(buildkit, |it| it.cpu), spread(rbx, |it| it.cpu)),
            ("time", spread(buildkit, share), spread(rbx, share)),
        ] {
            if let (Some([_, theirs, _]), Some([_, ours, _])) = (theirs, ours) {
                let (left, right, ratio) = (show(theirs), show(ours), theirs / ours.max(0.1));
                write!(line, "  {name} {left:>7} {right:>7} {ratio:5.1}x").expect("a string takes text");
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What other linters took for the rows that they can do, and how many times as long as docker-rbx.
pub(crate) fn peers(results: &[(&Row, Sides)]) -> String {
    let mut text = String::new();
    for (row, sides) in results.iter().filter(|(row, _)| row.peers) {
        if text.is_empty() {
            text.push_str("\nOther linters, which know no platforms:\n");
        }
        let rbx = time(sides.of(Side::Rbx));
        for peer in Peer::ALL {
            let Some(runs) = sides.of(Side::Peer(peer)) else { continue };
            let spread = time(Some(runs));
            let ratio =
                spread.zip(rbx).map_or("-".to_owned(), |([_, a, _], [_, b, _])| format!("{:.1}x", a / b));
            let (name, time, memory) = (peer.title(), show_spread(spread), memory(Some(runs)));
            writeln!(text, "  {:12} {name:26} {time:32} {ratio:>8}  {memory}", row.key)
                .expect("a string takes text");
        }
    }
    text
}

/// Bars: BuildKit's median is the whole width.
pub(crate) fn plot(results: &[(&Row, Sides)]) -> String {
    const WIDTH: f64 = 50.0;
    let mut text = String::new();
    for (row, sides) in results {
        let (Some([_, buildkit, _]), Some([_, rbx, _])) =
            (time(sides.of(Side::BuildKit)), time(sides.of(Side::Rbx)))
        else {
            continue;
        };
        let longest = buildkit.max(rbx);
        writeln!(text, "{}", row.title).expect("a string takes text");
        for (name, value) in [("BuildKit", buildkit), ("rbx", rbx)] {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 0 to the width"
            )]
            let length = (value.max(0.0) / longest * WIDTH).round() as usize;
            writeln!(text, "  {name:8} {} {}", "█".repeat(length.max(1)), show(value))
                .expect("a string takes text");
        }
    }
    text
}

/// Every sample, and what was measured on which machine.
pub(crate) fn json(results: &[(&Row, Sides)], versions: &str) -> String {
    let versions: Vec<&str> = versions.lines().skip(1).collect();
    let side = |runs: Option<&Runs>| match runs {
        None => Value::Null,
        Some(Err(reason)) => json!({ "failed": reason }),
        Some(Ok(samples)) => {
            let list = |of: fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<f64>>();
            json!({
                "milliseconds": list(|sample| sample.milliseconds),
                "cpu_milliseconds": list(|sample| sample.cpu),
                "client_share_milliseconds": samples.iter().map(|sample| sample.share).collect::<Vec<_>>(),
                "client_mib": list(|sample| sample.client),
                "daemons_mib": list(|sample| sample.daemons),
            })
        }
    };
    let rows = results.iter().map(|(row, sides)| {
        let peers = Peer::ALL.iter().filter_map(|peer| Some((peer, sides.of(Side::Peer(*peer))?)));
        let peers: serde_json::Map<String, Value> =
            peers.map(|(peer, runs)| (peer.title().to_owned(), side(Some(runs)))).collect();
        json!({
            "key": row.key,
            "title": row.title,
            "budget_milliseconds": row.budget,
            "buildkit": side(sides.of(Side::BuildKit)),
            "rbx": side(sides.of(Side::Rbx)),
            "peers": peers,
        })
    });
    let rows: Vec<Value> = rows.collect();
    let read = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let machine = json!({
        "kernel": read("/proc/sys/kernel/osrelease"),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "load": read("/proc/loadavg"),
    });
    format!("{:#}\n", json!({ "machine": machine, "versions": versions, "rows": rows }))
}
