"""The make targets start what they say, with the variables of .env and .env.local that are its business, and run nothing of what stands there.
labels: timeout=120
"""
import json
import os
import subprocess

from harness import ROOT, run
from support import Checks, equal

PROGRAM = r'''#!/usr/bin/env python3
import json, os, sys
with open(os.environ["GIVEN"], "w") as file:
    json.dump({"words": sys.argv[1:], "env": dict(os.environ)}, file)
'''
ENV = """ANTHROPIC_ENVIRONMENT_ID=env_1
ANTHROPIC_ENVIRONMENT_KEY='queue-key'
ANTHROPIC_WEBHOOK_SIGNING_KEY="whsec_x whsec_y" # both
TENSORLAKE_API_KEY=boxes-key
RESUME_SUSPENDED_SESSIONS=true
ANTHROPIC_CUSTOM_HEADERS=$(touch TRAP)`touch TRAP`
"""
LOCAL = "ANTHROPIC_API_KEY=organisation-key\nANTHROPIC_AGENT_ID=agent_1\n"
SECRETS = ("ANTHROPIC_API_KEY", "ANTHROPIC_ENVIRONMENT_KEY", "ANTHROPIC_WEBHOOK_SIGNING_KEY", "TENSORLAKE_API_KEY")


def script(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o755)


class Place:
    def __init__(self, tmp):
        self.tmp, self.build, self.given = tmp, os.path.join(tmp, "build"), os.path.join(tmp, "given")
        script(os.path.join(tmp, "path", "ninja"), "#!/bin/sh\nexit 0\n")  # there is nothing to build
        script(os.path.join(self.build, "bin", "glovebox"), PROGRAM)
        for name in ("deps.installed", "build.ninja"):
            script(os.path.join(self.build, name), "")

    def make(self, *words, env=ENV, local=LOCAL, **shell):
        for name, text in ((".env", env), (".env.local", local)):
            script(os.path.join(self.tmp, name), text.replace("TRAP", os.path.join(self.tmp, "trap")))
        if os.path.exists(self.given):
            os.unlink(self.given)
        done = subprocess.run(["make", "-C", ROOT, "--no-print-directory", f"BUILD={self.build}", f"ENV_DIR={self.tmp}", *words],
                              env={"PATH": f"{self.tmp}/path:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self.tmp, "LANG": "C.UTF-8", "GIVEN": self.given, **shell},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert not os.path.exists(os.path.join(self.tmp, "trap")), f"{words}: something that was written was run"
        if not os.path.exists(self.given):
            return done, [], {}
        with open(self.given) as file:
            seen = json.load(file)
        return done, seen["words"], seen["env"]


def test(tmp):
    place, check = Place(tmp), Checks()
    orchestrate = ["orchestrate", "--mode=webhook-sandbox"]
    for target, words, told in (
            ("poll", ["orchestrate", "--mode=poll"], {"ANTHROPIC_ENVIRONMENT_KEY", "TENSORLAKE_API_KEY"}),
            ("webhook", ["orchestrate", "--mode=webhook"], {"ANTHROPIC_ENVIRONMENT_KEY", "TENSORLAKE_API_KEY", "ANTHROPIC_WEBHOOK_SIGNING_KEY"}),
            ("webhook-sandbox", orchestrate, {"ANTHROPIC_ENVIRONMENT_KEY", "TENSORLAKE_API_KEY", "ANTHROPIC_WEBHOOK_SIGNING_KEY"}),
            ("webhook-sandbox-status", [*orchestrate, "status"], None), ("webhook-sandbox-logs", [*orchestrate, "logs"], None),
            ("webhook-sandbox-rm", [*orchestrate, "rm"], None), ("session", ["session"], {"ANTHROPIC_API_KEY"})):
        with check(f"make {target}"):
            done, given, env = place.make(target)
            equal((done.returncode, given), (0, words), done.stderr)
            if told is not None:
                equal({name for name in SECRETS if name in env}, told)
            equal(env["ANTHROPIC_ENVIRONMENT_ID"], "env_1")
    with check("make agent: the name as it was written"):
        for name in ("writer", "two words", 'with "quotes" and $(touch TRAP) `touch TRAP`'.replace("TRAP", os.path.join(tmp, "trap"))):
            done, given, env = place.make("agent", f"NAME={name}")
            equal((done.returncode, given[:3]), (0, ["agent", "create", name]), done.stderr)
    with check("a session is made where the queue is that is served; without files it is the brain here, and the shell counts"):
        equal(place.make("session")[2]["GLOVEBOX_BRAIN_URL"], "https://api.anthropic.com")
        env = place.make("session", env="", local="", ANTHROPIC_API_KEY="model-key")[2]
        equal((env.get("GLOVEBOX_BRAIN_URL"), env["ANTHROPIC_API_KEY"]), (None, "model-key"))
    with check("make build, make build-webhook: there is nothing to start"):
        equal([place.make(target)[0].returncode for target in ("build", "build-webhook")], [0, 0])
    with check("a line that is none stops everything, is named, and is not said"):
        done, given, _ = place.make("poll", env="ANTHROPIC_ENVIRONMENT_KEY='queue-key\n")
        assert done.returncode != 0 and not given and ".env:1:" in done.stderr and "queue-key" not in done.stderr, done
    with check("the program's exit code is make's failure"):
        script(os.path.join(place.build, "bin", "glovebox"), "#!/bin/sh\nexit 3\n")
        assert place.make("poll")[0].returncode != 0
    check.done()


run(test)
