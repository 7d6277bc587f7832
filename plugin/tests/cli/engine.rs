//! Builds that are loaded into a real Engine.

use rbx_tests::{Engine, Store, embedded};

use crate::world::{PROGRAM, Ran, World, ran};

/// An Engine, and a world to build in.
struct Loading {
    world: World,
    engine: Engine,
}

impl Loading {
    fn new(store: Store) -> Self {
        let engine = Engine::start(store);
        engine.install_plugin(PROGRAM.as_ref());
        Self { world: World::new(), engine }
    }

    /// `docker rbx build`.
    fn build(&self, words: &[&str]) -> Ran {
        let mut docker = self.engine.docker();
        embedded(&mut docker, &self.world.path("store")).current_dir(self.world.directory.path());
        ran(docker.args(["rbx", "build", "--progress=plain", &self.world.base()]).args(words))
    }

    fn docker(&self, words: &[&str]) -> Ran {
        ran(self.engine.docker().args(words))
    }

    fn id(&self, image: &str) -> String {
        self.docker(&["image", "inspect", "--format={{.Id}}", image]).well().stdout.trim_end().to_owned()
    }
}

fn images_are_loaded_and_known_by_their_id(store: Store) {
    let loading = Loading::new(store);
    let built = loading.build(&["-t", "hello", "-t", "registry.example/hello:2", "context"]).well();
    assert!(built.stderr.contains(" importing to docker\n"), "{}", built.stderr);
    assert!(!built.stderr.contains("in the image store"), "{}", built.stderr);
    assert_eq!(loading.id("hello"), loading.id("registry.example/hello:2"));

    // The ID that is printed is the Engine's; what the Engine has is not sent again.
    let again = loading.build(&["-t", "hello", "--iidfile", "id", "context"]).well();
    assert_eq!(loading.world.read("id"), loading.id("hello"));
    assert!(again.stderr.ends_with(" importing to docker\n#7 CACHED\n"), "{}", again.stderr);

    // Without a name it is known by its ID alone.
    loading.world.write("context/Dockerfile", "FROM base\nRUN echo other >/greeting\n");
    let unnamed = loading.build(&["--load", "--iidfile", "id", "context"]).well();
    let id = loading.world.read("id");
    assert_eq!(loading.id(&id), id, "{}", unnamed.stderr);
    let greeting = loading.docker(&["run", "--rm", "--network=none", &id, "cat", "/greeting"]).well().stdout;
    assert_eq!(greeting, "other\n");
}

#[test]
fn containerd_takes_images() {
    images_are_loaded_and_known_by_their_id(Store::Containerd);
}

#[test]
fn graph_drivers_take_images() {
    images_are_loaded_and_known_by_their_id(Store::Graph);
}

#[test]
fn images_of_several_platforms_go_where_they_are_taken() {
    let words = ["--platform=linux/amd64,linux/arm64", "-t", "both", "context"];
    let loading = Loading::new(Store::Containerd);
    loading.world.write("context/Dockerfile", "FROM base\nCOPY Dockerfile /\n");
    loading.build(&words).well();
    let listed = loading.docker(&["image", "inspect", "--platform=linux/arm64", "both"]).well();
    assert!(listed.stdout.contains("arm64"), "{}", listed.stdout);

    let loading = Loading::new(Store::Graph);
    loading.world.write("context/Dockerfile", "FROM base\nCOPY Dockerfile /\n");
    // This Engine has room for one, and gets its own.
    let kept = loading.build(&words).well();
    let last = kept.stderr.lines().last().unwrap();
    assert!(last.contains("the Docker Engine takes one platform, and has it for linux/amd64"), "{last}");
    assert!(last.ends_with(" -o type=oci,dest=image.tar"), "{last}");
    let architecture = ["image", "inspect", "--format={{.Architecture}}", "both"];
    assert_eq!(loading.docker(&architecture).well().stdout, "amd64\n");
    let asked = loading.build(&[&words[..], &["--load", "--iidfile=id"]].concat()).well();
    let first = asked.stderr.lines().next().unwrap();
    assert!(first.starts_with("WARNING: the Docker Engine at unix://"), "{first}");
    assert!(first.ends_with("its containerd image store is off: only linux/amd64 is loaded"), "{first}");
    assert_eq!(loading.world.read("id"), loading.id("both"));

    let words = ["--platform=linux/s390x,linux/arm64", "-t", "neither", "context"];
    let kept = loading.build(&words).well();
    let last = kept.stderr.lines().last().unwrap();
    assert!(last.contains("the Docker Engine takes no images of several platforms"), "{last}");
    let refused = loading.build(&[&words[..], &["--load"]].concat());
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.starts_with(
            "ERROR: failed to build: docker exporter does not currently support exporting manifest lists\n\
             Hint: the Docker Engine keeps images of one platform, and none of these is for linux/amd64: "
        ),
        "{}",
        refused.stderr
    );
}

