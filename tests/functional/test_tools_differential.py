"""Our tools say what the official toolset says, byte for byte, over some 800 calls; where they do not, docs/worker-differences.md says why.
labels: privileged timeout=300
"""
import concurrent.futures
import io
import json
import os
import tarfile
import time

import tool_calls
from harness import Glovebox, run
from node_packages import HERE, PACKAGES, installed, node
from support import api_of
from tool_differences import compare

SDK = {name: PACKAGES[name] for name in ("@anthropic-ai/sdk", "node")}
PROGRAM = "/opt/official"  # in the official toolset's box
LEFT_OUT = (".map", ".ts", ".mts", ".cts")


def test(tmp):
    """Both work in a box: the same root, user, paths, limits and environment. Only the tools differ."""
    folder = installed(SDK)
    with Glovebox(tmp) as gb:
        api = api_of(gb)
        official, ours = api.create(), api.create()
        workdir = ours.run("pwd").stdout
        steps = tool_calls.scenario(workdir)
        for box in (official, ours):
            box.sh(tool_calls.TREE).ok()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            theirs = pool.submit(serve_official, official, folder, steps, workdir)
            mine = serve_ours(ours, steps)
            compare(steps, theirs.result(), mine, workdir)


def serve_official(box, folder, steps, workdir):
    """What the official runner posted, step by step."""
    packages = os.path.join(folder, "node_modules")
    pack = io.BytesIO()
    with tarfile.open(fileobj=pack, mode="w") as tar:
        tar.add(os.path.realpath(node(folder)), "node")
        tar.add(os.path.join(HERE, "sdk", "tools.mjs"), "tools.mjs")
        for name in os.listdir(packages):
            if name != "node" and not name.startswith("."):
                tar.add(os.path.join(packages, name), f"node_modules/{name}", filter=lambda e: None if e.name.endswith(LEFT_OUT) else e)
    box.write(f"{PROGRAM}/pack.tar", pack.getvalue())
    box.write(f"{PROGRAM}/steps.json", json.dumps(steps))
    # Its own search is what ours is compared with: no ripgrep in this box.
    box.sh(f"cd {PROGRAM} && tar -xf pack.tar && rm pack.tar && while rg=$(command -v rg); do rm $rg; hash -r; done").ok()
    box.run(f"{PROGRAM}/node", f"{PROGRAM}/tools.mjs", f"{PROGRAM}/steps.json", f"{PROGRAM}/results.json", workdir, wait=250).ok()
    return json.loads(box.read(f"{PROGRAM}/results.json"))


def serve_ours(box, steps):
    results = []
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for step in steps:
            time.sleep(step.get("pause_ms", 0) / 1000)  # a part of the scenario: the tools are left alone for so long
            calls = step.get("together", [step])
            answers = list(pool.map(lambda call: box.tool(call["tool"], **call["input"]), calls))
            results.append(answers if "together" in step else answers[0])
    return results


run(test)
