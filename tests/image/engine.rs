//! A container engine of this test alone: its own daemon, socket, images and containers, gone with it.

use crate::{LOOK_AGAIN, PATIENCE, docker_folder};
use orrery_log::clock;
use orrery_tests::binary;
use orrery_tests::cluster::signal;
use orrery_tests::server::wait_until_ready;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The image that is built on; see `.ci/engine`.
const BASE: &str = "localhost/base";

pub(crate) struct Engine {
    /// Its programs, and the base image.
    parts: PathBuf,
    folder: tempfile::TempDir,
    daemon: Child,
}

impl Engine {
    /// Starts it; none, with a loud line, where that cannot be.
    pub(crate) fn start() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/engine");
        let fetched = Command::new("sh").arg(script).stderr(Stdio::inherit()).output().unwrap();
        if !fetched.status.success() {
            println!("\n*** SKIPPED: there is no container engine here, so that docker/ is NOT tested ***\n");
            return None;
        }
        let parts = PathBuf::from(String::from_utf8(fetched.stdout).unwrap().trim());
        let folder = tempfile::Builder::new().prefix("orrery-engine").tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let log = File::create(at("daemon.out")).unwrap();
        let mut daemon = Command::new(parts.join("root/usr/sbin/dockerd"));
        daemon.env("PATH", path(&parts));
        daemon.args(["--data-root", &at("data"), "--exec-root", &at("exec"), "-p", &at("pid"), "-H", &format!("unix://{}", at("socket"))]);
        daemon.args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none"]);
        daemon.args(["--storage-driver=overlay2", "--userland-proxy=false"]);
        let daemon = daemon.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let engine = Self { parts, folder, daemon };
        let deadline = clock::monotonic() + PATIENCE;
        while !engine.docker(&["version"]).0 {
            if clock::monotonic() > deadline {
                let said = std::fs::read_to_string(engine.folder.path().join("daemon.out")).unwrap_or_default();
                println!("{said}\n*** SKIPPED: the container engine does not start here, so that docker/ is NOT tested ***\n");
                return None;
            }
            std::thread::park_timeout(LOOK_AGAIN);
        }
        let base = engine.parts.join("base.tar").display().to_string();
        let (ok, out) = engine.docker(&["import", &base, BASE]);
        assert!(ok, "{out}");
        Some(engine)
    }

    /// Builds the image of our binary as it is here: that it compiles is what the other tests show.
    pub(crate) fn build(&self) {
        let context = self.folder.path().join("context");
        std::fs::create_dir(&context).unwrap();
        let stripped = Command::new("strip").arg("-o").arg(context.join("orrery")).arg(binary()).status().unwrap();
        assert!(stripped.success());
        let (dockerfile, base) = (docker_folder().join("Dockerfile").display().to_string(), format!("RUNTIME={BASE}"));
        let arguments = ["build", "--network", "host", "--build-arg", "BINARY=given", "--build-arg", &base, "-t", "orrery", "-f"];
        let (ok, out) = self.docker(&[&arguments[..], &[&dockerfile, &context.display().to_string()]].concat());
        assert!(ok, "{out}");
    }

    /// A command of the engine: whether it succeeded, and all it said.
    pub(crate) fn docker(&self, arguments: &[&str]) -> (bool, String) {
        let done = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        let text = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.parts.join("root/usr/bin/docker"));
        command.env("PATH", path(&self.parts)).env("DOCKER_BUILDKIT", "1").env("HOME", self.folder.path());
        command.arg("-H").arg(format!("unix://{}", self.folder.path().join("socket").display())).args(arguments);
        command
    }
}

/// The engine starts programs of its own by name.
fn path(parts: &Path) -> String {
    format!("{0}/usr/sbin:{0}/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin", parts.join("root").display())
}

impl Drop for Engine {
    fn drop(&mut self) {
        let (_, running) = self.docker(&["ps", "--quiet"]);
        for container in running.split_whitespace() {
            let _killed = self.docker(&["kill", container]);
        }
        signal(self.daemon.id(), libc::SIGTERM);
        let _ended = self.daemon.wait();
        for mounted in ["exec/netns/default", "data"] {
            let _unmounted = Command::new("umount").arg(self.folder.path().join(mounted)).stderr(Stdio::null()).status();
        }
    }
}

/// A container that serves.
pub(crate) struct Serving {
    pub(crate) name: String,
    /// What it said when it was ready.
    pub(crate) ready: String,
    client: Child,
}

impl Serving {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(engine: &Engine, name: &str, arguments: &[String]) -> Self {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let errors = engine.folder.path().join(format!("{name}.stderr"));
        let mut client =
            engine.command(&arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&errors).unwrap()).spawn().unwrap();
        let ready = wait_until_ready(&mut client, name, &errors);
        Self { name: name.into(), ready, client }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _killed = self.client.kill();
        let _ended = self.client.wait();
    }
}