/// The same wrong requests, to buildx and to the program.
#[test]
fn errors_are_those_of_buildx() {
    let loading = Loading::new(Store::Containerd);
    let run = |plugin: &str, words: &[&str]| {
        let mut docker = loading.engine.docker();
        if plugin == "rbx" {
            embedded(&mut docker, &loading.world.path("store"));
        }
        docker.current_dir(loading.world.directory.path());
        let ran = ran(docker.args([plugin, "build"]).args(words));
        let error = ran.stderr.lines().rfind(|line| line.starts_with("ERROR: ")).unwrap_or_default();
        (ran.code, error.replace("failed to build: ", "").replace("failed to solve: ", ""))
    };
    let lines: &[&[&str]] = &[
        &["nowhere"],
        &[""],
        &["-", "-f-"],
        &["context", "--no-cache", "--no-cache-filter=a"],
        &["context", "--build-arg==x"],
        &["context", "--build-context=x"],
        &["context", "--build-context=x=nowhere"],
        &["context", "--iidfile=x", "-oout"],
        &["context", "-o", "dest=x,mode=y"],
        &["context", "-o", "type=local"],
        &["context", "-o", "type=local,dest=-"],
        &["context", "-o", "type=oci", "-o", "type=tar"],
        &["context", "-o", "type=oci,dest=context"],
        &["context", "-o", "context/Dockerfile"],
        &["context", "--push"],
        &["context", "--network=bridge"],
        &["context", "--add-host=x"],
        &["context", "--add-host=x=y"],
        &["context", "-t", "UPPER"],
        &["context", "-t", "a b"],
        &["context", "--secret=id=a,x=y"],
        &["context", "--attest=mode=max"],
        &["context", "--allow=everything"],
        &["context", "--platform=a/b/c/d"],
        &["context", "-q", "--progress=plain"],
        &["context", "--progress=fancy"],
        &["context", "--progress=tty"],
        &["context", "-f", "nowhere"],
        &["context", "--target=nowhere"],
    ];
    let differing: Vec<String> = lines
        .iter()
        .filter_map(|words| {
            let (theirs, ours) = (run("buildx", words), run("rbx", words));
            (theirs != ours).then(|| format!("{words:?}\n  {theirs:?}\n  {ours:?}"))
        })
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// A line of a table with its words left out: what is aligned how.
fn shape(line: &str) -> Vec<(usize, bool)> {
    let mut shape = Vec::new();
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        // Columns are three spaces apart, words within one are one.
        if (c == ' ') != (before == ' ') && (before != ' ' || at == 0 || line[..at].ends_with("  ")) {
            shape.push((at, c == ' '));
        }
        before = c;
    }
    shape.into_iter().filter(|(_, ends)| !ends).collect()
}

