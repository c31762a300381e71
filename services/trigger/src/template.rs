//! Templates in a command's arguments: `{{ event.data.id }}`, each argument by itself, strict.
//!
//! A template sees `event` (`data`, `key`, `headers`, `topic`, `partition`, `offset`, `timestamp`, `ce`; only in runs that an
//! event fired), `run` (`id`, `attempt`, `cause`, `nominal`), `job`, and `args`, the arguments of a request. Times are RFC 3339
//! texts. Lists and maps are written as JSON. What is not there is an error, never an empty text; `| default("…")` says otherwise.
//!
//! Only `{{ … }}` is taken: no statements, no includes, no functions, and few filters. Fuel, recursion and length are bounded.
//! A shell script is no template: data in a script is code that a stranger wrote. There the event is `$ORRERY_EVENT_FILE`.

use crate::event::EventView;
use minijinja::value::{Serde, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, context};
use orrery_model::job::Problem;
use orrery_model::limits::ARGUMENT_BYTES;
use orrery_model::messages::EnvVar;
use orrery_model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What a template sees.
#[derive(Debug, Clone, Copy)]
pub struct TemplateContext<'a> {
    /// The event that fired the run, if one did.
    pub event: Option<&'a EventView<'a>>,
    /// Job name.
    pub job: &'a str,
    /// Run id.
    pub run: &'a str,
    /// Number of the attempt.
    pub attempt: i32,
    /// Cause of the run.
    pub cause: &'a str,
    /// Nominal time.
    pub nominal: Option<Timestamp>,
    /// Arguments of a request.
    pub args: &'a [EnvVar],
}

/// Renders each argument of a command; the problem names the argument that does not render.
pub fn render(args: &[String], context: &TemplateContext<'_>) -> Result<Vec<String>, Problem> {
    if !args.iter().any(|arg| is_template(arg)) {
        return Ok(args.to_vec());
    }
    let seen = seen(context);
    let rendered = args.iter().enumerate().map(|(i, arg)| {
        let field = format!("command[{i}]");
        check(&field, arg)?;
        if is_template(arg) { render_one(arg, &seen).map_err(|e| problem(&field, arg, &e)) } else { Ok(arg.clone()) }
    });
    rendered.collect()
}

/// Checks the syntax of one argument, without rendering it.
pub fn check(field: &str, argument: &str) -> Result<(), Problem> {
    if !is_template(argument) {
        return Ok(());
    }
    if ["{%", "{#"].iter().any(|open| argument.contains(open)) {
        let hint = "braces that are meant as such: {{ \"{\" }}%";
        return Err(Problem::new(field, "beside {{ … }}, neither {% nor {# is taken").hint(hint));
    }
    let (growing, repeating) = growing_operators(argument);
    if repeating > 0 || growing > GROWING_MAX {
        let message = format!("it has {repeating} of * and {growing} of ~ and +, allowed are 0 and {GROWING_MAX}");
        return Err(Problem::new(field, message).hint("let the command do the work"));
    }
    ENGINE.template_from_str(argument).map(drop).map_err(|e| problem(field, argument, &e))
}

