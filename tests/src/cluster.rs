//! A cluster on Kafka: services in processes of their own, and a client that sees what any client sees.

use crate::server::{binary, end_supervisor, wait_until_ready};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Clusters of one test process have prefixes of their own.
static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// A cluster's settings, its folder, and what runs of it. Dropping it kills all of that, by their pids.
pub struct Cluster {
    bootstrap: String,
    /// Begins the names of its topics.
    pub prefix: String,
    shards: u32,
    cells: u32,
    folder: tempfile::TempDir,
    running: BTreeMap<String, Running>,
}

struct Running {
    child: Child,
    role: String,
    ready: String,
}

impl Cluster {
    /// Makes the topics of a cluster with so many trigger shards and cells.
    pub fn make(bootstrap: &str, shards: u32, cells: u32) -> Self {
        let prefix = format!("t{}.", CLUSTERS.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::Builder::new().prefix("orrery-cluster").tempdir().expect("a folder");
        let cluster = Self { bootstrap: bootstrap.into(), prefix, shards, cells, folder, running: BTreeMap::new() };
        let (code, out, errors) = cluster.cli(&["topics", "apply"]);
        assert_eq!(code, 0, "{out}{errors}");
        cluster
    }

    /// Full name of one of its topics.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A folder for what tasks write.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a service under a name, in the folder of that name, and waits until it serves.
    pub fn start(&mut self, name: &str, role: &str, more: &[(&str, &str)]) {
        let errors = OpenOptions::new().create(true).append(true).open(self.errors(name)).expect("a file for its errors");
        let mut command = self.command();
        command.arg("--data-dir").arg(self.folder.path().join(name)).args(["serve", role]);
        command.env("ORRERY_MEMBER", name).envs(more.iter().copied());
        if role == "gateway" {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn().expect("the binary starts");
        let ready = wait_until_ready(&mut child, name, &self.errors(name));
        self.running.insert(name.into(), Running { child, role: role.into(), ready });
    }

    /// kill -9. Tasks and their supervisor live on.
    pub fn kill(&mut self, name: &str) -> String {
        let mut running = self.running.remove(name).expect("it runs");
        running.child.kill().expect("it can be killed");
        running.child.wait().expect("it ends");
        running.role
    }

    /// SIGTERM, and does not wait.
    pub fn tell_to_stop(&self, name: &str) {
        signal(self.pid(name), libc::SIGTERM);
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self, name: &str) -> String {
        self.tell_to_stop(name);
        let mut running = self.running.remove(name).expect("it runs");
        let ended = running.child.wait().expect("it ends");
        assert!(ended.success(), "{name} ended with {ended}:\n{}", self.said(name));
        running.role
    }

    /// Process of a service.
    pub fn pid(&self, name: &str) -> u32 {
        self.running[name].child.id()
    }

    /// What a service said when it was ready: of a gateway, where it serves.
    pub fn ready(&self, name: &str) -> &str {
        &self.running[name].ready
    }

    /// What a service wrote to standard error, in all its lives.
    pub fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.errors(name)).unwrap_or_default()
    }

    /// The command line against this cluster: exit status (of one that a signal ended: its number, negative), standard output,
    /// standard error.
    pub fn cli(&self, arguments: &[&str]) -> (i32, String, String) {
        self.cli_with(&[], arguments)
    }

    /// What a command that must succeed lists.
    pub fn items(&self, arguments: &[&str]) -> Vec<Value> {
        let (code, out, errors) = self.cli(&[arguments, &["-o", "json"]].concat());
        assert_eq!(code, 0, "{arguments:?}: {out}{errors}");
        let document: Value = serde_json::from_str(&out).expect("JSON");
        document["items"].as_array().expect("a list").clone()
    }

    /// The same with other settings.
    pub fn cli_with(&self, settings: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
        let done = self.command().envs(settings.iter().copied()).args(arguments).stdin(Stdio::null()).output().expect("the binary starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (done.status.code().unwrap_or_else(|| -done.status.signal().unwrap_or(0)), text(done.stdout), text(done.stderr))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .env("ORRERY_KAFKA_BOOTSTRAP_SERVERS", &self.bootstrap)
            .env("ORRERY_PREFIX", &self.prefix)
            .env("ORRERY_TRIGGER_SHARDS", self.shards.to_string())
            .env("ORRERY_CELLS", self.cells.to_string())
            .env("ORRERY_LOG", "info")
            .env_remove("ORRERY_TOKEN");
        command
    }

    fn errors(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.stderr"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (name, mut running) in std::mem::take(&mut self.running) {
            let _gone = running.child.kill();
            let _ended = running.child.wait();
            if running.role == "agent" {
                end_supervisor(&self.folder.path().join(name));
            }
        }
        if std::thread::panicking() {
            for entry in std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "stderr") {
                    let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                    let last: Vec<&str> = text.lines().rev().take(15).collect();
                    println!("== {}\n{}", entry.path().display(), last.into_iter().rev().collect::<Vec<_>>().join("\n"));
                }
            }
        }
    }
}

/// Sends a signal to a process that a test has started.
pub fn signal(pid: u32, signal: i32) {
    let _sent = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status();
}
