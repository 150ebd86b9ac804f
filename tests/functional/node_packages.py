"""npm packages that tests use, outside the tree and kept between runs."""
import fcntl
import json
import os
import shutil
import subprocess

from harness import note, skip

# The SDKs need Node 22, Debian has 20.
PACKAGES = {"tensorlake": "0.5.89", "@anthropic-ai/sdk": "1.11.0", "node": "22.23.3"}
HERE = os.path.dirname(os.path.abspath(__file__))


def installed(packages):
    """A directory with the packages in node_modules; skips the test where npm cannot install them."""
    if not shutil.which("npm"):
        skip("needs npm")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(cache, "glovebox-tests", "-".join(f"{n.strip('@').replace('/', '-')}-{v}" for n, v in packages.items()))
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two checkouts may test at the same time
        if not complete(folder, packages):
            names = [f"{name}@{version}" for name, version in packages.items()]
            done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", folder, *names],
                                  capture_output=True, text=True, timeout=300)
            if not complete(folder, packages):
                note(done.stdout[-1000:], done.stderr[-2000:])
                skip(f"needs the npm packages {' '.join(names)}, which npm could not install")
    return folder


def node(folder):
    return os.path.join(folder, "node_modules", "node", "bin", "node")


def complete(folder, packages):
    try:
        for name, version in packages.items():
            if name != "node":
                with open(os.path.join(folder, "node_modules", name, "package.json")) as file:
                    if json.load(file)["version"] != version:
                        return False
        said = subprocess.run([node(folder), "--version"], capture_output=True, text=True, timeout=60).stdout
        return said.strip() == "v" + packages["node"]
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False
