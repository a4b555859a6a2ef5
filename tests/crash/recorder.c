// Records what a process does to files, and makes one of these operations fail.
//
// Preloaded by the crash tests into the first process only. Everything that changes
// something below the directory RECORDER_BELOW is appended to the file RECORDER_LOG, in
// the order in which it happened over all threads; model.rs reads it. With
// RECORDER_FAIL="N KIND" the Nth of these operations fails:
//   eio     with EIO, whatever it is
//   short   a write stops half way, and the rest of it fails with ENOSPC
//   full    with ENOSPC, as does everything after it that takes room
// It sees calls of the C library only; the tests compare what it recorded with what
// there is, so that a change made in another way would be noticed.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct record {
    char op;
    char injected; // the operation was made to fail
    char pad[2];
    int32_t error;
    uint64_t inode;
    int64_t at, length, modified_ns;
    uint32_t path, other, data; // bytes that follow
    uint32_t mode;
};

static char below[PATH_MAX];
static size_t below_length;
static int log_fd = -1;
static long fail_at = -1, count;
static enum { EIO_ONCE, SHORT, FULL } fail_how;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    const char *directory = getenv("RECORDER_BELOW"), *log = getenv("RECORDER_LOG");
    const char *fail = getenv("RECORDER_FAIL");
    if (directory && log) {
        below_length = strlen(directory);
        memcpy(below, directory, below_length + 1);
        int fd = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 900); // out of the way of close_range and the like
        REAL(close)(fd);
    }
    if (fail) {
        const char *kind = strchr(fail, ' ');
        fail_at = strtol(fail, NULL, 10);
        fail_how = !strcmp(kind, " eio") ? EIO_ONCE : !strcmp(kind, " short") ? SHORT : FULL;
    }
    unsetenv("LD_PRELOAD");
}

// The path relative to the directory, or null if it is not below it.
static const char *inside(const char *path) {
    if (log_fd < 0 || strncmp(path, below, below_length) != 0) return NULL;
    if (path[below_length] == '\0') return ".";
    return path[below_length] == '/' ? path + below_length + 1 : NULL;
}

static const char *path_of_fd(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, buffer, PATH_MAX - 1);
    if (n < 0) return NULL;
    buffer[n] = '\0';
    return buffer;
}

static const char *fd_inside(int fd, char *buffer) {
    if (log_fd < 0) return NULL;
    const char *path = path_of_fd(fd, buffer);
    return path ? inside(path) : NULL;
}

static const char *at_inside(int dir, const char *path, char *buffer) {
    if (log_fd < 0 || !path) return NULL;
    if (path[0] == '/') return inside(path);
    if (dir == AT_FDCWD ? !getcwd(buffer, PATH_MAX / 2) : !path_of_fd(dir, buffer)) return NULL;
    size_t length = strlen(buffer);
    snprintf(buffer + length, PATH_MAX - length, "/%s", path);
    return inside(buffer);
}

// Whether this operation is to fail; counts it. `room`: it may need space on the disk.
// Called with the lock held, which all take for the operation and its record.
static int fails(int room, int is_write) {
    long number = ++count;
    if (fail_at < 0 || number < fail_at) return 0;
    if (fail_how == FULL) return room ? ENOSPC : 0;
    if (fail_how == SHORT) // the write after the short one
        return number == fail_at + 1 && is_write ? ENOSPC : 0;
    return number == fail_at ? EIO : 0;
}

static void note(struct record record, const char *path, const char *other, const void *data,
                 size_t length) {
    record.path = path ? strlen(path) : 0;
    record.other = other ? strlen(other) : 0;
    record.data = length;
    struct iovec parts[] = {{&record, sizeof record},
                            {(void *)path, record.path},
                            {(void *)other, record.other},
                            {(void *)data, length}};
    int saved = errno;
    if (REAL(writev)(log_fd, parts, 4) < 0) abort();
    errno = saved;
}

static int64_t nanoseconds(struct stat found) {
    return found.st_mtim.tv_sec * INT64_C(1000000000) + found.st_mtim.tv_nsec;
}

// A record that says what `path` in `dir` is now, or `dir` itself if there is no path.
static struct record about(char op, int dir, const char *path) {
    struct record record = {.op = op};
    struct stat found;
    int saved = errno;
    if (path ? fstatat(dir, path, &found, AT_SYMLINK_NOFOLLOW) == 0 : fstat(dir, &found) == 0) {
        record.inode = found.st_ino;
        record.modified_ns = nanoseconds(found);
        record.mode = found.st_mode & 07777;
    }
    errno = saved;
    return record;
}

