"""What tests of sandbox pools share."""
from support import eventually

SPEC = {"image": "host", "resources": {"cpus": 1.0, "memory_mb": 256, "ephemeral_disk_mb": 1024}, "entrypoint": ["sleep", "300"]}


def create(api, **more):
    answer = api.call("POST", "/sandbox-pools", {**SPEC, **more}).expect(200, 201).json
    assert set(answer) == {"pool_id", "namespace"}, answer
    return answer["pool_id"]


def get(api, pool):
    return api.call("GET", f"/sandbox-pools/{pool}").expect(200).json


def containers(api, pool):
    found = get(api, pool)["containers"]
    for one in found:
        assert one["state"] in ("Idle", "Running") and isinstance(one["executor_id"], str), one
        assert (one["state"] == "Running") == bool(one["sandbox_id"]), one
    return found


def warm(api, pool):
    return sorted(c["id"] for c in containers(api, pool) if c["sandbox_id"] is None)


def claim(api, pool, **more):
    return api.call("POST", f"/sandbox-pools/{pool}/sandboxes", **more)


def is_warm(api, pool, count):
    return eventually(lambda: len(warm(api, pool)) == count and warm(api, pool), 30, f"{count} warm ones")
