"""The official npm SDK, unmodified, works with nothing but TENSORLAKE_API_URL and TENSORLAKE_API_KEY set.
labels: privileged timeout=600
"""
import fcntl
import json
import os
import shutil
import subprocess

from harness import Glovebox, note, run, skip

PACKAGES = {"tensorlake": "0.5.89", "node": "22.23.3"}  # the SDK needs Node 22.19 or newer, Debian has 20
HERE = os.path.dirname(os.path.abspath(__file__))


def installed():
    """A directory with the packages in node_modules, outside the tree and kept between runs."""
    if not shutil.which("npm"):
        skip("needs npm")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(cache, "glovebox-tests", "-".join(f"{n}-{v}" for n, v in PACKAGES.items()))
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two checkouts may test at the same time
        if not complete(folder):
            names = [f"{name}@{version}" for name, version in PACKAGES.items()]
            done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", folder, *names],
                                  capture_output=True, text=True, timeout=300)
            if not complete(folder):
                note(done.stdout[-1000:], done.stderr[-2000:])
                skip(f"needs the npm packages {' '.join(names)}, which npm could not install")
    return folder


def node(folder):
    return os.path.join(folder, "node_modules", "node", "bin", "node")


def complete(folder):
    try:
        with open(os.path.join(folder, "node_modules", "tensorlake", "package.json")) as file:
            if json.load(file)["version"] != PACKAGES["tensorlake"]:
                return False
        version = subprocess.run([node(folder), "--version"], capture_output=True, text=True, timeout=60).stdout
        return version.strip() == "v" + PACKAGES["node"]
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False


def test(tmp):
    folder = installed()
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
