//! Crashes: SIGKILL at any moment, a torn write-ahead log, a full disk. What was acknowledged is there; a commit is whole or absent.
//!
//! The crashing process is this test binary again, told by [`CHILD`] to run one of the `child_…` tests, which do nothing else.

use crate::{copy, keyed, newest_wal, read_all, texts};
use orrery_log::embedded::{EmbeddedLog, EmbeddedOptions};
use orrery_log::{Commit, Log, LogError, TopicPartition};
use orrery_model::record::NewRecord;
use orrery_model::topics::Cleanup;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Lines, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Names the folder for a child.
const CHILD: &str = "ORRERY_LOG_TEST_CHILD";
const THREADS: u32 = 3;

/// One commit: four records in three partitions of two topics, all with the commit's name.
fn whole(name: &str) -> Vec<NewRecord> {
    let padding = "x".repeat(name.len() * 37 % 500);
    [("a", 0), ("b", 0), ("a", 1), ("a", 0)].map(|(topic, partition)| keyed(topic, partition, name, Some(&padding))).into()
}

fn open(folder: &Path) -> std::sync::Arc<EmbeddedLog> {
    prepared(EmbeddedLog::open(folder).unwrap())
}

fn prepared(log: std::sync::Arc<EmbeddedLog>) -> std::sync::Arc<EmbeddedLog> {
    log.ensure_topic("a", 2, Cleanup::Forever).unwrap();
    log.ensure_topic("b", 1, Cleanup::Forever).unwrap();
    log
}

/// Names of the commits in the log, in order, having checked that each is whole and that all partitions agree on the order.
fn commits(log: &dyn Log) -> Vec<String> {
    let keys = |topic, partition| -> Vec<String> {
        texts(&read_all(log, topic, partition)).into_iter().map(|t| t.split('=').next().unwrap().to_owned()).collect()
    };
    let names = keys("b", 0);
    assert_eq!(keys("a", 1), names, "a commit is half there");
    assert_eq!(keys("a", 0), names.iter().flat_map(|n| [n.clone(), n.clone()]).collect::<Vec<_>>(), "a commit is half there");
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a commit is there twice");
    names
}

#[expect(clippy::disallowed_methods, reason = "the folder for a child process of a test comes in its environment")]
fn told() -> Option<PathBuf> {
    std::env::var(CHILD).ok().map(PathBuf::from)
}

/// Starts this binary again for one test, with limits set by a shell.
fn child(test: &str, folder: &Path, limits: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limits} exec \"$0\" \"$@\"")]).arg(this).args([test, "--exact", "--nocapture"]);
    let mut child = command.env(CHILD, folder).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// Commits until it is killed, saying each commit's name once it is acknowledged.
#[test]
fn child_commits_until_killed() {
    let Some(folder) = told() else { return };
    let log = open(&folder);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                let mut writer = log.fence(&format!("w{thread}")).unwrap();
                for n in 0.. {
                    let name = format!("{}/{thread}/{n}", std::process::id());
                    assert!(matches!(writer.commit(whole(&name)).unwrap(), Commit::Committed(_)));
                    writeln!(std::io::stdout(), "ack {name}").unwrap();
                }
            });
        }
    });
}

#[test]
fn what_was_acknowledged_survives_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    // Many short rounds over the same folder: each also recovers from the crash before.
    for round in 0..8_usize {
        let (mut child, mut lines) = child("crash::child_commits_until_killed", folder.path(), "");
        let acks = |line: std::io::Result<String>| line.unwrap().strip_prefix("ack ").map(str::to_owned);
        acknowledged.extend(lines.by_ref().filter_map(acks).take(1 + round * 53));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines.filter_map(acks));
        let there: BTreeSet<String> = commits(&*open(folder.path())).into_iter().collect();
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
        let unsaid = there.difference(&acknowledged).count();
        // Per thread one commit may be under way, and one committed but not said.
        assert!(unsaid <= (round + 1) * THREADS as usize * 2, "{unsaid} commits came from nowhere");
    }
}

/// Writes commits, and the length of the write-ahead log behind each.
fn written(folder: &Path, commits: usize) -> Vec<(String, u64)> {
    let log = open(folder);
    let mut written = Vec::new();
    for n in 0..commits {
        let name = format!("{n:04}");
        log.append(whole(&name)).unwrap();
        written.push((name, std::fs::metadata(newest_wal(folder)).unwrap().len()));
    }
    written
}

