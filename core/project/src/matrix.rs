//! The combinations of a job's matrix.

use serde_json::{Map, Value};

/// Combinations of a job, at most; as many as GitHub runs.
const MOST: usize = 256;

/// The combinations of a `strategy.matrix`; one without names, where there is none or it is not written down.
pub(crate) fn combinations(matrix: Option<&Value>) -> Vec<Map<String, Value>> {
    let nothing = vec![Map::new()];
    let Some(Value::Object(matrix)) = matrix else { return nothing };
    let axes: Vec<(&String, &Vec<Value>)> = matrix
        .iter()
        .filter(|(name, _)| *name != "include" && *name != "exclude")
        .filter_map(|(name, values)| Some((name, values.as_array()?)))
        .collect();
    let mut all = nothing;
    for (name, values) in &axes {
        let with = |known: &Map<String, Value>, value: &Value| {
            let mut one = known.clone();
            one.insert((*name).clone(), value.clone());
            one
        };
        all = all.iter().flat_map(|known| values.iter().map(|value| with(known, value))).take(MOST).collect();
    }
    let list = |name: &str| {
        let entries = matrix.get(name).and_then(Value::as_array).into_iter().flatten();
        entries.filter_map(Value::as_object)
    };
    for excluded in list("exclude") {
        all.retain(|one| !excluded.iter().all(|(name, value)| one.get(name) == Some(value)));
    }
    if axes.is_empty() {
        all.clear();
    }
    let original = all.len();
    for included in list("include") {
        // It is added to each combination of which it changes nothing; else it is one of its own.
        let mut added = false;
        for one in all.iter_mut().take(original) {
            let fits = included.iter().all(|(name, value)| {
                !axes.iter().any(|(axis, _)| *axis == name) || one.get(name) == Some(value)
            });
            if fits {
                added = true;
                one.extend(included.clone());
            }
        }
        if !added && all.len() < MOST {
            all.push(included.clone());
        }
    }
    if all.is_empty() { vec![Map::new()] } else { all }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(matrix: &Value) -> String {
        let lines: Vec<_> =
            combinations(Some(matrix)).into_iter().map(|one| Value::Object(one).to_string()).collect();
        lines.join("\n")
    }

    #[test]
    fn axes_are_multiplied_and_more_is_included() {
        let matrix = json!({
            "a": [1, 2], "b": ["x", "y"],
            "exclude": [{ "a": 2, "b": "y" }],
            "include": [{ "a": 1, "c": true }, { "a": 3 }],
        });
        insta::assert_snapshot!(shown(&matrix), @r#"
        {"a":1,"b":"x","c":true}
        {"a":1,"b":"y","c":true}
        {"a":2,"b":"x"}
        {"a":3}
        "#);
        insta::assert_snapshot!(shown(&json!({ "include": [{ "p": "q" }, { "p": "r" }] })), @r#"
        {"p":"q"}
        {"p":"r"}
        "#);
        for nothing in [json!("${{ fromJson(x) }}"), json!({}), json!({ "a": "${{ x }}" }), json!([1])] {
            assert_eq!(shown(&nothing), "{}", "{nothing}");
        }
    }

    #[test]
    fn there_are_not_too_many() {
        let axis: Vec<usize> = (0..100).collect();
        let matrix = json!({ "a": axis, "b": axis, "c": axis, "d": axis });
        assert_eq!(combinations(Some(&matrix)).len(), MOST);
    }
}
