/* Disk faults for a program that was started with LD_PRELOAD naming this library. Built and steered by faults.py.
 *
 * SOJOURN_FAULT_FILE  the control file: one line, a word and a number of microseconds, read again at every call
 * SOJOURN_FAULT_PATH  only files whose path contains this text are concerned; empty or unset means all
 *
 * Each wrapper asks for the fault of the moment, reports it or calls the function it stands in front of. errno is left
 * as that function left it. Standard input, output and error never fail, so that a program can say what happened to it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum fault { NONE, SYNC_FAILS, SYNC_IS_SLOW, SYNC_LIES, DISK_IS_FULL };

static const struct {
    const char *word;
    enum fault fault;
} words[] = {
    {"sync-fails", SYNC_FAILS},
    {"sync-is-slow", SYNC_IS_SLOW},
    {"sync-lies", SYNC_LIES},
    {"disk-is-full", DISK_IS_FULL},
};

/* The fault in the control file; none when there is no such file, or nothing readable in it. */
static enum fault read_control(unsigned long *microseconds)
{
    const char *path = getenv("SOJOURN_FAULT_FILE");
    char line[64], word[32];
    int control = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (control < 0)
        return NONE;
    ssize_t length = read(control, line, sizeof line - 1);
    close(control);
    if (length <= 0)
        return NONE;
    line[length] = '\0';
    if (sscanf(line, "%31s %lu", word, microseconds) != 2)
        return NONE;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(word, words[i].word) == 0)
            return words[i].fault;
    return NONE;
}

static int concerned(int descriptor)
{
    const char *part = getenv("SOJOURN_FAULT_PATH");
    char link[64], path[PATH_MAX];
    if (descriptor <= STDERR_FILENO)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0 || path[0] != '/') /* sockets and pipes have no path */
        return 0;
    path[length] = '\0';
    return part == NULL || strstr(path, part) != NULL;
}

static enum fault fault_for(int descriptor, unsigned long *microseconds)
{
    int saved = errno;
    enum fault fault = read_control(microseconds);
    if (fault != NONE && !concerned(descriptor))
        fault = NONE;
    errno = saved;
    return fault;
}

static int disk_is_full(int descriptor)
{
    unsigned long unused;
    return fault_for(descriptor, &unused) == DISK_IS_FULL;
}

/* The function of this name that would have been called without us. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define SYNC(name)                                             \
    int name(int descriptor)                                   \
    {                                                          \
        unsigned long microseconds = 0;                        \
        switch (fault_for(descriptor, &microseconds)) {        \
        case SYNC_FAILS:                                       \
            errno = EIO;                                       \
            return -1;                                         \
        case SYNC_LIES:                                        \
            return 0;                                          \
        case SYNC_IS_SLOW:                                     \
            usleep(microseconds);                              \
            break;                                             \
        default:                                               \
            break;                                             \
        }                                                      \
        return NEXT(name)(descriptor);                         \
    }

#define WRITE(name, parameters, arguments)                     \
    ssize_t name parameters                                    \
    {                                                          \
        if (disk_is_full(descriptor)) {                        \
            errno = ENOSPC;                                    \
            return -1;                                         \
        }                                                      \
        return NEXT(name) arguments;                           \
    }

/* posix_fallocate reports its error as its result. */
#define RESERVE(name, type)                                    \
    int name(int descriptor, type offset, type length)         \
    {                                                          \
        if (disk_is_full(descriptor))                          \
            return ENOSPC;                                     \
        return NEXT(name)(descriptor, offset, length);         \
    }

SYNC(fsync)
SYNC(fdatasync)

WRITE(write, (int descriptor, const void *data, size_t size), (descriptor, data, size))
WRITE(pwrite, (int descriptor, const void *data, size_t size, off_t offset), (descriptor, data, size, offset))
WRITE(writev, (int descriptor, const struct iovec *parts, int count), (descriptor, parts, count))
WRITE(pwritev, (int descriptor, const struct iovec *parts, int count, off_t offset),
      (descriptor, parts, count, offset))
RESERVE(posix_fallocate, off_t)

#ifdef __GLIBC__ /* elsewhere these are missing, or other spellings of the ones above */
WRITE(pwrite64, (int descriptor, const void *data, size_t size, off64_t offset), (descriptor, data, size, offset))
WRITE(pwritev64, (int descriptor, const struct iovec *parts, int count, off64_t offset),
      (descriptor, parts, count, offset))
WRITE(pwritev2, (int descriptor, const struct iovec *parts, int count, off_t offset, int flags),
      (descriptor, parts, count, offset, flags))
WRITE(pwritev64v2, (int descriptor, const struct iovec *parts, int count, off64_t offset, int flags),
      (descriptor, parts, count, offset, flags))
RESERVE(posix_fallocate64, off64_t)
#endif
