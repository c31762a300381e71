//! `orrery run logs`: what is there, by position, with a word about what is not.

use super::client::{Client, query};
use anyhow::Result;
use std::io::{self, Write as _};

/// The two outputs of an attempt.
const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// Output of one attempt.
pub(super) struct Logs<'c> {
    pub(super) client: &'c Client,
    /// The run's own path.
    pub(super) run: String,
    pub(super) attempt: Option<String>,
    pub(super) stderr: bool,
}

impl Logs<'_> {
    /// Prints what is there; with `follow` until the run has ended.
    pub(super) fn print(&self, follow: bool) -> Result<()> {
        let printed = if follow { self.follow()? } else { self.copy()? };
        let (asked, other) = (STREAMS[usize::from(self.stderr)], STREAMS[usize::from(!self.stderr)]);
        if printed == 0 {
            let there = self.client.output(&self.path(other, "&from=0&limit=0"))?.end;
            if there > 0 {
                let option = if self.stderr { "without --stderr" } else { "with --stderr" };
                tell(&format!("there is nothing in {asked}, but {there} bytes in {other}: read it {option}"));
            }
        }
        Ok(())
    }

    /// Piece by piece. What is written while it is read is printed too, up to the first piece that ends the output.
    fn copy(&self) -> Result<u64> {
        let (mut out, mut from, mut printed) = (io::stdout().lock(), 0, 0);
        loop {
            let mut piece = self.client.output(&self.path(STREAMS[usize::from(self.stderr)], &format!("&from={from}")))?;
            self.tell_gone(from, piece.from);
            let copied = io::copy(&mut piece.body, &mut out)?;
            printed += copied;
            from = piece.from.saturating_add(copied);
            if copied == 0 || from >= piece.end {
                out.flush()?;
                return Ok(printed);
            }
        }
    }

    fn follow(&self) -> Result<u64> {
        let stream = STREAMS[usize::from(self.stderr)];
        self.tell_gone(0, self.client.output(&self.path(stream, "&from=0&limit=0"))?.from);
        Ok(io::copy(&mut self.client.stream(&self.path(stream, "&follow=true"), "text/plain")?, &mut io::stdout().lock())?)
    }

    fn path(&self, stream: &str, more: &str) -> String {
        format!("{}/logs{}{more}", self.run, query(&[("stream", Some(stream.to_owned())), ("attempt", self.attempt.clone())]))
    }

    fn tell_gone(&self, asked: u64, from: u64) {
        if from > asked {
            let stream = STREAMS[usize::from(self.stderr)];
            tell(&format!("{} bytes of {stream} are gone here, from byte {asked} on: the newest 30 MiB are kept", from - asked));
        }
    }
}

/// Beside the output, not in it.
fn tell(text: &str) {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(io::stderr(), "orrery: {text}");
}
