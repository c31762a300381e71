//! The one place where settings come from: default, file, environment, flag; each knows its origin.

mod kafka;

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One setting.
pub(crate) struct Setting {
    /// Name in the file, and of the flag where there is one.
    pub key: &'static str,
    /// Environment variable.
    pub env: &'static str,
    /// Where nothing else says so; empty: none.
    pub default: &'static str,
    /// Meaning and unit.
    pub help: &'static str,
    /// True if its value is not shown.
    pub secret: bool,
}

const fn setting(key: &'static str, env: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { key, env, default, help, secret: false }
}

/// Every setting. `config show` prints this table.
pub(crate) const SETTINGS: &[Setting] = &[
    setting("data_dir", "ORRERY_DATA_DIR", "", "folder of standalone's log, stores, sandboxes and token; default ~/.local/share/orrery"),
    setting("listen", "ORRERY_LISTEN", "127.0.0.1:4700", "where standalone serves its API; loopback only"),
    setting("url", "ORRERY_URL", "http://127.0.0.1:4700", "server that the command line speaks to"),
    Setting { key: "token", env: "ORRERY_TOKEN", default: "", help: "token for the server; goes before token_file", secret: true },
    setting("token_file", "ORRERY_TOKEN_FILE", "", "file with the token; default <data_dir>/token"),
    setting("principal", "ORRERY_PRINCIPAL", "", "for whom requests are made; default the user's name"),
    setting("cpus", "ORRERY_CPUS", "", "processors that standalone's agent offers, such as 2 or 1500m; default all"),
    setting("memory", "ORRERY_MEMORY", "", "memory that standalone's agent offers, such as 4GiB; default all"),
    setting("disk", "ORRERY_DISK", "", "disk that standalone's agent offers, such as 10GiB; default all"),
    setting("attributes", "ORRERY_ATTRIBUTES", "", "attributes of standalone's agent: zone=eu-1,rack=a"),
    setting("prefix", "ORRERY_PREFIX", "orrery.", "begins the names of all topics, groups and transactional ids of a cluster on Kafka"),
    setting("trigger_shards", "ORRERY_TRIGGER_SHARDS", "16", "trigger shards of a cluster on Kafka, fixed when it is made"),
    setting("cells", "ORRERY_CELLS", "4", "cells of a cluster on Kafka, fixed when it is made"),
    setting("replication", "ORRERY_REPLICATION", "", "copies of each partition of a topic that is made; default as the brokers say"),
    setting("client_properties", "ORRERY_CLIENT_PROPERTIES", "", "file of Kafka client settings, name=value; [kafka] goes before it"),
    setting("member", "ORRERY_MEMBER", "", "name of this process among the members; default from role, host and data folder"),
    setting("shards", "ORRERY_SHARDS", "", "shards that a served trigger or allocator owns, such as 0,4-7; default as the group assigns"),
    setting("cell", "ORRERY_CELL", "0", "cell that a served agent belongs to"),
    setting("monitor", "ORRERY_MONITOR", "", "where a served process answers /healthz, /readyz and /metrics; default nowhere"),
    setting("audit_from", "ORRERY_AUDIT_FROM", "start", "where the auditor begins with each journal: start, or latest-snapshot"),
    setting("anchors", "ORRERY_ANCHORS", "", "file that the auditor appends signed anchors to; those in it must be found"),
    setting("anchor_key", "ORRERY_ANCHOR_KEY", "", "file with the key that signs anchors, as `orrery audit key` makes it"),
    setting("log", "ORRERY_LOG", "warn", "what is written to standard error: error, warn, info, debug, or tracing directives"),
];

/// A value and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub value: String,
    pub origin: String,
}

/// All settings that have a value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    found: BTreeMap<&'static str, Found>,
    /// Of Kafka's clients, in the order in which they are made.
    clients: Vec<kafka::ClientSetting>,
}

