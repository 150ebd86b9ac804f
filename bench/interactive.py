"""Time to interactive through the official npm SDK, in the shape ComputeSDK measures it (interactive.mjs)."""
import json
import os
import shutil
import subprocess

import harness
from node_packages import PACKAGES, installed, node
from peers import Missing
from report import scaled, summary

SDK = {name: PACKAGES[name] for name in ("tensorlake", "node")}
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "interactive.mjs")
COMMAND, APART_MS = "/usr/bin/true", 200


def measure(bench, count):
    try:
        folder = installed(SDK)
    except harness.Skip as why:
        raise Missing(str(why)) from None
    script = os.path.join(folder, f"interactive-{os.getpid()}.mjs")  # imports are looked up beside the script
    shutil.copy(SCRIPT, script)
    environment = {"PATH": "/usr/bin:/bin", "HOME": bench.tmp, "TENSORLAKE_API_URL": bench.glovebox.url,
                   "TENSORLAKE_API_KEY": bench.glovebox.key, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    try:
        done = subprocess.run([node(folder), script, str(count), str(APART_MS), COMMAND], env=environment, capture_output=True, text=True, timeout=1800)
    finally:
        os.unlink(script)
    if done.returncode:
        raise RuntimeError(f"the SDK: exit {done.returncode}\n{done.stderr[-3000:]}")
    times = json.loads(done.stdout.splitlines()[-1])
    names = {"sequential": "one after the other", "staggered": f"a new one every {APART_MS} ms", "together": f"{count} at once"}
    for which, name in names.items():
        bench.rows.append({"name": f"time to interactive (SDK), {name}", "unit": "ms", "rounds": count, "ours": scaled(summary(times[which]), 1)})
    # Of those at once each must wait for the processors that the others use.
    fair = summary(times["sequential"])["median"] * count / os.cpu_count()
    bench.rows[-1]["goal"] = {"seen": summary(times["together"])["p99"] / fair, "limit": 4.0}
