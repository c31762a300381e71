//! `orrery audit verify`, `anchor` and `key`.

use super::open;
use crate::cli::output;
use crate::cli::{Context, Format, SERVICES, exit};
use crate::standalone::draw_bytes;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use orrery_audit::anchors::{Anchor, PublicKey, SigningKey, read_anchors};
use orrery_audit::auditor::Signing;
use orrery_audit::verify::verified;
use orrery_audit::{Begin, Report, journals, verify_all};
use orrery_log::clock;
use orrery_runtime::messages::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub(crate) struct Verify {
    /// Only this service
    #[arg(long, value_parser = SERVICES)]
    service: Option<String>,
    /// From the newest snapshot at or before this entry of each shard on, or from the last one: a number, or latest-snapshot
    #[arg(long, value_name = "SEQ", value_parser = entry_number, default_value = "0")]
    from: i64,
    /// Entries that were signed must stand as they were: a file that `audit anchor` or the auditor wrote; may be repeated
    #[arg(long, value_name = "FILE", requires = "trust")]
    anchors: Vec<PathBuf>,
    /// Public key that anchors must be signed with: a file, or its 64 digits; may be repeated
    #[arg(long, value_name = "KEY", requires = "anchors")]
    trust: Vec<String>,
}

impl Verify {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode> {
        let anchors = anchors(&self.anchors, &self.trust)?;
        let (log, cluster) = open(context)?;
        check_that_they_are_ours(&anchors, &cluster)?;
        let began = clock::monotonic();
        let reports = verify_all(&log, &cluster, self.service.as_deref(), &Begin { seq: self.from, anchors })?;
        show(context, &reports, began.elapsed().as_secs_f64())
    }
}

#[derive(Args)]
pub(crate) struct SignAnchors {
    /// Key to sign with, as `audit key` made it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File that the anchors are appended to; keep it where who can write the log cannot
    #[arg(long, value_name = "FILE")]
    anchors: PathBuf,
}

impl SignAnchors {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode> {
        let key = read_key(&self.key)?;
        let begin = Begin { seq: 0, anchors: earlier(&self.anchors, &key)? };
        let signing = Signing { key, file: self.anchors };
        let (log, cluster) = open(context)?;
        let began = clock::monotonic();
        let all = verified(&log, &cluster, None, &begin)?;
        for anchor in all.iter().filter_map(|verifier| verifier.sign(&signing.key)) {
            signing.keep(&anchor).with_context(|| format!("--anchors {} cannot be written", signing.file.display()))?;
        }
        let reports: Vec<Report> = all.iter().map(|verifier| verifier.report().clone()).collect();
        show(context, &reports, began.elapsed().as_secs_f64())
    }
}

/// Writes a new key, for nobody else, and its public half.
pub(super) fn make_key(file: &Path) -> Result<ExitCode> {
    let key = SigningKey::from_seed(&draw_bytes());
    let public = file.with_added_extension("pub");
    for (path, text, mode) in [(file, key.secret(), 0o600), (&public, key.public().to_string(), 0o644)] {
        let made = fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(path);
        let mut made = made.with_context(|| format!("{} cannot be made; a key is never overwritten", path.display()))?;
        writeln!(made, "{text}")?;
        made.sync_all()?;
    }
    println!("{}", key.public());
    Ok(ExitCode::SUCCESS)
}

/// A key that signs.
pub(crate) fn read_key(file: &Path) -> Result<SigningKey> {
    let text =
        fs::read_to_string(file).with_context(|| format!("the key {} cannot be read; `orrery audit key` makes one", file.display()))?;
    SigningKey::parse(&text).map_err(|why| anyhow::anyhow!("the key {}: {why}", file.display()))
}

/// What was signed before in this file, by the same key.
pub(crate) fn earlier(file: &Path, key: &SigningKey) -> Result<Vec<Anchor>> {
    if file.exists() { anchors(&[file.to_owned()], &[key.public().to_string()]) } else { Ok(Vec::new()) }
}

