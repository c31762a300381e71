//! Real Kafka brokers on free loopback ports, in a folder that is deleted with them.

use crate::proxy::Proxy;
use orrery_log::clock;
use rustix::process::{Pid, Signal, kill_process};
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

/// Where a broker listens.
struct Ports {
    plain: u16,
    controller: u16,
    /// Of a further listener, if there is one.
    further: u16,
}

/// One broker.
struct Broker {
    id: usize,
    ports: Ports,
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
        Self::start_with(count, "", &[])
    }

    /// One broker that also listens where it demands TLS and a password (SASL, SCRAM-SHA-256).
    pub fn start_secured(user: &str, password: &str) -> Self {
        let scram = format!("SCRAM-SHA-256=[name={user},password={password}]");
        Self::start_with(1, SECURED, &["--add-scram", &scram])
    }

    /// One broker, and a proxy: whoever knows the broker by the proxy's address speaks to it through the proxy only.
    pub fn start_behind_proxy() -> (Self, Proxy) {
        let proxy = Proxy::listen();
        let more = PROXIED.replace("{proxy}", &proxy.port().to_string());
        let kafka = Self::start_with(1, &more, &[]);
        proxy.pass_to(kafka.brokers[0].ports.further);
        (kafka, proxy)
    }

    /// So many brokers with more lines of configuration, in which the names of [`Ports`] stand for ports, formatted with these options.
    fn start_with(count: usize, more: &str, format: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("orrery-kafka").tempdir().expect("a folder");
        let jars = jars();
        let ports: Vec<Ports> =
            free_ports(count * 3).chunks(3).map(|three| Ports { plain: three[0], controller: three[1], further: three[2] }).collect();
        let voters = ports.iter().enumerate().map(|(n, ports)| format!("{}@127.0.0.1:{}", n + 1, ports.controller));
        let voters = voters.collect::<Vec<_>>().join(",");
        let brokers = ports.into_iter().enumerate().map(|(n, ports)| {
            let own = folder.path().join(format!("broker-{}", n + 1));
            fs::create_dir(&own).expect("a folder");
            if more.contains(KEYSTORE) {
                make_certificate(&own);
            }
            let text = configuration(n + 1, &ports, &voters, &own, count, more);
            fs::write(own.join("server.properties"), text).expect("a file");
            Broker { id: n + 1, ports, folder: own, process: None }
        });
        let mut kafka = Self { brokers: brokers.collect(), jars, _folder: folder };
        let arguments = ["kafka.tools.StorageTool", "format", "--cluster-id", "b3JyZXJ5LXRlc3RzLWthZg"];
        for broker in &kafka.brokers {
            let ended = kafka.java(broker, &[&arguments, format].concat(), "format").wait().expect("it ends");
            assert!(ended.success(), "{}", fs::read_to_string(broker.folder.join("format.out")).unwrap_or_default());
        }
        (0..count).for_each(|n| kafka.start_broker(n));
        kafka
    }

    /// Where the first broker demands TLS and a password, and the certificate that it shows.
    pub fn secured(&self) -> (String, PathBuf) {
        let broker = &self.brokers[0];
        (format!("127.0.0.1:{}", broker.ports.further), broker.folder.join(CERTIFICATE))
    }

    /// Addresses of all brokers.
    pub fn bootstrap(&self) -> String {
        self.brokers.iter().map(|broker| format!("127.0.0.1:{}", broker.ports.plain)).collect::<Vec<_>>().join(",")
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

    /// Stops a broker in order.
    pub fn stop_broker(&mut self, n: usize) {
        if let Some(mut process) = self.brokers[n].process.take() {
            let pid = Pid::from_child(&process);
            kill_process(pid, Signal::TERM).expect("it can be told to end");
            process.wait().expect("it ends");
        }
    }

    /// Makes a broker that does not run lose a partition's records from an offset on, at which a batch must begin.
    pub fn lose_tail(&self, n: usize, topic: &str, partition: u32, from: i64) {
        let file = self.brokers[n].folder.join(format!("data/{topic}-{partition}/00000000000000000000.log"));
        let bytes = fs::read(&file).expect("one segment");
        let number = |at: usize, len: usize| bytes[at..at + len].iter().fold(0i64, |number, byte| number << 8 | i64::from(*byte));
        // A batch begins with its first offset and how many bytes follow.
        let mut at = 0;
        while number(at, 8) < from {
            at += 12 + usize::try_from(number(at + 8, 4)).expect("a length");
        }
        assert_eq!(number(at, 8), from, "a batch begins there");
        File::options().write(true).open(&file).and_then(|file| file.set_len(at as u64)).expect("it can be cut");
    }

    /// Process of a broker.
    pub fn broker_pid(&self, n: usize) -> Option<u32> {
        self.brokers[n].process.as_ref().map(Child::id)
    }

    fn wait_for(&self, n: usize) {
        let (broker, deadline) = (&self.brokers[n], clock::monotonic() + START_WITHIN);
        let log = broker.folder.join("server.out");
        while !answers(broker.ports.plain) {
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

/// Files in a broker's folder, and the password of the first.
const KEYSTORE: &str = "keystore.p12";
const CERTIFICATE: &str = "certificate.pem";
const KEYSTORE_PASSWORD: &str = "of-a-test";

/// Settings of a broker that listens at a third place, too.
const SECURED: &str = "listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SECURED://127.0.0.1:{further}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SECURED://127.0.0.1:{further}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.secured.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PKCS12
ssl.keystore.location={folder}/keystore.p12
ssl.keystore.password=of-a-test
";

/// Settings of a broker that tells those who come by a proxy to go on coming that way.
const PROXIED: &str = "listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},PROXIED://127.0.0.1:{further}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},PROXIED://127.0.0.1:{proxy}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
";

/// A key and its own certificate, for the loopback address.
fn make_certificate(folder: &Path) {
    let keytool = |arguments: &[&str]| {
        let mut tool = Command::new("keytool");
        tool.current_dir(folder).args(arguments).args(["-alias", "broker", "-keystore", KEYSTORE, "-storepass", KEYSTORE_PASSWORD]);
        let done = tool.stdin(Stdio::null()).output().expect("keytool, which comes with Java");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    };
    keytool(&["-genkeypair", "-keyalg", "RSA", "-storetype", "PKCS12", "-dname", "CN=127.0.0.1", "-ext", "SAN=ip:127.0.0.1"]);
    keytool(&["-exportcert", "-rfc", "-file", CERTIFICATE]);
}

fn configuration(id: usize, ports: &Ports, voters: &str, folder: &Path, brokers: usize, more: &str) -> String {
    let data = folder.join("data");
    let Ports { plain: port, controller, further } = ports;
    let names = [("{plain}", port), ("{controller}", controller), ("{further}", further)];
    let more = names.iter().fold(more.to_owned(), |text, (name, port)| text.replace(name, &port.to_string()));
    let more = more.replace("{folder}", &folder.display().to_string());
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
