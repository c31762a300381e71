//! Three formats, one meaning; and what is said of documents that are wrong.

use super::*;
use expect_test::{Expect, expect};

const YAML: &str = "name: reports/daily
triggers:
  - {cron: '0 2 * * *', zone: Europe/Paris}
  - at: 2026-12-01T00:00:00Z
  - event: orders.paid
    when: data.amount > 100 && key != \"\"
    from: 2026-11-21T00:00:00Z
  - after: [ingest, team/clean]
command: [python3, report.py, '{{ event.data.id }}']
resources: {cpus: 1, memory: 256MiB, disk: 1GiB}
retries: {max: 3, backoff: 10s}
timeout: 1h
env: {STAGE: prod, N: 1}
limits: {nofile: 1024}
";
const TOML: &str = r#"name = "reports/daily"
command = ["python3", "report.py", "{{ event.data.id }}"]
resources = {cpus = 1, memory = "256MiB", disk = "1GiB"}
retries = {max = 3, backoff = "10s"}
timeout = "1h"
[env]
STAGE = "prod"
N = "1"
[limits]
nofile = 1024
[[triggers]]
cron = "0 2 * * *"
zone = "Europe/Paris"
[[triggers]]
at = 2026-12-01T00:00:00Z
[[triggers]]
event = "orders.paid"
when = 'data.amount > 100 && key != ""'
from = 2026-11-21T00:00:00Z
[[triggers]]
after = ["ingest", "team/clean"]
"#;

#[test]
fn the_formats_say_the_same() {
    let yaml = read_documents(YAML, Format::Yaml).expect("valid YAML");
    assert_eq!(read_documents(TOML, Format::Toml).expect("valid TOML"), yaml);
    let json = yaml[0].to_json();
    assert_eq!(read_json(&json).as_ref(), Ok(&yaml[0]));
    assert_eq!(read_documents(&format!("[{json},{json}]"), Format::Json).expect("valid JSON").len(), 2);
    assert_eq!(read_documents(&format!("---\n{YAML}---\n{YAML}"), Format::Yaml).expect("valid YAML").len(), 2);
    let jobs = "[[job]]\nname = \"a\"\nshell = \"true\"\n[[job]]\nname = \"b\"\nshell = \"true\"\n[[job.triggers]]\ncron = \"@daily\"\n";
    assert_eq!(read_documents(jobs, Format::Toml).expect("valid TOML")[1].triggers.len(), 1);
}

fn check(format: Format, texts: &[&str], expected: Expect) {
    let said = |text: &&str| match read_documents(text, format) {
        Ok(jobs) => format!("{} jobs", jobs.len()),
        Err(e) => e.to_string(),
    };
    expected.assert_eq(&texts.iter().map(said).collect::<Vec<_>>().join("\n"));
}

