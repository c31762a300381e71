// Preloaded, makes a process's wall clock an hour ahead. The monotonic clock, and what waits by it, is left alone.

#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) {
        now->tv_sec += 3600;
    }
    return failed;
}
