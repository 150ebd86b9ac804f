"""A sandbox is made, found, changed and deleted as the Tensorlake API says, by id and by name.
labels: privileged timeout=300
"""
import concurrent.futures
import re

from harness import Glovebox, run
from support import Api, Box, Checks, api_of, equal, eventually

GOOD_NAMES = ["a", "a1", "my-box", "a--b", "x" * 63, "abcdefghijklmnopqrst", "abcdefghijklmnopqrstuv"]
BAD_NAMES = ["A", "1a", "-a", "a-", "a_b", "a b", "a.b", "ä", "x" * 64, "abcdefghij0123456789k", "a/b", "../x", "a\n", "a\x00b"]


def test(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        lifecycle(api, check)
        names(api, check)
        listing(api, check)
        updates(api, check)
        refused_by_name(api, check)
        routing(api, check)
        check.done()


def lifecycle(api, check):
    with check("create answers a running sandbox with `sandbox_id` and `sandbox_url`, never both ids"):
        created = api.call("POST", "/sandboxes", {}).expect(200, 201).json
        assert "sandbox_id" in created and "id" not in created, created
        equal(created["status"], "running")
        assert re.match(r"https?://[^/]+", created["sandbox_url"]), created["sandbox_url"]
        assert not created.get("name"), created

    box = created["sandbox_id"]
    with check("the record has every member the clients need, in the right type"):
        record = api.get(box)
        assert ("id" in record) != ("sandbox_id" in record), record
        equal(record.get("id") or record["sandbox_id"], box)
        equal(record["namespace"], "default")
        equal(record["status"], "running")
        for member in ("memory_mb", "ephemeral_disk_mb"):
            assert type(record["resources"][member]) is int, record["resources"]
        assert type(record["resources"]["cpus"]) in (int, float), record["resources"]
        assert type(record["created_at"]) is int and record["created_at"] > 1_600_000_000_000, record["created_at"]
        assert type(record["timeout_secs"]) is int, record
        for member in ("allow_unauthenticated_access", "file_systems"):
            assert member not in record or record[member] is not None, f"{member} must not be null"
        assert record["sandbox_url"].startswith("http"), record

    with check("both path prefixes and doubled leading slashes reach the same sandbox"):
        for path in (f"/sandboxes/{box}", f"/v1/namespaces/default/sandboxes/{box}", f"//v1/namespaces/default/sandboxes/{box}",
                     f"//sandboxes/{box}"):
            reply = api.call("GET", path).expect(200).json
            equal(reply.get("id") or reply.get("sandbox_id"), box, path)
        other = api.call("POST", "/v1/namespaces/default/sandboxes", {}).expect(200, 201).json["sandbox_id"]
        api.call("DELETE", f"/v1/namespaces/default/sandboxes/{other}").expect(200, 202, 204)

    with check("sandbox_url follows the Host of the request"):
        url = api.call("GET", f"/sandboxes/{box}", headers={"Host": f"localhost:{api.address[1]}"}).expect(200).json["sandbox_url"]
        assert "localhost" in url and str(api.address[1]) in url, url
        url = api.get(box)["sandbox_url"]
        assert f"127.0.0.1:{api.address[1]}" in url, url

    with check("what was asked for is echoed exactly"):
        spec = {"name": "echo", "image": "host", "entrypoint": ["sleep", "300"], "timeout_secs": 120,
                "resources": {"cpus": 1.0, "memory_mb": 512, "disk_mb": 10240}, "exposed_ports": [8080, 3000],
                "network": {"allow_internet_access": False, "allow_out": [], "deny_out": ["10.0.0.0/8"]}}
        made = api.call("POST", "/sandboxes", spec).expect(200, 201).json
        record = api.get("echo")
        for member in ("name", "image", "entrypoint", "timeout_secs", "exposed_ports"):
            equal(record[member], spec[member], member)
        equal(record["resources"]["memory_mb"], 512)
        equal(record["network"]["deny_out"], ["10.0.0.0/8"])
        equal(record["network"]["allow_internet_access"], False)
        equal(record.get("id") or record["sandbox_id"], made["sandbox_id"])

    with check("the entrypoint runs from the start"):
        echo = Box(api, api.get("echo"))
        eventually(lambda: any(p["command"] == "sleep" and p["args"] == ["300"] and p["status"] == "running"
                               for p in echo.processes()), 10, "the entrypoint is a running process")

    with check("delete terminates; the record stays readable; a second delete succeeds"):
        api.delete(box).expect(200, 202, 204)
        record = eventually(lambda: (r := api.get(box))["status"] == "terminated" and r, 30, "terminated")
        assert type(record["terminated_at"]) is int and record["terminated_at"] >= record["created_at"], record
        api.delete(box).expect(200, 202, 204)
        equal(api.get(box)["status"], "terminated")

    with check("delete by name works"):
        api.delete("echo").expect(200, 202, 204)
        eventually(lambda: api.get(made["sandbox_id"])["status"] == "terminated", 30, "terminated")

    with check("an unknown sandbox is 404 on every verb"):
        for method in ("GET", "DELETE"):
            api.call(method, "/sandboxes/nonexistent-sandbox-id-000").refused(404)
        api.call("PATCH", "/sandboxes/nonexistent-sandbox-id-000", {"exposed_ports": [1]}).refused(404)

    with check("the data plane of a terminated sandbox answers, and never as if it ran"):
        reply = api.call("GET", "/api/v1/health", headers={"Host": f"{box}.local"})
        reply.refused(410)


def names(api, check):
    with check("good names are taken"):
        for name in GOOD_NAMES:
            made = api.call("POST", "/sandboxes", {"name": name}).expect(200, 201).json
            equal(made["name"], name)
            api.delete(name).expect(200, 202, 204)

    with check("bad names are refused with 400"):
        for name in BAD_NAMES:
            reply = api.call("POST", "/sandboxes", {"name": name})
            assert reply.status in (400, 422), f"name {name!r}: {reply!r}"
            reply.refused(reply.status)

    with check("a live name is taken once: 409"):
        first = api.call("POST", "/sandboxes", {"name": "once"}).expect(200, 201).json["sandbox_id"]
        api.call("POST", "/sandboxes", {"name": "once"}).refused(409)
        equal(api.get("once").get("id"), first)

    with check("a name is free again after delete, and the next one is another sandbox"):
        api.delete("once").expect(200, 202, 204)
        again = eventually(lambda: (r := api.call("POST", "/sandboxes", {"name": "once"})).status in (200, 201) and r, 30,
                           "the name is free").json["sandbox_id"]
        assert again != first
        equal(api.get("once").get("id"), again)
        equal(api.get(first)["status"], "terminated")
        api.delete(first).expect(200, 202, 204)  # of the old one; the new one must not notice
        equal(api.get("once")["status"], "running")
        api.delete("once").expect(200, 202, 204)

    with check("twenty creates of one name at once give one sandbox"):
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            replies = list(pool.map(lambda _: api.call("POST", "/sandboxes", {"name": "rush"}), range(20)))
        statuses = sorted(r.status for r in replies)
        equal(sum(s in (200, 201) for s in statuses), 1, f"winners of {statuses}")
        equal([s for s in statuses if s not in (200, 201)], [409] * 19)
        api.delete("rush").expect(200, 202, 204)


def listing(api, check):
    made = [api.call("POST", "/sandboxes", {"name": f"page-{i}"}).expect(200, 201).json["sandbox_id"] for i in range(5)]

    def ids(page):
        return [s.get("id") or s["sandbox_id"] for s in page["sandboxes"]]

    with check("the list is newest first and has each record once"):
        everything = ids(api.list(limit=1000))
        equal([i for i in everything if i in made], made[::-1])
        equal(len(set(everything)), len(everything), "no duplicates")

    with check("pages by cursor give the same list"):
        everything, collected, cursor = ids(api.list(limit=1000)), [], None
        for _ in range(1000):
            page = api.list(limit=2, **({"cursor": cursor} if cursor else {}))
            assert len(page["sandboxes"]) <= 2
            collected += ids(page)
            cursor = page.get("next_cursor")
            if not cursor:
                break
        equal(collected, everything)

    with check("direction=backward walks back from a cursor"):
        first = api.list(limit=2)
        second = api.list(limit=2, cursor=first["next_cursor"])
        assert second.get("prev_cursor"), second.keys()
        back = api.list(limit=2, cursor=second["prev_cursor"], direction="backward")
        equal(ids(back), ids(first))

    with check("status filters; without a filter terminated ones are listed"):
        api.delete("page-0").expect(200, 202, 204)
        eventually(lambda: api.get(made[0])["status"] == "terminated", 30, "terminated")
        running = api.list(limit=1000, status="running")["sandboxes"]
        assert all(s["status"] == "running" for s in running)
        assert made[0] not in [s.get("id") for s in running] and made[1] in [s.get("id") for s in running]
        assert made[0] in ids(api.list(limit=1000))
    for box in made:
        api.delete(box).expect(200, 202, 204)


def updates(api, check):
    box = api.call("POST", "/sandboxes", {}).expect(200, 201).json["sandbox_id"]
    with check("PATCH replaces the list of ports and keeps what it does not name"):
        record = api.call("PATCH", f"/sandboxes/{box}", {"exposed_ports": [80, 443], "allow_unauthenticated_access": True}).expect(200).json
        equal(sorted(record["exposed_ports"]), [80, 443])
        equal(record["allow_unauthenticated_access"], True)
        record = api.call("PATCH", f"/sandboxes/{box}", {"exposed_ports": [9000]}).expect(200).json
        equal(record["exposed_ports"], [9000])
        equal(record["allow_unauthenticated_access"], True)

    with check("PATCH names an unnamed sandbox, and the name finds it"):
        api.call("PATCH", f"/sandboxes/{box}", {"name": "late-name"}).expect(200)
        equal(api.get("late-name").get("id"), box)

    with check("a name that is taken is refused with 409 by PATCH too"):
        other = api.call("POST", "/sandboxes", {"name": "holder"}).expect(200, 201).json["sandbox_id"]
        api.call("PATCH", f"/sandboxes/{box}", {"name": "holder"}).refused(409)
        equal(api.get("holder").get("id"), other)
        api.delete("holder").expect(200, 202, 204)

    with check("network is replaced by an object and cleared by null"):
        policy = {"allow_internet_access": False, "allow_out": [], "deny_out": ["198.51.100.0/24"]}
        record = api.call("PATCH", "/sandboxes/late-name", {"network": policy}).expect(200).json
        equal(record["network"], policy)
        record = api.call("PATCH", f"/sandboxes/{box}", {"exposed_ports": []}).expect(200).json
        equal(record["network"], policy, "absent keeps")
        record = api.call("PATCH", f"/sandboxes/{box}", {"network": None}).expect(200).json
        # The default again, which is none for tests.
        equal(record.get("network"), {"allow_internet_access": False, "allow_out": [], "deny_out": []})

    with check("port 9501 and impossible ports are refused"):
        for ports in ([9501], [0], [65536], [-1], [1.5], ["80"]):
            reply = api.call("PATCH", f"/sandboxes/{box}", {"exposed_ports": ports})
            assert reply.status in (400, 422), f"{ports}: {reply!r}"
    api.delete(box).expect(200, 202, 204)


def refused_by_name(api, check):
    with check("what is not there yet is refused, and the answer names it"):
        for member, value in (("template_id", "t1"), ("secret_names", ["x"]), ("isolation", "gvisor"),
                              ("network", {"allow_out": ["example.com"]})):
            reply = api.call("POST", "/sandboxes", {member: value})
            reply.refused(501, "NOT_IMPLEMENTED")
            assert member in reply.json["error"], f"{member}: {reply!r}"
        for prefix in ("/platform/v1", "/platform/v1/organizations/o/projects/p"):
            reply = api.call("POST", f"{prefix}/sandbox-templates", {"name": "x", "dockerfile": "FROM scratch"})
            reply.refused(501, "NOT_IMPLEMENTED")
            assert "sandbox-templates" in reply.json["error"], repr(reply)
        reply = api.call("POST", "/sandboxes", {"image": "no-such-image"})
        assert reply.status in (400, 404, 422) and "no-such-image" in reply.json["error"], repr(reply)

    with check("members of tomorrow are ignored"):
        made = api.call("POST", "/sandboxes", {"invented_tomorrow": {"deep": [1, 2]}}).expect(200, 201).json
        api.delete(made["sandbox_id"]).expect(200, 202, 204)


def routing(api, check):
    made = api.call("POST", "/sandboxes", {"name": "routed"}).expect(200, 201).json["sandbox_id"]
    with check("the data plane is found by Host (id or name) and by X-Tensorlake-Sandbox-Id"):
        for headers in ({"Host": f"{made}.local"}, {"Host": "routed.local"}, {"X-Tensorlake-Sandbox-Id": made},
                        {"X-Tensorlake-Sandbox-Id": "routed"}):
            equal(api.call("GET", "/api/v1/health", headers=headers).expect(200).json["healthy"], True, str(headers))

    with check("the other loopback address reaches the same engine, for clients that name a sandbox by header only there"):
        other = Api(api.url.replace("127.0.0.1", "127.0.0.2"), api.key)
        equal(other.call("GET", "/api/v1/health", headers={"X-Tensorlake-Sandbox-Id": made}).expect(200).json["healthy"], True)

    with check("info tells version, uptime and counts"):
        info = api.call("GET", "/api/v1/info", headers={"Host": f"{made}.local"}).expect(200).json
        assert isinstance(info["version"], str) and info["version"]
        for member in ("uptime_secs", "running_processes", "total_processes"):
            assert type(info[member]) is int and info[member] >= 0, info

    with check("no or an unknown sandbox on the data plane is a clear error"):
        api.call("GET", "/api/v1/health").refused(400, "MISSING_SANDBOX_ID")
        api.call("GET", "/api/v1/health", headers={"Host": "nosuchbox.local"}).refused(404, "SANDBOX_NOT_FOUND")
        api.call("GET", "/api/v1/health", headers={"X-Tensorlake-Sandbox-Id": "nosuchbox"}).refused(404, "SANDBOX_NOT_FOUND")
    api.delete("routed").expect(200, 202, 204)


run(test)
