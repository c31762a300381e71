//! The system calls that need `unsafe`: posix_spawn, waitid and wait4 with resource usage, and the change of user before an exec.
//!
//! posix_spawn shares the parent's memory until the exec, so that its price does not grow with the parent's heap, and it reports
//! a failed exec to the caller. Nothing outside this file and [`contained`] is unsafe.
#![expect(unsafe_code, reason = "posix_spawn, waitid, wait4, initgroups and execve have no safe binding")]

mod contained;

pub(super) use contained::Entrance;

use rustix::process::Pid;
use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

/// Starts processes: each in its own session, no signal blocked or ignored, standard input `/dev/null`.
pub(super) struct Spawner {
    attributes: libc::posix_spawnattr_t,
}

/// What one process gets.
pub(super) struct Program<'a> {
    pub(super) path: &'a CStr,
    pub(super) argv: &'a [CString],
    pub(super) env: &'a [CString],
    pub(super) cwd: &'a CStr,
    /// Standard input, output and error.
    pub(super) stdio: [BorrowedFd<'a>; 3],
    /// Become files 3 and 4, if given.
    pub(super) inherited: Option<[BorrowedFd<'a>; 2]>,
    /// Its cgroup, if it gets one of its own.
    pub(super) entrance: Option<Entrance<'a>>,
}

impl Spawner {
    pub(super) fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        let flags = libc::POSIX_SPAWN_SETSID | libc::POSIX_SPAWN_SETSIGMASK as libc::c_short | libc::POSIX_SPAWN_SETSIGDEF as libc::c_short;
        // SAFETY: `posix_spawnattr_init` initialises `attributes` before the other calls read it; the signal sets are initialised
        // by `sigemptyset` and `sigfillset`, and are copied, not kept.
        unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            let mut set = MaybeUninit::uninit();
            libc::sigemptyset(set.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(attributes.as_mut_ptr(), set.as_ptr()))?;
            libc::sigfillset(set.as_mut_ptr());
            check(libc::posix_spawnattr_setsigdefault(attributes.as_mut_ptr(), set.as_ptr()))?;
            check(libc::posix_spawnattr_setflags(attributes.as_mut_ptr(), flags))?;
            Ok(Self { attributes: attributes.assume_init() })
        }
    }

    /// Starts it; the error is that of the exec, if that failed.
    pub(super) fn spawn(&self, program: &Program<'_>) -> io::Result<Pid> {
        if let Some(entrance) = program.entrance {
            return contained::spawn(program, entrance).map(|pid| Pid::from_raw(pid).expect("a child's process id is positive"));
        }
        let actions = Actions::new(program)?;
        let (argv, env) = (pointers(program.argv), pointers(program.env));
        let mut pid = 0;
        // SAFETY: path, argv and env are NUL-terminated strings in null-terminated arrays that live until the call returns, and
        // the kernel only reads them; actions and attributes are initialised.
        let result = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                program.path.as_ptr(),
                &raw const actions.0,
                &raw const self.attributes,
                argv.as_ptr(),
                env.as_ptr(),
            )
        };
        check(result)?;
        Ok(Pid::from_raw(pid).expect("posix_spawn gives a positive process id"))
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // SAFETY: the attributes were initialised by `new` and are not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.attributes) };
    }
}

/// The file actions of one spawn.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new(program: &Program<'_>) -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initialises `actions`; on failure it is never read.
        let mut this = unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            Self(actions.assume_init())
        };
        for (target, source) in program.stdio.iter().chain(program.inherited.iter().flatten()).enumerate() {
            this.dup(source.as_raw_fd(), RawFd::try_from(target).expect("at most 5 files"))?;
        }
        // SAFETY: `actions` is initialised and the path is copied by the call.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(&raw mut this.0, program.cwd.as_ptr()) })?;
        Ok(this)
    }

    /// Sources are above 4 (the supervisor's own files come first) or equal to their target, so that no action overwrites the source of a later one.
    fn dup(&mut self, source: RawFd, target: RawFd) -> io::Result<()> {
        // SAFETY: `self.0` is initialised.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, source, target) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exit {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    /// Of the child and what it waited for, milliseconds.
    pub(super) cpu_ms: i64,
    /// Largest resident set, bytes.
    pub(super) peak_memory: i64,
}

