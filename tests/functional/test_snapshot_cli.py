"""Every snapshot verb on the command line: what it prints, as text and as JSON, and how it ends where it cannot.
labels: privileged timeout=180
"""
import json
import re

from harness import Glovebox, run
from support import Checks, api_of, equal


def test(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        box = api.create(name="first")

        def cli(*words, code=0):
            done = gb.cli(*words)
            equal(done.returncode, code, f"{' '.join(words)}\n{done.stdout}{done.stderr}")
            return done

        def answer(*words):
            return json.loads(cli(*words).stdout)

        with check("create tells of the snapshot, show and ls know it"):
            box.sh("echo one > /file").ok()
            one = answer("snapshot", "create", "first")
            equal((one["status"], one["sandbox_id"]), ("completed", box.id))
            equal(answer("snapshot", "show", one["id"]), one)
            equal([s["id"] for s in answer("snapshot", "ls")], [one["id"]])
            table = cli("snapshot", "ls", "--text").stdout.splitlines()
            equal(table[0].split(), ["ID", "SANDBOX", "STATUS", "PARENT", "SIZE", "AGE"])
            assert re.match(rf"{one['id']} +first +completed ", table[1]), table
        box.sh("echo two > /file").ok()
        two = answer("snapshot", "create", "first")
        with check("tree draws what came of what"):
            made = answer("sandbox", "create", "second", f"--snapshot={one['id']}")
            drawn = cli("snapshot", "tree", "--text").stdout
            lines = [re.sub(r", [^,]* ago", "", line) for line in drawn.splitlines()]
            equal(sorted(lines[1:], key=lambda line: line.lstrip("├└─│ ")),
                  sorted([f"├── {two['id']}  of first", "│   └── sandbox first  running", "└── sandbox second  running"],
                         key=lambda line: line.lstrip("├└─│ ")), drawn)
            equal(lines[0], f"{one['id']}  of first")
            whole = answer("snapshot", "tree")
            equal(({s["id"] for s in whole["snapshots"]}, {s["id"] for s in whole["sandboxes"]}),
                  ({one["id"], two["id"]}, {box.id, made.get("sandbox_id") or made["id"]}))
        with check("rollback puts the files back; fork copies those of now"):
            cli("snapshot", "rollback", "first", one["id"])
            equal(api.box("first").sh("cat /file").stdout, "one")
            copies = answer("sandbox", "fork", "first", "--times=2")
            equal([api.box(c["sandbox_id"]).sh("cat /file").stdout for c in copies], ["one", "one"])
        with check("rm removes those that are there, and says which were not"):
            done = cli("snapshot", "rm", two["id"], "a" * 21, code=3)
            equal(json.loads(done.stdout)["removed"], [two["id"]])
            assert "a" * 21 in done.stderr, done.stderr
            equal([s["id"] for s in answer("snapshot", "ls")], [one["id"]])
        with check("what cannot be ends with the code of its kind and a sentence"):
            for words, code, said in ((("snapshot", "show", "a" * 21), 3, "no snapshot"), (("snapshot", "create", "nobody"), 3, "nobody"),
                                      (("snapshot", "rollback", "first", "b" * 21), 3, "no snapshot"), (("snapshot", "rm"), 2, "ids"),
                                      (("snapshot", "export", one["id"]), 2, "FILE"), (("snapshot", "import", "/nowhere/at/all"), 3, "/nowhere"),
                                      (("snapshot", "ls", "surplus"), 2, "surplus")):
                done = gb.cli(*words)
                assert done.returncode == code and said in done.stderr, (words, done.returncode, done.stderr)
        with check("help tells of each"):
            for verb in ("create", "ls", "show", "tree", "rollback", "rm", "export", "import"):
                assert f"snapshot {verb}" in cli("snapshot", verb, "--help").stdout, verb
        api.delete_all()
        check.done()


run(test)
