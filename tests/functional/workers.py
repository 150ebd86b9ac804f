"""Workers on this machine, ours and the official one, each with its log: what tests of `glovebox worker` start and stop."""
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile

import harness
from between import Between
from harness import note, wait_for
from node_packages import HERE, PACKAGES, installed, node
from sessions import Brain
from support import parent, pids, slurp

PROGRAM = os.path.join(harness.BIN, "glovebox")
SDK = {name: PACKAGES[name] for name in ("@anthropic-ai/sdk", "node")}
OURS, OFFICIAL = "ours", "official"


class Place:
    """A brain with an environment and a key of it; workers, each with its log."""

    def __init__(self, gb, tmp, name=""):
        self.gb, self.tmp, self.brain = gb, tmp, Brain(gb.brain.url, gb.brain_key)
        self.agent = self.brain.agent()
        self.environment = self.brain.environment(f"workers {name}")["id"]
        self.key = self.brain.environment_key(self.environment)["key"]

    def variables(self, **more):
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self.tmp, "LANG": "C.UTF-8", "ANTHROPIC_BASE_URL": self.gb.brain.url,
                "ANTHROPIC_ENVIRONMENT_ID": self.environment, "ANTHROPIC_ENVIRONMENT_KEY": self.key, "GLOVEBOX_CONFIG": self.gb.config,
                **{k: v for k, v in os.environ.items() if k in ("ASAN_OPTIONS", "UBSAN_OPTIONS")}, **more}

    def session(self, words):
        session = self.brain.session(self.agent, self.environment)["id"]
        self.brain.say(session, words)
        return session

    @contextlib.contextmanager
    def worker(self, *words, command="poll", stdin=None, **variables):
        with self.started([PROGRAM, "worker", command, *words], self.variables(**variables), stdin) as worker:
            yield worker

    @contextlib.contextmanager
    def started(self, words, variables, stdin=None, **more):
        worker = Started(self, words, variables, stdin, **more)
        try:
            yield worker
        except BaseException:
            note(f"--- {worker.words}\n{worker.log()[-8000:]}")
            raise
        finally:
            worker.kill()

    def either(self, kind, workdir, max_idle_ms=1000, prefix=(), at=None, **variables):
        """A poller of ours or the official one, which looks for sessions until it is told to stop. `prefix`: what starts it, `at`: where."""
        if kind == OURS:
            words = [PROGRAM, "worker", "poll", "--workdir", workdir, f"--max-idle={max_idle_ms}ms"]
        else:
            words = [*official_command(self.tmp), workdir, str(max_idle_ms)]
        return self.started([*prefix, *words], self.variables(**variables), cwd=at or workdir)

    def once(self, *words, limit=60, input=None, **variables):
        """Runs to the end: (exit code, stderr)."""
        done = subprocess.run([PROGRAM, "worker", *words], env=self.variables(**variables), input=input or b"", capture_output=True, timeout=limit)
        return done.returncode, done.stderr.decode()

    def workdir(self, name="work"):
        path = os.path.join(self.tmp, name)
        os.makedirs(path, exist_ok=True)
        return path

    def script(self, name, body):
        path = os.path.join(self.tmp, name)
        with open(path, "w") as file:
            file.write("#!/bin/bash\n" + body)
        os.chmod(path, 0o755)
        return path


def official_command(tmp):
    """The official EnvironmentWorker as a program: a directory with our script, that sees the packages; nothing is written beside them."""
    folder, place = installed(SDK), os.path.join(tmp, "official")
    if not os.path.exists(place):
        making = tempfile.mkdtemp(dir=tmp)
        os.chmod(making, 0o755)
        shutil.copy(os.path.join(HERE, "sdk", "environment_worker.mjs"), making)
        os.symlink(os.path.join(folder, "node_modules"), os.path.join(making, "node_modules"))
        try:
            os.rename(making, place)
        except OSError:  # somebody beside us was first
            shutil.rmtree(making)
    return [node(folder), os.path.join(place, "environment_worker.mjs")]


class Started:
    """A program with its log, in a session of its own."""

    def __init__(self, place, words, variables, stdin=None, **more):
        with tempfile.NamedTemporaryFile(dir=place.tmp, prefix="worker-", suffix=".log", delete=False) as log:
            self.words, self.path = words, log.name
            self.process = subprocess.Popen(words, env=variables, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True, **more)
        if stdin:
            self.process.stdin.write(stdin)
            self.process.stdin.close()
        self.pid = self.process.pid

    def log(self):
        return slurp(self.path).decode(errors="replace")

    def said(self, word, limit=20):
        wait_for(f"{word!r} in the log", lambda: word in self.log(), limit)
        return self

    def below(self):
        """Processes that are descendants of it, whoever has adopted them since: by their parents now."""
        parents = {pid: parent(pid) for pid in pids()}
        found, grown = {self.pid}, True
        while grown:
            more = {pid for pid, up in parents.items() if up in found} - found
            found |= more
            grown = bool(more)
        return found - {self.pid}

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self

    def end(self, limit=30):
        return self.process.wait(limit)

    def kill(self):
        if self.process.poll() is None:
            below = self.below()
            self.process.kill()
            self.process.wait()
            for script in below:  # scripts are not its children in life and death; a hand is, and ends what it runs if it is let
                with contextlib.suppress(OSError):
                    parent(script) == 1 and slurp(f"/proc/{script}/comm") != b"glovebox-hand\n" and os.killpg(script, signal.SIGKILL)
            wait_for("the end of what it ran", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in below), 20)


def gone(pids_of):
    return lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids_of)


ASK = [{"type": "agent_toolset_20260401", "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}]}]


class Stage:
    """One case with one kind of worker: an environment, a directory and a proxy of its own, and a conversation that names the case."""

    def __init__(self, gb, fake, tmp, name, kind=OURS):
        self.fake, self.kind, self.name = fake, kind, f"{name}-{kind}"
        self.mark = "case:" + self.name
        self.home = os.path.join(tmp, self.name)
        self.workdir = os.path.join(self.home, "work")
        os.makedirs(self.workdir)
        self.place = Place(gb, self.home, self.name)
        self.brain, self.between = self.place.brain, Between(gb.brain.url)

    def move(self, url):
        """The brain is somewhere else now; the worker need not know."""
        self.brain = Brain(url, self.brain.key)
        self.between.move(url)

    def script(self, *turns):
        self.fake.script(self.mark, list(turns))

    def session(self, tools=None, resources=(), **of_agent):
        tools = {"tools": tools} if tools else {}
        agent = self.brain.agent("asked", **tools, **of_agent) if tools or of_agent else self.place.agent
        self.id = self.brain.session(agent, self.place.environment, resources=list(resources))["id"]
        self.brain.say(self.id, self.mark)
        return self

    def worker(self, **more):
        return self.place.either(self.kind, self.workdir, ANTHROPIC_BASE_URL=self.between.url, **more)

    def items(self):
        return self.brain.get(f"/v1/environments/{self.place.environment}/work").expect(200).json["data"]

    def item(self):
        (item,) = self.items()
        return item

    def stop(self, **body):
        return self.brain.post(f"/v1/environments/{self.place.environment}/work/{self.item()['id']}/stop", body).expect(200)

    def over(self, worker, limit=60):
        """Waits until the worker is done with the item and polls again, then lets it go."""
        last = self.between.of("POST", "/(ack|stop|heartbeat)$")[-1].number
        wait_for("the next poll", lambda: [a for a in self.between.of("GET", "/work/poll$") if a.number > last], limit)
        worker.signal().end()

    def file(self, name):
        return os.path.exists(os.path.join(self.workdir, name))
