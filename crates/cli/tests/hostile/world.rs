//! A registry, a user with a password for it, and the commands that talk to it.

use std::path::PathBuf;

use lab::images::{self, Flavour};
use lab::{Auth, Builder, Lab};

use crate::measured::{Measured, measure};
use crate::sandbox::{Run, Sandbox};

/// The password of every user here: a word that stands nowhere else.
pub(crate) const PASSWORD: &str = "hunter2-pa55word";
/// The identity token of every user who has one.
pub(crate) const IDENTITY: &str = "identity-t0ken-sesame";
/// What must never be printed: password, identity token, `user:password` in base64, the lab's tokens.
pub(crate) const SECRETS: [&str; 4] = [PASSWORD, IDENTITY, "dXNlcjpodW50ZXIyLXBhNTV3b3Jk", "lab-token-"];

/// Credentials that the lab takes.
pub(crate) fn bearer() -> Auth {
    Auth::Bearer(lab::Bearer {
        username: "user".to_owned(),
        password: PASSWORD.to_owned(),
        identity_token: Some(IDENTITY.to_owned()),
        ..lab::Bearer::default()
    })
}

/// Credentials that the lab takes, with every request.
pub(crate) fn basic() -> Auth {
    Auth::basic("user", PASSWORD)
}

/// What is being done when something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Create,
    Inspect,
    PushList,
    Pull,
    Push,
    Login,
}

impl Doing {
    pub(crate) const READING: [Self; 3] = [Self::Create, Self::Inspect, Self::Pull];
    pub(crate) const WRITING: [Self; 2] = [Self::PushList, Self::Push];
    pub(crate) const ALL: [Self; 6] =
        [Self::Create, Self::Inspect, Self::PushList, Self::Pull, Self::Push, Self::Login];

    /// The exit code: `manifest` has docker's 1 for everything.
    pub(crate) fn code(self, other: i32) -> i32 {
        match self {
            Self::Create | Self::Inspect | Self::PushList => 1,
            Self::Pull | Self::Push | Self::Login => other,
        }
    }
}

/// A registry, and a user who is logged in to it.
pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) user: Sandbox,
}

impl World {
    /// Without credentials being asked for.
    pub(crate) fn open() -> Self {
        Self::new(Lab::builder())
    }

    /// A registry with the image `app:v1`, a list that is ready to be pushed into another repository, and a local image
    /// that is ready to be pushed and has nothing in common with it. What was learnt on the way is forgotten.
    pub(crate) fn new(lab: Builder) -> Self {
        let world = Self { lab: lab.start(), user: Sandbox::new() };
        images::image("linux/amd64", 2, Flavour::Oci).push(&world.lab, "app", Some("v1"));
        images::image("linux/arm64", 2, Flavour::Oci).push(&world.lab, "other", Some("v1"));
        log_in(&world.user, &world.lab.host());
        world.prepare();
        world
    }

    fn prepare(&self) {
        self.user.polyarch(&["manifest", "create", &self.at("lists:v1"), &self.at("app:v1")]).success();
        self.user.polyarch(&["pull", &self.at("other:v1"), &self.at("fresh:v1")]).success();
        self.forget();
    }

    /// Forgets what was learnt of the registry, and what it was asked.
    pub(crate) fn forget(&self) {
        let _ = std::fs::remove_dir_all(self.user.path("cache"));
        self.lab.clear_log();
    }

    /// A reference in the registry.
    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.lab.host())
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run(&self, doing: Doing) -> Run {
        self.measure(doing).run
    }

    /// As [`World::run`], measured.
    #[track_caller]
    pub(crate) fn measure(&self, doing: Doing) -> Measured {
        if doing == Doing::Login {
            return self.log_in();
        }
        let arguments = self.arguments(doing);
        measure(&self.user, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The command line.
    pub(crate) fn arguments(&self, doing: Doing) -> Vec<String> {
        let (image, new, list, fresh) =
            (self.at("app:v1"), self.at("new:v1"), self.at("lists:v1"), self.at("fresh:v1"));
        let host = self.lab.host();
        let arguments: &[&str] = match doing {
            Doing::Create => &["manifest", "create", &new, &image],
            Doing::Inspect => &["manifest", "inspect", &image],
            Doing::PushList => &["manifest", "push", &list],
            Doing::Pull => &["pull", &image, &new],
            Doing::Push => &["push", &fresh],
            Doing::Login => &["login", "-u", "user", "--password-stdin", &host],
        };
        arguments.iter().map(ToString::to_string).collect()
    }

    fn log_in(&self) -> Measured {
        let started = std::time::Instant::now();
        let arguments = self.arguments(Doing::Login);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let run = self.user.polyarch_reading(&arguments, PASSWORD);
        Measured { run, took: started.elapsed(), peak: 0 }
    }

    /// Asserts that a command which failed left nothing: no list, no image, no bytes that nothing refers to, no file
    /// that was not there before.
    #[track_caller]
    pub(crate) fn nothing_half_done(&self, doing: Doing) {
        let lists: Vec<String> = names(&self.user.path("docker/manifests"));
        assert_eq!(lists, [self.at("lists:v1").replace(':', "-").replace('/', "_")], "{doing:?}: lists");
        let config: Vec<String> = names(&self.user.path("docker"));
        assert_eq!(config, ["config.json", "manifests"], "{doing:?}: docker's directory");
        assert_eq!(names(&self.user.path("data/uploads")), [""; 0], "{doing:?}: staged files");
        let images = self.user.polyarch(&["images", "-q"]).success();
        assert_eq!(images, format!("{}\n", self.at("fresh:v1")), "{doing:?}: images");
        assert_eq!(names(&self.user.path("here")), [""; 0], "{doing:?}: the current directory");
        let cache = names(&self.user.path("cache"));
        assert!(cache.iter().all(|name| name == "registries.json"), "{doing:?}: {cache:?}");
    }
}

/// Names in a directory, sorted; none if it is not there.
pub(crate) fn names(directory: &PathBuf) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry of a directory").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Writes a login into the user's `config.json`, in place of what is there.
pub(crate) fn log_in(user: &Sandbox, host: &str) {
    let config = format!(r#"{{"auths":{{"{host}":{{"auth":"{}"}}}}}}"#, SECRETS[2]);
    std::fs::write(user.path("docker/config.json"), config).expect("a config");
}

/// Does all of `cases`, several at once: most of the time they wait. One that fails does not keep the others.
#[track_caller]
pub(crate) fn each<T: Send + Sync>(cases: &[T], check: impl Fn(&T) + Send + Sync) {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    assert!(!cases.is_empty());
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if catch_unwind(AssertUnwindSafe(|| check(case))).is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(failed.into_inner(), 0, "of {} cases; what failed stands above", cases.len());
}
