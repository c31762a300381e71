//! Settings of Kafka's clients: the client library's own names, from a `client.properties` file, the configuration's `[kafka]`
//! tables and the environment, each of which goes before the one before.

use super::Config;
use anyhow::{Context, Result};
use orrery_log::kafka::{KafkaConfig, Role};
use std::collections::BTreeMap;

/// Begins the names of variables: `ORRERY_KAFKA_BOOTSTRAP_SERVERS` is `bootstrap.servers`.
const VARIABLES: &str = "ORRERY_KAFKA_";

/// One setting: for one role or all, its name, its value, where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct ClientSetting {
    pub role: Option<Role>,
    pub name: String,
    pub value: String,
    pub origin: String,
}

/// The settings of a `[kafka]` table. Quoted names and dotted ones are the same: `"bootstrap.servers"` and `bootstrap.servers`.
pub(super) fn of_table(table: &toml::Table, origin: &str) -> Vec<ClientSetting> {
    let mut flat = BTreeMap::new();
    flatten(table, "", &mut flat);
    flat.into_iter().map(|(name, value)| of_role(&name, value, origin)).collect()
}

fn flatten(table: &toml::Table, prefix: &str, flat: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(inner, &name, flat),
            toml::Value::String(text) => drop(flat.insert(name, text.clone())),
            other => drop(flat.insert(name, other.to_string())),
        }
    }
}

/// The settings among these environment variables.
pub(super) fn of_variables(variables: impl Iterator<Item = (String, String)>) -> Vec<ClientSetting> {
    let named = variables.filter_map(|(name, value)| Some((name.strip_prefix(VARIABLES)?.to_lowercase().replace('_', "."), name, value)));
    named.map(|(setting, name, value)| of_role(&setting, value, &format!("environment variable {name}"))).collect()
}

/// `producer.linger.ms` is `linger.ms` of producers alone.
fn of_role(name: &str, value: String, origin: &str) -> ClientSetting {
    let role = name.split_once('.').and_then(|(first, rest)| {
        let (_, role) = Role::ALL.iter().find(|(role, _)| *role == first)?;
        Some((*role, rest))
    });
    let (role, name) = role.map_or((None, name), |(role, rest)| (Some(role), rest));
    ClientSetting { role, name: name.into(), value, origin: origin.into() }
}

impl Config {
    /// The clients' settings, if any names brokers.
    pub(crate) fn kafka(&self) -> Result<Option<KafkaConfig>> {
        let mut kafka = KafkaConfig::new("", self.get("prefix").unwrap_or_default());
        if let Some(path) = self.get("client_properties") {
            let text = std::fs::read_to_string(path).with_context(|| format!("client_properties: {path} cannot be read"))?;
            kafka.read_properties(&text).with_context(|| format!("client_properties: {path}"))?;
        }
        for ClientSetting { role, name, value, origin } in &self.clients {
            kafka.set(*role, name, value).with_context(|| format!("kafka, from {origin}"))?;
        }
        if let Some(text) = self.get("replication") {
            kafka.replication = Some(text.parse().with_context(|| format!("replication: {text:?} is not a number of copies"))?);
        }
        Ok((!kafka.bootstrap().is_empty()).then_some(kafka))
    }

    /// The same, where nothing goes without.
    pub(crate) fn needs_kafka(&self) -> Result<KafkaConfig> {
        let hint = "no broker is known: set \"bootstrap.servers\" in the [kafka] table of the configuration (config/kafka.toml shows \
                    one), or ORRERY_KAFKA_BOOTSTRAP_SERVERS; without Kafka there is `orrery standalone`";
        self.kafka()?.context(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_librarys_own_wherever_they_stand() {
        let table: toml::Table =
            "[kafka]\n\"bootstrap.servers\" = \"a:1\"\nsocket.nagle.disable = true\n[kafka.producer]\n\"linger.ms\" = 5\n".parse().unwrap();
        let read = of_table(table["kafka"].as_table().unwrap(), "a file");
        let read: Vec<_> = read.iter().map(|one| (one.role, one.name.as_str(), one.value.as_str())).collect();
        assert_eq!(
            read,
            [(None, "bootstrap.servers", "a:1"), (Some(Role::Producer), "linger.ms", "5"), (None, "socket.nagle.disable", "true"),]
        );
        let variables = [("ORRERY_KAFKA_BOOTSTRAP_SERVERS", "b:2"), ("ORRERY_KAFKA_CONSUMER_FETCH_MIN_BYTES", "1"), ("ORRERY_URL", "x")];
        let read = of_variables(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let read: Vec<_> = read.iter().map(|one| (one.role, one.name.as_str())).collect();
        assert_eq!(read, [(None, "bootstrap.servers"), (Some(Role::Consumer), "fetch.min.bytes")]);
    }
}
