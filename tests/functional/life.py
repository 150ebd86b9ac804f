"""What tests of sleeping and waking share: a look at a box that does not wake it."""
import glob
import os

from support import api_of, equal, eventually


def frozen(gb, box_id):
    """Whether all processes of the tenant stand still, says the kernel."""
    for path in glob.glob(f"/sys/fs/cgroup/**/glovebox-{gb.instance}/{box_id}/user/cgroup.events", recursive=True):
        with open(path) as file:
            return "frozen 1" in file.read()
    return None


def state(api, box_id):
    record = api.get(box_id)
    return record["status"], record.get("tier")


def suspend(api, gb, box_id):
    """Suspends, and looks whether it is true."""
    answer = api.call("POST", f"/sandboxes/{box_id}/suspend")
    assert answer.status in (200, 202), repr(answer)
    eventually(lambda: api.get(box_id)["status"] == "suspended", 20, f"{box_id} is suspended")
    equal(state(api, box_id), ("suspended", "ram"))
    assert frozen(gb, box_id), f"{box_id} says that it is suspended, and runs"


def ticking(box, step=0.02):
    """A process that counts: a hole or a step back in what it says would show that it was not the same all the time."""
    return box.start("/bin/bash", "-c", f"for i in $(seq 100000); do echo tick $i; sleep {step}; done")["pid"]


def ticks(box, pid):
    seen = box.output(pid, "stdout")
    equal(seen, [f"tick {i}" for i in range(1, len(seen) + 1)], "ticks")
    return len(seen)


def restart_machine(gb, **environment):
    """What a restart of the machine is to a state directory: no process, control group, mount or file in /run is left, and the kernel
    has another boot id."""
    gb.down()
    gb.scrub()
    with open(os.path.join(gb.state, "engine", "boot"), "w") as file:
        file.write("another-boot\n")
    gb.environment = environment
    gb.start()
    return api_of(gb)
