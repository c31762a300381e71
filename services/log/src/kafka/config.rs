//! Client settings: the library's own names, passed through; a role's overrides go before those for all roles.

use super::native;
use crate::LogError;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use std::collections::BTreeMap;

/// What a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Writes records.
    Producer,
    /// Reads records.
    Consumer,
    /// Makes and describes topics.
    Admin,
}

impl Role {
    /// All, by the name that settings know them by.
    pub const ALL: [(&'static str, Self); 3] = [("producer", Self::Producer), ("consumer", Self::Consumer), ("admin", Self::Admin)];

    /// What we need of such a client. Settings of users go before these, but for [`FIXED`].
    const fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // Whoever has something to say says it at once; batches form while others are under way.
            Self::Producer => &[("linger.ms", "0"), ("message.max.bytes", "2097152"), ("queue.buffering.max.kbytes", "262144")],
            Self::Consumer => &[
                ("fetch.wait.max.ms", "50"),
                ("fetch.min.bytes", "1"),
                ("fetch.error.backoff.ms", "100"),
                // What is fetched beyond this waits in a window of ours; the library looks again this soon whether there is room.
                ("queued.max.messages.kbytes", "2048"),
                ("fetch.queue.backoff.ms", "5"),
                ("queued.min.messages", "10000"),
            ],
            Self::Admin => &[],
        }
    }
}

/// For every client.
const DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "orrery"),
    ("socket.nagle.disable", "true"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("topic.metadata.refresh.interval.ms", "30000"),
];

/// What the promises of the log rest on: refused if somebody sets it otherwise.
const FIXED: &[(Option<Role>, &str, &str)] = &[
    (Some(Role::Producer), "acks", "all"),
    (Some(Role::Producer), "enable.idempotence", "true"),
    (Some(Role::Consumer), "isolation.level", "read_committed"),
    (Some(Role::Consumer), "enable.auto.commit", "false"),
    (Some(Role::Consumer), "enable.auto.offset.store", "false"),
    (Some(Role::Consumer), "enable.partition.eof", "true"),
    (Some(Role::Consumer), "auto.offset.reset", "error"),
    (None, "allow.auto.create.topics", "false"),
];
/// Other names of fixed settings.
const ALIASES: &[(&str, &str)] = &[("request.required.acks", "acks")];
/// Settings that we make ourselves, client by client.
const OURS: &[(&str, &str)] = &[
    ("group.id", "groups are named after the cluster's prefix"),
    ("group.instance.id", "members name themselves"),
    ("transactional.id", "each shard has its own"),
    ("transaction.timeout.ms", "it is 10 s (protocol §1.7)"),
];
/// Settings without a default that people mistype.
const WITHOUT_DEFAULT: &[&str] = &[
    "bootstrap.servers",
    "compression.type",
    "sasl.mechanism",
    "sasl.password",
    "sasl.username",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "client.rack",
];
/// Settings whose values are not shown.
const SECRETS: &[&str] = &["password", "secret", "key.pem", "jaas", "token"];

/// Settings of Kafka's clients.
#[derive(Clone, Default)]
pub struct KafkaConfig {
    all: BTreeMap<String, String>,
    of_role: BTreeMap<Role, BTreeMap<String, String>>,
    /// Begins the names of groups.
    pub prefix: String,
    /// Copies of each partition of a topic that is made; none: as the brokers say.
    pub replication: Option<i32>,
}

