"""What Glovebox is measured against. Each peer has `once()`: seconds for one round."""
import contextlib
import glob
import json
import os
import shutil
import subprocess
import time

PROGRAM = ("/usr/bin/echo", "ready")  # the same in each of them, from the machine's /usr

RUN_DIR = "/run/runc"
HAD_RUN_DIR = os.path.exists(RUN_DIR)


class Missing(Exception):
    """This machine has no such peer; says why."""


class Bare:
    """The system calls alone: clone with all namespaces, overlay, mounts, pivot_root, exec (bare.cc)."""

    def __init__(self, program, tmp):
        self.dir = os.path.join(tmp, "bare")
        os.mkdir(self.dir)
        self.process = subprocess.Popen([program, self.dir, *PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def once(self):
        self.process.stdin.write("\n")
        line = self.process.stdout.readline()
        if not line:
            raise Missing(f"bench_bare ended with {self.process.wait()}")
        return float(line) / 1e6

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


class PersistentBash:
    """One bash that reads commands from a pipe and answers on another."""

    def __init__(self, command):
        self.command = command.encode() + b"\n"
        self.process = subprocess.Popen(["/bin/bash", "--norc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def once(self):
        start = time.perf_counter()
        self.process.stdin.write(self.command)
        answer = self.process.stdout.read(64)
        took = time.perf_counter() - start
        if answer != b"ready\n":
            raise RuntimeError(f"bash said {answer!r}")
        return took

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


class Command:
    """A program that makes a container, runs PROGRAM in it and ends: timed as a user sees it, to its first output."""

    def once(self):
        start = time.perf_counter()
        process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.dir)
        out = process.stdout.readline()
        took = time.perf_counter() - start
        error = process.communicate(timeout=60)[1]
        if process.returncode or out != b"ready\n":
            raise Missing(f"{self.command()[0]}: exit {process.returncode}: {error.decode(errors='replace').strip()[-300:]}")
        return took

    def close(self):
        if not HAD_RUN_DIR:  # runc makes it even when told to keep its state elsewhere
            with contextlib.suppress(OSError):
                os.rmdir(RUN_DIR)

    def make_root(self):
        """A root directory of links and mount points; /usr is the machine's, bound."""
        root = os.path.join(self.dir, "rootfs")
        for name in ("usr", "proc", "sys", "dev", "etc", "tmp", "run", "var", "root"):
            os.makedirs(os.path.join(root, name))
        for name in ("bin", "sbin", "lib", "lib32", "lib64"):
            if os.path.islink(f"/{name}"):
                os.symlink(f"usr/{name}", os.path.join(root, name))
        for name in ("passwd", "group"):
            with open(os.path.join(root, "etc", name), "w") as file:
                file.write("root:x:0:0:root:/root:/bin/sh\n" if name == "passwd" else "root:x:0:\n")
        return root


class Runc(Command):
    def __init__(self, tmp):
        if not shutil.which("runc"):
            raise Missing("runc is not installed")
        self.dir, self.number = os.path.join(tmp, "runc"), 0
        os.mkdir(self.dir)
        self.make_root()
        subprocess.run(["runc", "spec"], cwd=self.dir, check=True)
        path = os.path.join(self.dir, "config.json")
        with open(path) as file:
            spec = json.load(file)
        spec["process"] |= {"terminal": False, "args": list(PROGRAM)}
        spec["root"]["readonly"] = False
        spec["mounts"].append({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["bind", "ro", "nosuid", "nodev"]})
        with open(path, "w") as file:
            json.dump(spec, file)

    def command(self):
        self.number += 1
        return ["runc", "--root", os.path.join(self.dir, "state"), "run", f"glovebox-bench-{os.getpid()}-{self.number}"]


class Podman(Command):
    NAME, LOCKS = "podman", "/dev/shm/libpod_lock"
    # Its defaults ask for more open files and processes than some machines let root have.
    LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network=none", "--volume", "/usr:/usr:ro")

    def __init__(self, tmp):
        if not shutil.which("podman"):
            raise Missing("podman is not installed")
        self.dir, self.group = os.path.join(tmp, self.NAME), f"glovebox-bench-{os.getpid()}"
        os.mkdir(self.dir)
        self.root = self.make_root()
        self.had_locks = os.path.exists(self.LOCKS)

    def do(self, *words):
        """(what it printed, how long it took)"""
        start = time.perf_counter()
        done = subprocess.run([*self.storage(), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, cwd=self.dir)
        took = time.perf_counter() - start
        if done.returncode:
            raise Missing(f"podman {words[0]}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
        return done.stdout.strip(), took

    def storage(self):
        return ["podman", "--root", os.path.join(self.dir, "storage"), "--runroot", os.path.join(self.dir, "run"),
                "--runtime=runc", "--cgroup-manager=cgroupfs", "--events-backend=none"]

    def command(self):
        return [*self.storage(), "run", "--rm", f"--cgroup-parent={self.group}", *self.LIMITS, "--rootfs", self.root, *PROGRAM]

    def close(self):
        """It leaves its control groups, its locks and a mount of its storage."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run([*self.storage(), "system", "reset", "--force"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, timeout=120)
        for top in glob.glob(f"/sys/fs/cgroup/{self.group}") + glob.glob(f"/sys/fs/cgroup/*/{self.group}"):
            for path, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
        if not self.had_locks:
            with contextlib.suppress(OSError):
                os.unlink(self.LOCKS)
        super().close()


class PodmanContainers(Podman):
    """Containers that stay, above an image: what a directory as a root cannot do is commit."""

    NAME = "podman-containers"

    def __init__(self, tmp):
        super().__init__(tmp)
        subprocess.run(["tar", "-C", self.root, "-cf", os.path.join(self.dir, "root.tar"), "."], check=True)
        self.do("import", os.path.join(self.dir, "root.tar"), "bench")

    def start(self):
        """The id of a new one that does nothing."""
        return self.do("run", "--detach", f"--cgroup-parent={self.group}", *self.LIMITS, "bench", "/usr/bin/sleep", "infinity")[0]

    def close(self):
        with contextlib.suppress(OSError, subprocess.SubprocessError, Missing):
            self.do("rm", "--force", "--all", "--time", "0")
        super().close()


class Freezer:
    """A control group with one process that sleeps: freezing it and thawing it, until the kernel says that it is so."""

    def __init__(self):
        old = "/sys/fs/cgroup/freezer"  # control groups of version 1
        self.old = os.path.isdir(old)
        self.group = os.path.join(old if self.old else "/sys/fs/cgroup", f"glovebox-bench-freezer-{os.getpid()}")
        os.mkdir(self.group)
        self.process = subprocess.Popen(["/usr/bin/sleep", "infinity"])
        self.write("cgroup.procs", str(self.process.pid))

    def write(self, name, text):
        with open(os.path.join(self.group, name), "w") as file:
            file.write(text)

    def set(self, frozen):
        word, name, seen = ("FROZEN" if frozen else "THAWED", "freezer.state", "freezer.state") if self.old else \
            ("1" if frozen else "0", "cgroup.freeze", "cgroup.events")
        awaited = word if self.old else f"frozen {word}"
        start = time.perf_counter()
        self.write(name, word)
        while True:
            with open(os.path.join(self.group, seen)) as file:
                if awaited in file.read():
                    return time.perf_counter() - start

    def close(self):
        self.set(False)
        self.process.kill()
        self.process.wait()
        for _ in range(100):
            with contextlib.suppress(OSError):
                return os.rmdir(self.group)
            time.sleep(0.01)
