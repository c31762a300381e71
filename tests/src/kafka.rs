//! Real Kafka brokers on free loopback ports, in a folder that is deleted with them.

use orrery_log::clock;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The folder with the broker's jars, fetched by `.ci/kafka` when it is missing.
fn jars() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/kafka");
    let done = Command::new("sh").arg(script).stderr(Stdio::inherit()).output().expect("a shell");
    assert!(done.status.success(), "the broker could not be fetched");
    PathBuf::from(String::from_utf8(done.stdout).expect("a path").trim())
}

/// Longest start of a broker; on a busy machine the JVM takes its time.
const START_WITHIN: Duration = Duration::from_secs(120);

/// Between two looks at a broker that starts.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One broker.
struct Broker {
    id: usize,
    port: u16,
    folder: PathBuf,
    process: Option<Child>,
}

/// A cluster of brokers, each its own controller too. Dropping it kills them by their pids.
pub struct Kafka {
    brokers: Vec<Broker>,
    jars: PathBuf,
    _folder: tempfile::TempDir,
}

impl Kafka {
    /// Starts so many brokers and waits until they answer.
    pub fn start(count: usize) -> Self {
        Self::start_with(count, "")
    }

    /// The same, with more lines of configuration.
    pub fn start_with(count: usize, more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("orrery-kafka").tempdir().expect("a folder");
        let jars = jars();
        let ports: Vec<[u16; 2]> = free_ports(count * 2).chunks(2).map(|pair| [pair[0], pair[1]]).collect();
        let voters: Vec<String> = ports.iter().enumerate().map(|(n, [_, port])| format!("{}@127.0.0.1:{port}", n + 1)).collect();
        let brokers = ports.iter().enumerate().map(|(n, [port, controller])| {
            let own = folder.path().join(format!("broker-{}", n + 1));
            fs::create_dir(&own).expect("a folder");
            let text = configuration(n + 1, *port, *controller, &voters.join(","), &own, count, more);
            fs::write(own.join("server.properties"), text).expect("a file");
            Broker { id: n + 1, port: *port, folder: own, process: None }
        });
        let mut kafka = Self { brokers: brokers.collect(), jars, _folder: folder };
        for broker in &kafka.brokers {
            kafka
                .java(broker, &["kafka.tools.StorageTool", "format", "--cluster-id", "b3JyZXJ5LXRlc3RzLWthZg"], "format")
                .wait()
                .expect("it ends");
        }
        (0..count).for_each(|n| kafka.start_broker(n));
        kafka
    }

    /// Addresses of all brokers.
    pub fn bootstrap(&self) -> String {
        self.brokers.iter().map(|broker| format!("127.0.0.1:{}", broker.port)).collect::<Vec<_>>().join(",")
    }

    /// Starts a broker that is not running, and waits until it serves.
    pub fn start_broker(&mut self, n: usize) {
        let process = self.java(&self.brokers[n], &["kafka.Kafka"], "server");
        self.brokers[n].process = Some(process);
        // A controller waits for the others: whether it answers is found out when all have been started.
        if self.brokers.iter().filter(|broker| broker.process.is_some()).count() * 2 > self.brokers.len() {
            (0..self.brokers.len()).filter(|n| self.brokers[*n].process.is_some()).for_each(|n| self.wait_for(n));
        }
    }

    /// kill -9 of a broker.
    pub fn kill_broker(&mut self, n: usize) {
        if let Some(mut process) = self.brokers[n].process.take() {
            process.kill().expect("it can be killed");
            process.wait().expect("it ends");
        }
    }

    /// Process of a broker.
    pub fn broker_pid(&self, n: usize) -> Option<u32> {
        self.brokers[n].process.as_ref().map(Child::id)
    }

    fn wait_for(&self, n: usize) {
        let (broker, deadline) = (&self.brokers[n], clock::monotonic() + START_WITHIN);
        let log = broker.folder.join("server.out");
        while !answers(broker.port) {
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(clock::monotonic() < deadline, "broker {} does not serve:\n{}", broker.id, said());
            std::thread::park_timeout(LOOK_AGAIN);
        }
    }

    fn java(&self, broker: &Broker, arguments: &[&str], output: &str) -> Child {
        let out = File::create(broker.folder.join(format!("{output}.out"))).expect("a file for its output");
        let mut java = Command::new("java");
        java.args(["-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp"]).arg(self.jars.join("*"));
        java.arg(format!("-Dlog4j2.configurationFile={}", log_configuration(&broker.folder).display()));
        java.args(arguments);
        if output == "format" {
            java.arg("--config");
        }
        java.arg(broker.folder.join("server.properties"));
        java.stdin(Stdio::null()).stdout(out.try_clone().expect("a file")).stderr(out).spawn().expect("java starts")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        (0..self.brokers.len()).for_each(|n| self.kill_broker(n));
    }
}

/// True if a broker answers a request: the first one that every client sends (ApiVersions, version 0).
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        let request = [&[0, 18, 0, 0, 0, 0, 0, 7][..], &[0, 5], b"tests"].concat();
        stream.write_all(&(request.len() as u32).to_be_bytes())?;
        stream.write_all(&request)?;
        let mut answer = [0; 10];
        stream.read_exact(&mut answer)?;
        Ok(answer[8..] == [0, 0])
    };
    ask().unwrap_or(false)
}

/// Ports that nobody uses now.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("a free port")).collect();
    held.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}

fn configuration(id: usize, port: u16, controller: u16, voters: &str, folder: &Path, brokers: usize, more: &str) -> String {
    let data = folder.join("data");
    let copies = brokers.min(3);
    let in_sync = copies.div_ceil(2);
    format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}
auto.create.topics.enable=false
default.replication.factor={copies}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=8388608
log.segment.delete.delay.ms=100
{more}
",
        data.display()
    )
}

fn log_configuration(folder: &Path) -> PathBuf {
    let path = folder.join("log4j2.properties");
    let text = "rootLogger.level=WARN\nrootLogger.appenderRefs=out\nrootLogger.appenderRef.out.ref=OUT\nappender.out.type=Console\nappender.out.name=OUT\nappender.out.layout.type=PatternLayout\nappender.out.layout.pattern=%d %p %c %m%n\n";
    fs::write(&path, text).expect("a file");
    path
}
