"""Served by `glovebox worker` or by the official EnvironmentWorker, a session gets the same results: more than 600 calls of all six tools,
in equal directories, against the same brain; where not, docs/worker-differences.md says why.
labels: privileged timeout=300
"""
import concurrent.futures
import os
import subprocess

import tool_calls
from fake_messages import FakeMessages, stream, text, tool
from harness import Glovebox, run
from sessions import brief, lawful, plain
from support import equal
from tool_differences import compare
from workers import OFFICIAL, OURS, Place

TURN = 40  # calls that the model asks for at once; the worker takes one after the other
# In a mount namespace of its own each worker sees its own directory where the other has its own; and no ripgrep: the official
# worker's own search is what ours is compared with.
# Processes are counted, so each has a process namespace, too, at whose end nothing of it is left.
APART = """mount --bind "$1" "$2" && cd "$2" || exit 1
for folder in $(echo "$PATH" | tr : ' '); do [ ! -e $folder/rg ] || mount --bind /dev/null $folder/rg || exit 1; done
shift 2; "$@"; exit $?
"""


def apart(own, work):
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", APART, "sh", own, work]


# The official worker says half a character, which no service can take for text: refused, the call stays open for ever. And nobody
# says how long it is until the next call, so what is printed in between may come or not.
LEFT_OUT = {"bash: emoji, cut in half", "bash: output between calls"}
# Outside of a box a shell has no control group, so here we are no better than they are.
SAME_HERE = {"bash: what left its group"}


def served(step):
    """A session has no calls at the same time, and no pauses: the next call is made when it is made."""
    return "together" not in step and "pause_ms" not in step and step["id"] not in LEFT_OUT


def play(gb, fake, tmp, steps, kind):
    """What the worker posted, step by step."""
    home, work = os.path.join(tmp, kind), os.path.join(tmp, "work")
    own = os.path.join(home, "work")
    os.makedirs(own)
    subprocess.run([*apart(own, work), "bash", "-c", tool_calls.TREE], check=True)
    mark = "case:" + kind

    def turn(asked):
        """The next calls: which, the model has said itself before the last ones."""
        said = [block["text"] for message in asked.body["messages"] if message["role"] == "assistant" for block in message["content"] if block["type"] == "text"]
        begin = int(said[-1]) if said else 0
        calls = [tool(step["tool"], step["input"]) for step in steps[begin:begin + TURN]]
        return stream(text(str(begin + len(calls))), *calls) if calls else stream(text("done"))

    fake.script(mark, turn)
    place = Place(gb, home, kind)
    with place.either(kind, work, prefix=apart(own, work), at=home, HOME=tmp, USER="root", LOGNAME="root"):
        session = place.session(mark)
        events = lawful(place.brain.settled(session, 200))
    results = {event["tool_use_id"]: event for event in events if event["type"] == "user.tool_result"}
    calls = [event for event in events if event["type"] == "agent.tool_use"]
    equal(len(calls), len(steps), "calls\n" + brief(events))
    for step, call in zip(steps, calls):
        equal((call["name"], list(call["input"])), (step["tool"], list(step["input"])), step["id"])
    equal([[block["type"] for block in results[call["id"]]["content"]] for call in calls], [["text"]] * len(calls), "blocks")
    return [{"content": plain(results[call["id"]]["content"]), "is_error": results[call["id"]]["is_error"]} for call in calls]


def test(tmp):
    """Both at once, each in its directory."""
    work = os.path.join(tmp, "work")
    os.mkdir(work)
    steps = [step for step in tool_calls.scenario(work) if served(step)]
    with FakeMessages() as fake, Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key)) as gb, concurrent.futures.ThreadPoolExecutor(2) as pool:
        theirs, mine = [pool.submit(play, gb, fake, tmp, steps, kind) for kind in (OFFICIAL, OURS)]
        compare(steps, theirs.result(), mine.result(), work, SAME_HERE)


run(test)
