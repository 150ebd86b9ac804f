"""What two toolsets said to tool_calls.py's scenario, side by side: equal, or listed in docs/worker-differences.md."""
import hashlib
import json
import os
import re

import tool_calls
from harness import ROOT
from node_packages import HERE
from support import note, short


WORK = "/workspace"  # what the known answers were written down for


def compare(steps, theirs, mine, workdir, same_here=frozenset()):
    """`same_here`: what is listed, but does not differ where these two have worked."""
    assert len(theirs) == len(mine) == len(steps), f"{len(steps)} steps, {len(theirs)} of them official, {len(mine)} ours"
    listed, wrong, different = differences() - same_here, [], 0
    with open(os.path.join(HERE, "sdk", "tool_differences.json"), encoding="utf-8") as file:
        known = json.loads(file.read().replace("@WORK@", WORK))  # what ours says where it differs
    for step, official, ours in zip(steps, theirs, mine):
        name, same = step["id"], official == ours
        different += not same
        if name not in listed and not same:
            wrong.append(f"{name}: not in the table\n    official {short(official)}\n    ours     {short(ours)}")
        if name in listed and same:
            wrong.append(f"{name}: in the table, but both say {short(ours)}")
        if name in listed and brief(ours, workdir) != known.get(name):
            wrong.append(f"{name}: differs, but ours was another\n    ours     {brief(ours, workdir)}\n    known    {known.get(name)}")
    note(f"{tool_calls.calls(steps)} calls; {len(steps) - different} of {len(steps)} steps equal, {different} differ on purpose")
    assert not wrong, f"{len(wrong)} steps:\n  " + "\n  ".join(wrong)


def brief(result, workdir):
    text = result["content"].replace(workdir, WORK)
    if len(text) >= 1000:
        text = f"{text[:40]}… {len(text)} characters, {hashlib.sha256(text.encode()).hexdigest()}"
    return {**result, "content": text}


def differences():
    """Ids in the last column of the table. One that ends in "…" stands for all that begin so."""
    names = [step["id"] for step in tool_calls.STEPS]
    with open(os.path.join(ROOT, "docs", "worker-differences.md"), encoding="utf-8") as file:
        rows = [line.split(" | ")[-1] for line in file if line.startswith("|")]
    found = set()
    for words in re.findall(r"``(.+?)``|`(.+?)`", "\n".join(rows[2:])):
        wanted = words[0].strip() or words[1]
        matching = {n for n in names if n == wanted or wanted.endswith("…") and n.startswith(wanted[:-1])}
        assert matching, f"docs/worker-differences.md: there is no call {wanted!r}"
        found |= matching
    return found
