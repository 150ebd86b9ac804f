"""A person at a terminal: a command on a pseudo-terminal of its own, typed to and read."""
import contextlib
import errno
import fcntl
import os
import pty
import select
import struct
import termios
import time

from support import short


def environment(gb):
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": os.path.dirname(gb.state), "LANG": "C.UTF-8", "GLOVEBOX_STATE": gb.state, "GLOVEBOX_CONFIG": gb.config}


class Terminal:
    """A command on a pseudo-terminal of its own, as a person has it."""

    def __init__(self, gb, *words, program=None, rows=24, cols=80, **variables):
        self.child, self.fd = pty.fork()
        if self.child == 0:
            program = program or gb.program
            os.execve(program, [program, *words], {**environment(gb), "TERM": "xterm", **variables})
        self.seen = b""
        self.resize(rows, cols)

    def resize(self, rows, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, text, limit=30, keep=False):
        text, deadline = text.encode(), time.monotonic() + limit
        while text not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"not within {limit} s: {text!r}; seen {short(self.seen)}"
            try:
                data = os.read(self.fd, 65536)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                data = b""
            assert data, f"ended before {text!r}; seen {short(self.seen)}"
            self.seen += data
        if not keep:
            self.seen = self.seen[self.seen.index(text) + len(text) :]

    def wait(self, limit=30):
        deadline = time.monotonic() + limit
        while True:
            ready, _, _ = select.select([self.fd], [], [], 0.05)
            if ready:
                with contextlib.suppress(OSError):
                    self.seen += os.read(self.fd, 65536)
            pid, status = os.waitpid(self.child, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, f"still running; seen {short(self.seen)}"
