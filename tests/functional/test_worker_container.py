"""examples/docker gives each session of `glovebox worker poll` a container of its own, by podman and by runc: sessions are served to the end,
the environment's key is not inside, and a signal to poll lets the running call finish.
labels: privileged exclusive timeout=300
"""
import contextlib
import glob
import os
import shutil
import signal
import subprocess

import harness
from fake_messages import FakeMessages, stream, text, tool
from harness import Glovebox, need_program, run, wait_for
from sessions import Brain, lawful, plain
from support import equal, pids, slurp

EXAMPLE = os.path.join(harness.ROOT, "examples", "docker")
LOCKS = "/dev/shm/libpod_lock"


def bash(command):
    return stream(tool("bash", {"command": command}))


def make_root(path):
    subprocess.run([os.path.join(EXAMPLE, "make-root.sh"), path, harness.BIN, "cat", "env", "grep", "ls", "sleep", "touch"], check=True)


class Podman:
    """With its storage, control groups and locks in places of the test's."""

    def __init__(self, tmp):
        self.tmp, self.group = tmp, f"glovebox-test-{os.getpid()}"
        self.had_locks, self.had_run = os.path.exists(LOCKS), os.path.exists("/run/runc")
        self.words = ["podman", "--root", os.path.join(tmp, "storage"), "--runroot", os.path.join(tmp, "run"), "--runtime=runc",
                      "--cgroup-manager=cgroupfs", "--events-backend=none"]
        # Its defaults ask for more open files and processes than some machines let root have.
        self.options = f"--network=host --cgroup-parent={self.group} --ulimit nofile=1024:1024 --ulimit nproc=1024:1024"

    def __enter__(self):
        return self

    def __call__(self, *words, **more):
        return subprocess.run([*self.words, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, **more)

    def __exit__(self, *_):
        self("rm", "--all", "--force", "--time=0")
        self("system", "reset", "--force")
        for top in glob.glob(f"/sys/fs/cgroup/{self.group}") + glob.glob(f"/sys/fs/cgroup/*/{self.group}"):
            for path, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
        if not self.had_locks:
            with contextlib.suppress(OSError):
                os.unlink(LOCKS)
        if not self.had_run:
            with contextlib.suppress(OSError):
                os.rmdir("/run/runc")

    def image(self):
        place = os.path.join(self.tmp, "image")
        os.mkdir(place)
        shutil.copy(os.path.join(EXAMPLE, "Dockerfile"), place)
        make_root(os.path.join(place, "root"))
        built = self("build", "--quiet", "--tag", "glovebox-worker", place)
        if built.returncode:
            harness.skip(f"podman cannot build here: {built.stderr[-300:]}")


def scripts(fake):
    fake.script("case:inside", [
        stream(tool("write", {"file_path": "note", "content": "kept"})), bash("ls /workspace; cat note; echo $$; cat /proc/1/comm"),
        bash("cat /proc/[0-9]*/environ 2>/dev/null | grep -c gb- ; env | grep -i anthropic || echo clean"), stream(text("inside"))])
    fake.script("case:slow", [bash("touch begun; sleep 3; echo finished"), stream(text("slow"))])


class Place:
    """A brain's environment, and poll with one of the example's scripts."""

    def __init__(self, gb, tmp, name):
        self.brain, self.tmp, self.path = Brain(gb.brain.url, gb.brain_key), tmp, os.path.join(tmp, f"{name}.log")
        self.agent, self.environment = self.brain.agent(), self.brain.environment(name)["id"]
        self.key = self.brain.environment_key(self.environment)["key"]
        self.url = gb.brain.url

    @contextlib.contextmanager
    def poll(self, script, **variables):
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self.tmp, "ANTHROPIC_BASE_URL": self.url, "MAX_IDLE": "1s",
               "ANTHROPIC_ENVIRONMENT_ID": self.environment, "ANTHROPIC_ENVIRONMENT_KEY": self.key, **variables}
        with open(self.path, "wb") as log:
            poll = subprocess.Popen([os.path.join(harness.BIN, "glovebox"), "worker", "poll", "--max-sessions=2", "--on-work",
                                     os.path.join(EXAMPLE, script)], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield poll
        except BaseException:
            print(self.log())
            raise
        finally:
            if poll.poll() is None:
                poll.send_signal(signal.SIGTERM)
                poll.wait(60)

    def log(self):
        return slurp(self.path).decode(errors="replace")

    def session(self, words):
        made = self.brain.session(self.agent, self.environment)["id"]
        self.brain.say(made, words)
        return made

    def answers(self, session):
        return [plain(e["content"]) for e in self.brain.events(session) if e["type"] == "user.tool_result"]

    def play(self, poll):
        """Several sessions to the end, then one that is cut by a signal."""
        for made in [self.session("case:inside") for _ in range(3)]:
            lawful(self.brain.settled(made, 60))
            got = self.answers(made)
            lines = got[1].split("\n")
            equal(lines[0], "note", "a work directory of its own")
            assert lines[1].startswith("kept"), got
            equal(lines[-1], "glovebox", "process 1")
            equal(got[2], "0\nclean", "keys inside")
        assert "left_early" not in self.log() and self.key not in self.log(), self.log()
        made = self.session("case:slow")
        wait_for("the call", lambda: made in self.log() and "session.attached" in self.log().split(made, 1)[1], 30)
        wait_for("it runs", lambda: any(slurp(f"/proc/{pid}/cmdline") == b"sleep\0003\0" for pid in pids()), 30)
        poll.send_signal(signal.SIGTERM)
        equal(poll.wait(60), 0, "exit code")
        equal(self.answers(made), ["finished"])


def test_podman(tmp):
    """on-work.sh with the image, by podman, which runs runc."""
    for program in ("podman", "runc"):
        need_program(program)
    with Podman(tmp) as podman, FakeMessages() as fake, Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key)) as gb:
        podman.image()
        scripts(fake)
        place = Place(gb, tmp, "podman")
        with place.poll("on-work.sh", PODMAN=" ".join(podman.words), RUN_OPTIONS=podman.options) as poll:
            place.play(poll)
        equal(podman("ps", "--all", "--quiet").stdout, "", "containers left")


def test_runc(tmp):
    """on-work-runc.sh with the bundle."""
    need_program("runc")
    state, had_run = os.path.join(tmp, "runc"), os.path.exists("/run/runc")
    with FakeMessages() as fake, Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key)) as gb:
        make_root(os.path.join(tmp, "root"))
        subprocess.run([os.path.join(EXAMPLE, "make-bundle.sh"), "bundle", "root", gb.brain.url], cwd=tmp, check=True,
                       env={**os.environ, "MAX_IDLE": "1s"})
        scripts(fake)
        place = Place(gb, tmp, "runc")
        with place.poll("on-work-runc.sh", RUNC=f"runc --root {state}", BUNDLE=os.path.join(tmp, "bundle")) as poll:
            place.play(poll)
        equal(os.listdir(state), [], "containers left")
    if not had_run:
        with contextlib.suppress(OSError):
            os.rmdir("/run/runc")


run(test_podman, test_runc)
