"""What a session leaves in /mnt/session/outputs outlives its box; its metadata picks what its box is made of, and no more than is offered.
labels: privileged timeout=240
"""
import json
import os

from fake_messages import FakeMessages, stream, text, tool
from harness import SYSTEM, Glovebox, run
from image_files import root_tar
from life import suspend
from sessions import Brain, plain
from support import Checks, api_of, equal, eventually
from test_images import import_image

SETTINGS = {"GLOVEBOX_ORCHESTRATOR_MAX_IDLE_SECS": "1", "GLOVEBOX_ORCHESTRATOR_SESSION_IMAGES": "tools:1,gone:1"}


class Talk:
    """One session; `ask` makes the model run a command in its box and gives what came back."""

    def __init__(self, gb, fake, name, metadata=None):
        self.turns, self.mark = [], "case:" + name  # two of the model's for each command: the call, and a word when it was answered
        fake.script(self.mark, self.turns)
        self.brain = Brain(gb.brain.url, gb.brain_key)
        agent = self.brain.agent(name)["id"]
        more = {"metadata": metadata} if metadata else {}
        self.session = self.brain.session(agent, self.brain.status()["default_environment_id"], **more)["id"]

    def ask(self, command):
        self.turns += [stream(tool("bash", {"command": command})), stream(text("done"))]
        self.brain.say(self.session, f"{self.mark} go")
        self.brain.settled(self.session, 90)
        results = [e for e in self.brain.events(self.session) if e["type"] == "user.tool_result"]
        equal(len(results), len(self.turns) // 2)
        return results[-1]

    def says(self, command):
        return plain(self.ask(command)["content"]).strip()


def let_go(gb):
    done = gb.cli("work", "ls", "--json")
    return done.returncode == 0 and all(w["state"] == "stopped" for w in json.loads(done.stdout))


def boxes(gb):
    return {r["id"]: r for r in api_of(gb).alive()}


def test_outputs(tmp):
    """Written by one box, there for the next one and for people."""
    with FakeMessages() as fake, Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key), environment=SETTINGS) as gb:
        check, talk, api = Checks(), Talk(gb, fake, "maker"), api_of(gb)
        with check("a new box has a place for outputs, and it is empty"):
            equal(talk.says("ls -A /mnt/session/outputs | wc -l; stat -c %a /mnt/session/outputs"), "0\n777")
        with check("listed and copied while the session is there; nothing that leads elsewhere does"):
            talk.says("cd /mnt/session/outputs && mkdir deep && echo result > report.txt && echo more > 'deep/a b' && ln -s /etc/shadow link "
                      "&& echo here > /workspace/mark")
            done = gb.cli("session", "outputs", talk.session, "--json")
            equal(done.returncode, 0, done.stderr)
            equal(sorted((f["path"], f["size"]) for f in json.loads(done.stdout)), [("deep/a b", 5), ("report.txt", 7)])
            folder = os.path.join(tmp, "copy")
            for _ in "once", "and into what is there by then":
                done = gb.cli("session", "outputs", talk.session, "--to=" + folder)
                equal(done.returncode, 0, done.stderr)
            equal(sorted(os.listdir(folder)), ["deep", "report.txt"])
            with open(os.path.join(folder, "report.txt")) as file:
                equal(file.read(), "result\n")
            with open(os.path.join(folder, "deep", "a b")) as file:
                equal(file.read(), "more\n")
            eventually(lambda: len(boxes(gb)) == 1, 30, "the sandbox that read them is gone")
        with check("a clean box has them, and nothing else of the old one"):
            (box,) = boxes(gb)
            eventually(lambda: let_go(gb), 30, "the session is let go", 0.2)
            suspend(api, gb, box)
            equal(talk.says("cat /mnt/session/outputs/report.txt; cat /workspace/mark 2>/dev/null || echo nothing"), "result\nnothing")
            assert list(boxes(gb)) != [box], "it is the same box"
        with check("without a box they are there; another session has others, an unknown one none"):
            other = Talk(gb, fake, "other")
            equal(other.says("ls -A /mnt/session/outputs | wc -l"), "0")
            eventually(lambda: let_go(gb), 30, "the sessions are let go", 0.2)
            api.delete_all()
            done = gb.cli("session", "outputs", talk.session, "--json")
            assert "report.txt" in done.stdout, done
            done = gb.cli("session", "outputs", "sesn_nobody")
            equal(done.returncode, 3, done.stderr)
            assert "no outputs" in done.stderr, done.stderr
        check.done()


def test_metadata(tmp):
    """Images, volumes, ephemeral boxes; what is not offered is said in the session."""
    with FakeMessages() as fake, Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key), environment=SETTINGS) as gb:
        check, api = Checks(), api_of(gb)
        import_image(api, root_tar({"etc/marker": "tools\n"}), "tools:1").expect(201)
        with check("an image that is offered"):
            equal(Talk(gb, fake, "image", {"session.image": "tools:1"}).says("cat /etc/marker"), "tools")
        for name, metadata, why in (("refused", {"session.image": "other:1"}, "not offered"), ("away", {"session.image": "gone:1"}, "gone:1"),
                                    ("net", {"session.network": "internet"}, "orchestrator.session_internet = true"), ("volume", {"session.volume": "data:/d"}, "not offered")):
            with check(f"refused, and the session says why: {metadata}"):
                result = Talk(gb, fake, name, metadata).ask("echo ran")
                words = plain(result["content"])
                assert result["is_error"] and why in words and "ran" not in words.split(), result
        with check("an ephemeral box goes with its burst; the session's own volume stays"):
            talk = Talk(gb, fake, "short", {"session.box": "ephemeral", "session.volume": "per-session"})
            equal(talk.says("echo kept > /workspace/note; echo gone > /srv/note; pwd"), "/workspace")
            before = set(boxes(gb))
            eventually(lambda: set(boxes(gb)) < before, 60, "its box is gone", 0.2)
            equal(talk.says("cat /workspace/note /srv/note 2>/dev/null"), "kept")
        api.delete_all()
        check.done()


if __name__ == "__main__":
    run(test_outputs, test_metadata)