/// Damages the newest write-ahead log from `from` on: what was acknowledged is missing, so it opens only for who asks to salvage it.
/// Then exactly the commits before are there, whole, and the log goes on from there.
fn check_tail(original: &Path, written: &[(String, u64)], from: u64, damage: &dyn Fn(&mut std::fs::File, u64)) {
    let copied = tempfile::tempdir().unwrap();
    copy(original, copied.path());
    let mut file = OpenOptions::new().read(true).write(true).open(newest_wal(copied.path())).unwrap();
    damage(&mut file, from);
    drop(file);
    let wanted: Vec<String> = written.iter().filter(|(_, length)| *length <= from).map(|(name, _)| name.clone()).collect();
    let refused = EmbeddedLog::open(copied.path()).err();
    assert!(matches!(refused, Some(LogError::Damaged { .. })), "damage at {from}: {refused:?}");
    for reopened in 0..3 {
        let options = EmbeddedOptions { salvage: reopened == 0, ..EmbeddedOptions::default() };
        let log = prepared(EmbeddedLog::open_with(copied.path(), options).unwrap());
        let mut there = commits(&*log);
        assert_eq!(there.split_off(wanted.len()).len(), reopened, "damage at {from}, reopened {reopened} times");
        assert_eq!(there, wanted, "damage at {from}");
        log.append(whole(&format!("more-{reopened}"))).unwrap();
    }
}

#[test]
fn a_torn_tail_is_told_and_costs_nothing_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let written = written(folder.path(), 120);
    let length = written.last().unwrap().1;
    let truncate = |file: &mut std::fs::File, from| file.set_len(from).unwrap();
    let flip = |file: &mut std::fs::File, from| {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(from)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
        file.seek(SeekFrom::Start(from)).unwrap();
        file.write_all(&bytes).unwrap();
    };
    let zero = |file: &mut std::fs::File, from| {
        let length = file.metadata().unwrap().len();
        file.set_len(from).and_then(|()| file.set_len(length)).unwrap();
    };
    // Within the last commit at many places, then within and between earlier ones, also over a block's border (32 KiB).
    let cuts = (1..40).map(|n| length - n * n).chain([length - 3_000, length / 2, 32 << 10, (32 << 10) - 3, (32 << 10) + 5]);
    for from in cuts.filter(|from| *from > written[0].1 && *from < length) {
        check_tail(folder.path(), &written, from, &truncate);
        check_tail(folder.path(), &written, from, &flip);
        check_tail(folder.path(), &written, from, &zero);
    }
}

/// Fills its disk, which a limit on file sizes stands for; says what it was told.
#[test]
fn child_fills_the_disk() {
    let Some(folder) = told() else { return };
    let log = open(&folder);
    let (bell, at) = (log.bell(&["a"]), TopicPartition::new("a", 0));
    let mut writer = log.fence("w").unwrap();
    let why = (0..100_000).find_map(|n| {
        let name = format!("{n}");
        match writer.commit(whole(&name)) {
            Ok(answer) => assert!(matches!(answer, Commit::Committed(_))),
            Err(LogError::Poisoned { why }) => return Some(why),
            Err(other) => panic!("{other}"),
        }
        bell.wait(Duration::ZERO);
        writeln!(std::io::stdout(), "ack {name}").unwrap();
        None
    });
    let why = why.expect("the limit was reached");
    assert!(bell.wait(Duration::ZERO), "who waits for records was not woken");
    let later = [
        writer.commit(whole("later")).err(),
        writer.commit(Vec::new()).err(),
        log.append(whole("later")).err(),
        log.fence("other").err(),
        log.ensure_topic("c", 1, Cleanup::Forever).err(),
        log.delete_topic("a").err(),
        log.read(&at, 0, 1).err(),
        log.end_offset(&at).err(),
        log.topics().err(),
        log.clean(orrery_log::clock::wall()).err(),
    ];
    for answer in later {
        assert!(matches!(&answer, Some(LogError::Poisoned { why: again }) if *again == why), "{answer:?}");
    }
    writeln!(std::io::stdout(), "poisoned {why}").unwrap();
}

#[test]
fn a_full_disk_poisons_the_log_and_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // 2,000 blocks of 512 bytes (or of 1 KiB, where the shell counts so), and an error from write instead of a signal.
    let (mut child, lines) = child("crash::child_fills_the_disk", folder.path(), "trap '' XFSZ; ulimit -f 2000;");
    let lines: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{lines:?}");
    let why = lines.iter().find_map(|line| line.strip_prefix("poisoned ")).unwrap();
    assert!(why.contains("File too large"), "{why}");
    let acknowledged: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("ack ")).collect();
    let there = commits(&*open(folder.path()));
    assert!(acknowledged.len() > 100);
    assert_eq!(there[..acknowledged.len()], acknowledged);
    assert!(there.len() <= acknowledged.len() + 1, "commits after the failed one are there");
}
