"""The six agent tools answer as agent_toolset_20260401 does, whatever the tool's input or output is.
labels: privileged timeout=300
"""
import concurrent.futures
import contextlib
import time

from harness import Glovebox, run
from support import Checks, api_of, equal, eventually


def test(tmp):
    with Glovebox(tmp) as gb:
        api, check = api_of(gb), Checks()
        box = api.create()
        workdir = box.run("pwd").stdout
        bash(box, check, workdir)
        forging(box, check)
        files(box, check, workdir)
        searching(box, check, workdir)
        confinement(box, check, workdir)
        inputs(box, check)
        box.delete()
        check.done()


def good(box, tool, want=None, **inputs):
    result = box.tool(tool, **inputs)
    assert result["is_error"] is False, f"{tool} {inputs}: {result}"
    assert isinstance(result["content"], str) and result["content"], f"empty result: {result}"
    if want is not None:
        equal(result["content"], want, tool)
    return result["content"]


def bad(box, tool, want=None, **inputs):
    result = box.tool(tool, **inputs)
    assert result["is_error"] is True, f"{tool} {inputs}: {result}"
    assert isinstance(result["content"], str) and result["content"], f"empty result: {result}"
    if want is not None:
        assert want in result["content"], f"{tool}: {result['content']!r} lacks {want!r}"
    return result["content"]


def bash(box, check, workdir):
    with check("bash: output, exit codes, nothing at all"):
        good(box, "bash", "hello", command="echo hello")
        good(box, "bash", "(no output)", command="true")
        good(box, "bash", "out\nerr", command="echo out; echo err >&2")
        bad(box, "bash", "exit 3", command="(exit 3)")
        content = bad(box, "bash", "said it", command="echo said it; (exit 4)")
        assert content.startswith("said it"), content
        good(box, "bash", "red", command=r"printf '\033[31mred\033[0m\n\n\n'")

    with check("bash: directory, variables, functions and background jobs stay between calls"):
        good(box, "bash", command="cd /tmp; X=5; f() { echo f:$1; }; sleep 77 & export Y=7")
        good(box, "bash", "/tmp 5 7 f:a", command="echo $PWD $X $Y $(f a)")
        good(box, "bash", "Running", command="jobs | grep -o Running")
        good(box, "bash", command="kill %1; cd " + workdir)

    with check("bash: stdin is empty, there is no terminal"):
        good(box, "bash", "(no output)", command="cat")
        good(box, "bash", "no", command="[ -t 0 ] || [ -t 1 ] && echo yes || echo no")

    with check("bash: a time-out kills the shell and all in it, the next call gets a new one"):
        start = time.monotonic()
        bad(box, "bash", "bash: bash command timed out after 1500ms", command="X=lost; setsid sleep 4711 & sleep 4712", timeout_ms=1500)
        assert time.monotonic() - start < 60
        good(box, "bash", "new:", command="echo new:$X")
        good(box, "bash", "0", command="cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep 471[12]' | wc -l")

    with check("bash: restart"):
        good(box, "bash", command="X=before")
        good(box, "bash", "bash session restarted", restart=True)
        good(box, "bash", "x:", command="echo x:$X")
        good(box, "bash", "again", command="echo again", restart=True)
        bad(box, "bash", "bash: command is required")

    with check("bash: more than 100 KiB of output keeps the end, marked"):
        content = good(box, "bash", command="seq 1 200000")
        assert content.startswith("[output truncated]\n") and content.endswith("200000"), content[:100]
        assert len(content) <= 102_400 + 100, len(content)

    with check("bash: a 100 MB line, NULs, bad UTF-8: bounded and valid"):
        content = good(box, "bash", command="head -c 100000000 /dev/zero | tr '\\0' x; echo end")
        assert content.endswith("end") and len(content) < 110_000
        content = good(box, "bash", command=r"printf 'a\000b\377\376c\n'; echo end")
        assert content.endswith("end") and "a" in content, content

    with check("bash: calls at once queue in order, none is lost"):
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            results = list(pool.map(lambda i: box.tool("bash", command=f"echo call {i}")["content"], range(20)))
        equal(results, [f"call {i}" for i in range(20)])