/// A child that has ended and is not reaped yet: its number cannot be anybody else's.
pub(super) fn ended_child() -> Option<i32> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: waitid writes a siginfo_t, which is valid when all zero; si_pid is set for waitid's results and 0 where nothing waits.
    let pid = unsafe {
        let result = libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), libc::WEXITED | libc::WNOHANG | libc::WNOWAIT);
        if result == 0 { info.assume_init().si_pid() } else { 0 }
    };
    (pid > 0).then_some(pid)
}

/// Reaps this child; none if it is not there.
pub(super) fn reap(pid: i32) -> Option<Exit> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: wait4 writes the status and a rusage, which is valid when all zero.
    let (result, usage) = unsafe { (libc::wait4(pid, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()), usage.assume_init()) };
    let micros = |t: libc::timeval| t.tv_sec * 1_000_000 + t.tv_usec;
    (result == pid).then(|| Exit {
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        cpu_ms: (micros(usage.ru_utime) + micros(usage.ru_stime)) / 1000,
        peak_memory: usage.ru_maxrss * 1024,
    })
}

/// A user of this machine.
pub(super) struct User {
    pub(super) name: CString,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Looks a user up, by name.
pub(super) fn user(name: &str) -> io::Result<Option<User>> {
    /// Room for one line of the user database; NSS asks for more than 16 KiB only for absurd entries.
    const LINE_MAX: usize = 64 << 10;
    let name = CString::new(name)?;
    let mut entry = MaybeUninit::<libc::passwd>::uninit();
    let mut line = vec![0; LINE_MAX];
    let mut found = ptr::null_mut();
    // SAFETY: all pointers are valid for the call; `entry` is read only if `found` says that it was written.
    unsafe {
        check(libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), line.as_mut_ptr(), line.len(), &raw mut found))?;
        Ok(found.as_ref().map(|entry| User { name: name.clone(), uid: entry.pw_uid, gid: entry.pw_gid }))
    }
}

/// The name of a user of this machine; its number if it has none.
pub(super) fn user_name(uid: u32) -> String {
    const LINE_MAX: usize = 64 << 10;
    let mut entry = MaybeUninit::<libc::passwd>::uninit();
    let mut line = vec![0; LINE_MAX];
    let mut found: *mut libc::passwd = ptr::null_mut();
    // SAFETY: all pointers are valid for the call; the entry and its name, which lies in `line`, are read only if `found` says that they were
    // written.
    unsafe {
        libc::getpwuid_r(uid, entry.as_mut_ptr(), line.as_mut_ptr(), line.len(), &raw mut found);
        found.as_ref().map_or_else(|| uid.to_string(), |entry| CStr::from_ptr(entry.pw_name).to_string_lossy().into_owned())
    }
}

/// Becomes this user for good, with all its groups.
pub(super) fn become_user(user: &User) -> io::Result<()> {
    // SAFETY: the name is NUL-terminated; the calls change only the credentials of this single-threaded process.
    unsafe {
        check_errno(libc::initgroups(user.name.as_ptr(), user.gid))?;
        check_errno(libc::setgid(user.gid))?;
        check_errno(libc::setuid(user.uid))
    }
}

/// Files 3 and 4, inherited from the supervisor, end with the exec, which tells the supervisor that all went well.
pub(super) fn close_ours_at_exec() -> io::Result<()> {
    // SAFETY: the call changes a flag of a file, or fails.
    [3, 4].into_iter().try_for_each(|file| check_errno(unsafe { libc::fcntl(file, libc::F_SETFD, libc::FD_CLOEXEC) }))
}

/// Closes what whoever started us left open: a task must not get it, and somebody may wait for its end.
pub(super) fn close_inherited() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: called first of all in a process of ours, before anything here has opened a file. A kernel without the call (before
    // 5.9) refuses it, which leaves everything as it was.
    unsafe { libc::close_range(FIRST, libc::c_uint::MAX, 0) };
}

/// Replaces this process; returns only to say why it could not.
pub(super) fn execute(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: NUL-terminated strings in null-terminated arrays that live until the call returns, which it does only on failure.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr().cast(), env.as_ptr().cast()) };
    io::Error::last_os_error()
}

/// A null-terminated array of the strings.
fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    strings.iter().map(|s| s.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
}

/// posix_spawn's family and getpwnam_r return the error.
fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

/// The others leave it in errno.
fn check_errno(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
