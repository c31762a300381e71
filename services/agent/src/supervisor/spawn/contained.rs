//! A process that is in its cgroup from its first instruction on.
//!
//! glibc's posix_spawn takes a cgroup from 2.39 on only, and a process that is moved into one waits for milliseconds. So this is
//! posix_spawn once more, by clone3: the child has the parent's memory and a stack of its own, the parent waits until the exec.
#![expect(unsafe_code, reason = "clone3 with shared memory has no safe binding, and its child begins on another stack")]

use super::{Program, pointers};
use std::ffi::{c_char, c_int, c_long};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

/// The child's stack: its few calls take some hundred bytes each.
const STACK_BYTES: usize = 64 << 10;
/// Highest number of a signal.
const SIGNAL_MAX: c_int = 64;
/// Exit code of a child whose exec failed, which nobody sees: the parent reaps it.
const NOT_STARTED: c_int = 127;

/// How a process comes into a cgroup.
#[derive(Debug, Clone, Copy)]
pub(in crate::supervisor) enum Entrance<'a> {
    /// Made in it: its open folder, of version 2.
    Folder(BorrowedFd<'a>),
    /// It goes there before its exec: the open list of its processes, of version 1.
    List(BorrowedFd<'a>),
}

/// All that the child needs, in memory that it shares with the waiting parent.
struct Plan {
    path: *const c_char,
    argv: *const *mut c_char,
    env: *const *mut c_char,
    cwd: *const c_char,
    files: [RawFd; 5],
    files_count: usize,
    /// Of version 1; none is below 0.
    list: RawFd,
    /// Why there was no exec.
    errno: c_int,
}

/// Starts it there; the error is that of the clone or of what came before the exec.
pub(super) fn spawn(program: &Program<'_>, entrance: Entrance<'_>) -> io::Result<i32> {
    let (argv, env) = (pointers(program.argv), pointers(program.env));
    let mut files = [-1; 5];
    let given = program.stdio.iter().chain(program.inherited.iter().flatten());
    let files_count = given.zip(&mut files).map(|(file, place)| *place = file.as_raw_fd()).count();
    let list = if let Entrance::List(list) = entrance { list.as_raw_fd() } else { -1 };
    let (path, cwd) = (program.path.as_ptr(), program.cwd.as_ptr());
    let mut plan = Plan { path, argv: argv.as_ptr(), env: env.as_ptr(), cwd, files, files_count, list, errno: 0 };
    let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
    // SAFETY: all zero, the arguments ask for nothing.
    let mut args: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    let shared = libc::CLONE_VM | libc::CLONE_VFORK;
    args.flags = u64::from(shared.unsigned_abs()) | CLONE_CLEAR_SIGHAND;
    args.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    (args.stack, args.stack_size) = (stack.as_mut_ptr() as u64, STACK_BYTES as u64);
    if let Entrance::Folder(folder) = entrance {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(folder.as_raw_fd().unsigned_abs());
    }
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: plan, what it points to, and the stack live until the clone returns, which is after the child's exec or end. Until
    // then no handler runs in the child, as all signals are blocked in this thread and cleared there. The mask is restored.
    let result = unsafe {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), mask.as_mut_ptr());
        let result = clone3(&args, become_program, &raw mut plan);
        libc::pthread_sigmask(libc::SIG_SETMASK, mask.as_ptr(), std::ptr::null_mut());
        result
    };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::ENOSYS)));
    }
    let pid = i32::try_from(result).expect("a process id fits");
    // SAFETY: the child wrote it through the pointer, before the clone returned.
    match unsafe { (&raw const plan.errno).read_volatile() } {
        0 => Ok(pid),
        errno => {
            // SAFETY: our own child, which has ended.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
            Err(io::Error::from_raw_os_error(errno))
        }
    }
}

const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The child, on its own stack: nothing here may allocate, lock or panic.
extern "C" fn become_program(plan: *mut Plan) -> ! {
    // SAFETY: the parent waits and keeps everything that the plan points to; only calls that are safe between a fork and an exec follow.
    unsafe {
        (*plan).errno = match prepare(&*plan) {
            Ok(()) => {
                libc::execve((*plan).path, (*plan).argv.cast(), (*plan).env.cast());
                *libc::__errno_location()
            }
            Err(errno) => errno,
        };
        libc::_exit(NOT_STARTED)
    }
}

/// SAFETY: as for its caller.
unsafe fn prepare(plan: &Plan) -> Result<(), c_int> {
    // SAFETY: plain system calls with pointers that the parent keeps.
    unsafe {
        let done = |result: c_int| if result < 0 { Err(*libc::__errno_location()) } else { Ok(()) };
        let mut default: libc::sigaction = MaybeUninit::zeroed().assume_init();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=SIGNAL_MAX {
            // Those that nobody may change are as they were.
            libc::sigaction(signal, &raw const default, std::ptr::null_mut());
        }
        if plan.list >= 0 {
            done(c_int::from(libc::write(plan.list, c"0".as_ptr().cast(), 1) == 1) - 1)?;
        }
        done(libc::setsid())?;
        let mut target = 0;
        while target < plan.files_count {
            let (source, target_file) = (*plan.files.as_ptr().add(target), target as c_int);
            let moved = if source == target_file { libc::fcntl(source, libc::F_SETFD, 0) } else { libc::dup2(source, target_file) };
            done(moved)?;
            target += 1;
        }
        done(libc::chdir(plan.cwd))?;
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        done(-libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()))
    }
}

/// The system call. Its child does not return into our frame, which the parent will use again: it begins `child` on the new stack.
///
/// SAFETY: the stack of `args` and what `plan` points to must outlive the child's exec.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(args: &libc::clone_args, child: extern "C" fn(*mut Plan) -> !, plan: *mut Plan) -> c_long {
    let result;
    // SAFETY: the kernel reads `args`; the parent goes on behind the label with its registers but for those that the call changes; the
    // child, whose result is 0, has an aligned stack of its own.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") args,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") plan,
            in("r13") child,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// Not written for this processor: no task has a cgroup, and the agent says so.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn clone3(_: &libc::clone_args, _: extern "C" fn(*mut Plan) -> !, _: *mut Plan) -> c_long {
    -c_long::from(libc::ENOSYS)
}