impl Config {
    /// Reads the file (if one is named or found) and the environment.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self> {
        let mut config = Self::default();
        for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
            config.set(setting.key, setting.default, "default");
        }
        let named = file.map(Path::to_owned).or_else(|| variable("ORRERY_CONFIG").map(PathBuf::from));
        let usual = home().map(|home| home.join(".config/orrery/orrery.toml"));
        match (named, usual) {
            (Some(path), _) => config.read_file(&path)?,
            (None, Some(path)) if path.exists() => config.read_file(&path)?,
            _ => {}
        }
        for setting in SETTINGS {
            if let Some(value) = variable(setting.env) {
                config.set(setting.key, &value, &format!("environment variable {}", setting.env));
            }
        }
        config.clients.extend(kafka::of_variables(variables()));
        if config.get("data_dir").is_none()
            && let Some(home) = home()
        {
            config.set("data_dir", &home.join(".local/share/orrery").display().to_string(), "default");
        }
        Ok(config)
    }

    fn read_file(&mut self, path: &Path) -> Result<()> {
        let text = std::fs::read_to_string(path).with_context(|| format!("the configuration {} cannot be read", path.display()))?;
        let table: toml::Table = text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
        for (key, value) in table {
            if let ("kafka", toml::Value::Table(clients)) = (key.as_str(), &value) {
                self.clients.extend(kafka::of_table(clients, &format!("file {}", path.display())));
                continue;
            }
            let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
                let near = orrery_model::job::did_you_mean(&key, SETTINGS.iter().map(|setting| setting.key));
                let hint = near.unwrap_or_else(|| "`orrery config show` lists all".into());
                bail!("{}: there is no setting {key}; {hint}", path.display());
            };
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.set(setting.key, &text, &format!("file {}", path.display()));
        }
        Ok(())
    }

    /// What is a number, with its limits.
    pub(crate) fn number(&self, key: &str, limits: std::ops::RangeInclusive<u32>) -> Result<u32> {
        let text = self.get(key).unwrap_or_default();
        let number = text.parse().ok().filter(|number| limits.contains(number));
        number.with_context(|| format!("{key}: {text:?} is not a number from {} to {}", limits.start(), limits.end()))
    }

    /// Numbers below `count`, as 0,4-7.
    pub(crate) fn numbers(&self, key: &str, count: u32) -> Result<Option<Vec<u32>>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first <= last && last < count).then_some(first..=last)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        let ranges = ranges.with_context(|| format!("{key}: {text:?} is not a list of numbers from 0 to {}, such as 0,4-7", count - 1))?;
        Ok(Some(ranges.into_iter().flatten().collect()))
    }

    /// A flag goes before everything else.
    pub(crate) fn flag(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.set(key, value, &format!("flag --{}", key.replace('_', "-")));
        }
    }

    fn set(&mut self, key: &'static str, value: &str, origin: &str) {
        self.found.insert(key, Found { value: value.into(), origin: origin.into() });
    }

    /// The value and its origin.
    pub(crate) fn found(&self, key: &str) -> Option<&Found> {
        self.found.get(key)
    }

    /// The value.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.found.get(key).map(|found| found.value.as_str()).filter(|value| !value.is_empty())
    }

    /// Standalone's folder.
    pub(crate) fn data_dir(&self) -> Result<PathBuf> {
        self.get("data_dir").map(PathBuf::from).context("no data folder is known: give --data-dir, or set ORRERY_DATA_DIR")
    }

    /// The token for the server: as given, from the file given, or from the data folder.
    pub(crate) fn token(&self) -> Result<String> {
        if let Some(token) = self.get("token") {
            return Ok(token.trim().to_owned());
        }
        let path = self.get("token_file").map_or_else(|| self.data_dir().map(|dir| dir.join("token")), |file| Ok(file.into()))?;
        let text = std::fs::read_to_string(&path);
        let text =
            text.with_context(|| format!("there is no token in {}: start `orrery standalone`, or set ORRERY_TOKEN", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// For whom requests are made.
    pub(crate) fn principal(&self) -> Option<String> {
        self.get("principal")
            .map(str::to_owned)
            .or_else(|| variable("USER"))
            .filter(|name| orrery_model::id::Principal::parse(name).is_ok())
    }
}

/// The user's home folder.
fn home() -> Option<PathBuf> {
    variable("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// True if colours are not wanted (no-color.org).
pub(crate) fn no_color() -> bool {
    variable("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// All variables that are text.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
