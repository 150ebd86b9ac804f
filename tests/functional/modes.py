"""The ways to run an orchestrator, behind one face: start, stop, kill, and what was logged."""
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time

from harness import STOP_LIMIT, Api, wait_for
from support import api_of, eventually

HOOKS = "/v1/organizations/webhooks"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Foreground:
    """`glovebox orchestrate` as a person runs it."""

    name, parts, settings, process = "", ("engine", "brain"), {}, None

    def __init__(self, gb, brain, tmp, environment=None):
        self.gb, self.brain, self.log_path = gb, brain, os.path.join(tmp, "orchestrate.log")
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": tmp, "LANG": "C.UTF-8", "GLOVEBOX_STATE": gb.state,
                            "GLOVEBOX_CONFIG": gb.config, "GLOVEBOX_ORCHESTRATOR_MAX_IDLE_SECS": "1",
                            "WEBHOOK_DRAIN_SECONDS": "600",  # nothing may come about by the safety net
                            **(environment or {})}
        self.arguments = [f"--mode={self.name}"]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.stop()
        if kind:
            print("--- orchestrate\n" + "\n".join(self.log().splitlines()[-60:]), flush=True)

    def start(self):
        mark = len(self.log())
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([self.gb.program, "orchestrate", *self.arguments], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.environment, start_new_session=True)
        wait_for("the orchestrator serves", lambda: self.check() and "orchestrator.serves" in self.log()[mark:], 60)

    def check(self):
        assert self.process.poll() is None, f"orchestrate ended with {self.process.returncode}:\n{self.log()[-2000:]}"
        return True

    def stop(self):
        """As Ctrl-C does: running calls finish."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_LIMIT)
        self.kill()

    def kill(self):
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait()

    def log(self):
        with contextlib.suppress(FileNotFoundError), open(self.log_path, errors="replace") as file:
            return file.read()
        return ""

    def logged(self, event):
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{") and f'"event":"{event}"' in line]

    def quiet(self):
        """Everything that was begun has ended."""
        eventually(lambda: len(self.logged("item.claim")) == len(self.logged("item.end")) + len(self.logged("item.lost")), 30, "no item is held")


class Poll(Foreground):
    name = "poll"


class Webhook(Foreground):
    """Its address is registered at the brain before it is started: that is where its secret comes from."""

    name, settings = "webhook", {"GLOVEBOX_BRAIN_WEBHOOKS_ALLOW_PRIVATE": "true"}

    def __init__(self, gb, brain, tmp, environment=None):
        super().__init__(gb, brain, tmp, environment)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.hook = brain.post(HOOKS, {"url": self.url, "enabled_events": ["session.status_run_started"]}).expect(200).json
        self.environment["ANTHROPIC_WEBHOOK_SIGNING_KEY"] = self.hook["signing_secret"]
        self.arguments.append(f"--listen=127.0.0.1:{self.port}")
        self.door = Api(self.url)

    def deliveries(self):
        return self.brain.get(f"/glovebox/v1/webhooks/{self.hook['id']}/deliveries?limit=1000").expect(200).json["data"]

    def quiet(self):
        super().quiet()
        eventually(lambda: all(one["state"] != "owed" for one in self.deliveries()), 60, "every delivery was made")

    def answers(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.door.get("/healthz", timeout=5).status == 200
        return False


class Sandboxed:
    """The receiver in a box. Its word, and that of the orchestrator, goes to several logs."""

    box = "webhook-orchestrator"

    def __init__(self, gb, brain, tmp, environment=None):
        self.gb, self.brain, self.environment = gb, brain, {"HOME": tmp, **self.settings, **(environment or {})}

    def __enter__(self):
        self.launched = self.launch()
        self.url = self.launched["url"]
        return self

    def __exit__(self, kind, *_):
        if kind:
            print("--- receiver\n" + "\n".join(self.orchestrate("logs").stdout.splitlines()[-60:]), flush=True)

    def orchestrate(self, *words):
        return self.gb.cli("orchestrate", "--mode=webhook-sandbox", *words, environment=self.environment)

    def launch(self):
        done = self.orchestrate()
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def start(self):
        """Somebody does that: the supervisor, or the engine."""

    def stop(self):
        """Told to stop, it lets running calls finish; the next one begins after that."""
        self.again(signal.SIGTERM)

    def kill(self):
        self.again(signal.SIGKILL)

    def again(self, number):
        mark, pid = self.served(), self.pid()
        self.signal(pid, number)
        wait_for("the next orchestrator", lambda: self.pid() not in (0, pid) and self.served() not in (0, False, mark), 90)

    def receiver(self):
        return api_of(self.gb).box(self.box).process("receiver")

    def status(self):
        return self.gb.get(self.box).expect(200).json

    def asleep(self):
        eventually(lambda: self.status()["status"] == "suspended", 60, "the receiver's box sleeps")

    def hook(self):
        return next(one["id"] for one in self.brain.get(f"{HOOKS}?limit=100").expect(200).json["data"] if one["url"] == self.url)

    def deliveries(self):
        return self.brain.get(f"/glovebox/v1/webhooks/{self.hook()}/deliveries?limit=1000").expect(200).json["data"]


SANDBOXED = {"GLOVEBOX_ORCHESTRATOR_MODE": "webhook-sandbox", "GLOVEBOX_ORCHESTRATOR_MAX_IDLE_SECS": "1", "WEBHOOK_DRAIN_SECONDS": "600",
             "WEBHOOK_SANDBOX_TIMEOUT_SECONDS": "2"}


class WebhookSandbox(Sandboxed):
    """It takes the work, too: there is no orchestrator but the one in the box."""

    name, parts, settings = "webhook-sandbox", ("engine", "brain", "ingress", "uplink"), SANDBOXED

    def pid(self):
        process = self.receiver()
        return process["pid"] if process["status"] == "running" else 0

    def signal(self, pid, number):
        api_of(self.gb).box(self.box).call("POST", f"/processes/{pid}/signal", {"signal": int(number)}).expect(200)

    def served(self):
        """The process that serves; the hand forgets the words of those that ended long ago."""
        pid = self.pid()
        return pid and any("orchestrator.serves" in line for line in api_of(self.gb).box(self.box).output(pid, "output")) and pid

    def log(self):
        return self.gb.log() + self.orchestrate("logs").stdout


class WebhookSandboxOutside(Sandboxed):
    """It tells an orchestrator outside, a part, which the supervisor starts again."""

    name, parts = "webhook-sandbox-outside", (*WebhookSandbox.parts, "orchestrator")
    settings = {**SANDBOXED, "GLOVEBOX_ORCHESTRATOR_RUNNER": "outside"}

    def pid(self):
        return self.gb.pid("orchestrator")

    def signal(self, pid, number):
        os.kill(pid, number)

    def served(self):
        return self.log().count('"orchestrator.serves"')

    def log(self):
        return self.gb.log()


MODES = {mode.name: mode for mode in (Poll, Webhook, WebhookSandbox, WebhookSandboxOutside)}


def sign(secret, id, body, age=0):
    """A delivery's headers, by Standard Webhooks."""
    import base64
    import hashlib
    import hmac

    at = str(int(time.time()) - age)
    word = secret.removeprefix("whsec_")
    key = base64.b64decode(word + "=" * (-len(word) % 4))
    mac = hmac.new(key, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    return {"webhook-id": id, "webhook-timestamp": at, "webhook-signature": "v1," + base64.b64encode(mac).decode()}
