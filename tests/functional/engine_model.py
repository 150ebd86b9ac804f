"""Clients that do random things to one engine at once, and a model of what must be true of each answer.

Two kinds of things are done. A client's *own* sandboxes and snapshots nobody else touches: of these the model knows every
answer, file by file. *Shared* ones everybody uses at once: there it keeps when each operation began and ended, and an answer is
right if some order of what overlapped explains it. Nothing is ever asked again until it fits.
"""
import collections
import http.client
import os
import random
import sys
import threading
import time
import traceback

from pools import SPEC, claim
from support import Box, Owned, api_of, equal, eventually, note, open_files, rss_kb, short

CLIENTS = 8
OWN = 5              # sandboxes of a client, at most
SNAPSHOTS = 3        # of a client, at most
SHORT = 3            # seconds: the timeout of those that fall asleep, or end, by themselves
REMEMBERED = 40      # operations that are told when something is wrong


def seed_of(argv):
    """--seed N, or GLOVEBOX_SEED, or a new one."""
    if "--seed" in argv:
        at = argv.index("--seed")
        value = int(argv[at + 1])
        del argv[at:at + 2]
        return value
    return int(os.environ.get("GLOVEBOX_SEED", random.randrange(1 << 30)))


SEED = seed_of(sys.argv)


class Wrong(AssertionError):
    """An answer that the model does not explain."""


def must(condition, *words):
    if not condition:
        raise Wrong(" ".join(str(word) for word in words))


class Own:
    """A sandbox that one client alone knows, and all that must be true of it."""

    def __init__(self, box, name="", files=None, lines=(), parent="", timeout=600):
        self.box, self.id, self.name, self.parent, self.timeout = box, box.id, name, parent, timeout
        self.files, self.lines = dict(files or {}), list(lines)
        self.jobs, self.used = set(), time.monotonic()
        self.asleep = False  # surely suspended: by us, and nothing woke it

    def may_have_ended(self, now):
        return not self.name and self.timeout == SHORT and now - self.used >= SHORT

    def may_sleep(self):
        return bool(self.name) and self.timeout == SHORT


class Past(collections.namedtuple("Past", "what began ended result")):
    def overlaps(self, began, ended):
        return self.began <= ended and (self.ended is None or self.ended >= began)


class Shared:
    """What everybody does to one name, in time."""

    def __init__(self):
        self.lock, self.past = threading.Lock(), []

    def note(self, what, began, result):
        with self.lock:
            self.past.append(Past(what, began, time.monotonic(), result))

    def all(self, what):
        with self.lock:
            return [one for one in self.past if one.what == what]