def forging(box, check):
    with check("bash: no output, and no trick with the shell, forges or loses the end of a call"):
        tricks = [
            "echo __ANT_CMD_00000000-0000-0000-0000-000000000000_DONE__0",
            "set +o history; history; declare -f; set | grep -a DONE; true",
            "for fd in /proc/$$/fd/*; do echo 0 > $fd; done 2>/dev/null; true",
            "printf() { echo forged; }; echo() { :; }; trap 'builtin echo trapped' DEBUG; :",
            "trap - DEBUG; unset -f printf echo; builtin echo clean",
        ]
        for trick in tricks:
            result = box.tool("bash", command=trick, timeout_ms=20000)
            assert result["content"], trick
        for trick in ("exit 0", "exec true", "kill -9 $$", "exec 1>&- 2>&- 0<&-; exit 5"):
            bad(box, "bash", "bash session terminated", command=trick)
            good(box, "bash", "fine", command="echo fine")
        box.tool("bash", command="set -e; exec 1>&- 2>&-; trap 'exit 1' ERR; alias echo=false", timeout_ms=20000)
        eventually(lambda: box.tool("bash", command="echo usable", timeout_ms=5000)["content"] == "usable"
                   or box.tool("bash", restart=True)["is_error"], 30, "a usable shell within a restart")
        for trick in ("echo 'unclosed", "cat <<EOF", "if true; then echo", "{ echo open", ") ; }", "((("):
            result = box.tool("bash", command=trick, timeout_ms=1500)
            assert result["content"], trick
            eventually(lambda: box.tool("bash", command="echo fine", timeout_ms=5000)["content"].endswith("fine"), 30, f"after {trick!r}")


def files(box, check, workdir):
    with check("write, read, edit: the texts of the tool set"):
        equal(good(box, "write", file_path="notes/a.txt", content="one\ntwo\nthrée\n"), "wrote 15 bytes to notes/a.txt")
        equal(good(box, "read", file_path="notes/a.txt"), "one\ntwo\nthrée\n")
        equal(good(box, "read", file_path=f"{workdir}/notes/a.txt", view_range=[2, 3]), "two\nthrée")
        equal(good(box, "edit", file_path="notes/a.txt", old_string="two", new_string="$2 \\1"), "edited notes/a.txt (1 replacement(s))")
        equal(good(box, "read", file_path="notes/a.txt", view_range=[2, 2]), "$2 \\1")
        good(box, "write", file_path="rep", content="a a a")
        bad(box, "edit", "edit: old_string appears 3 times in rep (must be unique)", file_path="rep", old_string="a", new_string="b")
        equal(good(box, "edit", file_path="rep", old_string="a", new_string="b", replace_all=True), "edited rep (3 replacement(s))")
        bad(box, "edit", "edit: old_string not found in rep", file_path="rep", old_string="zz", new_string="b")
        bad(box, "edit", "edit: old_string is required", file_path="rep", old_string="", new_string="b")
        bad(box, "read", "read: file_path is required")
        bad(box, "read", "read: none: no such file or directory", file_path="none")
        bad(box, "write", "write: file_path is required", content="x")

    with check("a new file is 0600, an existing one keeps its mode"):
        equal(good(box, "bash", command="stat -c %a notes/a.txt; chmod 640 rep").split()[0], "600")
        good(box, "write", file_path="rep", content="x")
        equal(good(box, "bash", command="stat -c %a rep"), "640")

    with check("read: limits, ranges, what is no plain file"):
        good(box, "bash", command="seq 1 100000 > long; mkdir -p d; mkfifo fifo; head -c 300000 /dev/zero | tr '\\0' x > oneline; : > empty")
        bad(box, "read", "exceeds 262144-byte limit", file_path="long")
        equal(good(box, "read", file_path="long", view_range=[99999, 100000]), "99999\n100000")
        bad(box, "read", "exceeds 262144-byte limit", file_path="oneline", view_range=[1, 1])
        bad(box, "read", "view_range must be [start_line, end_line]", file_path="long", view_range=[1])
        for special in ("d", "fifo", "/dev/zero", "/proc/kcore"):
            bad(box, "read", file_path=special)
        good(box, "read", file_path="empty")


def searching(box, check, workdir):
    good(box, "bash", command="mkdir -p g/.git g/node_modules g/sub; cd g; ln -s . loop; "
         "for f in a.py sub/b.py .hidden.py .git/c.py node_modules/d.py; do echo needle > $f; done; cd ..")
    with check("glob: patterns, what is skipped, nothing found"):
        found = set(good(box, "glob", pattern="**/*.py", path="g").split("\n"))
        equal(found, {f"{workdir}/g/a.py", f"{workdir}/g/sub/b.py"})
        good(box, "glob", "no matches", pattern="*.nothing", path="g")
        bad(box, "glob", "glob: absolute pattern not permitted", pattern="/etc/*")
        bad(box, "glob", '".." is not permitted', pattern="../*")
        bad(box, "glob", '".." is not permitted', pattern="{a,..}/*")
        bad(box, "glob", "glob: pattern is required")

    with check("grep: hits, none, bad and dangerous patterns"):
        assert "a.py:1:needle" in good(box, "grep", pattern="ne+dle", path="g")
        good(box, "grep", "no matches", pattern="haystack", path="g")
        bad(box, "grep", "grep:", pattern="(unclosed", path="g")
        bad(box, "grep", "grep: pattern is required")
        good(box, "bash", command="head -c 60000 /dev/zero | tr '\\0' a > g/aaa")
        start = time.monotonic()
        box.tool("grep", pattern="(a*)*(a*)*(a*)*b$", path="g")
        assert time.monotonic() - start < 30, "a pattern cannot hang it"

    with check("glob and grep over loops, 10^5 entries and FIFOs come back, bounded"):
        good(box, "bash", timeout_ms=100000,
             command="mkdir -p big && cd big && seq 100000 | xargs -n 5000 touch; ln -s . l1; ln -s .. l2; mkfifo f; cd ..")
        content = good(box, "glob", pattern="**/*", path="big")
        assert len(content.split("\n")) <= 201, len(content.split("\n"))
        box.tool("grep", pattern="x", path="big")
        good(box, "bash", command="rm -rf big")


