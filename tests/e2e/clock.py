"""A wall clock that a test can set: PostgreSQL asks the C library what time it is, and a preloaded library answers."""

import os
import subprocess
from pathlib import Path

DAY = 86_400
SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead(void)
{
    char text[32] = "";
    int kept = errno, file = open(getenv("TEST_CLOCK"), O_RDONLY);
    if (file >= 0) {
        if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
        close(file);
    }
    errno = kept;
    return atol(text);
}

int clock_gettime(clockid_t id, struct timespec *at)
{
    int result = syscall(SYS_clock_gettime, id, at);
    if (result == 0 && id == CLOCK_REALTIME) at->tv_sec += ahead();
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;
    (void) zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


class Clock:
    """Servers started after it was made go by it."""

    def __init__(self, directory: Path, monkeypatch):
        directory.chmod(0o755)
        self.offset = directory / "offset"
        library = directory / "clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", library], input=SOURCE, text=True, check=True)
        self.set(0)
        monkeypatch.setenv("TEST_CLOCK", str(self.offset))
        monkeypatch.setenv("LD_PRELOAD", str(library))

    def set(self, days: float) -> None:
        """So far ahead of the machine's clock, or behind it."""
        new = self.offset.with_suffix(".new")
        new.write_text(str(int(days * DAY)))
        new.chmod(0o644)
        os.replace(new, self.offset)