class World:
    def __init__(self, gb, seed):
        self.gb, self.api, self.seed = gb, api_of(gb), seed
        self.stop, self.troubles = threading.Event(), []
        self.counts, self.lock = collections.Counter(), threading.Lock()

    def begin(self):
        self.shared = [self.api.create(name=f"shared-{n}") for n in range(2)]
        self.begun = [Shared() for _ in self.shared]      # lines: what was begun to be written, and what was acknowledged
        self.phoenix = Shared()
        self.pool_kinds = [(0.0, "300")]                   # when the pool began to be of that kind
        spec = {**SPEC, "entrypoint": ["sleep", "300"], "warm_containers": 2}
        self.pool = self.api.call("POST", "/sandbox-pools", spec).expect(201).json["pool_id"]
        self.pool_lock = threading.Lock()
        self.clients = []

    def round(self, number, operations, until=None):
        """All clients at once; then the whole of it is looked at, and taken away."""
        self.begin()
        self.clients = [Client(self, number, n, operations, until) for n in range(CLIENTS)]
        for client in self.clients:
            client.start()
        for client in self.clients:
            client.join()
        if self.troubles:
            raise Wrong("\n\n".join(self.troubles))
        self.check()
        self.end()

    def check(self):
        """Everything there is, is known; everything known is there; and as it should be."""
        now = time.monotonic()
        records = {record["id"]: record for record in self.api.alive()}
        known = {own.id: own for client in self.clients for own in client.own}
        shared = {box.id for box in self.shared} | {record["id"] for record in records.values() if record.get("name") == "phoenix"}
        for stray in set(records) - set(known) - shared:
            raise Wrong("nobody made", records[stray])
        for lost in set(known) - set(records):
            must(known[lost].may_have_ended(now), "gone:", self.api.get(lost))
        for client in self.clients:
            client.look_at_all()
        snapshots = {record["id"] for record in self.api.call("GET", "/snapshots").expect(200).json["snapshots"]}
        equal(snapshots, {snapshot for client in self.clients for snapshot in client.snapshots}, "snapshots")
        for box, lines in zip(self.shared, self.begun):
            self.consistent(lines, box.sh("cat /log 2>/dev/null").stdout.split(), time.monotonic(), time.monotonic(), "in the end")
        self.check_phoenix()

    def consistent(self, begun, lines, began, ended, what):
        """A copy of a file that grew meanwhile: all that was acknowledged before, nothing begun after, nothing twice."""
        equal(len(lines), len(set(lines)), f"{what}: a line twice in {lines}")
        acknowledged = {one.result for one in begun.all("line") if one.ended <= began}
        possible = {one.result for one in begun.all("begun") if one.began <= ended}
        must(acknowledged <= set(lines), f"{what}: acknowledged and not there: {acknowledged - set(lines)}")
        must(set(lines) <= possible, f"{what}: nobody wrote {set(lines) - possible}")

    def check_phoenix(self):
        """Of one name there is never more than one, and each is a new generation."""
        lives = []
        deleted = self.phoenix.all("delete")
        for made in self.phoenix.all("create"):
            if made.result[0] != 201:
                continue
            ends = [one.began for one in deleted if one.result[1] == made.result[1]]
            lives.append((made.ended, min(ends, default=float("inf")), made.result[2], made.result[1]))
        for one in lives:  # each is (surely alive from, to, generation, id)
            for other in lives:
                if one[3] < other[3]:
                    must(max(one[0], other[0]) >= min(one[1], other[1]), "two sandboxes named phoenix at once:", one, other)
                    must(one[2] != other[2], "one generation for two:", one, other)
        for refused in self.phoenix.all("create"):
            if refused.result[0] == 409:
                must(any(made.result[0] == 201 and made.began <= refused.ended and self.dead_by(made) >= refused.began
                         for made in self.phoenix.all("create")), "taken by nobody:", refused)

    def dead_by(self, made):
        """When the last delete of it had ended: only then it is surely gone."""
        ends = [one.ended for one in self.phoenix.all("delete") if one.result == (204, made.result[1])]
        return min(ends, default=float("inf"))

    def surely_alive(self, began, ended):
        """Ids that lived from before `began` to after `ended`."""
        deletes = self.phoenix.all("delete")
        return [made.result[1] for made in self.phoenix.all("create") if made.result[0] == 201 and made.ended < began and
                all(one.began > ended for one in deletes if one.result[1] == made.result[1])]

    def end(self):
        self.api.delete_all()
        self.api.call("DELETE", f"/sandbox-pools/{self.pool}").expect(204)
        for client in self.clients:
            for snapshot in client.snapshots:
                self.api.call("DELETE", f"/snapshots/{snapshot}").expect(204)
        self.gb.api.get("/healthz")