fn anchors(files: &[PathBuf], trust: &[String]) -> Result<Vec<Anchor>> {
    let trusted = trust.iter().map(|key| public_key(key)).collect::<Result<BTreeSet<PublicKey>>>()?;
    let mut all = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).with_context(|| format!("--anchors {} cannot be read", file.display()))?;
        all.extend(read_anchors(&text, &trusted).map_err(|why| anyhow::anyhow!("--anchors {}: {why}", file.display()))?);
    }
    Ok(all)
}

/// An anchor of a journal that is not here would be compared with nothing.
fn check_that_they_are_ours(anchors: &[Anchor], cluster: &Cluster) -> Result<()> {
    let journals = journals(cluster, None);
    let is_ours = |anchor: &Anchor| anchor.prefix == cluster.prefix && journals.contains(&(anchor.service.as_str(), anchor.shard));
    match anchors.iter().find(|anchor| !is_ours(anchor)) {
        Some(Anchor { prefix, service, shard, .. }) => {
            bail!(
                "--anchors: there is one of {prefix}{service}.journal/{shard}, which is not here; the log is another one, or a part of it is gone"
            )
        }
        None => Ok(()),
    }
}

/// A file with a key, or the key itself.
fn public_key(text: &str) -> Result<PublicKey> {
    let read = fs::read_to_string(text);
    match PublicKey::parse(read.as_deref().unwrap_or(text)) {
        Ok(key) => Ok(key),
        Err(why) => bail!("--trust {text}: {why}; name the .pub file that `orrery audit key` made"),
    }
}

/// A snapshot at or before every entry is the last one.
fn entry_number(text: &str) -> Result<i64, String> {
    if text == "latest-snapshot" {
        return Ok(i64::MAX);
    }
    text.parse().map_err(|_| format!("{text:?} is neither the number of an entry nor latest-snapshot"))
}

fn show(context: &Context, reports: &[Report], seconds: f64) -> Result<ExitCode> {
    let entries: i64 = reports.iter().map(|report| report.entries).sum();
    let divergences = reports.iter().filter(|report| report.divergence.is_some()).count();
    let summary = json!({
        "entries": entries, "seconds": seconds, "entries_per_s": entries as f64 / seconds.max(1e-9),
        "divergences": divergences, "journals": reports,
    });
    match context.format {
        Format::Table | Format::Wide | Format::Name => tell(reports, &summary),
        format => output::document(format, &summary),
    }
    Ok(if divergences == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::ERROR) })
}

fn tell(reports: &[Report], summary: &Value) {
    for report in reports {
        println!(
            "{}/{}: {} entries, {} decisions; state hash {}",
            report.service, report.shard, report.entries, report.decisions, report.state_hash
        );
        if report.after > 0 {
            println!("  from the snapshot at entry {} on", report.after);
        }
        if report.snapshots > 0 {
            println!("  {} snapshots agree", report.snapshots);
        }
        if report.anchors > 0 {
            println!("  {} anchored entries stand as they were signed", report.anchors);
        }
        if report.anchors_before > 0 {
            println!("  {} anchors lie before that snapshot: not compared", report.anchors_before);
        }
        for stretch in &report.unverified {
            println!(
                "  entries {} to {} are of logic version {} (time zones {}), which this binary does not have: applied, not verified",
                stretch.from_seq, stretch.to_seq, stretch.logic_version, stretch.tz_version
            );
        }
        if let Some(divergence) = &report.divergence {
            println!("  DIVERGENCE at {} (entry {}): {}", divergence.place, divergence.seq, divergence.what);
            println!("  recorded: {}\n  derived:  {}", divergence.recorded, divergence.derived);
        }
    }
    let rate = summary["entries_per_s"].as_f64().unwrap_or_default();
    println!(
        "{} entries in {:.2} s ({rate:.0}/s), {} divergences",
        summary["entries"],
        summary["seconds"].as_f64().unwrap_or_default(),
        summary["divergences"]
    );
}
