/*
 * Moves the date of a program: LD_PRELOAD=clock.so CLOCK_OFFSET=SECONDS program
 *
 * Only the realtime clock moves. Timers, timeouts and the monotonic clock stay as they are, so that a program
 * runs as fast as ever; a wait until an absolute realtime instant is translated back for the kernel. The module
 * in Envoy asks Envoy, and Envoy asks here.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long long offset(void) {
    static long long seconds;
    static int known;
    if (!__atomic_load_n(&known, __ATOMIC_ACQUIRE)) {
        const char *text = getenv("CLOCK_OFFSET");
        seconds = text ? atoll(text) : 0;
        __atomic_store_n(&known, 1, __ATOMIC_RELEASE);
    }
    return seconds;
}

static int moves(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

/* What the kernel takes for an absolute instant of ours. */
static struct timespec real(const struct timespec *ours) {
    struct timespec there = *ours;
    there.tv_sec = there.tv_sec > offset() ? there.tv_sec - offset() : 0;
    return there;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = NEXT(clock_gettime);
    int failed = next(clock, now);
    if (!failed && moves(clock)) now->tv_sec += offset();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &precise)) return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *also) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (also) *also = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}

/* --- waits until an absolute instant of the realtime clock --- */

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left) {
    static int (*next)(clockid_t, int, const struct timespec *, struct timespec *);
    if (!next) next = NEXT(clock_nanosleep);
    if (!(flags & TIMER_ABSTIME) || !moves(clock)) return next(clock, flags, until, left);
    struct timespec there = real(until);
    return next(clock, flags, &there, left);
}

int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
                           const struct timespec *until) {
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    if (!next) next = NEXT(pthread_cond_clockwait);
    if (!moves(clock)) return next(cond, mutex, clock, until);
    struct timespec there = real(until);
    return next(cond, mutex, clock, &there);
}

/* A condition variable may wait by either clock. The monotonic one counts from the boot of the machine. */
int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    const time_t year_2001 = 1000000000;
    return pthread_cond_clockwait(cond, mutex, until->tv_sec < year_2001 ? CLOCK_MONOTONIC : CLOCK_REALTIME, until);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    static int (*next)(sem_t *, const struct timespec *);
    if (!next) next = NEXT(sem_timedwait);
    struct timespec there = real(until);
    return next(semaphore, &there);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until) {
    static int (*next)(pthread_mutex_t *, const struct timespec *);
    if (!next) next = NEXT(pthread_mutex_timedlock);
    struct timespec there = real(until);
    return next(mutex, &there);
}
