"""Every public method of the official npm SDK's Sandbox, SandboxClient, Pty and TcpTunnel does on this engine what its documentation says.
labels: privileged timeout=900
"""
import json
import os
import shutil
import subprocess

from harness import Glovebox, note, run
from node_packages import HERE, PACKAGES, installed, node

SDK = {name: PACKAGES[name] for name in ("tensorlake", "node")}
SHARED = ("common.mjs", "methods.mjs", "box_common.mjs")
SCRIPTS = ("box_lifecycle.mjs", "box_processes.mjs", "box_files.mjs", "box_pools.mjs", "box_snapshots.mjs", "box_volumes.mjs",
           "box_patterns.mjs")


def play(gb, tmp, packages, folder, script):
    """Runs one script; gives the methods it called, those there are, and whether all its promises were kept."""
    done = subprocess.run([node(packages), os.path.join(folder, script)], capture_output=True, text=True, timeout=400,
                          env={"PATH": "/usr/bin:/bin", "HOME": tmp, "TENSORLAKE_API_URL": gb.url, "TENSORLAKE_API_KEY": gb.key,
                               "TENSORLAKE_SANDBOX_IMAGE": "tensorlake/ubuntu-minimal", "NO_PROXY": "127.0.0.1,localhost",
                               "no_proxy": "127.0.0.1,localhost"})
    lists = {"CALLED": [], "KNOWN": []}
    for line in done.stdout.splitlines():
        word, _, rest = line.partition(" ")
        if word in lists:
            lists[word] = json.loads(rest)
        else:
            note(line)
    if done.returncode:
        note(done.stderr[-6000:])
    assert gb.key not in done.stdout
    return set(lists["CALLED"]), set(lists["KNOWN"]), done.returncode == 0


def test(tmp):
    packages = installed(SDK)
    folder = os.path.join(packages, f"suite-{os.getpid()}")  # imports are looked up beside the script
    os.makedirs(folder)
    called, known, broken = set(), set(), []
    try:
        for script in SHARED + SCRIPTS:
            shutil.copy(os.path.join(HERE, "sdk", script), folder)
        with Glovebox(tmp) as gb:
            for script in SCRIPTS:
                note(script)
                tried, there, kept = play(gb, tmp, packages, folder, script)
                called, known = called | tried, known | there
                if not kept:
                    broken.append(script)
    finally:
        shutil.rmtree(folder)
    assert not broken, f"broken promises in {' '.join(broken)}"
    assert known and called >= known, f"never called: {' '.join(sorted(known - called))}"


OLD = """
import { Sandbox, SandboxClient } from "tensorlake";
import assert from "node:assert/strict";
const client = new SandboxClient({ apiUrl: process.env.TENSORLAKE_API_URL, apiKey: process.env.TENSORLAKE_API_KEY, proxyUrl: process.env.TENSORLAKE_SANDBOX_PROXY_URL });
const box = await client.createAndConnect({ name: "old" });
const ran = await box.run("echo", { args: ["hello"] });
assert.equal(ran.stdout.trim(), "hello");
await box.writeFile("/tmp/a b", new TextEncoder().encode("x"));
assert.equal(new TextDecoder().decode(await box.readFile("/tmp/a b")), "x");
assert.ok((await client.list()).length >= 1);
await client.delete(box.sandboxId);
console.log("old: ok");
process.exit(0);
"""


def test_old_generation(tmp):
    """The generation before, which sends no sandbox's name to 127.0.0.1, works by the other loopback address."""
    packages = installed({"tensorlake": "0.5.33", "node": PACKAGES["node"]})
    script = os.path.join(packages, f"old-{os.getpid()}.mjs")
    with open(script, "w") as file:
        file.write(OLD)
    try:
        with Glovebox(tmp) as gb:
            done = subprocess.run([node(packages), script], capture_output=True, text=True, timeout=120,
                                  env={"PATH": "/usr/bin:/bin", "HOME": tmp, "TENSORLAKE_API_URL": gb.url, "TENSORLAKE_API_KEY": gb.key,
                                       "TENSORLAKE_SANDBOX_PROXY_URL": gb.url.replace("127.0.0.1", "127.0.0.2")})
            assert done.returncode == 0 and "old: ok" in done.stdout, f"exit {done.returncode}: {done.stdout}{done.stderr[-3000:]}"
    finally:
        os.unlink(script)


run(test, test_old_generation)
