//! What a build would do, asked for beforehand.

use serde_json::Value;

use crate::world::{Ran, World, ran};

impl World {
    fn dry_run(&self, words: &[&str]) -> Ran {
        ran(self.build(&["context", "--progress=none", "-t", "hello", "--push"]).args(words))
    }
}

#[test]
fn steps_are_told_before_they_are_built() {
    let world = World::new();
    world.write("context/Dockerfile", "FROM base\nRUN echo hello >/greeting\nCOPY a /\n");
    world.write("context/a", "a");
    let before = world.dry_run(&["--dry-run"]).well();
    assert!(
        before.stdout.contains("\nfetch               [context base] FROM base@sha256:"),
        "{}",
        before.stdout
    );
    assert!(before.stdout.ends_with("\n0 of 3 steps cached, 3 to run\n"), "{}", before.stdout);
    assert_eq!(before.stderr, "", "nothing is pushed, and no registry is asked");
    ran(&mut world.build(&["context"])).well();
    let after = world.dry_run(&["--dry-run"]).well();
    assert!(after.stdout.ends_with("\n3 of 3 steps cached\n"), "{}", after.stdout);
    world.write("context/a", "b");
    let changed = world.dry_run(&["--call=dry-run,format=json"]).well();
    let answer: Value = serde_json::from_str(&changed.stdout).unwrap();
    assert_eq!((&answer["builder"], &answer["driver"]), (&"embedded".into(), &"embedded".into()));
    insta::assert_snapshot!(
        serde_json::to_string_pretty(&answer["steps"][2]).unwrap().replace(answer["steps"][2]["digest"].as_str().unwrap(), "…"),
        @r#"
    {
      "name": "[2/3] COPY a /",
      "digest": "…",
      "kind": "copy",
      "state": "run",
      "reason": "its result is not in the cache",
      "lines": [
        3,
        3
      ],
      "platforms": [
        "linux/amd64"
      ]
    }
    "#
    );
    assert_eq!(
        (&answer["steps"][1]["state"], &answer["steps"][1]["runner"]),
        (&"cached".into(), &"native".into())
    );

    // What would fail, and a builder that cannot be asked.
    std::fs::remove_file(world.path("context/a")).unwrap();
    let missing = world.dry_run(&["--dry-run"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stdout.contains("\"/a\": not found"), "{}", missing.stdout);
    let docker = world.dry_run(&["--call=dry-run,format=json", "--builder=default"]);
    assert_eq!(docker.code, Some(1));
    assert_eq!(
        serde_json::from_str::<Value>(&docker.stdout).unwrap(),
        serde_json::json!({ "builder": "default", "driver": "docker" })
    );
    insta::assert_snapshot!(docker.stderr_from("ERROR"), @r#"
    ERROR: builder "default" (docker) cannot be asked what is cached: BuildKit finds that out while it builds
    Hint: a build with --progress=plain says CACHED of each step; --builder embedded can be asked
    "#);
}
