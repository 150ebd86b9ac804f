"""Sessions with a skill and memory stores: what is in them, what is done with them, and what must come of it, whoever serves them."""
import uuid

from sessions import brief, lawful, plain
from support import equal, eventually

SKILL = {"x/SKILL.md": "---\nname: climbing\ndescription: How to climb.\n---\nRun bin/up.\n", "x/bin/up": "#!/bin/sh\necho went up\n",
         "x/deep/er/notes.txt": "a note\n", "x/empty": ""}
MEMORY = {"/a.md": "first", "/deep/er/b.md": "second grüezi", "/old.md": "goes away"}
READ_ONLY = {"/law.md": "thou shalt not write"}
TREES = "find skills /mnt/memory -printf '%y %m %s %p\\n' | grep -v '^d [0-9]* [0-9]* /mnt/memory$' | sed 's/^d \\([0-9]*\\) [0-9]* /d \\1 /' | sort"
NOTES, LAW = "/mnt/memory/notes", "/mnt/memory/law"
CALLS = [
    ("bash", {"command": TREES}),
    ("bash", {"command": "skills/climbing/bin/up; cat skills/climbing/deep/er/notes.txt"}),
    ("read", {"file_path": f"{NOTES}/deep/er/b.md"}),
    ("write", {"file_path": f"{NOTES}/new.md", "content": "by a tool\n"}),
    ("edit", {"file_path": f"{NOTES}/a.md", "old_string": "first", "new_string": "changed"}),
    ("write", {"file_path": f"{LAW}/new.md", "content": "no"}),
    ("edit", {"file_path": f"{LAW}/law.md", "old_string": "not", "new_string": "surely"}),
    ("read", {"file_path": f"{LAW}/law.md"}),
    ("read", {"file_path": "/mnt/memory/other"}),
    ("glob", {"pattern": "**/*.md", "path": NOTES}),
    ("grep", {"pattern": "grüezi", "path": NOTES}),
    ("bash", {"command": f"mkdir {NOTES}/made; echo by the shell > {NOTES}/made/shell.md; rm {NOTES}/old.md; head -c 9 /dev/zero > {NOTES}/binary; ln -s a.md {NOTES}/link"}),
]


def form(brain, files):
    mark = uuid.uuid4().hex
    body = b"".join(f'--{mark}\r\nContent-Disposition: form-data; name="files[]"; filename="{name}"\r\n\r\n'.encode() + content + b"\r\n"
                    for name, content in files.items()) + f"--{mark}--\r\n".encode()
    return brain.call("POST", "/v1/skills", body, {"Content-Type": f"multipart/form-data; boundary={mark}"})


def upload(brain, files):
    return form(brain, {name: content.encode() for name, content in files.items()}).expect(200, 201).json["id"]


def memory_store(brain, name, memories):
    store = brain.post("/v1/memory_stores", {"name": name}).expect(200, 201).json["id"]
    for path, content in memories.items():
        brain.post(f"/v1/memory_stores/{store}/memories", {"path": path, "content": content}).expect(200, 201)
    return store


def remembered(brain, store):
    rows = brain.get(f"/v1/memory_stores/{store}/memories?view=full&limit=20").expect(200).json["data"]
    return {row["path"]: row["content"] for row in rows}


class Stores:
    """A session with a skill, a store and one only to read; stores of its own, so that sessions can be compared."""

    def __init__(self, brain, agent, environment, mark):
        self.brain = brain
        self.notes, self.law = memory_store(brain, "notes", MEMORY), memory_store(brain, "law", READ_ONLY)
        self.id = brain.session(agent, environment, resources=[
            {"type": "memory_store", "memory_store_id": self.notes},
            {"type": "memory_store", "memory_store_id": self.law, "access": "read_only"}])["id"]
        brain.say(self.id, mark)

    def answers(self, limit=60):
        events = lawful(self.brain.settled(self.id, limit))
        return [(plain(e["content"]), e["is_error"]) for e in events if e["type"] == "user.tool_result"], brief(events)

    def expect_notes(self):
        wanted = {**MEMORY, "/a.md": "changed", "/new.md": "by a tool\n", "/made/shell.md": "by the shell\n"}
        del wanted["/old.md"]
        eventually(lambda: remembered(self.brain, self.notes) == wanted, 40, "the notes at the brain")
        equal(remembered(self.brain, self.law), READ_ONLY, "what is only to read")
