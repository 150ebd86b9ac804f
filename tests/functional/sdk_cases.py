"""What the scripted model does in the cases of sdk/brain.mjs and sdk/worker.mjs."""
from fake_messages import results_of, stream, text, thinking, tool


def bash(command):
    return stream(tool("bash", {"command": command}))


def after_custom(asked):
    """Says what the custom tool said: the answer depends on the result."""
    return stream(text(results_of(asked)[0][1])) if asked.turn else stream(tool("weather", {"town": "Bern"}))


def append(asked):
    """One line for each message of the user that is not a result."""
    return stream(text("appended")) if results_of(asked) else bash("echo line >> appended")


def scripts(fake):
    fake.script("case:hello", [stream(thinking(), text("hello from the test", pieces=8))])
    fake.script("case:tools", lambda asked: again(asked) if "case:again" in asked.raw.decode() else [
        stream(thinking(), tool("write", {"file_path": "hello.txt", "content": "hi\n"})), stream(tool("read", {"file_path": "hello.txt"})),
        bash("cat hello.txt; W=kept"), stream(text("all done"))][asked.turn])
    fake.script("case:long", lambda asked: stream(text("after the interrupt")) if "and now?" in asked.raw.decode() else bash("sleep 20; echo late"))
    fake.script("case:careful", [bash("echo allowed"), bash("echo never"), stream(text("one ran"))])
    fake.script("case:custom", after_custom)
    fake.script("case:short", [bash("echo short"), stream(text("short"))])
    fake.script("case:append", append)
    fake.script("case:six", [
        stream(tool("write", {"file_path": "notes.txt", "content": "one two\nthree\n"})), stream(tool("read", {"file_path": "notes.txt"})),
        stream(tool("edit", {"file_path": "notes.txt", "old_string": "one", "new_string": "ONE"})), bash("cat notes.txt"),
        stream(tool("glob", {"pattern": "*.txt"}), tool("grep", {"pattern": "thr.e"})), bash("echo sorry; exit 3"), stream(text("six tools"))])


def again(asked):
    return stream(text("kept")) if results_of(asked) else bash('echo "$W $(cat hello.txt)"')
