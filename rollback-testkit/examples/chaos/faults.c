/* Preloaded into a program: counts its calls that change files below a directory, and at one of
 * them ends the process or lets the call fail.
 *
 * FAULTS_DIR    the directory
 * FAULTS_ARM    counting begins when this file is made
 * FAULTS_AT     the call, counted from 1
 * FAULTS_HOW    kill, eio, enospc: the last two once, or from then on with a trailing +
 * FAULTS_COUNT  a file that tells, at the end, how many calls there were
 *
 * Calls that are made without the C library are not seen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int armed;
static atomic_long calls;

static const char *text(const char *name)
{
	const char *value = getenv(name);
	return value ? value : "";
}

static int below(const char *path)
{
	const char *dir = text("FAULTS_DIR");
	size_t length = strlen(dir);
	return length && !strncmp(path, dir, length) && path[length] == '/';
}

static int fd_below(int fd)
{
	char link[64], path[PATH_MAX];
	ssize_t length;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof path - 1);
	if (length <= 0)
		return 0;
	path[length] = 0;
	return below(path);
}

static int at_below(int dir, const char *path)
{
	return path[0] == '/' || dir == AT_FDCWD ? below(path) : fd_below(dir);
}

/* Whether this call is to fail; errno says how. */
static int fails(int ours)
{
	const char *how = text("FAULTS_HOW");
	long nth, at = atol(text("FAULTS_AT"));

	if (!ours || !atomic_load(&armed))
		return 0;
	nth = atomic_fetch_add(&calls, 1) + 1;
	if (nth < at || (nth > at && how[strlen(how) - 1] != '+'))
		return 0;
	if (!strncmp(how, "kill", 4))
		raise(SIGKILL);
	errno = !strncmp(how, "enospc", 6) ? ENOSPC : EIO;
	return 1;
}

__attribute__((destructor)) static void tell(void)
{
	FILE *file;
	const char *path = text("FAULTS_COUNT");

	if (!*path || !atomic_load(&armed))
		return;
	atomic_store(&armed, 0);
	file = fopen(path, "w");
	if (file) {
		fprintf(file, "%ld", atomic_load(&calls));
		fclose(file);
	}
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CHANGES(flags) ((flags) & (O_CREAT | O_TRUNC))

#define OPEN(name)                                                             \
	int name(const char *path, int flags, ...)                             \
	{                                                                      \
		va_list more;                                                  \
		mode_t mode = 0;                                               \
		if (flags & (O_CREAT | O_TMPFILE)) {                           \
			va_start(more, flags);                                 \
			mode = va_arg(more, mode_t);                           \
			va_end(more);                                          \
		}                                                              \
		if ((flags & O_CREAT) && !strcmp(path, text("FAULTS_ARM")))    \
			atomic_store(&armed, 1);                               \
		if (CHANGES(flags) && fails(below(path)))                      \
			return -1;                                             \
		return REAL(name)(path, flags, mode);                          \
	}
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                           \
	int name(int dir, const char *path, int flags, ...)                    \
	{                                                                      \
		va_list more;                                                  \
		mode_t mode = 0;                                               \
		if (flags & (O_CREAT | O_TMPFILE)) {                           \
			va_start(more, flags);                                 \
			mode = va_arg(more, mode_t);                           \
			va_end(more);                                          \
		}                                                              \
		if (CHANGES(flags) && fails(at_below(dir, path)))              \
			return -1;                                             \
		return REAL(name)(dir, path, flags, mode);                     \
	}
OPENAT(openat)
OPENAT(openat64)

#define CALL(type, name, declared, passed, ours)                               \
	type name declared                                                     \
	{                                                                      \
		if (fails(ours))                                               \
			return -1;                                             \
		return REAL(name) passed;                                      \
	}
CALL(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n), fd_below(fd))
CALL(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n), fd_below(fd))
CALL(ssize_t, pwrite, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o), fd_below(fd))
CALL(ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o), fd_below(fd))
CALL(int, ftruncate, (int fd, off_t n), (fd, n), fd_below(fd))
CALL(int, ftruncate64, (int fd, off64_t n), (fd, n), fd_below(fd))
CALL(int, fsync, (int fd), (fd), fd_below(fd))
CALL(int, fdatasync, (int fd), (fd), fd_below(fd))
CALL(int, fchmod, (int fd, mode_t m), (fd, m), fd_below(fd))
CALL(int, chmod, (const char *p, mode_t m), (p, m), below(p))
CALL(int, rename, (const char *a, const char *b), (a, b), below(b))
CALL(int, renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), at_below(e, b))
CALL(int, link, (const char *a, const char *b), (a, b), below(b))
CALL(int, linkat, (int d, const char *a, int e, const char *b, int f), (d, a, e, b, f), at_below(e, b))
CALL(int, symlink, (const char *a, const char *b), (a, b), below(b))
CALL(int, unlink, (const char *p), (p), below(p))
CALL(int, unlinkat, (int d, const char *p, int f), (d, p, f), at_below(d, p))
CALL(int, rmdir, (const char *p), (p), below(p))
CALL(int, mkdir, (const char *p, mode_t m), (p, m), below(p))
CALL(int, mkdirat, (int d, const char *p, mode_t m), (d, p, m), at_below(d, p))