/// Refuses a script that is meant as a template.
pub fn check_shell(script: &str) -> Result<(), Problem> {
    let names_ours = |inside: &str| {
        let inside = inside.trim_start_matches(['-', ' ', '\t']);
        ["event", "run", "job", "args"]
            .iter()
            .any(|name| inside.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', ' ', '|', '}', '['])))
    };
    if script.split("{{").skip(1).any(names_ours) {
        let hint = "read the event with jq from \"$ORRERY_EVENT_FILE\", use $ORRERY_RUN and its like, or write a command";
        return Err(Problem::new("shell", "a script is no template: data in it would be run as code").hint(hint));
    }
    Ok(())
}

/// Steps of the engine for one argument.
const FUEL: u64 = 10_000;
/// Operators `~` and `+` of one argument, which can make a text longer than its parts: 32 times an event is 8 MiB.
const GROWING_MAX: usize = 32;
/// Longest template that is told in an error.
const SHOWN_CHARS: usize = 100;

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(engine);

fn engine() -> Environment<'static> {
    use minijinja::{filters, tests};
    let mut engine = Environment::empty();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    engine.set_syntax(minijinja::syntax::SyntaxConfig::builder().keep_trailing_newline(true).build().expect("the default delimiters"));
    engine.set_fuel(Some(FUEL));
    engine.set_recursion_limit(50);
    engine.set_formatter(|out, state, value| match value.kind() {
        ValueKind::Map | ValueKind::Seq => minijinja::escape_formatter(out, state, &filters::tojson(value, None, kwargs())?),
        ValueKind::None => minijinja::escape_formatter(out, state, &Value::from("null")),
        _ => minijinja::escape_formatter(out, state, value),
    });
    engine.add_filter("default", filters::default);
    engine.add_filter("lower", filters::lower);
    engine.add_filter("upper", filters::upper);
    engine.add_filter("trim", filters::trim);
    engine.add_filter("replace", replace);
    engine.add_filter("join", join);
    engine.add_filter("length", filters::length);
    engine.add_filter("tojson", |value: &Value| filters::tojson(value, None, kwargs()).and_then(|json| bounded(json.to_string())));
    engine.add_filter("int", filters::int);
    engine.add_filter("float", filters::float);
    engine.add_filter("round", filters::round);
    engine.add_filter("first", filters::first);
    engine.add_filter("last", filters::last);
    engine.add_test("defined", tests::is_defined);
    engine.add_test("none", tests::is_none);
    engine
}

/// How many `~` and `+`, and how many `*`, stand between the braces, outside quotes.
fn growing_operators(argument: &str) -> (usize, usize) {
    let (mut growing, mut repeating) = (0, 0);
    let mut rest = argument;
    while let Some((_, inside)) = rest.split_once("{{") {
        rest = inside;
        while let Some(c) = rest.chars().next().filter(|_| !rest.starts_with("}}")) {
            rest = &rest[c.len_utf8()..];
            match c {
                '~' | '+' => growing += 1,
                '*' => repeating += 1,
                '"' | '\'' => rest = behind_quote(rest, c),
                _ => {}
            }
        }
    }
    (growing, repeating)
}