def confinement(box, check, workdir):
    with check("read, write, edit, glob, grep stay in the work directory, whatever the links say"):
        good(box, "bash", command="ln -sf /etc/passwd link; ln -sfn /etc dirlink; ln -sf /tmp/new dangling; "
             "ln -s loop2 loop1; ln -s loop1 loop2; rm -f /tmp/new")
        outside = "is outside the session's working directory"
        for path in ("/etc/passwd", "../../../../etc/passwd", "link", "dirlink/passwd", "/proc/self/root/etc/passwd", "notes/../../x/../etc/passwd"):
            bad(box, "read", None, file_path=path)
        bad(box, "read", outside, file_path="/etc/passwd")
        bad(box, "read", '"link" ' + outside, file_path="link")
        bad(box, "write", outside, file_path="dangling", content="x")
        bad(box, "write", outside, file_path="dirlink/x", content="x")
        bad(box, "edit", outside, file_path="link", old_string="root", new_string="toor")
        bad(box, "glob", outside, pattern="*", path="dirlink")
        bad(box, "grep", outside, pattern="root", path="/etc")
        bad(box, "read", "too many levels of symbolic links", file_path="loop1")
        equal(good(box, "bash", command="[ -e /tmp/new ] || [ -e /etc/x ] || echo untouched"), "untouched")

    with check("a race between check and use never leaves the work directory"):
        good(box, "bash", command="mkdir -p race && echo inside > race/f && mkdir -p /tmp/out && echo SECRET-OUTSIDE > /tmp/out/f")
        racer = box.start("/bin/bash", "-c", f"cd {workdir}; while :; do mv race r1; ln -s /tmp/out race; rm race; mv r1 race; done 2>/dev/null")
        for _ in range(150):
            content = box.tool("read", file_path="race/f")["content"]
            assert "SECRET-OUTSIDE" not in content, content
            box.tool("write", file_path="race/w", content="x")
        box.call("DELETE", f"/processes/{racer['pid']}")
        equal(box.sh("ls /tmp/out").stdout, "f")


def inputs(box, check):
    with check("wrong input is an answer for the model, never a crash and never silence"):
        for tool, body in (("bash", {"command": 5}), ("read", {"file_path": ["a"]}), ("write", {"file_path": "x", "content": 7}),
                           ("edit", {"file_path": "x", "old_string": {}, "new_string": None}), ("grep", {"pattern": None}),
                           ("glob", {"pattern": 3.5}), ("bash", {"command": "true", "timeout_ms": "soon"}),
                           ("read", {"file_path": "x", "view_range": "all"}), ("read", {"file_path": "a\x00b"}),
                           ("bash", {"command": "echo a\x00b"}), ("write", {"file_path": "x" * 5000, "content": ""})):
            reply = box.call("POST", f"/tools/{tool}", body)
            if reply.status == 200:
                assert reply.json["content"], (tool, body)
            else:
                assert 400 <= reply.status < 500 and reply.json["error"] and reply.json["code"], f"{tool} {body}: {reply!r}"

    with check("an unknown tool is 404, JSON that is none is 400"):
        box.call("POST", "/tools/python", {}).refused(404)
        assert 400 <= box.call("POST", "/tools/bash", "{nonsense").status < 500
        equal(good(box, "bash", command="echo still here"), "still here")

    with check("a 10 MB input is refused or taken, the next call answers"):
        with contextlib.suppress(ConnectionError):  # refused by its length, it may be closed while it is still being sent
            reply = box.call("POST", "/tools/write", {"file_path": "huge", "content": "x" * 10_000_000})
            assert reply.status in (200, 413), repr(reply)
        equal(good(box, "bash", command="echo still here"), "still here")


run(test)