#[test]
fn errors_in_yaml() {
    let texts = [
        "",
        "# nothing\n---\n",
        "name: a\ncomand: [x]",
        "name: a\nretries:\n  maxx: 3",
        "name: a\nretries: yes",
        "name: a\nretries: {max: many}",
        "name: a\nretries: {on_lost: yes}",
        "name: a\ntimeout: 10",
        "name: a\ntimeout: 10 minutes",
        "name: a\ncommand: echo hello",
        "name: a\nresources: {memory: 12XB}",
        "name: a\nresources: {memory: [1]}",
        "name: a\ntriggers:\n  - cron: '* * * * *'\n  - after: ['../x']",
        "name: a\ntriggers:\n  - at: tomorrow",
        "name: a\ntriggers:\n  - corn: x",
        "name: a\nconcurrency: forbidden",
        "name: a\nconcurrency: x",
        "name: a/b/c",
        "command: [x]",
        "name: a\nname: b",
        "name: a\n  command: [x]",
        "name: [a",
        "name: a\nenv: *unknown",
        "just text",
        "- name: a",
        "name: a\ncommand: [x]\n---\nname: b\nprioritty: 3",
    ];
    check(
        Format::Yaml,
        &texts,
        expect![[r#"
            line 1, column 1: there is no job in it; the least is a name and a command, for example {name: hello, command: [echo, hello]}
            line 1, column 1: there is no job in it; the least is a name and a command, for example {name: hello, command: [echo, hello]}
            line 2, column 1: unknown field `comand`; did you mean `command`?
            line 3, column 3: retries: unknown field `maxx`; did you mean `max`?
            line 2, column 10: retries: invalid type: `yes`, expected a mapping of fields; write for example retries: {max: 3, backoff: 10s}
            line 2, column 16: retries.max: invalid value: `many`, expected a whole number
            line 2, column 11: retries.on_lost: invalid type: string "yes", expected true, false or a mapping such as {max: 5}
            line 2, column 10: timeout: "10" is not a duration; write for example 250ms, 10s, 5m, 1h30m or 2d
            line 2, column 10: timeout: "10 minutes" is not a duration; write for example 250ms, 10s, 5m, 1h30m or 2d
            line 2, column 10: command: invalid type: `echo hello`, expected a list; write each argument by itself, ["python3", "report.py"], or use shell for a script
            line 2, column 21: resources.memory: "12XB" is not a size; write for example 256MiB, 1GiB or 500MB
            line 2, column 21: resources.memory: expected a number, or a text such as 500m or 256MiB
            line 4, column 12: triggers[1].after: job name "../x" is not valid: it must begin with a letter or digit
            line 3, column 9: triggers[0].at: "tomorrow" is not an RFC 3339 time such as 2026-11-21T02:00:00Z (premature end of input)
            line 3, column 5: triggers[0]: unknown field `corn`; did you mean `cron`?
            line 2, column 14: concurrency: `forbidden` is not one of its words; did you mean `forbid`?
            line 2, column 14: concurrency: `x` is not one of its words; known are allow, forbid, queue, replace
            line 1, column 7: name: job name "a/b/c" is not valid: '/' is not allowed; use letters, digits, '.', '_' and '-'
            line 1, column 1: there is no `name`; the least is a name and a command, for example {name: hello, command: [echo, hello]}
            line 2, column 1: the field `name: b` is there twice
            line 1, column 7: name: job name "a command" is not valid: ' ' is not allowed; use letters, digits, '.', '_' and '-'
            line 1, column 7: name: invalid type: `[a`, expected a string; put it in quotes
            line 2, column 6: `*unknown` refers to an anchor that is nowhere; * at the beginning of a value is a sign of YAML's own; put the value in quotes: "*unknown"
            line 1, column 1: invalid type: `just text`, expected a mapping of fields; the least is a name and a command, for example {name: hello, command: [echo, hello]}
            line 1, column 1: invalid type: `- name: a`, expected a mapping of fields; the least is a name and a command, for example {name: hello, command: [echo, hello]}
            line 5, column 1: unknown field `prioritty`; did you mean `priority`?"#]],
    );
}

#[test]
fn what_yaml_takes_for_something_else() {
    let texts = [
        "name: a\ntriggers:\n  - cron: */5 * * * *",
        "name: a\ntriggers:\n  - cron: * * * * *",
        "name: a\ntriggers: [{cron: */5 2 * * *, zone: UTC}]",
        "name: a\ntriggers:\n  - cron: @daily",
        "name: a\ntriggers:\n  - cron: */5 1,2 * * 1#2 # often",
        "name: a\ncommand: [echo, {{ event.data.id }}]",
        "name: a\ncommand:\n  - {{ event.data.id }}",
        "name: a\ncommand: [echo, %d]",
        "name: a\nenv: {A: }",
        "name: a\nenv:\n  A:\n  B: x",
        "name: a\nenv: {A: ~}",
        "name: a\nenv: {A: null}",
        "name: a\nenv: {A: !x y}",
        "name: a\nenv: {A: &x}",
        "name: a\nenv: {A: `x`}",
        "name: a\nenv: {A: [x]}",
        "name: a\ndescription:\nshell: x",
        "name: a\ncommand: [x, ]",
        "name: a\ncommand: [x, ~]",
        "name: a\nshell: echo: x",
        "name: a\ntriggers:\n  - at: 2026-12-01T00:00:00",
        "name: a\ntriggers:\n  - at: 2026-12-01",
        "name: a\ntriggers: [{event: t, when: data.x == 'a: b'}]",
    ];
    check(
        Format::Yaml,
        &texts,
        expect![[r#"
            line 3, column 11: triggers[0]: `*/5 * * * *` refers to an anchor that is nowhere; * at the beginning of a value is a sign of YAML's own; put the value in quotes: "*/5 * * * *"
            line 3, column 11: triggers[0]: while scanning an anchor or alias, did not find expected alphabetic or numeric character; * at the beginning of a value is a sign of YAML's own; put the value in quotes: "* * * * *"
            line 2, column 19: triggers[0]: `*/5 2 * * *` refers to an anchor that is nowhere; * at the beginning of a value is a sign of YAML's own; put the value in quotes: "*/5 2 * * *"
            line 3, column 11: triggers[0]: unexpected character: `@'; @ at the beginning of a value is a sign of YAML's own; put the value in quotes: "@daily"
            line 3, column 11: triggers[0]: `*/5 1,2 * * 1#2` refers to an anchor that is nowhere; * at the beginning of a value is a sign of YAML's own; put the value in quotes: "*/5 1,2 * * 1#2"
            line 2, column 17: command[1]: invalid type: `{{ event.data.id`, expected a string; braces are a mapping in YAML; put the value in quotes: "{{ event.data.id }}"
            line 3, column 5: command[0]: invalid type: `{{ event.data.id`, expected a string; braces are a mapping in YAML; put the value in quotes: "{{ event.data.id }}"
            line 2, column 17: command: unexpected character: `%'; % at the beginning of a value is a sign of YAML's own; put the value in quotes: "%d"
            line 2, column 8: env.A: invalid type: null, expected a string; write "" for an empty text, or leave it out
            line 3, column 4: env.A: invalid type: null, expected a string; write "" for an empty text, or leave it out
            line 2, column 10: env.A: invalid type: null, expected a string; write "" for an empty text, or leave it out
            line 2, column 10: env.A: invalid type: null, expected a string; write "" for an empty text, or leave it out
            1 jobs
            line 2, column 12: env.A: invalid type: null, expected a string; write "" for an empty text, or leave it out
            line 2, column 10: env: unexpected character: ``'; ` at the beginning of a value is a sign of YAML's own; put the value in quotes: "`x`"
            line 2, column 10: env.A: invalid type: `[x`, expected a string; put it in quotes
            1 jobs
            1 jobs
            line 2, column 14: command[1]: invalid type: null, expected a string; write "" for an empty text, or leave it out
            line 2, column 12: mapping values are not allowed in this context; a text in which a : is followed by a space, or one in braces with a comma, wants quotes
            line 3, column 9: triggers[0].at: "2026-12-01T00:00:00" does not say in which zone; write 2026-12-01T00:00:00Z, or an offset such as +01:00 in place of the Z
            line 3, column 9: triggers[0].at: "2026-12-01" does not say in which zone; write 2026-12-01T00:00:00Z, or an offset such as +01:00 in place of the Z
            line 2, column 41: triggers[0]: while parsing a flow mapping, did not find expected ',' or '}'; a text in which a : is followed by a space, or one in braces with a comma, wants quotes"#]],
    );
}

#[test]
fn errors_in_toml() {
    let texts = [
        "",
        "name = \"a\"\ncomand = [\"x\"]",
        "name = \"a\"\nretries = {maxx = 3}",
        "name = \"a\"\nretries = true",
        "name = a",
        "name = \"a\"\n[[triggers]]\nat = 2026-12-01",
        "[[job]]\nname = \"a\"\n[[job]]\nname = \"b\"\npriority = \"high\"",
        "[[job]]\nname = \"a\"\n[other]\nx = 1",
        "job = 1",
    ];
    check(
        Format::Toml,
        &texts,
        expect![[r#"
            line 1, column 1: there is no job in it; the least is a name and a command, for example {name: hello, command: [echo, hello]}
            line 2, column 1: unknown field `comand`; did you mean `command`?
            line 2, column 12: retries: unknown field `maxx`; did you mean `max`?
            line 2, column 11: retries: invalid type: boolean `true`, expected a mapping of fields; write for example retries: {max: 3, backoff: 10s}
            line 1, column 8: string values must be quoted, expected literal string
            line 3, column 6: triggers[0].at: "2026-12-01" does not say in which zone; write 2026-12-01T00:00:00Z, or an offset such as +01:00 in place of the Z
            line 5, column 12: job[1].priority: invalid type: string "high", expected a whole number
            line 3, column 2: unknown field `other`; known are job
            line 1, column 7: job: invalid type: integer `1`, expected a list; put it in brackets"#]],
    );
}

#[test]
fn errors_in_json() {
    let texts = [
        "",
        "[]",
        "{",
        "{\"name\": \"a\"} x",
        "{\"name\": \"a\",\n \"comand\": []}",
        "[{\"name\": \"a\"}, {\"name\": \"b\", \"triggers\": [{\"on\": \"fail\"}]}]",
        "{\"name\": 1}",
        "{\"name\": \"a\", \"timeout\": 10}",
        "null",
    ];
    check(
        Format::Json,
        &texts,
        expect![[r#"
        line 1, column 1: there is no job in it; the least is a name and a command, for example {name: hello, command: [echo, hello]}
        line 1, column 1: there is no job in it; the least is a name and a command, for example {name: hello, command: [echo, hello]}
        line 1, column 1: EOF while parsing an object
        line 1, column 15: trailing characters
        line 2, column 9: unknown field `comand`; did you mean `command`?
        line 1, column 56: [1].triggers[0].on: `fail` is not one of its words; known are success, failure, any
        line 1, column 10: name: invalid type: integer `1`, expected a string; put it in quotes
        line 1, column 27: timeout: invalid type: integer `10`, expected a string; write it as text with a unit, such as "10s"
        line 1, column 4: invalid type: null, expected a mapping of fields; the least is a name and a command, for example {name: hello, command: [echo, hello]}"#]],
    );
}

#[test]
fn bombs_are_refused() {
    let mut bomb = String::from("name: a\nenv: &a0 {A: x}\n");
    for n in 1..20 {
        bomb.push_str(&format!("x{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    }
    assert!(read_documents(&bomb, Format::Yaml).is_err());
    for deep in ["[".repeat(200_000), "{a: ".repeat(50_000), "- ".repeat(100_000)] {
        assert!(read_documents(&deep, Format::Yaml).is_err());
        assert!(read_documents(&deep, Format::Json).is_err());
        assert!(read_documents(&format!("name = {deep}"), Format::Toml).is_err());
    }
    assert!(read_json(&" ".repeat(JOB_BYTES + 1)).expect_err("too long").message.contains("bytes"));
}