#[test]
fn what_is_kept_is_listed_as_by_buildx() {
    let loading = Loading::new(Store::Containerd);
    let context = loading.world.path("context");
    loading.world.write("context/Dockerfile", "FROM scratch\nCOPY Dockerfile /\nCOPY Dockerfile /b\n");
    ran(loading.engine.buildx().args(["build", "-t", "hello"]).arg(&context)).well();
    let ours = |words: &[&str]| {
        let mut docker = loading.engine.docker();
        ran(embedded(&mut docker, &loading.world.path("store")).arg("rbx").args(words)).well().stdout
    };
    let theirs = |words: &[&str]| ran(loading.engine.buildx().args(words)).well().stdout;
    loading.build(&["-t", "other", "context"]).well();

    // IDs have another length, and the columns after them begin elsewhere by that.
    let table = |text: &str| -> Vec<String> {
        text.lines().take_while(|line| !line.contains(':')).map(str::to_owned).collect()
    };
    let (mine, other) = (table(&ours(&["du"])), table(&theirs(&["du"])));
    for lines in [&mine, &other] {
        let titles = shape(&lines[0]);
        assert_eq!(titles.len(), 4, "{lines:?}");
        for line in &lines[1..] {
            assert_eq!(shape(line), titles, "{line}");
        }
    }
    let widths = |lines: &[String]| -> Vec<usize> {
        let starts: Vec<usize> = shape(&lines[0]).iter().map(|(at, _)| *at).collect();
        let longest = |start: usize, end: usize| {
            lines.iter().map(|line| line[start..end].trim_end().len()).max().unwrap_or(0)
        };
        starts.windows(2).map(|pair| pair[1] - pair[0] - longest(pair[0], pair[1])).collect()
    };
    assert_eq!(widths(&mine), widths(&other), "{mine:?} {other:?}");
    let titles = |lines: &[String]| lines[0].split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(titles(&mine), titles(&other));

    let names = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with(' '));
        lines.map(|line| line.split_once(':').map_or(line, |(name, _)| name).to_owned()).collect()
    };
    let summary = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.contains(":\t"))
            .map(|line| line.trim_end_matches(|c| c != '\t').to_owned())
            .collect()
    };
    assert_eq!(summary(&ours(&["du"])), summary(&theirs(&["du"])));
    let record = |text: &str| names(text.split("\n\n").find(|part| part.contains("\n - ")).unwrap_or(text));
    assert_eq!(record(&ours(&["du", "--verbose"])), record(&theirs(&["du", "--verbose"])));
    let fields = |text: &str| -> Vec<String> {
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        line.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(fields(&ours(&["du", "--format=json"])), fields(&theirs(&["du", "--format=json"])));
    for template in
        ["{{.Type}}", "table {{.Type}}\\t{{.Mutable}}", "{{json .Mutable}}", "{{upper .Type}}|{{.Parents}}"]
    {
        let words = ["du", "--format", template, "--filter=type=nothing"];
        assert_eq!(ours(&words), theirs(&words), "{template}");
    }
    for words in [
        &["du", "--filter", "type==regular"][..],
        &["du", "--filter", "description=/"],
        &["du", "--filter", "parents~=."],
        &["du", "--format", "{{.Nope}}"],
        &["du", "--format", "{{json}}"],
        &["du", "--format", "{{foo}}"],
        &["du", "--format", "{{end}}"],
        &["du", "--format", "{{if .ID}}"],
    ] {
        let mut docker = loading.engine.docker();
        let mine = ran(embedded(&mut docker, &loading.world.path("store")).arg("rbx").args(words));
        let other = ran(loading.engine.buildx().args(words));
        // The embedded engine is called by nobody.
        let error = other.stderr.replace("failed to call diskusage: ", "");
        assert_eq!((mine.code, mine.stderr), (other.code, error), "{words:?}");
    }

    // Of what goes the first line has titles, and all lines the same tabs.
    let tabs = |text: &str| -> Vec<String> {
        let mut lines: Vec<String> =
            text.lines().map(|line| line.chars().filter(|c| *c == '\t').collect()).collect();
        lines.sort();
        lines.dedup();
        lines
    };
    let words = ["prune", "-af"];
    assert_eq!(tabs(&ours(&words)), tabs(&theirs(&words)));
}

#[test]
fn an_image_that_the_engine_has_may_leave_the_store() {
    let loading = Loading::new(Store::Containerd);
    let settings = loading.engine.config().join("rbx");
    std::fs::create_dir_all(&settings).unwrap();
    let gc = r#"{"gc": {"maxUsedSpace": "1kB", "reservedSpace": "1kB", "minFreeSpace": "0%"}}"#;
    std::fs::write(settings.join("config.json"), gc).unwrap();
    let images = || {
        let mut docker = loading.engine.docker();
        embedded(&mut docker, &loading.world.path("store")).args(["rbx", "du", "--format={{.Description}}"]);
        let listed = ran(docker.args(["--filter", "description~=^image"])).well().stdout;
        listed.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    // With debugging, collection is waited for.
    loading.build(&["--debug", "-t", "loaded", "context"]).well();
    assert_eq!(images(), [""; 0]);
    loading.id("loaded");
    let mut docker = loading.engine.docker();
    embedded(&mut docker, &loading.world.path("store")).env("BUILDX_NO_DEFAULT_LOAD", "1");
    docker.current_dir(loading.world.directory.path()).args(["rbx", "build", "--debug", "-t", "kept"]);
    ran(docker.args([&loading.world.base(), "context"])).well();
    assert_eq!(images(), ["image docker.io/library/kept:latest"]);
}