class Client(threading.Thread):
    def __init__(self, world, number, me, operations, until):
        super().__init__(name=f"client {me}")
        self.world, self.api, self.me, self.operations, self.until = world, world.api, me, operations, until
        self.random = random.Random(f"{world.seed}/{number}/{me}")
        self.own, self.snapshots, self.history, self.serial = [], {}, collections.deque(maxlen=REMEMBERED), 0

    def run(self):
        verbs = [(getattr(self, "do_" + name), weight) for name, weight in WEIGHTS.items()]
        try:
            for _ in range(self.operations):
                if self.world.stop.is_set() or self.until and time.monotonic() > self.until:
                    return
                verb = self.random.choices([v for v, _ in verbs], [w for _, w in verbs])[0]
                self.history.append(verb.__name__)
                verb()
                with self.world.lock:
                    self.world.counts[verb.__name__[3:]] += 1
        except Exception as error:
            self.world.stop.set()
            told = "\n  ".join(self.history)
            where = "".join(traceback.format_tb(error.__traceback__)[-3:])
            self.world.troubles.append(f"{self.name}: {type(error).__name__}: {error}\n{where}  what it did last:\n  {told}")

    def call(self, method, path, body=None, **more):
        began = time.monotonic()
        answer = self.api.call(method, path, body, timeout=120, **more)
        self.history.append(f"{began:.3f} +{time.monotonic() - began:.3f} {method} {path} {short(body, 80) if body else ''} → {answer!r}")
        return answer

    def sh(self, box, script):
        began = time.monotonic()
        try:
            done = box.sh(script)
        except (AssertionError, OSError, http.client.HTTPException) as error:
            self.history.append(f"{began:.3f} +{time.monotonic() - began:.3f} sh {box.id} {script} → {error}")
            raise
        self.history.append(f"{began:.3f} +{time.monotonic() - began:.3f} sh {box.id} {short(script, 80)} → {done!r}")
        return done

    def token(self):
        self.serial += 1
        return f"{self.me}.{self.serial}"

    def pick(self):
        """One of ours that is surely there; nothing where there is none."""
        now = time.monotonic()
        for ended in [own for own in self.own if own.may_have_ended(now - 1)]:
            self.own.remove(ended)  # it may be, or not: look_at_all() has nothing to say of it
            self.call("DELETE", f"/sandboxes/{ended.id}").expect(204)
        there = [own for own in self.own if not own.may_have_ended(now + 1)]
        return self.random.choice(there) if there else None

    def used(self, own):
        own.used, own.asleep = time.monotonic(), False

    # ---- our own sandboxes

    def adopt(self, record, **more):
        own = Own(Box(self.api, record), **more)
        self.own.append(own)
        return own

    def do_create(self):
        if len(self.own) >= OWN:
            return self.do_delete()
        named, brief = self.random.random() < 0.6, self.random.random() < 0.25
        spec = {"name": f"c{self.me}-{self.token().replace('.', '-')}"} if named else {}
        if brief:
            spec["timeout_secs"] = SHORT
        kept = {}
        if self.snapshots and self.random.random() < 0.4:
            spec["snapshot_id"] = self.random.choice(list(self.snapshots))
            kept = self.snapshots[spec["snapshot_id"]]
        record = self.call("POST", "/sandboxes", spec).expect(201).json
        equal(record["status"], "running", "a new one")
        self.adopt(record, name=spec.get("name", ""), files=kept.get("files"), lines=kept.get("lines", ()),
                   parent=spec.get("snapshot_id", ""), timeout=spec.get("timeout_secs", 600))

    def do_claim(self):
        if len(self.own) >= OWN:
            return self.do_delete()
        began = time.monotonic()
        record = claim(self.api, self.world.pool, timeout=120).expect(201).json
        self.history.append(f"{began:.3f} claim → {record}")
        own = self.adopt(record)
        if record["status"] == "running":
            programs = own.box.programs()
            with self.world.pool_lock:
                kinds = list(self.world.pool_kinds)
            ends = [at for at, _ in kinds[1:]] + [float("inf")]
            explained = {f"sleep {kind}" for (_, kind), end in zip(kinds, ends) if end is None or end >= began}
            runs = {program for program in programs if program.startswith("sleep 30")}
            must(len(runs) == 1 and runs <= explained, f"a claimed one runs {programs}, the pool was of {kinds}")
        self.used(own)

    def do_change_pool(self):
        """Only one client does, so that what the pool is has an order."""
        if self.me != 0:
            return
        kind = self.random.choice(["300", "301", "302"])
        with self.world.pool_lock:
            before = self.world.pool_kinds[-1]
        self.call("PUT", f"/sandbox-pools/{self.world.pool}", {**SPEC, "entrypoint": ["sleep", kind], "warm_containers": 2}).expect(200)
        with self.world.pool_lock:  # until now it may have been of the kind before
            must(self.world.pool_kinds[-1] is before, "only one changes the pool")
            self.world.pool_kinds.append((time.monotonic(), kind))

    def do_write(self):
        if own := self.pick():
            path = self.random.choice(("/tmp/a", "/workspace/b", "/root/c", "/var/lib/d"))
            size = self.random.choice((0, 10, 5000, 1 << 20))
            content = self.random.randbytes(size)
            own.box.write(path, content, timeout=120)
            own.files[path] = content
            self.used(own)

    def do_read(self):
        if own := self.pick():
            self.look_at(own)

    def do_append(self):
        if own := self.pick():
            line = self.token()
            self.sh(own.box, f"echo {line} >> /log").ok()
            own.lines.append(line)
            self.used(own)

    def do_job(self):
        if own := self.pick():
            own.jobs.add(own.box.start("sleep", "1000")["pid"])
            self.used(own)

    def do_end_job(self):
        own = self.pick()
        if own and own.jobs:
            pid = own.jobs.pop()
            own.box.call("DELETE", f"/processes/{pid}").expect(204)
            own.box.ended(pid)
            self.used(own)

    def do_suspend(self):
        own = self.pick()
        if not own:
            return
        answer = self.call("POST", f"/sandboxes/{own.id}/suspend")
        if not own.name:
            answer.refused(400)
            return
        must(answer.status == (200 if own.asleep else 202) or own.may_sleep() and answer.status == 200, answer)
        own.asleep = True
        equal(self.call("GET", f"/sandboxes/{own.id}").json["status"], "suspended")

    def do_resume(self):
        own = self.pick()
        if own:
            answer = self.call("POST", f"/sandboxes/{own.id}/resume")
            must(answer.status == (202 if own.asleep else 200) or own.may_sleep() and answer.status == 202, answer)
            if own.name:
                self.used(own)

    def do_rename(self):
        if own := self.pick():
            name = f"c{self.me}-{self.token().replace('.', '-')}"
            self.call("PATCH", f"/sandboxes/{own.id}", {"name": name}).expect(200)
            if own.name:
                self.call("GET", f"/sandboxes/{own.name}").refused(404, "SANDBOX_NOT_FOUND")
            equal(self.call("GET", f"/sandboxes/{name}").expect(200).json["id"], own.id)
            own.name = name

    def do_copy(self):
        own = self.pick()
        if not own or len(self.own) >= OWN:
            return
        copies = self.call("POST", f"/sandboxes/{own.id}/copy?times=2").expect(201).json
        if isinstance(copies, dict):
            copies = copies["sandboxes"]
        equal([copy["status"] for copy in copies], ["running"] * 2)
        for copy in copies:
            copy["sandbox_id"] = copy.get("sandbox_id") or copy["id"]
            made = self.adopt(copy, files=own.files, lines=own.lines, parent=own.parent, timeout=own.timeout)
            self.look_at(made)

    def do_delete(self):
        own = self.pick()
        if not own:
            return
        self.own.remove(own)
        self.call("DELETE", f"/sandboxes/{own.id}").expect(204)
        equal(self.call("GET", f"/sandboxes/{own.id}").expect(200).json["status"], "terminated")
        must(own.box.call("GET", "/processes").status == 410, "the data plane of a deleted one answers")
        self.call("DELETE", f"/sandboxes/{own.id}").expect(204)
        if own.name:
            self.call("GET", f"/sandboxes/{own.name}").refused(404, "SANDBOX_NOT_FOUND")

    # ---- our own snapshots

    def do_snapshot(self):
        own = self.pick()
        if not own or len(self.snapshots) >= SNAPSHOTS:
            return self.do_unsnapshot()
        answer = self.call("POST", f"/sandboxes/{own.id}/snapshot")
        if answer.status == 400 and (own.asleep or own.may_sleep()):
            answer.refused(400, "WRONG_STATE")
            return
        must(not own.asleep, "of a suspended one:", answer)
        snapshot = answer.expect(202).json["snapshot_id"]
        self.snapshots[snapshot] = {"files": dict(own.files), "lines": list(own.lines), "parent": own.parent}
        own.parent = snapshot
        equal(self.parent_of(snapshot), self.snapshots[snapshot]["parent"], "the parent")

    def parent_of(self, snapshot):
        return self.call("GET", f"/snapshots/{snapshot}").expect(200).json.get("parent_id") or ""

    def do_unsnapshot(self):
        if not self.snapshots:
            return
        gone = self.random.choice(list(self.snapshots))
        parent = self.snapshots.pop(gone)["parent"]
        self.call("DELETE", f"/snapshots/{gone}").expect(204)
        self.call("GET", f"/snapshots/{gone}").refused(404, "SNAPSHOT_NOT_FOUND")
        for own in self.own:
            own.parent = parent if own.parent == gone else own.parent
        for child, kept in self.snapshots.items():
            kept["parent"] = parent if kept["parent"] == gone else kept["parent"]
            equal(self.parent_of(child), kept["parent"], "the parent of what descends")

    def do_rollback(self):
        own = self.pick()
        if not own or not self.snapshots:
            return
        target = self.random.choice(list(self.snapshots))
        self.call("POST", f"/sandboxes/{own.id}/rollback", {"snapshot_id": target}).expect(200)
        kept = self.snapshots[target]
        own.files, own.lines, own.parent, own.jobs = dict(kept["files"]), list(kept["lines"]), target, set()
        self.used(own)
        self.look_at(own)

    # ---- looking

    def look_at(self, own):
        record = self.call("GET", f"/sandboxes/{own.id}").expect(200).json
        equal((record["id"], record.get("name") or "", record.get("snapshot_id") or ""), (own.id, own.name, own.parent), "the record")
        allowed = {"suspended"} if own.asleep else {"running", "suspended", "suspending"} if own.may_sleep() else {"running"}
        must(record["status"] in allowed, f"is {record['status']}, not {allowed}:", record)
        equal(self.sh(own.box, "cat /log 2>/dev/null").stdout.split(), own.lines, "lines")
        self.used(own)
        for path, content in own.files.items():
            must(own.box.read(path) == content, f"{path} of {own.id} is another")
        runs = {process["pid"] for process in own.box.processes() if process["status"] == "running"}
        must(own.jobs <= runs, f"of the jobs {own.jobs} only {runs} run")
        self.used(own)

    def look_at_all(self):
        for own in list(self.own):
            if own.may_have_ended(time.monotonic()) or own.may_have_ended(time.monotonic() + 1):
                continue
            self.look_at(own)

    # ---- what is everybody's

    def do_shared_line(self):
        n = self.random.randrange(len(self.world.shared))
        shared, begun, line = self.world.shared[n], self.world.begun[n], self.token()
        began = time.monotonic()
        begun.note("begun", began, line)
        self.sh(shared, f"echo {line} >> /log").ok()
        begun.note("line", began, line)

    def do_shared_sleep(self):
        n = self.random.randrange(len(self.world.shared))
        self.world.begun[n].note("suspend", time.monotonic(), None)
        answer = self.call("POST", f"/sandboxes/{self.world.shared[n].id}/suspend")
        if answer.status == 409:  # only where somebody else is at it; who it is has not always ended yet
            answer.refused(409, "SANDBOX_IN_USE")
        else:
            must(answer.status in (200, 202), answer)

    def do_shared_wake(self):
        answer = self.call("POST", f"/sandboxes/{self.random.choice(self.world.shared).id}/resume")
        must(answer.status in (200, 202), answer)

    def do_shared_copy(self):
        n = self.random.randrange(len(self.world.shared))
        shared, begun = self.world.shared[n], self.world.begun[n]
        began = time.monotonic()
        answer = self.call("POST", f"/sandboxes/{shared.id}/copy").expect(201).json
        ended = time.monotonic()
        copies = answer["sandboxes"] if isinstance(answer, dict) else answer
        equal([copy["status"] for copy in copies], ["running"])
        copy = self.adopt({**copies[0], "sandbox_id": copies[0].get("sandbox_id") or copies[0]["id"]})
        self.consistent_copy(copy, begun, began, ended)

    def do_shared_snapshot(self):
        n = self.random.randrange(len(self.world.shared))
        shared, begun = self.world.shared[n], self.world.begun[n]
        began = time.monotonic()
        answer = self.call("POST", f"/sandboxes/{shared.id}/snapshot")
        ended = time.monotonic()
        if answer.status == 400:
            answer.refused(400, "WRONG_STATE")
            must(begun.all("suspend"), "nobody suspended it:", answer)
            return
        snapshot = answer.expect(202).json["snapshot_id"]
        made = self.call("POST", "/sandboxes", {"snapshot_id": snapshot}).expect(201).json
        copy = self.adopt(made)
        self.consistent_copy(copy, begun, began, ended)
        self.call("DELETE", f"/snapshots/{snapshot}").expect(204)

    def consistent_copy(self, copy, begun, began, ended):
        lines = self.sh(copy.box, "cat /log 2>/dev/null").stdout.split()
        self.world.consistent(begun, lines, began, ended, f"a copy made in {began:.3f}…{ended:.3f}")
        self.own.remove(copy)
        self.call("DELETE", f"/sandboxes/{copy.id}").expect(204)

    def do_phoenix(self):
        """One name that all want: made, used and deleted by whoever comes."""
        phoenix, began = self.world.phoenix, time.monotonic()
        verb = self.random.choice(("create", "create", "use", "use", "delete"))
        if verb == "create":
            answer = self.call("POST", "/sandboxes", {"name": "phoenix"})
            must(answer.status in (201, 409), answer)
            if answer.status == 409:
                answer.refused(409, "NAME_TAKEN")
                phoenix.note("create", began, (409, None, 0))
            else:
                made = answer.json["sandbox_id"]
                phoenix.note("create", began, (201, made, self.call("GET", f"/sandboxes/{made}").json["generation"]))
            return
        made = [one.result[1] for one in phoenix.all("create") if one.result[0] == 201]
        if not made:
            return
        if verb == "delete":
            victim = made[-1]
            phoenix.note("delete", began, (None, victim))  # from here on it is not surely there
            self.call("DELETE", f"/sandboxes/{victim}").expect(204)
            phoenix.note("delete", began, (204, victim))
            return
        answer = Box(self.api, {"sandbox_id": "phoenix"}).call("GET", "/processes")
        self.history.append(f"{began:.3f} +{time.monotonic() - began:.3f} processes of phoenix → {answer!r}")
        ended = time.monotonic()
        if answer.status != 200:
            must(answer.status in (404, 409, 410), answer)
            alive = self.world.surely_alive(began, ended)
            must(not alive, f"{alive} was there all the time:", answer)

    def do_list(self):
        """Whoever lists sees all of his own, in the state they are in, whatever the others do."""
        page, seen = self.call("GET", "/sandboxes?limit=1000").expect(200).json["sandboxes"], {}
        for record in page:
            must(record["id"] not in seen, "twice in one list:", record)
            seen[record["id"]] = record
        for own in self.own:
            must(own.id in seen, "not in the list:", own.id)
            if not own.may_have_ended(time.monotonic()):
                must(seen[own.id]["status"] != "terminated", seen[own.id])


