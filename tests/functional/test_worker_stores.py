"""Skills and memory stores of a session are where its agent was told, whoever serves it: the official EnvironmentWorker, ours on this
host, ours with boxes. Both workers leave the same trees and give the same answers; what an agent noted is kept though its box be killed.
labels: privileged timeout=300
"""
import concurrent.futures
import io
import json
import os
import signal
import time
import zipfile

from fake_messages import FakeMessages, stream, text, tool
from harness import SYSTEM, Glovebox, run, wait_for
from sessions import TOOLSET, Brain
from stores import CALLS, NOTES, SKILL, Stores, form, remembered, upload
from support import equal, slurp
from workers import OFFICIAL, OURS, PROGRAM, Place

# On a /mnt that is gone with it, each in a directory of the same name.
APART = """mount -t tmpfs none /mnt && mount --bind "$1" "$2" && cd "$2" || exit 1; shift 2; "$@"; exit $?"""


def archive(*members):
    """A zip of (name, content) or (name, content, mode)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content, *mode in members:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr, info.compress_type = 3, (mode[0] if mode else 0o100644) << 16, zipfile.ZIP_DEFLATED
            made.writestr(info, content)
    return out.getvalue()


def hostile_uploads(brain):
    """Archives that are not what they should be are refused, and the brain goes on."""
    head = ("z/SKILL.md", "---\nname: hostile\ndescription: No.\n---\n")
    for what, data in {"climbs": archive(head, ("z/../../x", "x")), "absolute": archive(head, ("/etc/x", "x")), "a link": archive(head, ("z/l", "/etc/passwd", 0o120777)),
                       "a bomb": archive(head, *[(f"z/{i}", bytes(20_000_000)) for i in range(5)]), "cut off": archive(head)[:60], "no archive": b"PK\x03\x04" + bytes(500),
                       "twice": archive(head, ("z/a", "1"), ("z/a", "2")), "no SKILL.md": archive(("z/a", "1"))}.items():
        answer = form(brain, {"a.zip": data})
        assert answer.status == 400, f"{what}: {answer!r}"
    made = form(brain, {"a.zip": archive(("SKILL.md", head[1]), ("bin/run", "echo", 0o100755))}).expect(200, 201).json
    content = brain.get(f"/v1/skills/{made['id']}/versions/latest/content").expect(200).body
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        equal({one.filename: one.external_attr >> 16 for one in packed.infolist()}, {"hostile/SKILL.md": 0o100644, "hostile/bin/run": 0o100755}, "the zip of a zip")


def in_any_order(name, answer):
    """The tool `glob` lists the newest first, and the files of a store are loaded side by side."""
    return (sorted(answer[0].split("\n")), answer[1]) if name == "glob" else answer


def served_by(gb, tmp, agent, kind):
    """What the worker posted; its files are gone when it is idle."""
    home, work = os.path.join(tmp, kind), os.path.join(tmp, "work")
    own = os.path.join(home, "work")
    os.makedirs(own)
    place = Place(gb, home, kind)
    prefix = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", APART, "sh", own, work]
    with place.either(kind, work, prefix=prefix, at=home, HOME=tmp):
        session = Stores(place.brain, agent, place.environment, "case:stores")
        answers, events = session.answers()
        wait_for("the skills are put away", lambda: not os.listdir(own) or not os.listdir(os.path.join(own, "skills")), 30)
        session.expect_notes()
    return answers, events


def same_as_the_official(gb, tmp, agent):
    os.mkdir(os.path.join(tmp, "work"))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        (theirs, events), (mine, _) = [future.result() for future in [pool.submit(served_by, gb, tmp, agent, kind) for kind in (OFFICIAL, OURS)]]
    equal(len(theirs), len(CALLS), "calls\n" + events)
    for (name, asked), one, other in zip(CALLS, theirs, mine):
        equal(in_any_order(name, other), in_any_order(name, one), f"{name} {asked}")
    return mine


def with_boxes(gb, agent, brain, mine):
    """The same by the orchestrator: but for the tree's place the same answers."""
    environment = next(e["id"] for e in brain.get("/v1/environments").json["data"] if "workers" not in e["name"])
    session = Stores(brain, agent, environment, "case:stores")
    answers, events = session.answers()
    equal(len(answers), len(mine), "calls\n" + events)
    for (name, asked), here, box in zip(CALLS, mine, answers):
        equal(in_any_order(name, box), in_any_order(name, here), f"in a box: {name} {asked}\n{events}")
    session.expect_notes()


