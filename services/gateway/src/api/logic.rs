//! Members, and the versions of the logic: which are in force, and raising them (§9.5).

use super::input;
use crate::App;
use crate::problem::{Answer, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use orrery_log::{LogError, clock};
use orrery_model::messages::{AdminChange, Member};
use orrery_runtime::membership::{admin_records, lacking, living, raise as raise_record};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The deciders.
const SERVICES: [&str; 2] = ["trigger", "allocator"];

/// What members say, and what was raised.
struct Logic {
    members: Vec<Member>,
    raised: BTreeMap<String, i32>,
}

impl Logic {
    fn read(app: &App) -> Result<Self, LogError> {
        let (log, cluster) = (&app.config.log, &app.config.cluster);
        let members = living(&**log, cluster, clock::wall())?;
        let mut raised = BTreeMap::new();
        for record in admin_records(&**log, cluster)? {
            let AdminChange::LogicRaised { service, to } = record.change else { continue };
            let version: &mut i32 = raised.entry(service).or_default();
            *version = to.max(*version);
        }
        Ok(Self { members, raised })
    }

    /// The version in force, once every shard has read what was raised: at first the oldest that there is.
    fn in_force(&self, service: &str) -> i32 {
        let oldest = || self.of(service).map(|(oldest, _)| oldest).min();
        self.raised.get(service).copied().or_else(oldest).unwrap_or_default()
    }

    fn newest(&self, service: &str) -> i32 {
        self.of(service).map(|(_, newest)| newest).max().unwrap_or_default()
    }

    /// Oldest and newest version of each member.
    fn of(&self, service: &str) -> impl Iterator<Item = (i32, i32)> {
        let logic = self.members.iter().flat_map(|member| &member.logic);
        logic.filter(move |logic| logic.service == service).map(|logic| (logic.oldest, logic.newest))
    }

    fn shown(&self) -> Value {
        let version = |service: &&str| json!({"service": service, "in_force": self.in_force(service), "newest": self.newest(service)});
        let versions: Vec<Value> = SERVICES.iter().map(version).collect();
        json!({"count": self.members.len(), "items": self.members, "services": versions})
    }
}

async fn read(app: &Arc<App>) -> Answer<Logic> {
    let reader = app.clone();
    Ok(app.admission.read(move || Logic::read(&reader)).await??)
}

pub(super) async fn show(State(app): State<Arc<App>>) -> Answer<Json<Value>> {
    Ok(Json(read(&app).await?.shown()))
}

/// Raises each service to the newest version that any member has, if all have it.
pub(super) async fn raise(State(app): State<Arc<App>>, headers: HeaderMap) -> Answer<Json<Value>> {
    let principal = input::principal(&headers)?;
    let logic = read(&app).await?;
    let mut records = Vec::new();
    for service in SERVICES {
        let to = logic.newest(service);
        if to <= logic.in_force(service) {
            continue;
        }
        let without = lacking(&logic.members, service, to);
        if !without.is_empty() {
            let detail = format!("these members do not have version {to} of the {service}'s logic: {}", without.join(", "));
            return Err(Problem::new("conflict", detail).try_this("install the newer binary there, then raise it again"));
        }
        records.push(raise_record(&app.config.cluster, service, to, principal.clone()));
    }
    if records.is_empty() {
        return Err(Problem::new("conflict", "the newest version that the members have is in force already"));
    }
    app.append(records).await?;
    Ok(Json(read(&app).await?.shown()))
}
