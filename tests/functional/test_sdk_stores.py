"""Memory stores and skills for the official npm SDK, unmodified, and for its own worker, which mounts the one and unpacks the other.
labels: privileged timeout=600
"""
import os
import shutil
import subprocess
import zipfile

from fake_messages import FakeMessages, stream, text, tool
from harness import Glovebox, run
from node_packages import HERE, PACKAGES, installed, node
from sessions import Brain

SDK = {name: PACKAGES[name] for name in ("@anthropic-ai/sdk", "node")}
# The worker makes /mnt/memory: on a /mnt that is gone with it.
OWN_MNT = ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount -t tmpfs none /mnt && exec "$@"', "sh"]


def use_both(asked):
    """What the model was told of skills and memory, and then: use them."""
    told = asked.raw.decode()
    assert "skills/sdk-skill/SKILL.md: Says that it ran." in told, told[:3000]
    assert "/mnt/memory/pers-notes" in told and "look before you leap" in told, told[:3000]
    return [stream(tool("bash", {"command": "sh skills/sdk-skill/bin/run; cat /mnt/memory/pers-notes/notes/a.md"})),
            stream(tool("bash", {"command": "echo something new > /mnt/memory/pers-notes/learnt.md; echo noted"})), stream(text("used both"))][asked.turn]


def test_stores(tmp):
    """memory stores and skills by the SDK; a session with both, by the official worker."""
    folder = installed(SDK)
    work = os.path.join(tmp, "work")
    os.makedirs(os.path.join(work, "w"))
    place = os.path.join(folder, f"stores-{os.getpid()}")  # imports are looked up beside the script
    with FakeMessages() as fake, Glovebox(tmp, parts=["brain"], model=(fake.url, fake.key), lease_ttl=10) as gb:
        fake.script("case:stores", use_both)
        brain = Brain(gb.brain.url, gb.brain_key)
        environment = brain.environment("official workers")["id"]
        key = brain.environment_key(environment)["key"]
        os.makedirs(place)
        try:
            for script in ("common.mjs", "stores.mjs"):
                shutil.copy(os.path.join(HERE, "sdk", script), place)
            done = subprocess.run([*OWN_MNT, node(folder), os.path.join(place, "stores.mjs")], capture_output=True, text=True, timeout=400,
                                  env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": tmp, "NO_PROXY": "127.0.0.1,localhost",
                                       "no_proxy": "127.0.0.1,localhost", "ANTHROPIC_BASE_URL": gb.brain.url, "ANTHROPIC_API_KEY": gb.brain_key,
                                       "TEST_ENVIRONMENT_ID": environment, "TEST_ENVIRONMENT_KEY": key, "TEST_WORKDIR": work})
        finally:
            shutil.rmtree(place)
        print(done.stdout, end="", flush=True)
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr[-6000:]}"
        assert gb.brain_key not in done.stdout + done.stderr and key not in done.stdout + done.stderr
    with zipfile.ZipFile(os.path.join(work, "skill.zip")) as archive:
        assert archive.testzip() is None
        modes = {one.filename: one.external_attr >> 16 for one in archive.infolist()}
    assert modes == {"sdk-skill/SKILL.md": 0o100644, "sdk-skill/bin/run": 0o100755}, modes


run(test_stores)
