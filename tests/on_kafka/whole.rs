//! The whole system, as data teams and SREs meet it.

use crate::client::Client;
use orrery_model::messages::RunRecord;
use orrery_model::topics::TOPICS;
use orrery_tests::cluster::Cluster;
use orrery_tests::kafka::Kafka;
use serde_json::json;

#[test]
fn an_event_of_an_ordinary_client_fires_a_run_and_its_result_is_read_from_runs() {
    let kafka = crate::broker();
    let mut cluster = Cluster::make(&kafka.bootstrap(), 2, 2);
    let mut client = Client::new(&kafka.bootstrap(), &cluster);
    let orders = cluster.topic("orders").replace('.', "-");
    client.make_topic(&orders, 3);
    for (name, role, cell) in
        [("trigger", "trigger", "0"), ("allocator", "allocator", "0"), ("agent-0", "agent", "0"), ("agent-1", "agent", "1")]
    {
        cluster.start(name, role, &[("ORRERY_CELL", cell), ("ORRERY_MONITOR", "127.0.0.1:0")]);
    }
    let anchors = start_auditor(&mut cluster);
    let written = cluster.folder().join("written");
    let job = |name: &str, when: &str, command: serde_json::Value| json!({"name": name, "command": command, "triggers": [{"event": orders, "when": when}], "concurrency": "allow"});
    // Neither of the two partitions of `jobs` is the right one for both names: what is in the wrong one is forwarded (§4.2).
    let append = format!("echo \"$1\" >> {}", written.display());
    client.define(&job("shop/write", "data.n >= 0", json!(["sh", "-c", append, "write", "{{ event.data.n }}"])), 0);
    client.define(&job("shop/fail", "data.n < 0", json!(["sh", "-c", "echo before; echo it went wrong >&2; exit 3"])), 0);
    // A definition begins with the events behind it: one that fires says that the definition was taken.
    let mut first = String::new();
    client.wait("a first run", |client| {
        if first.is_empty() || !client.has_ended(&first) {
            first = client.produce(&orders, 0, None, r#"{"n": 0}"#);
        }
        client.runs.values().any(|run| run.job.as_str() == "shop/write" && run.ended_at.is_some())
    });
    let causes: Vec<String> = (1..=9).map(|n| client.produce(&orders, n % 3, Some(&n.to_string()), &json!({"n": n}).to_string())).collect();
    let failing = client.produce(&orders, 1, None, r#"{"n": -1}"#);
    client.wait("all runs", |client| causes.iter().chain([&failing]).all(|cause| client.has_ended(cause)));
    // A definition is taken a little after it was produced: runs of the parent, until one has led to another.
    client.define(&json!({"name": "shop/after", "command": ["true"], "triggers": [{"after": ["shop/write"]}]}), 1);
    client.wait("a run after them", |client| {
        client.produce(&orders, 0, None, r#"{"n": 0}"#);
        client.runs.values().any(|run| run.job.as_str() == "shop/after" && run.state.to_string() == "succeeded")
    });
    assert!(causes.iter().all(|cause| client.runs[cause].state.to_string() == "succeeded"), "{:#?}", client.runs);
    assert_eq!(client.runs[&failing].state.to_string(), "failed");
    let text = std::fs::read_to_string(&written).unwrap();
    for n in 1..=9 {
        assert_eq!(text.lines().filter(|line| *line == n.to_string()).count(), 1, "event {n} of {text:?}");
    }
    let (key, file) = &anchors;
    let (code, out, errors) = cluster.cli(&["audit", "verify", "--trust", &format!("{key}.pub"), "--anchors", file]);
    assert_eq!(code, 0, "{out}{errors}");
    assert!(out.contains(" 0 divergences") && out.contains("anchored entries stand as they were signed"), "{out}");
    explained_by_a_gateway(&mut cluster, &mut client, &orders, &causes);
    tools_show_members_and_lag(&cluster, &mut client);
    monitors_answer(&cluster);
    // Handed over in order, everything ends without force.
    for name in ["auditor", "trigger", "allocator", "agent-0", "agent-1"] {
        cluster.stop(name);
    }
}

/// It signs what it has verified; returns the files of its key and its anchors.
fn start_auditor(cluster: &mut Cluster) -> (String, String) {
    let file = |name: &str| cluster.folder().join(name).display().to_string();
    let (key, anchors) = (file("key"), file("anchors.jsonl"));
    let (code, _, errors) = cluster.cli(&["audit", "key", &key]);
    assert_eq!(code, 0, "{errors}");
    let settings = [("ORRERY_ANCHOR_KEY", key.as_str()), ("ORRERY_ANCHORS", &anchors), ("ORRERY_MONITOR", "127.0.0.1:0")];
    cluster.start("auditor", "auditor", &settings);
    (key, anchors)
}

/// Of whichever shard and cell a run was, the story has it from its event to its end.
fn explained_by_a_gateway(cluster: &mut Cluster, client: &mut Client, orders: &str, causes: &[String]) {
    cluster.start("gateway", "gateway", &[]);
    let token = cluster.folder().join("gateway/token").display().to_string();
    let settings = [("ORRERY_URL", cluster.ready("gateway").to_owned()), ("ORRERY_TOKEN_FILE", token)];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let after = client
        .runs
        .iter()
        .find(|(_, run)| run.job.as_str() == "shop/after" && run.state.to_string() == "succeeded")
        .map(|(cause, _)| cause.clone())
        .unwrap();
    for cause in causes.iter().chain([&after]) {
        let run = client.runs[cause].run.to_string();
        // Its views begin empty.
        client.wait("an explanation", |_| {
            let (code, out, _) = cluster.cli_with(&settings, &["explain", "run", &run]);
            let told = [
                "was placed on",
                "exited with 0",
                "SUCCEEDED",
                if cause == &after { "DEPENDENCY" } else { cause.trim_start_matches("event:") },
            ];
            code == 0 && told.iter().all(|part| out.contains(part))
        });
    }
    // An event by its place, whichever shard reads its partition and whichever owns the job.
    for cause in causes {
        let (place, run) = (cause.trim_start_matches("event:"), client.runs[cause].run.to_string());
        client.wait("the story of an event", |_| {
            let (code, out, _) = cluster.cli_with(&settings, &["explain", "event", place]);
            code == 0 && ["✓ READ", "✓ RUN", "SUCCEEDED", &run].iter().all(|part| out.contains(part))
        });
    }
    output_of_agents_is_read_through_the_log(cluster, &settings, client);
    what_waits_names_its_cell(cluster, &settings, client, orders);
    cluster.stop("gateway");
}

/// The gateway has no folder in common with the agents. Of an attempt that nobody has, nobody tells.
fn output_of_agents_is_read_through_the_log(cluster: &Cluster, settings: &[(&str, &str)], client: &Client) {
    let failing = client.runs.values().find(|run| run.job.as_str() == "shop/fail").map(|run| run.run.to_string()).unwrap();
    for (args, written) in [(&["run", "logs", &failing][..], "before\n"), (&["run", "logs", &failing, "--stderr"], "it went wrong\n")] {
        let (code, out, errors) = cluster.cli_with(settings, args);
        assert_eq!((code, out.as_str()), (0, written), "{args:?}: {errors}");
    }
    let (code, out, errors) = cluster.cli_with(settings, &["run", "logs", &failing, "--attempt", "7"]);
    assert!(code != 0 && out.is_empty() && errors.contains("nobody has answered") && errors.contains("all agents"), "{code} {out}{errors}");
}

/// No agent of either cell is large enough: the first one hands the task on, the last one keeps it.
fn what_waits_names_its_cell(cluster: &Cluster, settings: &[(&str, &str)], client: &mut Client, orders: &str) {
    let trigger = json!({"event": orders, "when": "data.huge"});
    // No other job's event, as the client keeps one run of each. Those behind the first are skipped.
    let waits = |run: &RunRecord| run.job.as_str() == "shop/huge" && run.state.to_string() == "waiting";
    client.define(&json!({"name": "shop/huge", "command": ["true"], "resources": {"cpus": 1000}, "triggers": [trigger]}), 0);
    client.wait("a run that waits", |client| {
        client.produce(orders, 0, None, r#"{"huge": true}"#);
        client.runs.values().any(waits)
    });
    let run = client.runs.values().find(|run| waits(run)).map(|run| run.run.to_string()).unwrap();
    client.wait("why it waits", |_| {
        let (code, out, _) = cluster.cli_with(settings, &["explain", "run", &run, "-o", "json"]);
        let told: serde_json::Value = serde_json::from_str(&out).unwrap_or_default();
        let next = told["story"]["next"].to_string();
        let waits_in = &told["waits_in"];
        let says_where = waits_in["cell"].as_i64().is_some_and(|cell| next.contains(&format!("in cell {cell}")));
        code == 0 && waits_in["agents"] == 1 && says_where && next.contains("NEVER_FITS")
    });
    let (code, out, errors) = cluster.cli_with(settings, &["explain", "pending"]);
    assert!(code == 0 && out.contains("NEVER_FITS") && out.contains("in cell "), "{out}{errors}");
}

/// Every process tells whether it is ready, and its metrics.
fn monitors_answer(cluster: &Cluster) {
    let watched = [
        ("trigger", "orrery_entries_total"),
        ("allocator", "orrery_commit_seconds"),
        ("agent-0", ""),
        ("auditor", "orrery_audit_verified_seq"),
    ];
    for (name, metric) in watched {
        let (_, url) = cluster.ready(name).split_once(" monitor ").unwrap();
        let get = |path: &str| ureq::get(format!("{url}{path}")).call().unwrap().body_mut().read_to_string().unwrap();
        assert_eq!((get("/healthz").as_str(), get("/readyz").as_str()), ("ok\n", "ready\n"), "{name}");
        assert!(get("/metrics").contains(metric), "{name}");
    }
}

/// Who is there with what, and that all has been read.
fn tools_show_members_and_lag(cluster: &Cluster, client: &mut Client) {
    let members = cluster.items(&["cluster", "members"]);
    let shards: Vec<_> = members.iter().map(|member| (member["service"].as_str().unwrap(), member["shards"].clone())).collect();
    assert_eq!(shards, [("trigger", json!([0, 1])), ("allocator", json!([0, 1]))], "{members:?}");
    // Told every ten seconds.
    client.wait("all read", |_| {
        let lag = cluster.items(&["cluster", "lag"]);
        let of = |reader: &str, topic: &str| {
            let inputs = lag.iter().filter(|input| input["reader"] == reader && input["topic"] == cluster.topic(topic).as_str());
            inputs.map(|input| input["lag"].as_i64().unwrap()).collect::<Vec<_>>()
        };
        of("trigger", "outcomes") == [0, 0] && of("allocator", "tasks") == [0, 0]
    });
}

#[test]
fn a_record_that_cannot_be_taken_is_shown_sent_again_and_settled() {
    let kafka = crate::broker();
    let mut cluster = Cluster::make(&kafka.bootstrap(), 1, 1);
    let mut client = Client::new(&kafka.bootstrap(), &cluster);
    cluster.start("trigger", "trigger", &[]);
    for key in ["late/first", "late/second"] {
        client.produce(&cluster.topic("jobs"), 0, Some(key), "{]");
    }
    let letters = || -> Vec<serde_json::Value> {
        // The broker may serve other clusters too.
        let is_ours = |letter: &serde_json::Value| letter["error"]["topic"] == cluster.topic("jobs").as_str();
        cluster.items(&["dlq", "list"]).into_iter().filter(is_ours).collect()
    };
    client.wait("two dead letters", |_| letters().len() == 2);
    let found = letters();
    let places: Vec<&str> = found.iter().map(|letter| letter["place"].as_str().unwrap()).collect();
    let (code, shown, _) = cluster.cli(&["dlq", "show", places[1], "-o", "json"]);
    assert!(code == 0 && shown.contains("{]") && shown.contains("late/second"), "{shown}");
    // Sent again it is as wrong as before: it comes back, as another record.
    let (code, out, errors) = cluster.cli(&["dlq", "retry", places[0]]);
    assert_eq!((code, out.trim()), (0, format!("{}: retried", places[0]).as_str()), "{errors}");
    client
        .wait("the first one again", |_| letters().iter().any(|letter| letter["key"] == "late/first" && letter["error"]["offset"] == "2"));
    let (code, out, errors) = cluster.cli(&["dlq", "drop", places[1], places[0]]);
    assert!(code == 4 && out.contains("dropped") && errors.contains("it was retried by"), "{out}{errors}");
    assert_eq!(letters().len(), 1);
    let (_, all, _) = cluster.cli(&["dlq", "list", "--all", "-o", "wide", "--topic", &cluster.topic("jobs")]);
    assert!(all.contains("retried by") && all.contains("dropped by"), "{all}");
    let (code, _, errors) = cluster.cli(&["dlq", "retry", &places[0].replace('@', "@9")]);
    assert!(code == 1 && errors.contains("there is no dead letter at"), "{errors}");
}

#[test]
fn brokers_may_demand_tls_and_a_password() {
    let kafka = Kafka::start_secured("alice", "through-the-glass");
    let mut cluster = Cluster::make(&kafka.bootstrap(), 1, 1);
    let mut client = Client::new(&kafka.bootstrap(), &cluster);
    let (bootstrap, certificate) = kafka.secured();
    let certificate = certificate.display().to_string();
    let settings = |password: &'static str| {
        [
            ("ORRERY_KAFKA_BOOTSTRAP_SERVERS", bootstrap.as_str()),
            ("ORRERY_KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
            ("ORRERY_KAFKA_SSL_CA_LOCATION", certificate.as_str()),
            ("ORRERY_KAFKA_SASL_MECHANISM", "SCRAM-SHA-256"),
            ("ORRERY_KAFKA_SASL_USERNAME", "alice"),
            ("ORRERY_KAFKA_SASL_PASSWORD", password),
        ]
    };
    // Several times: a command once ended by a signal, as its clients were still being closed.
    for _ in 0..20 {
        let (code, out, errors) = cluster.cli_with(&settings("through-the-glass"), &["topics", "verify"]);
        assert_eq!(code, 0, "{out}{errors}");
    }
    for (what, refused) in [("a password", settings("jabberwocky").to_vec()), ("TLS", settings("through-the-glass")[..1].to_vec())] {
        let (code, out, errors) = cluster.cli_with(&refused, &["topics", "verify"]);
        assert_eq!(code, 1, "without {what}: {out}{errors}");
        assert!(!errors.contains("jabberwocky"), "{errors}");
    }
    let topic = cluster.topic("secured").replace('.', "-");
    client.make_topic(&topic, 1);
    for role in ["trigger", "allocator", "agent"] {
        cluster.start(role, role, &settings("through-the-glass"));
    }
    client.define(&json!({"name": "secured/run", "command": ["true"], "triggers": [{"event": topic}]}), 0);
    client.wait("a run", |client| {
        client.produce(&topic, 0, None, "{}");
        client.runs.values().any(|run| run.ended_at.is_some())
    });
}

#[test]
fn topics_are_planned_made_and_checked() {
    let kafka = crate::broker();
    let cluster = Cluster::make(&kafka.bootstrap(), 2, 1);
    assert_eq!(cluster.cli(&["topics", "plan"]).0, 0, "nothing is left to do");
    let (code, out, _) = cluster.cli(&["topics", "verify"]);
    assert_eq!((code, out.trim()), (0, format!("{} topics are as they should be", TOPICS.len()).as_str()));
    // Another number of shards would move keys: refused, by plan and by services, and nothing is changed.
    let other = |arguments: &[&str]| cluster.cli_with(&[("ORRERY_TRIGGER_SHARDS", "3")], arguments);
    for command in ["plan", "apply", "verify"] {
        let (code, _, errors) = other(&["topics", command]);
        assert_eq!(code, 1);
        assert!(errors.contains("exists with 2 partitions, not 3; the number is fixed"), "{errors}");
    }
    let (code, _, errors) = other(&["--data-dir", "/nonexistent/orrery", "serve", "trigger"]);
    assert_eq!(code, 1, "{errors}");
    let (code, out, _) = cluster.cli_with(&[("ORRERY_PREFIX", "elsewhere.")], &["topics", "plan", "-o", "json"]);
    assert_eq!(code, 6);
    assert!(out.contains("elsewhere.trigger.journal") && out.contains("missing"), "{out}");
    // A setting that the client does not know, and one that would break a promise.
    let (code, _, errors) = cluster.cli_with(&[("ORRERY_KAFKA_BOOTSTRAP_SERVER", "x")], &["topics", "plan"]);
    assert!(
        code == 1 && errors.contains("did you mean bootstrap.servers?") && errors.contains("ORRERY_KAFKA_BOOTSTRAP_SERVER"),
        "{errors}"
    );
    let (code, _, errors) = cluster.cli_with(&[("ORRERY_KAFKA_ISOLATION_LEVEL", "read_uncommitted")], &["topics", "plan"]);
    assert!(code == 1 && errors.contains("would break what the log promises"), "{errors}");
}
