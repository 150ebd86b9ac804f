"""A system whose workers run inside of the boxes, for the tests of that."""
import json

from fake_messages import stream, text, tool
from harness import SYSTEM
from sessions import Brain, lawful, plain
from support import api_of, eventually

INSIDE = (*SYSTEM, "uplink")
SETTINGS = {"GLOVEBOX_ORCHESTRATOR_RUNNER": "inside", "GLOVEBOX_ORCHESTRATOR_MAX_IDLE_SECS": "4"}


def bash(command):
    return stream(tool("bash", {"command": command}))


class Place:
    def __init__(self, gb, fake):
        self.gb, self.fake, self.brain = gb, fake, Brain(gb.brain.url, gb.brain_key)
        self.environment, self.agent, self.cases = self.brain.status()["default_environment_id"], self.brain.agent("inside")["id"], 0

    def session(self, *commands, turns=()):
        """A session that runs these commands, one after the other; `turns` are what comes after that."""
        self.cases += 1
        self.fake.script(f"case:n{self.cases}", [bash(c) for c in commands] + [stream(text("done")), *turns])
        made = self.brain.session(self.agent, self.environment)["id"]
        self.brain.say(made, f"case:n{self.cases}")
        return made

    def answers(self, session):
        return [plain(e["content"]) for e in self.brain.events(session) if e["type"] == "user.tool_result"]

    def box(self, session):
        """Its box, once the worker runs there."""
        fold = session.lower().replace("_", "-")
        found = eventually(lambda: [b for b in api_of(self.gb).alive() if fold in (b.get("name") or "") and b["status"] == "running"], 30, "the session's box")[0]
        return api_of(self.gb).box(found["id"])

    def worker(self, box):
        return eventually(lambda: [p for p in box.processes() if p["command"].endswith("glovebox-worker") and p["status"] == "running"], 30, "its worker")[0]

    def runs(self, box, path):
        eventually(lambda: box.run("/usr/bin/test", "-e", path).exit_code == 0, 30, f"{path} is there")

    def ended(self, session, limit=90):
        lawful(self.brain.settled(session, limit))
        return self.answers(session)

    def logged(self, event):
        with open(self.gb.log_path, errors="replace") as log:
            return [json.loads(line) for line in log if line.startswith("{") and f'"{event}"' in line]