def box_killed(gb, agent, brain):
    environment = next(e["id"] for e in brain.get("/v1/environments").json["data"] if "workers" not in e["name"])
    session = Stores(brain, agent, environment, "case:killed")
    wait_for("the note of the box at the brain", lambda: "/noted.md" in remembered(brain, session.notes), 60)
    box = next(b for b in gb.api.get("/sandboxes").json["sandboxes"] if b["status"] == "running" and session.id.lower()[-8:] in b["name"].lower().replace("_", "-"))
    gb.api.call("DELETE", f"/sandboxes/{box['id']}").expect(200, 202, 204)
    answers, events = session.answers(120)
    assert answers[0][1] and "lost" in answers[0][0], (answers, events)
    equal(answers[1], ("went up\nin the box", False), "skill and memory in the next box\n" + events)


def orchestrator_killed(gb, agent, brain):
    """Its heir has no token of the item, and so no way to the stores: the item is claimed anew, the call runs once, the note is kept."""
    environment = next(e["id"] for e in brain.get("/v1/environments").json["data"] if "workers" not in e["name"])
    session = Stores(brain, agent, environment, "case:heir")
    wait_for("the call", lambda: any(e["type"] == "agent.tool_use" for e in brain.events(session.id)), 40)
    wait_for("the box", lambda: any(b["status"] == "running" and session.id.lower()[-8:] in b["name"].lower() for b in gb.api.get("/sandboxes").json["sandboxes"]), 30)
    time.sleep(2)  # the call may be under way by now, or not: it runs once either way
    with open(os.path.join(gb.state, "run", "endpoints.json")) as file:
        os.kill(json.load(file)["parts"]["orchestrator"]["pid"], signal.SIGKILL)
    answers, events = session.answers(90)
    equal(answers[-1], ("once\nwent up", False), "after the heir\n" + events)
    wait_for("the note at the brain", lambda: remembered(brain, session.notes).get("/noted.md") == "once\n", 60)


def worker_killed(gb, tmp, agent):
    """A worker of ours that is killed leaves its folders; the next one goes on in them, and nothing that was noted is lost."""
    home = os.path.join(tmp, "killed")
    os.makedirs(os.path.join(home, "work"))
    place = Place(gb, home, "killed")
    prefix = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", APART, "sh", os.path.join(home, "work"), os.path.join(tmp, "work")]
    worker = [PROGRAM, "worker", "poll", "--workdir", os.path.join(tmp, "work"), "--max-idle=500ms"]
    with place.started([*prefix, "sh", "-c", '"$@"; "$@"', "sh", *worker], place.variables(HOME=tmp), cwd=home) as both:
        session = Stores(place.brain, agent, place.environment, "case:worker")
        wait_for("the first note", lambda: os.path.exists(os.path.join(home, "work", "noted")), 40)
        first = [pid for pid in both.below() if slurp(f"/proc/{pid}/cmdline").startswith(PROGRAM.encode())]
        equal(len(first), 1, "workers")
        os.kill(first[0], signal.SIGKILL)
        both.said("memory.taken_over", 60)
        answers, events = session.answers(90)
        assert any("in the folder" in words for words, _ in answers), events
        wait_for("the note at the brain", lambda: remembered(place.brain, session.notes).get("/noted.md") == "in the folder\n", 40)


def test(tmp):
    with FakeMessages() as fake, Glovebox(tmp, parts=SYSTEM, model=(fake.url, fake.key), lease_ttl=10,
                                            environment={"GLOVEBOX_ORCHESTRATOR_MAX_IDLE_SECS": "2"}) as gb:
        brain = Brain(gb.brain.url, gb.brain_key)
        agent = brain.agent("with a skill", skills=[{"type": "custom", "skill_id": upload(brain, SKILL)}], tools=[TOOLSET])["id"]
        fake.script("case:stores", [*[stream(tool(name, asked)) for name, asked in CALLS], stream(text("done"))])
        fake.script("case:killed", [stream(tool("bash", {"command": f"echo in the box > {NOTES}/noted.md; sleep 100"})),
                                    stream(tool("bash", {"command": f"skills/climbing/bin/up; cat {NOTES}/noted.md"})), stream(text("done"))])
        fake.script("case:heir", [stream(tool("bash", {"command": f"sleep 4; echo once >> {NOTES}/noted.md; echo noted"})),
                                  stream(tool("bash", {"command": f"cat {NOTES}/noted.md; skills/climbing/bin/up"})), stream(text("done"))])
        fake.script("case:worker", [stream(tool("bash", {"command": f"echo in the folder > {NOTES}/noted.md; touch noted; [ -e again ] || {{ touch again; sleep 100; }}"})),
                                    stream(tool("bash", {"command": f"cat {NOTES}/noted.md"})), stream(text("done"))])
        hostile_uploads(brain)
        mine = same_as_the_official(gb, tmp, agent)
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            together = [pool.submit(worker_killed, gb, tmp, agent), pool.submit(with_boxes, gb, agent, brain, mine), pool.submit(box_killed, gb, agent, brain)]
            for future in together:
                future.result()
        orchestrator_killed(gb, agent, brain)


run(test)
