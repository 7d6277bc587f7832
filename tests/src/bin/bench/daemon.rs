//! How long the daemon worked in a build, from the progress of it.

use serde_json::Value;

/// Names of steps in which the daemon waits for what the client sends, or another Engine does.
const OF_THE_CLIENT: [&str; 4] = [
    "[internal] load build context",
    "[internal] load build definition",
    "[internal] load .dockerignore",
    "importing to docker",
];
/// The beginning of what is sent to the client, and taken by it.
const SENDING: &str = "sending tarball";

/// A time in milliseconds since some moment.
type Moment = f64;

/// Milliseconds in which any step of the daemon ran, from the lines of `--progress=rawjson`.
pub(crate) fn milliseconds(log: &str) -> f64 {
    let (mut worked, mut sent) = (Vec::new(), Vec::new());
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        for vertex in line["vertexes"].as_array().into_iter().flatten() {
            let name = vertex["name"].as_str().unwrap_or_default();
            if !OF_THE_CLIENT.iter().any(|beginning| name.starts_with(beginning)) {
                worked.extend(span(vertex));
            }
        }
        for status in line["statuses"].as_array().into_iter().flatten() {
            if status["id"].as_str().is_some_and(|id| id.starts_with(SENDING)) {
                sent.extend(span(status));
            }
        }
    }
    let all = length(worked.clone());
    // What was sent while another step ran is the daemon's all the same.
    let outside = length([worked, sent.clone()].concat()) - all;
    all - (length(sent) - outside).max(0.0)
}

/// From when to when something ran, if it has ended.
fn span(value: &Value) -> Option<(Moment, Moment)> {
    Some((moment(value["started"].as_str()?)?, moment(value["completed"].as_str()?)?))
}

/// Milliseconds of a time like `2026-11-22T09:00:00.123456789Z` in its month: no build lasts longer.
fn moment(text: &str) -> Option<Moment> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let day: f64 = date.rsplit('-').next()?.parse().ok()?;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some((((day * 24.0 + hours) * 60.0 + minutes) * 60.0 + seconds) * 1000.0)
}

/// How long it is in all, where what runs at once counts once.
fn length(mut spans: Vec<(Moment, Moment)>) -> f64 {
    spans.sort_by(|left, right| left.0.total_cmp(&right.0));
    let (mut total, mut until) = (0.0, f64::NEG_INFINITY);
    for (start, end) in spans {
        if end > until {
            total += end - start.max(until);
            until = end;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_at_once_counts_once_and_what_is_sent_does_not() {
        let at = |seconds: &str| format!("2026-11-22T09:00:{seconds}Z");
        let line = |name: &str, from: &str, to: &str| {
            serde_json::json!({ "vertexes": [{ "name": name, "started": at(from), "completed": at(to) }] })
                .to_string()
        };
        let sending = serde_json::json!({ "statuses": [
            { "id": "sending tarball", "started": at("06"), "completed": at("07.5") },
        ] });
        let log = [
            line("[1/2] RUN one", "01", "03"),
            line("[2/2] RUN two", "02", "04"),
            line("[internal] load build context", "00", "10"),
            line("exporting", "05", "08"),
            line("importing to docker", "06", "12"),
            sending.to_string(),
            "{}".to_owned(),
            "not JSON".to_owned(),
        ];
        assert!((milliseconds(&log.join("\n")) - 4500.0).abs() < 0.001);
    }
}
