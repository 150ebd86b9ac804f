"""The official npm SDK, unmodified, works with nothing but TENSORLAKE_API_URL and TENSORLAKE_API_KEY set.
labels: privileged timeout=600
"""
import os
import shutil
import subprocess

from harness import Glovebox, run
from node_packages import HERE, PACKAGES, installed, node

SDK = {name: PACKAGES[name] for name in ("tensorlake", "node")}


def test(tmp):
    folder = installed(SDK)
    with Glovebox(tmp) as gb:
        script = os.path.join(folder, f"sdk-{os.getpid()}.mjs")  # imports are looked up beside the script
        shutil.copy(os.path.join(HERE, "sdk", "sandbox.mjs"), script)
        try:
            environment = {"PATH": "/usr/bin:/bin", "HOME": tmp, "TENSORLAKE_API_URL": gb.url, "TENSORLAKE_API_KEY": gb.key,
                           "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
            done = subprocess.run([node(folder), script], env=environment, capture_output=True, text=True, timeout=300)
        finally:
            os.unlink(script)
        print(done.stdout, end="")
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr[-6000:]}"
        assert gb.key not in done.stdout


run(test)
