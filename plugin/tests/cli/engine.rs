//! Builds that are loaded into a real Engine.

use rbx_tests::{Engine, Store};

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
        docker.env("RBX_ROOT", self.world.path("store")).current_dir(self.world.directory.path());
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
    let kept = loading.build(&words).well();
    let last = kept.stderr.lines().last().unwrap();
    assert!(last.contains("the Docker Engine takes no images of several platforms"), "{last}");
    assert!(last.ends_with(" -o type=oci,dest=image.tar"), "{last}");
    let refused = loading.build(&[&words[..], &["--load"]].concat());
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.starts_with(
            "ERROR: failed to build: docker exporter does not currently support exporting manifest lists\n"
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
        docker.env("RBX_ROOT", loading.world.path("store")).current_dir(loading.world.directory.path());
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
