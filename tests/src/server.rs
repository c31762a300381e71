//! `orrery standalone` as a process that can be killed, and what a client sees of it.

use orrery_log::clock;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use ureq::Agent;

/// What a test waits for has come by then, or never comes.
const WANTED_WITHIN: Duration = Duration::from_secs(60);

/// The binary that the workspace build makes; Cargo names it only to tests of its own package.
pub fn binary() -> PathBuf {
    let me = std::env::current_exe().expect("a running program has a path");
    let folders = me.ancestors().skip(1).take(3);
    let found = folders.map(|folder| folder.join("orrery")).find(|path| path.is_file());
    found.expect("the binary is not built; run `cargo build --workspace` first, or `make test`")
}

/// Status and body of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON, or null.
    pub body: Value,
}

impl Answer {
    /// True for 2xx.
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A standalone in a process of its own, or a gateway over what one has left. Dropping it kills it and what it left behind, by their pids.
pub struct Server {
    child: Child,
    folder: PathBuf,
    /// Where it serves.
    pub url: String,
    agent: Agent,
}

impl Server {
    /// Starts it in this folder, on any free port, and waits until it is ready.
    pub fn start(folder: &Path) -> Self {
        Self::serving(folder, &["standalone"])
    }

    /// Shows a data folder that nobody runs.
    pub fn over_copy(folder: &Path) -> Self {
        Self::serving(folder, &["serve", "gateway"])
    }

    /// A standalone that may open so many files, and no more.
    pub fn with_files(folder: &Path, files: u32) -> Self {
        let limited = ["-c", "ulimit -n $0 && exec \"$@\"", &files.to_string()].map(str::to_owned);
        let mut command = Command::new("sh");
        command.args(limited).arg(binary());
        Self::of(folder, spawn_as(command, folder, &["standalone"]))
    }

    fn serving(folder: &Path, role: &[&str]) -> Self {
        Self::of(folder, spawn(folder, role))
    }

    fn of(folder: &Path, (child, url): (Child, String)) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(30))).build();
        Self { child, folder: folder.to_owned(), url, agent: config.into() }
    }

    /// Starts it again after [`Server::kill`], beside what its supervisor has gone on with.
    pub fn start_again(&mut self) {
        (self.child, self.url) = spawn(&self.folder, &["standalone"]);
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it has, MiB.
    pub fn resident_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
    }

    /// Opens a connection of one's own.
    pub fn connect(&self) -> std::io::Result<std::net::TcpStream> {
        std::net::TcpStream::connect(self.url.trim_start_matches("http://"))
    }

    /// kill -9; the supervisor and the tasks live on.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// The token of its folder.
    pub fn token(&self) -> String {
        std::fs::read_to_string(self.folder.join("token")).expect("a token").trim().to_owned()
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        self.try_get(path).expect("the server answers")
    }

    /// GET of a server that may just be dying.
    pub fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        answer(self.agent.get(format!("{}{path}", self.url)).header("authorization", format!("Bearer {}", self.token())).call()?)
    }

    /// POST.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.try_post(path, body, &[]).expect("the server answers")
    }

    /// POST with headers.
    pub fn post_with(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        self.try_post(path, body, headers).expect("the server answers")
    }

    /// POST to a server that may just be dying.
    pub fn try_post(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> Result<Answer, ureq::Error> {
        client_post(&self.agent, &self.url, &self.token(), path, body, headers)
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Answer {
        let request = self.agent.delete(format!("{}{path}", self.url)).header("authorization", format!("Bearer {}", self.token()));
        answer(request.call().expect("the server answers")).expect("an answer")
    }

    /// Asks until the answer is as wanted.
    pub fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = clock::monotonic();
        loop {
            let answer = self.get(path);
            // The views may not know yet what a request has just made.
            assert!(answer.is_good() || answer.status == 404, "{path}: {answer:?}");
            if answer.is_good() && wanted(&answer.body) {
                return answer.body;
            }
            assert!(began.elapsed() < WANTED_WITHIN, "{path} never came to be as wanted: {}", answer.body);
        }
    }

    /// Waits for a run's end, and returns its record.
    pub fn wait(&self, run: &str) -> Value {
        loop {
            let found = self.get(&format!("/api/v1/runs/{run}?wait=20"));
            assert!(found.is_good(), "{found:?}");
            if !["waiting", "starting", "running"].iter().any(|state| found.body["state"] == *state) {
                return found.body;
            }
        }
    }

    /// The command line against this server: exit status, standard output, standard error.
    pub fn cli(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(binary());
        command.args(args).env("ORRERY_URL", &self.url).env("ORRERY_DATA_DIR", &self.folder).env_remove("ORRERY_TOKEN");
        let done = command.stdin(Stdio::null()).output().expect("the binary starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (done.status.code().unwrap_or(-1), text(done.stdout), text(done.stderr))
    }
}

/// Starts a server of this folder and waits for the line that says where it serves.
fn spawn(folder: &Path, role: &[&str]) -> (Child, String) {
    spawn_as(Command::new(binary()), folder, role)
}

fn spawn_as(mut command: Command, folder: &Path, role: &[&str]) -> (Child, String) {
    let said = folder.with_extension("stderr");
    let errors = std::fs::OpenOptions::new().create(true).append(true).open(&said).expect("a file for its errors");
    command.arg("--data-dir").arg(folder).args(role).args(["--listen", "127.0.0.1:0"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn().expect("the binary starts");
    let url = wait_until_ready(&mut child, role[role.len() - 1], &said);
    (child, url)
}

/// What a process of ours, whose output is piped, says when it is ready: its first line. Its errors are in the file.
pub fn wait_until_ready(child: &mut Child, name: &str, errors: &Path) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it was piped")).read_line(&mut line).expect("its output can be read");
    match line.trim().strip_prefix("ready ") {
        Some(ready) => ready.to_owned(),
        None => panic!("{name} said {line:?} instead of being ready:\n{}", std::fs::read_to_string(errors).unwrap_or_default()),
    }
}

/// POST by a client of one's own.
pub fn client_post(agent: &Agent, url: &str, token: &str, path: &str, body: &str, headers: &[(&str, &str)]) -> Result<Answer, ureq::Error> {
    let mut request = agent.post(format!("{url}{path}")).header("authorization", format!("Bearer {token}"));
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.send(body)?)
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let status = response.status().as_u16();
    let text = response.body_mut().with_config().limit(1 << 30).read_to_string()?;
    Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_dead = self.child.kill();
        let _reaped = self.child.wait();
        end_supervisor(&self.folder);
    }
}

/// Ends the supervisor of a folder, which outlives its standalone, and with it its tasks.
pub fn end_supervisor(folder: &Path) {
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let mut words = line.split(|b| *b == 0).filter_map(|word| std::str::from_utf8(word).ok());
        if words.any(|word| word == "supervisor") && words.any(|word| Path::new(word).starts_with(folder)) {
            Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill runs");
        }
    }
}
