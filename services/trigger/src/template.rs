//! Templates in a command's arguments: `{{ event.data.id }}`, each argument by itself, strict.
//!
//! A template sees `event` (`data`, `key`, `headers`, `topic`, `partition`, `offset`, `timestamp`, `ce`; only in runs that an
//! event fired), `run` (`id`, `attempt`, `cause`, `nominal`), `job`, and `args`, the arguments of a request. Times are RFC 3339
//! texts. Lists and maps are written as JSON, with fields in the order of their names. What is not there is an error, never an
//! empty text, and so is the key of a record that has none; `| default("…")` says otherwise.
//!
//! The parser is that of the crate `minijinja`; what it reads is lowered to the tree of [`crate::expr`] (`lower.rs`), and one
//! [`Budget`] pays for all arguments of a command. Only `{{ … }}` is taken: no statements, no includes, no functions, few filters.
//! A shell script is no template: data in a script is code that a stranger wrote. There the event is `$ORRERY_EVENT_FILE`.

mod lower;
mod scan;

use crate::event::{EventView, VARIABLES};
use crate::expr::eval::{Evaluator, Fault};
use crate::expr::json::Writer;
use crate::expr::{Budget, Value};
use lower::Refused;
use minijinja::machinery::parse;
use minijinja::syntax::SyntaxConfig;
use orrery_model::job::Problem;
use orrery_model::limits::ARGUMENT_BYTES;
use orrery_model::messages::EnvVar;
use orrery_model::time::Timestamp;
use std::cell::Cell;
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

/// What templates may name.
pub(crate) const ROOTS: [&str; 4] = ["event", "run", "job", "args"];

/// Longest template that is told in an error.
const SHOWN_CHARS: usize = 100;

/// Renders each argument of a command; the problem names the argument that does not render.
pub fn render(args: &[String], context: &TemplateContext<'_>, budget: &mut Budget) -> Result<Vec<String>, Problem> {
    if !args.iter().any(|arg| is_template(arg)) {
        return Ok(args.to_vec());
    }
    let seen = seen(context);
    let rendered = args
        .iter()
        .enumerate()
        .map(|(i, arg)| if is_template(arg) { render_one(&format!("command[{i}]"), arg, &seen, budget) } else { Ok(arg.clone()) });
    rendered.collect()
}

/// Checks one argument, without rendering it. A part that asks for nothing is evaluated: it would fail each time. One budget pays for
/// all arguments.
pub fn check(field: &str, argument: &str, budget: &mut Budget) -> Result<(), Problem> {
    if !is_template(argument) {
        return Ok(());
    }
    for part in compile(field, argument)? {
        let asks = Cell::new(false);
        let variables = |_| {
            asks.set(true);
            Value::Undefined
        };
        let found = Evaluator::new(&variables, budget).value(&part);
        found.map(drop).or_else(|fault| if asks.get() { Ok(()) } else { Err(fails(field, argument, &fault)) })?;
    }
    Ok(())
}

