"""Commands beside each other in copies of a sandbox: which succeeded is said as it is, nobody wins where all fail, and no copy is left.
labels: privileged timeout=180
"""
import json
import os
import signal
import subprocess
import time

from harness import Glovebox, run
from support import Checks, api_of, equal, eventually


def test_try(tmp):
    with Glovebox(tmp) as gb:
        check, api = Checks(), api_of(gb)
        parent = gb.create(name="parent")
        parent.write("/workspace/seed", "7\n")

        def trial(*words, code=0):
            done = gb.cli("sandbox", "try", "parent", "--json", *words)
            equal(done.returncode, code, done.stderr)
            return json.loads(done.stdout) if done.stdout else []

        def alone():
            equal({r["id"] for r in api.alive()}, {parent.id}, "what is left")

        with check("each in a copy of its own; the first that succeeds wins"):
            slow, quick, broken = trial("--run=sleep 3; cat seed", "--run=cat seed; echo mine > seed", "--run=cat seed; exit 3")
            equal([b["succeeded"] for b in (slow, quick, broken)], [True, True, False])
            equal([b["winner"] for b in (slow, quick, broken)], [False, True, False])
            equal((slow["output"], broken["failure"]), ("7\n", "exit code 3"))
            equal(parent.read("/workspace/seed"), b"7\n")
            alone()
        with check("people see what each said, too, and nothing of it steers their terminal"):
            shown = gb.cli("sandbox", "try", "parent", "--text", "--run=cat seed", "--run=printf 'a\\033[2Jb' >&2; exit 1").stdout
            table, first, second = shown.split("\n--- ")
            assert "SUCCEEDED" in table and "exit code 1" in table, shown
            assert first.startswith("cat seed\n") and first.split("\n")[1].strip() == "7", shown
            assert second.split("\n")[1].strip() == "a\\x1b[2Jb", shown
        with check("where all fail nobody wins"):
            branches = trial("--run=false", "--run=kill -9 $$", "--run=sleep 60", "--timeout=1s", code=1)
            equal([b["failure"] for b in branches], ["exit code 1", "signal 9", "out of time"])
            assert not any(b["winner"] for b in branches), branches
            alone()
        with check("the winner's copy is kept on request"):
            (one, other) = trial("--run=echo kept > seed", "--run=false", "--keep")
            equal({r["id"] for r in api.alive()}, {parent.id, one["sandbox_id"]})
            equal(other["sandbox_id"], None)
            gb.api.delete(f"/v1/namespaces/default/sandboxes/{one['sandbox_id']}").expect()
        with check("copies that cannot be made are failures, and the others are told and gone"):
            gb.down()
            gb.environment["GLOVEBOX_ENGINE_MAX_SANDBOXES"] = "3"
            gb.start()
            branches = trial("--run=true", "--run=true", "--run=true", "--run=true")
            equal(sorted(b["succeeded"] for b in branches), [False, False, True, True])
            assert all("no copy" in b["failure"] for b in branches if not b["succeeded"]), branches
            eventually(lambda: len(api_of(gb).alive()) == 1, 30, "the copies are gone")
        with check("Ctrl-C leaves nothing, and no winner though one had succeeded"):
            environment = {"PATH": os.environ["PATH"], "HOME": "/root"}
            process = subprocess.Popen([gb.program, "sandbox", "try", "parent", "--json", "--keep", "--run=true", "--run=sleep 60", "--state", gb.state], env=environment, stdout=subprocess.PIPE)
            eventually(lambda: len(api_of(gb).alive()) == 3, 30, "its copies")
            time.sleep(2)  # one of them has ended by then
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
            equal(process.returncode, 128 + signal.SIGINT)
            equal([b["winner"] for b in json.loads(said)], [False, False])
            eventually(lambda: len(api_of(gb).alive()) == 1, 30, "the copies are gone")
        with check("wrong usage, no such sandbox"):
            equal(gb.cli("sandbox", "try", "parent").returncode, 2)
            equal(gb.cli("sandbox", "try", "nobody", "--run=true").returncode, 3)
        check.done()


if __name__ == "__main__":
    run(test_try)