static int refuse(char op, int error, const char *path) {
    note((struct record){.op = op, .injected = 1, .error = error}, path, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return -1;
}

// An operation that succeeds with 0; what follows `call` writes its record.
#define SIMPLE(op, room, path, call, ...)           \
    do {                                            \
        pthread_mutex_lock(&lock);                  \
        int error = fails(room, 0);                 \
        if (error) return refuse(op, error, path);  \
        int result = call;                          \
        if (result == 0) __VA_ARGS__;               \
        pthread_mutex_unlock(&lock);                \
        return result;                              \
    } while (0)

// ---- Opening ----

static int opening(int dir, const char *path, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    const char *in = flags & (O_CREAT | O_TRUNC) ? at_inside(dir, path, buffer) : NULL;
    if (!in) return REAL(openat)(dir, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat found;
    int existed = fstatat(dir, path, &found, 0) == 0;
    int changes = (!existed && flags & O_CREAT) || (existed && flags & O_TRUNC);
    int error = changes ? fails(1, 0) : 0;
    if (error) return refuse('C', error, in);
    int fd = REAL(openat)(dir, path, flags, mode);
    if (fd >= 0 && changes) note(about(existed ? 'T' : 'C', fd, NULL), in, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE                                       \
    mode_t mode = 0;                               \
    if (flags & (O_CREAT | __O_TMPFILE)) {         \
        va_list arguments;                         \
        va_start(arguments, flags);                \
        mode = va_arg(arguments, mode_t);          \
        va_end(arguments);                         \
    }

int open(const char *path, int flags, ...) { MODE return opening(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opening(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE return opening(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE return opening(dir, path, flags, mode); }
int creat(const char *path, mode_t mode) {
    return opening(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

// ---- Writing ----

// `at` is -1 for a write at the position.
static ssize_t writing(int fd, const void *data, size_t length, off_t at) {
    char buffer[PATH_MAX];
    const char *in = fd_inside(fd, buffer);
    if (in) {
        pthread_mutex_lock(&lock);
        int error = fails(1, 1);
        if (error) return refuse('W', error, in);
        if (fail_how == SHORT && count == fail_at && length > 1) {
            length /= 2;
            note((struct record){.op = 'W', .injected = 1}, in, NULL, NULL, 0);
        }
    }
    ssize_t n = at < 0 ? REAL(write)(fd, data, length) : REAL(pwrite)(fd, data, length, at);
    if (in) {
        if (n > 0) {
            struct record record = about('W', fd, NULL);
            record.at = at < 0 ? lseek(fd, 0, SEEK_CUR) - n : at;
            note(record, in, NULL, data, n);
        }
        pthread_mutex_unlock(&lock);
    }
    return n;
}

ssize_t write(int fd, const void *data, size_t length) { return writing(fd, data, length, -1); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    return writing(fd, data, length, at);
}
ssize_t pwrite64(int fd, const void *data, size_t length, off_t at) {
    return writing(fd, data, length, at);
}

// One part after the other: whoever calls this must be ready for a short write.
static ssize_t scattered(int fd, const struct iovec *parts, int number, off_t at) {
    char buffer[PATH_MAX];
    if (!fd_inside(fd, buffer))
        return at < 0 ? REAL(writev)(fd, parts, number) : REAL(pwritev)(fd, parts, number, at);
    for (int part = 0; part < number; part++)
        if (parts[part].iov_len > 0)
            return writing(fd, parts[part].iov_base, parts[part].iov_len, at);
    return 0;
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    return scattered(fd, parts, number, -1);
}
ssize_t pwritev(int fd, const struct iovec *parts, int number, off_t at) {
    return scattered(fd, parts, number, at);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int number, off_t at) {
    return scattered(fd, parts, number, at);
}

// Copies inside the kernel: callers fall back to reading and writing, which is seen.
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length,
                        unsigned flags) {
    char buffer[PATH_MAX];
    if (!fd_inside(to, buffer))
        return REAL(copy_file_range)(from, from_at, to, to_at, length, flags);
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile(int to, int from, off_t *at, size_t length) {
    char buffer[PATH_MAX];
    if (!fd_inside(to, buffer)) return REAL(sendfile)(to, from, at, length);
    errno = EINVAL;
    return -1;
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t length) {
    return sendfile(to, from, at, length);
}

static int cutting(int fd, off_t length) {
    char buffer[PATH_MAX];
    const char *in = fd_inside(fd, buffer);
    if (!in) return REAL(ftruncate)(fd, length);
    SIMPLE('T', 1, in, REAL(ftruncate)(fd, length), {
        struct record record = about('T', fd, NULL);
        record.at = length;
        note(record, in, NULL, NULL, 0);
    });
}
int ftruncate(int fd, off_t length) { return cutting(fd, length); }
int ftruncate64(int fd, off_t length) { return cutting(fd, length); }

static int allocating(int fd, int mode, off_t at, off_t length) {
    char buffer[PATH_MAX];
    const char *in = fd_inside(fd, buffer);
    if (!in) return REAL(fallocate)(fd, mode, at, length);
    SIMPLE('A', 1, in, REAL(fallocate)(fd, mode, at, length), {
        struct record record = about('A', fd, NULL);
        record.at = at;
        record.length = length;
        record.mode = mode;
        note(record, in, NULL, NULL, 0);
    });
}
int fallocate(int fd, int mode, off_t at, off_t length) { return allocating(fd, mode, at, length); }
int fallocate64(int fd, int mode, off_t at, off_t length) { return allocating(fd, mode, at, length); }
int posix_fallocate(int fd, off_t at, off_t length) { return allocating(fd, 0, at, length) ? errno : 0; }
int posix_fallocate64(int fd, off_t at, off_t length) { return posix_fallocate(fd, at, length); }

// ---- Making durable ----

int fsync(int fd) {
    char buffer[PATH_MAX];
    const char *in = fd_inside(fd, buffer);
    if (!in) return REAL(fsync)(fd);
    SIMPLE('S', 1, in, REAL(fsync)(fd), note(about('S', fd, NULL), in, NULL, NULL, 0));
}
int fdatasync(int fd) {
    char buffer[PATH_MAX];
    const char *in = fd_inside(fd, buffer);
    if (!in) return REAL(fdatasync)(fd);
    SIMPLE('F', 1, in, REAL(fdatasync)(fd), note(about('F', fd, NULL), in, NULL, NULL, 0));
}

// ---- Times and modes ----

int futimens(int fd, const struct timespec times[2]) {
    char buffer[PATH_MAX];
    const char *in = fd_inside(fd, buffer);
    if (!in) return REAL(futimens)(fd, times);
    SIMPLE('t', 0, in, REAL(futimens)(fd, times), note(about('t', fd, NULL), in, NULL, NULL, 0));
}
int utimensat(int dir, const char *path, const struct timespec times[2], int flags) {
    char buffer[PATH_MAX];
    const char *in = at_inside(dir, path, buffer);
    if (!in) return REAL(utimensat)(dir, path, times, flags);
    SIMPLE('t', 0, in, REAL(utimensat)(dir, path, times, flags),
           note(about('t', dir, path), in, NULL, NULL, 0));
}
int fchmod(int fd, mode_t mode) {
    char buffer[PATH_MAX];
    const char *in = fd_inside(fd, buffer);
    if (!in) return REAL(fchmod)(fd, mode);
    SIMPLE('M', 0, in, REAL(fchmod)(fd, mode), note(about('M', fd, NULL), in, NULL, NULL, 0));
}
int fchmodat(int dir, const char *path, mode_t mode, int flags) {
    char buffer[PATH_MAX];
    const char *in = at_inside(dir, path, buffer);
    if (!in) return REAL(fchmodat)(dir, path, mode, flags);
    SIMPLE('M', 0, in, REAL(fchmodat)(dir, path, mode, flags),
           note(about('M', dir, path), in, NULL, NULL, 0));
}
int chmod(const char *path, mode_t mode) { return fchmodat(AT_FDCWD, path, mode, 0); }

// ---- Names ----

int mkdirat(int dir, const char *path, mode_t mode) {
    char buffer[PATH_MAX];
    const char *in = at_inside(dir, path, buffer);
    if (!in) return REAL(mkdirat)(dir, path, mode);
    SIMPLE('D', 1, in, REAL(mkdirat)(dir, path, mode),
           note(about('D', dir, path), in, NULL, NULL, 0));
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int unlinkat(int dir, const char *path, int flags) {
    char buffer[PATH_MAX];
    const char *in = at_inside(dir, path, buffer);
    if (!in) return REAL(unlinkat)(dir, path, flags);
    struct record record = about('U', dir, path);
    SIMPLE('U', 0, in, REAL(unlinkat)(dir, path, flags), note(record, in, NULL, NULL, 0));
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
    int result = unlink(path);
    return result < 0 && errno == EISDIR ? rmdir(path) : result;
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char buffer[PATH_MAX], other[PATH_MAX];
    const char *in = at_inside(from_dir, from, buffer), *out = at_inside(to_dir, to, other);
    if (!in && !out) return REAL(renameat2)(from_dir, from, to_dir, to, flags);
    if (!in || !out) { // nothing of a store comes from or goes elsewhere
        errno = EXDEV;
        return -1;
    }
    if (flags & RENAME_EXCHANGE) { // as on a file system that cannot: the model knows no such thing
        errno = EINVAL;
        return -1;
    }
    struct record record = about('R', to_dir, to); // what makes room, if anything
    record.mode = flags;
    SIMPLE('R', 1, out, REAL(renameat2)(from_dir, from, to_dir, to, flags),
           note(record, in, out, NULL, 0));
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return renameat2(from_dir, from, to_dir, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char buffer[PATH_MAX], other[PATH_MAX];
    const char *in = at_inside(from_dir, from, buffer), *out = at_inside(to_dir, to, other);
    if (!in && !out) return REAL(linkat)(from_dir, from, to_dir, to, flags);
    if (!in || !out) {
        errno = EXDEV;
        return -1;
    }
    SIMPLE('L', 1, out, REAL(linkat)(from_dir, from, to_dir, to, flags),
           note((struct record){.op = 'L'}, in, out, NULL, 0));
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