WEIGHTS = {"create": 8, "claim": 4, "change_pool": 3, "write": 8, "read": 8, "append": 10, "job": 4, "end_job": 2, "suspend": 6, "resume": 4,
           "rename": 2, "copy": 3, "delete": 5, "snapshot": 6, "unsnapshot": 3, "rollback": 4, "shared_line": 8, "shared_sleep": 4,
           "shared_wake": 2, "shared_copy": 3, "shared_snapshot": 3, "phoenix": 10, "list": 4}


class Numbers:
    """What an engine at rest holds."""

    def __init__(self, gb):
        self.gb = gb

    def held(self):
        owned, gb = Owned(self.gb.state, self.gb.instance), self.gb
        folders = {name: len(os.listdir(gb.engine_path("pool", name))) for name in ("boxes", "snapshots", "manifests")}
        return {"cgroups": len(owned.cgroups()), "namespaces": len(owned.namespaces()), "sockets": len(os.listdir(gb.engine_path("hands"))), **folders}

    def at_rest(self, before):
        """Once all is deleted: nothing more than before."""
        return eventually(lambda: (now := self.held()) and all(now[k] <= before[k] for k in before) and now, 60, f"as before, {before}", 0.1)

    def memory(self):
        return rss_kb(self.gb.engine_pid())

    def files(self):
        return open_files(self.gb.engine_pid())


def report(world, began):
    done = sum(world.counts.values())
    note(f"{done} operations in {time.monotonic() - began:.1f} s: " + ", ".join(f"{k} {v}" for k, v in world.counts.most_common()))
    return done