fn behind_quote(text: &str, quote: char) -> &str {
    let mut escaped = false;
    let end = text.char_indices().find(|(_, c)| {
        let ends = *c == quote && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or("", |(at, c)| &text[at + c.len_utf8()..])
}

/// Texts grow only through filters and operators: each filter's result is bounded here, operators are counted by [`check`].
fn bounded(text: String) -> Result<String, Error> {
    if text.len() < ARGUMENT_BYTES { Ok(text) } else { Err(too_long()) }
}

fn too_long() -> Error {
    Error::new(ErrorKind::WriteFailure, format!("it would have more than {} bytes", ARGUMENT_BYTES - 1))
}

fn replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let grown = text.len().saturating_add(text.matches(from).count().saturating_mul(to.len()));
    if grown < 2 * ARGUMENT_BYTES { bounded(text.replace(from, to)) } else { Err(too_long()) }
}

fn join(items: &Value, between: Option<&str>) -> Result<String, Error> {
    let mut out = String::new();
    for (i, item) in items.try_iter()?.enumerate() {
        if i > 0 {
            out.push_str(between.unwrap_or_default());
        }
        out.push_str(&item.to_string());
        out = bounded(out)?;
    }
    Ok(out)
}

fn kwargs() -> minijinja::value::Kwargs {
    std::iter::empty::<(&str, Value)>().collect()
}

fn is_template(argument: &str) -> bool {
    argument.contains("{{")
}

fn seen(context: &TemplateContext<'_>) -> Value {
    let args: BTreeMap<&str, &str> = context.args.iter().map(|arg| (arg.name.as_str(), arg.value.as_str())).collect();
    let args = Value::from(Serde(args));
    let run = context! {
        id => context.run, attempt => context.attempt, cause => context.cause, nominal => context.nominal.map(|t| t.to_string()),
    };
    let event = context.event.map(|view| {
        let event = view.event();
        context! {
            data => Value::from(Serde(view.data())), key => view.key(), headers => Value::from(Serde(view.headers())), topic => event.topic.as_str(),
            partition => event.partition, offset => event.offset, timestamp => event.appended.to_string(), ce => Value::from(Serde(view.attributes())),
        }
    });
    match event {
        Some(event) => context! { run, job => context.job, args, event },
        None => context! { run, job => context.job, args },
    }
}

fn render_one(argument: &str, seen: &Value) -> Result<String, Error> {
    let mut out = Bounded(Vec::new());
    ENGINE.template_from_str(argument)?.render_captured_to(seen.clone(), &mut out)?;
    let text = String::from_utf8(out.0).map_err(|_| Error::new(ErrorKind::WriteFailure, "the text is not UTF-8"))?;
    if text.contains('\0') {
        return Err(Error::new(ErrorKind::WriteFailure, "the text holds a zero byte, which no process takes"));
    }
    Ok(text)
}

/// Takes as much as one argument may hold.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() >= ARGUMENT_BYTES {
            return Err(std::io::Error::other(format!("it would have more than {} bytes", ARGUMENT_BYTES - 1)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn problem(field: &str, template: &str, error: &Error) -> Problem {
    let shown: String = template.chars().take(SHOWN_CHARS).collect();
    let source = std::error::Error::source(error).map(|e| e.to_string());
    let (why, hint) = match error.kind() {
        ErrorKind::UndefinedError => {
            ("it names something that is not there".to_owned(), "write for example {{ event.data.id | default(\"none\") }}")
        }
        ErrorKind::WriteFailure => (
            source.unwrap_or_else(|| error.detail().unwrap_or("it is too long").to_owned()),
            "let the command read large data from $ORRERY_EVENT_FILE",
        ),
        ErrorKind::OutOfFuel => ("it takes too long".to_owned(), "let the command do the work"),
        _ => (
            error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
            "write for example {{ event.data.id }}; braces that are meant as such: {{ \"{{\" }}",
        ),
    };
    Problem::new(field, format!("{shown:?} does not render: {why}")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;
    use expect_test::{Expect, expect};

    fn said(template: &str) -> String {
        let event = event(
            r#"{"id": "o-1; rm -rf /", "n": 3, "x": 1.5, "list": [1, "a"], "map": {"b": 1, "a": null}, "none": null, "zero": "\u0000"}"#,
            &[("source", "<shop>")],
        );
        let view = EventView::new(&event);
        let args = [EnvVar { name: "day".into(), value: "monday".into() }];
        let nominal = Timestamp::parse("2026-11-21T02:00:00Z").ok();
        let context =
            TemplateContext { event: Some(&view), job: "default/a", run: "abc", attempt: 1, cause: "time:x", nominal, args: &args };
        match render(&[template.to_owned()], &context) {
            Ok(rendered) => format!("{:?}", rendered[0]),
            Err(problem) => problem.to_string(),
        }
    }

    fn check(templates: &[&str], expected: Expect) {
        expected.assert_eq(&templates.iter().map(|t| format!("{t}  →  {}", said(t))).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn arguments_render() {
        check(
            &[
                "plain {% raw %}",
                "--id={{ event.data.id }}",
                "{{ event.data.n + 1 }} {{ event.data.x }} {{ event.data.none }}",
                "{{ event.data.list }} {{ event.data.map }}",
                "{{ event.headers.source }} {{ event.key }} {{ event.topic }}/{{ event.partition }}/{{ event.offset }} {{ event.timestamp }}",
                "{{ run.id }}.{{ run.attempt }} {{ run.cause }} {{ run.nominal }} {{ job }} {{ args.day | upper }}",
                "{{ event.data.missing | default('none') }} {{ 'b' if event.data.n is defined else 'c' }}",
                "{{ event.data.id | replace(';', ',') }}\n",
                "*** {{ '***' }} {{ '{{' }} {{ event.data.list | join('-') }} {{ event.data.list | length }}",
            ],
            expect![[r#"
                plain {% raw %}  →  "plain {% raw %}"
                --id={{ event.data.id }}  →  "--id=o-1; rm -rf /"
                {{ event.data.n + 1 }} {{ event.data.x }} {{ event.data.none }}  →  "4 1.5 null"
                {{ event.data.list }} {{ event.data.map }}  →  "[1, \"a\"] {\"a\": null, \"b\": 1}"
                {{ event.headers.source }} {{ event.key }} {{ event.topic }}/{{ event.partition }}/{{ event.offset }} {{ event.timestamp }}  →  "<shop> customer-7 orders.paid/3/42 2026-11-21T02:00:00Z"
                {{ run.id }}.{{ run.attempt }} {{ run.cause }} {{ run.nominal }} {{ job }} {{ args.day | upper }}  →  "abc.1 time:x 2026-11-21T02:00:00Z default/a MONDAY"
                {{ event.data.missing | default('none') }} {{ 'b' if event.data.n is defined else 'c' }}  →  "none b"
                {{ event.data.id | replace(';', ',') }}
                  →  "o-1, rm -rf /\n"
                *** {{ '***' }} {{ '{{' }} {{ event.data.list | join('-') }} {{ event.data.list | length }}  →  "*** *** {{ 1-a 2""#]],
        );
    }

    #[test]
    fn refusals() {
        check(
            &[
                "{{ event.data.missing }}",
                "{{ event.dta.id }}",
                "{{ nothing }}",
                "{{ event.data.id",
                "{{ event.data.id | shell }}",
                "{{ range(1000000) }}",
                "{{ 'x' * 200000 }}",
                "{{ '}}' * 1000000000 }}",
                "{{ event.data.zero }}",
                "{{ [1] * 1000000000 }}",
                "{{ event.data.id | replace('', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') | replace('x', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy') | replace('y', 'zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz') }}",
            ],
            expect![[r#"
                {{ event.data.missing }}  →  command[0]: "{{ event.data.missing }}" does not render: it names something that is not there; write for example {{ event.data.id | default("none") }}
                {{ event.dta.id }}  →  command[0]: "{{ event.dta.id }}" does not render: it names something that is not there; write for example {{ event.data.id | default("none") }}
                {{ nothing }}  →  command[0]: "{{ nothing }}" does not render: it names something that is not there; write for example {{ event.data.id | default("none") }}
                {{ event.data.id  →  command[0]: "{{ event.data.id" does not render: unexpected end of input, expected end of variable block; write for example {{ event.data.id }}; braces that are meant as such: {{ "{{" }}
                {{ event.data.id | shell }}  →  command[0]: "{{ event.data.id | shell }}" does not render: filter shell is unknown; write for example {{ event.data.id }}; braces that are meant as such: {{ "{{" }}
                {{ range(1000000) }}  →  command[0]: "{{ range(1000000) }}" does not render: range is unknown; write for example {{ event.data.id }}; braces that are meant as such: {{ "{{" }}
                {{ 'x' * 200000 }}  →  command[0]: it has 1 of * and 0 of ~ and +, allowed are 0 and 32; let the command do the work
                {{ '}}' * 1000000000 }}  →  command[0]: it has 1 of * and 0 of ~ and +, allowed are 0 and 32; let the command do the work
                {{ event.data.zero }}  →  command[0]: "{{ event.data.zero }}" does not render: the text holds a zero byte, which no process takes; let the command read large data from $ORRERY_EVENT_FILE
                {{ [1] * 1000000000 }}  →  command[0]: it has 1 of * and 0 of ~ and +, allowed are 0 and 32; let the command do the work
                {{ event.data.id | replace('', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') | replace('x', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy') | replace('y', 'zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz') }}  →  command[0]: "{{ event.data.id | replace('', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') | replace('x', 'yyyyyyyyyyyyy" does not render: it would have more than 131071 bytes; let the command read large data from $ORRERY_EVENT_FILE"#]],
        );
        let growth = ["x | tojson".to_owned() + &" | tojson".repeat(40), "event.data.id".to_owned() + &" ~ event.data.id".repeat(40)];
        for expression in growth {
            assert!(said(&format!("{{{{ {} }}}}", expression.replace("x |", "'\"' |"))).starts_with("command[0]"), "{expression}");
        }
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(5_000), ")".repeat(5_000));
        assert!(super::check("command[1]", &deep).is_err());
    }
}
