//! `orrery event`.

use super::client::{encoded, query};
use super::output::text;
use super::{Context, Format, output};
use anyhow::{Context as _, Result};
use clap::Subcommand;
use std::io::Read;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum Event {
    /// Append an event to a topic of yours
    Send {
        topic: String,
        /// The record's key
        #[arg(long)]
        key: Option<String>,
        /// A header: ce-type=…, content-type=…, idempotency-key=…
        #[arg(long)]
        header: Vec<String>,
        /// The event itself; @FILE reads a file, - standard input
        #[arg(long, default_value = "{}")]
        data: String,
    },
}

impl Event {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        let Self::Send { topic, key, header, data } = self;
        let bytes = match data.as_str() {
            "-" => {
                let mut bytes = Vec::new();
                std::io::stdin().read_to_end(&mut bytes)?;
                bytes
            }
            data => match data.strip_prefix('@') {
                Some(file) => std::fs::read(file).with_context(|| format!("--data: {file} cannot be read"))?,
                None => data.as_bytes().to_vec(),
            },
        };
        let pairs = header.iter().map(|pair| {
            let (name, value) = pair.split_once('=').with_context(|| format!("--header {pair:?} is not name=value"))?;
            Ok((name.to_owned(), value.to_owned()))
        });
        let mut headers = pairs.collect::<Result<Vec<_>>>()?;
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            headers.push(("content-type".into(), "application/json".into()));
        }
        let path = format!("/api/v1/events/{}{}", encoded(&topic), query(&[("key", key)]));
        let answer = context.client()?.post_bytes(&path, &bytes, &headers)?;
        match context.format {
            Format::Table | Format::Wide | Format::Name => {
                println!("{}/{}/{}", text(&answer["topic"]), text(&answer["partition"]), text(&answer["offset"]));
            }
            format => output::document(format, &answer),
        }
        Ok(ExitCode::SUCCESS)
    }
}