/// Refuses a script that is meant as a template.
pub fn check_shell(script: &str) -> Result<(), Problem> {
    let names_ours = |inside: &str| {
        let inside = inside.trim_start_matches(['-', ' ', '\t']);
        ROOTS.iter().any(|name| inside.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', ' ', '|', '}', '['])))
    };
    if script.split("{{").skip(1).any(names_ours) {
        let hint = "read the event with jq from \"$ORRERY_EVENT_FILE\", use $ORRERY_RUN and its like, or write a command";
        return Err(Problem::new("shell", "a script is no template: data in it would be run as code").hint(hint));
    }
    Ok(())
}

fn is_template(argument: &str) -> bool {
    argument.contains("{{")
}

fn compile(field: &str, argument: &str) -> Result<Vec<crate::expr::Node>, Problem> {
    static SYNTAX: LazyLock<SyntaxConfig> =
        LazyLock::new(|| SyntaxConfig::builder().keep_trailing_newline(true).build().expect("the default delimiters"));
    if argument.len() >= ARGUMENT_BYTES {
        let message = format!("it has {} bytes, allowed are {}", argument.len(), ARGUMENT_BYTES - 1);
        return Err(Problem::new(field, message).hint("put the script or the data into a file of its own"));
    }
    if ["{%", "{#"].iter().any(|open| argument.contains(open)) {
        let hint = "braces that are meant as such: {{ \"{\" }}%";
        return Err(Problem::new(field, "beside {{ … }}, neither {% nor {# is taken").hint(hint));
    }
    let depth = scan::depth(argument);
    if depth > scan::DEPTH_MAX {
        let why = format!("its operators are {depth} deep, allowed are {}", scan::DEPTH_MAX);
        return Err(problem(field, argument, &why, "let the command do the work"));
    }
    let lowered = match parse(argument, field, SYNTAX.clone()) {
        Ok(template) => lower::parts(&template),
        Err(error) => {
            let why = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            let hint = "write for example {{ event.data.id }}; braces that are meant as such: {{ \"{{\" }}".to_owned();
            Err(Refused { why, hint: Some(hint) })
        }
    };
    lowered.map_err(|Refused { why, hint }| {
        problem(field, argument, &why, &hint.unwrap_or_else(|| "write for example {{ event.data.id }}".to_owned()))
    })
}

fn render_one(field: &str, argument: &str, seen: &[Value; ROOTS.len()], budget: &mut Budget) -> Result<String, Problem> {
    let mut text = String::new();
    for part in compile(field, argument)? {
        let variables = |place: usize| seen[place].clone();
        let value = Evaluator::new(&variables, budget).value(&part).map_err(|fault| fails(field, argument, &fault))?;
        let mut out = Writer::new(budget);
        out.text(&value).map_err(|fault| fails(field, argument, &fault))?;
        if text.len() + out.text.len() >= ARGUMENT_BYTES {
            let why = format!("it would have more than {} bytes", ARGUMENT_BYTES - 1);
            return Err(problem(field, argument, &why, READ_THE_FILE));
        }
        text.push_str(&out.text);
    }
    if text.contains('\0') {
        return Err(problem(field, argument, "the text holds a zero byte, which no process takes", READ_THE_FILE));
    }
    Ok(text)
}

const READ_THE_FILE: &str = "let the command read large data from $ORRERY_EVENT_FILE";

fn fails(field: &str, argument: &str, fault: &Fault) -> Problem {
    let hint = match fault {
        Fault::NotThere(_) => "write for example {{ event.data.id | default(\"none\") }}",
        Fault::Failed(_) => "write for example {{ event.data.id }}",
        Fault::Exhausted(_) => READ_THE_FILE,
    };
    problem(field, argument, &fault.to_string(), hint)
}

fn problem(field: &str, template: &str, why: &str, hint: &str) -> Problem {
    let shown: String = template.chars().take(SHOWN_CHARS).collect();
    Problem::new(field, format!("{shown:?} does not render: {why}")).hint(hint)
}

/// The values of [`ROOTS`].
fn seen(context: &TemplateContext<'_>) -> [Value; ROOTS.len()] {
    let event = context.event.map_or(Value::Undefined, |view| {
        let of = |name: &str| match name {
            "timestamp" => Value::text(&view.event().appended.to_string()),
            _ => VARIABLES.iter().position(|known| *known == name).map_or(Value::Undefined, |place| view.value(place).clone()),
        };
        let is_there = |name: &&str| *name != "key" || view.event().key.is_some();
        Value::map(VARIABLES.into_iter().filter(is_there).map(|name| (name, of(name))))
    });
    let nominal = context.nominal.map(|time| ("nominal", Value::text(&time.to_string())));
    let run = [("id", Value::text(context.run)), ("attempt", Value::int(context.attempt.into())), ("cause", Value::text(context.cause))];
    let args = context.args.iter().map(|arg| (arg.name.as_str(), Value::text(&arg.value)));
    [event, Value::map(run.into_iter().chain(nominal)), Value::text(context.job), Value::map(args)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;
    use expect_test::{Expect, expect};

    fn said(template: &str) -> String {
        let event = event(
            r#"{"id": "o-1; rm -rf /", "n": 3, "large": -340282366920938463463374607431768211457, "x": 1.5, "list": [1, "a"], "map": {"b": 1, "a": null}, "none": null, "zero": "\u0000"}"#,
            &[("source", "<shop>")],
        );
        let view = EventView::new(&event);
        let args = [EnvVar { name: "day".into(), value: "monday".into() }];
        let nominal = Timestamp::parse("2026-11-21T02:00:00Z").ok();
        let context =
            TemplateContext { event: Some(&view), job: "default/a", run: "abc", attempt: 1, cause: "time:x", nominal, args: &args };
        match render(&[template.to_owned()], &context, &mut Budget::default()) {
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
                "{{ event.data.large }} {{ [event.data.large] }} {{ event.data.large < 0 }}",
                "{{ event.headers.source }} {{ event.key }} {{ event.topic }}/{{ event.partition }}/{{ event.offset }} {{ event.timestamp }}",
                "{{ run.id }}.{{ run.attempt }} {{ run.cause }} {{ run.nominal }} {{ job }} {{ args.day | upper }}",
                "{{ event.data.missing | default('none') }} {{ 'b' if event.data.n is defined else 'c' }}",
                "{{ event.data.missing.deeper[3] | default('none') }} {{ event.data.missing.deeper is defined }}",
                "{{ event.data.n / 2 }} {{ event.data.n // 2 }} {{ -event.data.n % 2 }} {{ 1 < event.data.n < 4 }} {{ not event.data.none }}",
                "{{ event.data.id[:3] }} {{ event.data.list[-1] }} {{ 'o-1' in event.data.id and 'yes' or 'no' }} {{ event.data.x | round }}",
                "{{ event.data.id | replace(';', ',') }}\n",
                "*** {{ '***' }} {{ '{{' }} {{ event.data.list | join('-') }} {{ event.data.list | length }}",
            ],
            expect![[r#"
                plain {% raw %}  →  "plain {% raw %}"
                --id={{ event.data.id }}  →  "--id=o-1; rm -rf /"
                {{ event.data.n + 1 }} {{ event.data.x }} {{ event.data.none }}  →  "4 1.5 null"
                {{ event.data.list }} {{ event.data.map }}  →  "[1, \"a\"] {\"a\": null, \"b\": 1}"
                {{ event.data.large }} {{ [event.data.large] }} {{ event.data.large < 0 }}  →  "-340282366920938463463374607431768211457 [-340282366920938463463374607431768211457] true"
                {{ event.headers.source }} {{ event.key }} {{ event.topic }}/{{ event.partition }}/{{ event.offset }} {{ event.timestamp }}  →  "<shop> customer-7 orders.paid/3/42 2026-11-21T02:00:00Z"
                {{ run.id }}.{{ run.attempt }} {{ run.cause }} {{ run.nominal }} {{ job }} {{ args.day | upper }}  →  "abc.1 time:x 2026-11-21T02:00:00Z default/a MONDAY"
                {{ event.data.missing | default('none') }} {{ 'b' if event.data.n is defined else 'c' }}  →  "none b"
                {{ event.data.missing.deeper[3] | default('none') }} {{ event.data.missing.deeper is defined }}  →  "none false"
                {{ event.data.n / 2 }} {{ event.data.n // 2 }} {{ -event.data.n % 2 }} {{ 1 < event.data.n < 4 }} {{ not event.data.none }}  →  "1.5 1 1 true true"
                {{ event.data.id[:3] }} {{ event.data.list[-1] }} {{ 'o-1' in event.data.id and 'yes' or 'no' }} {{ event.data.x | round }}  →  "o-1 a yes 2.0"
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
                {{ event.data.missing }}  →  command[0]: "{{ event.data.missing }}" does not render: there is no event.data.missing; write for example {{ event.data.id | default("none") }}
                {{ event.dta.id }}  →  command[0]: "{{ event.dta.id }}" does not render: there is no event.dta; write for example {{ event.data.id | default("none") }}
                {{ nothing }}  →  command[0]: "{{ nothing }}" does not render: there is no nothing; known are event, run, job, args; fields of the event are event.data.nothing
                {{ event.data.id  →  command[0]: "{{ event.data.id" does not render: unexpected end of input, expected end of variable block; write for example {{ event.data.id }}; braces that are meant as such: {{ "{{" }}
                {{ event.data.id | shell }}  →  command[0]: "{{ event.data.id | shell }}" does not render: there is no filter shell; known are default, first, float, int, join, last, length, lower, replace, round, tojson, trim, upper
                {{ range(1000000) }}  →  command[0]: "{{ range(1000000) }}" does not render: there are no functions, only filters: event.data.id | upper; write for example {{ event.data.id }}
                {{ 'x' * 200000 }}  →  command[0]: "{{ 'x' * 200000 }}" does not render: the operator * does not take a text and a number; write for example {{ event.data.id }}
                {{ '}}' * 1000000000 }}  →  command[0]: "{{ '}}' * 1000000000 }}" does not render: the operator * does not take a text and a number; write for example {{ event.data.id }}
                {{ event.data.zero }}  →  command[0]: "{{ event.data.zero }}" does not render: the text holds a zero byte, which no process takes; let the command read large data from $ORRERY_EVENT_FILE
                {{ [1] * 1000000000 }}  →  command[0]: "{{ [1] * 1000000000 }}" does not render: the operator * does not take a list and a number; write for example {{ event.data.id }}
                {{ event.data.id | replace('', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') | replace('x', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy') | replace('y', 'zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz') }}  →  command[0]: "{{ event.data.id | replace('', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') | replace('x', 'yyyyyyyyyyyyy" does not render: it would have more than 131071 bytes; let the command read large data from $ORRERY_EVENT_FILE"#]],
        );
        let doubling = format!("{{{{ '\"' {} }}}}", "| tojson ".repeat(40));
        assert!(said(&doubling).contains("it makes more than 8 MiB"), "{}", said(&doubling));
        let long = said(&format!("{{{{ [{}] | join }}}}", vec!["event.data"; 8_000].join(", ")));
        assert!(long.contains("more than 131071 bytes"), "{}", long.len());
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(5_000), ")".repeat(5_000));
        assert!(super::check("command[1]", &deep, &mut Budget::default()).is_err());
    }
}