impl KafkaConfig {
    /// For brokers at these addresses.
    pub fn new(bootstrap: &str, prefix: &str) -> Self {
        let all = BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap.to_owned())]);
        Self { all, prefix: prefix.into(), ..Self::default() }
    }

    /// Sets what the library knows by this name, for one role or for all.
    pub fn set(&mut self, role: Option<Role>, name: &str, value: &str) -> Result<(), LogError> {
        let bad = |why: String| LogError::BadSetting { name: name.into(), why };
        let tried = native::new_client().set(name, value).create_native_config();
        if let Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) = tried {
            let known = native::setting_names().iter().map(String::as_str).chain(WITHOUT_DEFAULT.iter().copied());
            let near = known.max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
            let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return Err(bad(format!("the Kafka client (librdkafka) has no such setting{near}")));
        }
        tried.map_err(|error| bad(format!("the Kafka client refuses {value:?}: {error}")))?;
        let canonical = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
        if let Some((_, why)) = OURS.iter().find(|(ours, _)| *ours == canonical) {
            return Err(bad(format!("it cannot be set: {why}; remove it")));
        }
        if let Some((_, _, fixed)) = FIXED.iter().find(|(_, fixed, _)| *fixed == canonical)
            && *fixed != value
        {
            return Err(bad(format!("{value:?} would break what the log promises, it is {fixed:?}; remove it")));
        }
        let settings = role.map_or(&mut self.all, |role| self.of_role.entry(role).or_default());
        settings.insert(canonical.into(), value.into());
        Ok(())
    }

    /// Reads a `client.properties` file: `name=value` lines, `#` begins a comment.
    pub fn read_properties(&mut self, text: &str) -> Result<(), LogError> {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!'])) {
            let bad = || LogError::BadSetting { name: line.into(), why: "a line of properties is name=value".into() };
            let (name, value) = line.split_once('=').ok_or_else(bad)?;
            self.set(None, name.trim(), value.trim())?;
        }
        Ok(())
    }

    /// Every setting that somebody made: role, name and value; secrets are not shown.
    pub fn shown(&self) -> Vec<(&'static str, String, String)> {
        let of = |role: &'static str, settings: &BTreeMap<String, String>| -> Vec<_> {
            let shown = |(name, value): (&String, &String)| {
                let secret = SECRETS.iter().any(|secret| name.contains(secret));
                (role, name.clone(), if secret { "(secret)".to_owned() } else { value.clone() })
            };
            settings.iter().map(shown).collect()
        };
        let roles = Role::ALL.iter().filter_map(|(name, role)| Some(of(name, self.of_role.get(role)?)));
        std::iter::once(of("all", &self.all)).chain(roles).flatten().collect()
    }

    /// Where the brokers are.
    pub fn bootstrap(&self) -> &str {
        self.all.get("bootstrap.servers").map_or("", String::as_str)
    }

    /// A client of this role, as far as it is the same for all of them.
    pub(super) fn client(&self, role: Role) -> Result<ClientConfig, LogError> {
        if self.bootstrap().is_empty() {
            let why = "it is missing: name at least one broker, such as \"broker-1:9092\"".into();
            return Err(LogError::BadSetting { name: "bootstrap.servers".into(), why });
        }
        let mut client = native::new_client();
        let known = DEFAULTS.iter().chain(role.defaults()).map(|(name, value)| (*name, *value));
        let set = self.all.iter().chain(self.of_role.get(&role).into_iter().flatten()).map(|(name, value)| (name.as_str(), value.as_str()));
        let fixed = FIXED.iter().filter(|(of, ..)| of.is_none_or(|of| of == role)).map(|(_, name, value)| (*name, *value));
        known.chain(set).chain(fixed).for_each(|(name, value)| {
            client.set(name, value);
        });
        // Whoever asks the library to tell what it does (`debug`) is told.
        client.set_log_level(if client.get("debug").is_some() { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Warning });
        Ok(client)
    }

    /// A client could not be made: one of its settings is wrong.
    pub(super) fn refused(&self, error: &KafkaError) -> LogError {
        let name = match error {
            KafkaError::ClientConfig(_, _, name, _) => name.clone(),
            _ => "kafka".into(),
        };
        LogError::BadSetting { name, why: format!("the Kafka client refuses it: {error}") }
    }
}

/// Secrets are not printed.
impl std::fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.shown()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_nobody_knows_are_refused_with_a_suggestion() {
        let mut config = KafkaConfig::new("localhost:1", "orrery.");
        let refused = |config: &mut KafkaConfig, name: &str, value: &str| config.set(None, name, value).unwrap_err().to_string();
        assert!(refused(&mut config, "bootstrap.server", "x").contains("did you mean bootstrap.servers?"));
        assert!(refused(&mut config, "isolation.level", "read_uncommitted").contains("would break what the log promises"));
        assert!(refused(&mut config, "request.required.acks", "1").contains("it is \"all\""));
        assert!(refused(&mut config, "group.id", "mine").contains("remove it"));
        assert!(config.set(Some(Role::Producer), "compression.type", "lz4").is_ok());
        assert_eq!(config.client(Role::Producer).unwrap().get("compression.type"), Some("lz4"));
        assert_eq!(config.client(Role::Consumer).unwrap().get("compression.type"), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut config = KafkaConfig::new("localhost:1", "orrery.");
        config.read_properties("# a comment\nsasl.password = hunter2\nsasl.username=u\n").unwrap();
        let shown = format!("{config:?}");
        assert!(shown.contains("sasl.username") && !shown.contains("hunter2"), "{shown}");
        assert_eq!(config.client(Role::Admin).unwrap().get("sasl.password"), Some("hunter2"));
        assert!(config.read_properties("no value").is_err());
    }
}
