"""A scenario of tool calls: what an agent does all day, and all that may go wrong with it. Two toolsets that are served this in
equal directories are to say the same.

A step is {"id", "tool", "input"}; "pause_ms": nothing happens before it for so long; "together": calls at the same time instead.
Ids are what docs/worker-differences.md names. "@WORK@" in an input is the work directory.
"""
OUTPUT_LIMIT = 100 * 1024

STEPS = []


def step(tool, name, pause_ms=0, **inputs):
    STEPS.append({"id": f"{tool}: {name}", "tool": tool, "input": inputs, **({"pause_ms": pause_ms} if pause_ms else {})})


def together(name, calls):
    STEPS.append({"id": f"together: {name}", "together": [{"tool": tool, "input": inputs} for tool, inputs in calls]})


def bash(name, command=None, **more):
    step("bash", name, **({} if command is None else {"command": command}), **more)


def restart():
    """A new shell on both sides, whatever became of the one before."""
    bash(f"fresh shell {sum('fresh shell' in s['id'] for s in STEPS) + 1}", restart=True)


def read(name, path, view_range=None, **more):
    step("read", name, file_path=path, **({} if view_range is None else {"view_range": view_range}), **more)


def write(name, path, content):
    step("write", name, file_path=path, content=content)


def edit(name, path, old, new, **more):
    step("edit", name, file_path=path, old_string=old, new_string=new, **more)


def glob(name, pattern, path=None):
    step("glob", name, pattern=pattern, **({} if path is None else {"path": path}))


def grep(name, pattern, path=None):
    step("grep", name, pattern=pattern, **({} if path is None else {"path": path}))


# The directory that both sides start with. Times are set where somebody sorts by them.
TREE = r"""
set -e
umask 022
mkdir -p d/sub/deep empty-dir
printf 'one\ntwo\nthree\n' > lines
printf 'one\ntwo\nthree' > no-newline
: > empty
printf '\n' > newline
printf '\n\n\n' > newlines
printf 'a\r\nb\r\n' > crlf
printf '\357\273\277bom\n' > bom
printf 'ok\377\376|\300\257|\355\240\200|\342\202|\360\237\230.\n' > invalid
printf 'a\0b\0\nc\n' > nul
printf 'gr\303\274\303\237e \346\227\245\346\234\254 \360\237\230\200 e\314\201\n' > unicode
seq 60000 > big
head -c 262144 /dev/zero | tr '\0' x > at-limit
cp at-limit a-limit
head -c 262145 /dev/zero | tr '\0' x > over-limit
{ head -c 262144 /dev/zero | tr '\0' x; printf '\nend\n'; } > line-at-limit
{ printf 'short\n'; head -c 300000 /dev/zero | tr '\0' y; printf '\nend\n'; } > long-line
{ head -c 262143 /dev/zero | tr '\0' z; printf '\303\274\n'; } > cut-character
mkfifo fifo
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
printf 'in d\n' > d/file
ln -s lines link
ln -s link chain
ln -s d dirlink
ln -s "$PWD/lines" absolute-link
ln -s /etc/hostname out
ln -s /etc outdir
ln -s ../../../etc/hostname out-relative
ln -s missing dangling
ln -s d/not-yet/made dangling-deep
ln -s /tmp/missing dangling-out
ln -s loop-b loop-a
ln -s loop-a loop-b
ln -s self self
ln -s .. up
ln -s "../$(basename "$PWD")/lines" around
ln -s lines/x through-file
ln -s lines hop-1
for i in $(seq 2 41); do ln -s hop-$((i - 1)) hop-$i; done
printf 'x\n' > 'a "quoted" name'
printf 'x\n' > "$(printf 'new\nline')"
printf 'x\n' > "$(printf 'bad-\377-name')"

mkdir -p g/sub/deep g/sub/more g/.dot/in g/node_modules/p g/.git/refs ties/b ties/d ties/many g/odd g/links/real
at=1700000000
new() { printf '%s\n' "$1" > "$1"; touch -d "@$at.123456789" "$1"; at=$((at + 1)); }
cd g
for f in a.txt b.txt c.md sub/x.txt sub/y.md sub/deep/x.txt sub/more/z.txt .hidden .dot/h.txt .dot/in/i.txt node_modules/p/n.txt \
  .git/config .git/refs/main f1 f2 f3 f10 f01 f02; do new "$f"; done
ln -s a.txt link.txt; ln -s sub linkdir; ln -s /etc linkout; ln -s . dot; ln -s nowhere broken; mkfifo pipe.txt
for i in $(seq -w 250); do new ../ties/many/m$i; done
touch -d @1700009999 ../ties/{c,a,z,b/x,b/a,b/sub,d/x,d/a}
cd odd
for f in '[x].txt' '{y}.txt' 'a*b' 'back\slash' 'sp ace' '~' '-' 'A.TXT' "$(printf '\303\251t\303\251')" "$(printf 'e\314\201')" \
  "$(printf '\360\237\230\200')" "$(printf 'two\nlines')" "$(printf 'bad\377')" 'x.tar.gz' '(p)' '!bang' 'a,b' '$' '+' '@'; do new "$f"; done
cd ../links
new real/inside; ln -s real named; ln -s ../sub up; ln -s .. parent; ln -s real/inside file; ln -s /etc/hostname out

cd ../..
mkdir -p s/b/c s/.git s/node_modules s/.hid
cd s
printf 'needle in a\n' > a
printf 'needle in b/one\nnone\n  needle twice needle\n' > b/one
printf 'needle deep\n' > b/c/two
printf 'needle at the end' > z
printf 'needle before b\n' > aa
printf 'needle hidden\n' > .hid/file
printf 'needle hidden\n' > .hidden
printf 'needle git\n' > .git/config
printf 'needle module\n' > node_modules/m
printf 'NEEDLE\nNeedle\n' > case
printf 'crlf needle\r\nnext\r\n' > crlf
printf 'sep one\342\200\250needle two\342\200\251needle three\n' > separators
printf '\357\273\277bomstart\nbomnext\n' > bom
printf 'gr\303\274n \360\237\230\200 needle\n' > unicode
printf 'bad \377\376 needleb\n' > invalid
head -c 2000 /dev/zero | tr '\0' l > line-2000
head -c 2001 /dev/zero | tr '\0' l > line-2001
for i in $(seq 1000); do printf '\360\237\230\200'; done > emoji-2000
for i in $(seq 667); do printf '\346\227\245'; done > wide
printf 'x\n\n y\n\t\n' > blanks
ln -s a link; ln -s b linkdir; ln -s . loop; mkfifo fifo; ln -s /etc/hostname out
cd ..
mkdir -p s-odd; printf 'one\rtwo needle\rthree\n' > s-odd/cr; printf 'early needle\nbin\0ary\nlate needle\n' > s-odd/binary
mkdir -p many; seq -f 'line %g of many lines, all of which match' 5000 > many/lines
p=depth; for i in $(seq 42); do p=$p/n; done; mkdir -p $p
q=depth/n; for i in 1 38 39 40 41; do q=depth; for j in $(seq $i); do q=$q/n; done; echo "depth $i" > $q/f; done
mkdir .git; echo x > .git/x
chmod 640 lines; chmod 755 d/file
"""


def reading():
    for name in ("lines", "no-newline", "empty", "newline", "newlines", "crlf", "bom", "invalid", "nul", "unicode", "at-limit",
                 "over-limit", "line-at-limit", "long-line", "big"):
        read(name, name)
    for view in ([1, 1], [2, 3], [2, 2], [3, 3], [4, 4], [0, 2], [-5, 2], [2, 0], [2, -1], [3, 2], [4, 9], [5, 9], [1, 3], [1, 4],
                 [99, 100], [1, 99999999999], [0, 0], [], [1], [1, 2, 3], [99999999999999999999, 1]):
        read(f"lines {view}", "lines", view)
    read("no range is null", "lines", None)
    STEPS[-1]["input"]["view_range"] = None
    for name, view in (("no-newline", [3, 3]), ("no-newline", [3, 4]), ("empty", [1, 1]), ("newline", [1, 1]), ("newline", [1, 2]),
                       ("newline", [2, 2]), ("newlines", [2, 3]), ("newlines", [1, 4]), ("crlf", [1, 1]), ("crlf", [1, 2]), ("bom", [1, 1]),
                       ("invalid", [1, 1]), ("nul", [1, 1]), ("big", [1, 3]), ("big", [59999, 60000]), ("big", [60000, 60001]),
                       ("big", [60001, 60002]), ("big", [70000, 70001]), ("big", [-1, 2]), ("big", [-1, -1]), ("big", [1, 60000]),
                       ("big", [5, 4]), ("big", [59999, 0]), ("at-limit", [1, 1]), ("over-limit", [1, 1]), ("over-limit", [2, 2]),
                       ("over-limit", [1, 2]), ("line-at-limit", [1, 1]), ("line-at-limit", [1, 2]), ("line-at-limit", [2, 2]),
                       ("long-line", [1, 1]), ("long-line", [2, 2]), ("long-line", [1, 2]), ("long-line", [3, 3]), ("long-line", [3, 4]),
                       ("long-line", [0, 0]), ("cut-character", [1, 1]), ("lines", [1.5, 2]), ("d", [1])):
        read(f"{name} {view}", name, view)
    for name, path in (("nothing", None), ("empty path", ""), ("missing", "missing"), ("missing in a folder", "d/none/x"), ("folder", "d"),
                       ("fifo", "fifo"), ("socket", "socket"), ("file as a folder", "lines/x"), ("file and slash", "lines/"),
                       ("dots", "./d/../d/./file"), ("dots over what is missing", "missing/../lines"),
                       ("dots over a file", "lines/../lines"), ("dots over a link", "dirlink/../lines"), ("absolute", "@WORK@/lines"),
                       ("work directory", "."), ("work directory, absolute", "@WORK@"), ("slashes", "d//file"),
                       ("outside", "/etc/hostname"), ("outside by dots", "../etc/hostname"),
                       ("far outside by dots", "../../../../../etc/hostname"), ("parent", ".."), ("root", "/"),
                       ("a name that starts alike", "@WORK@-not/lines"), ("outside and missing", "/nonsuch/x"), ("home", "~/x"),
                       ("blank", " "), ("quotes", 'a "quoted" name'), ("newline in the name", "new\nline"), ("link", "link"),
                       ("chain of links", "chain"), ("link to a folder", "dirlink"), ("below a link", "dirlink/file"),
                       ("absolute link", "absolute-link"), ("link out", "out"), ("link to a folder outside", "outdir"),
                       ("below a link out", "outdir/hostname"), ("relative link out", "out-relative"), ("dangling link", "dangling"),
                       ("dangling link out", "dangling-out"), ("loop", "loop-a"), ("below a loop", "loop-a/x"), ("link to itself", "self"),
                       ("link up", "up"), ("link around", "around"), ("link through a file", "through-file"), ("40 links", "hop-40"),
                       ("41 links", "hop-41"), ("long name", "n" * 300), ("long path", "p/" * 3000 + "x"),
                       ("long name outside", "/" + "n" * 300), ("NUL in the name", "a\0b"),
                       ("control characters outside", "/\x01\x1f\b\f\t\r\\é😀\x7f/\u2028x"), ("unicode that is missing", "日本/é"),
                       ("name of invalid bytes", "bad-\ufffd-name")):
        step("read", name, **({} if path is None else {"file_path": path}))
    step("read", "a number for a name", file_path=5)
    step("read", "a word for a range", file_path="lines", view_range="all")


def writing():
    write("new", "w/new", "hello\n")
    read("what was written", "w/new")
    write("again", "w/new", "more than before\n")
    write("shorter", "w/new", "x")
    read("what was written last", "w/new")
    write("deep folders", "w/1/2/3/4/file", "deep")
    write("nothing", "w/empty", "")
    step("write", "no content", file_path="w/no-content")
    write("unicode", "w/unicode", "grüße 日本 😀\n")
    write("CRLF and NUL", "w/bytes", "a\r\nb\0c")
    bash("CRLF and NUL arrived", "od -An -tx1 w/bytes")
    write("a megabyte", "w/large", "0123456789abcde\n" * 65536)
    bash("a megabyte arrived", "wc -c < w/large; md5sum < w/large")
    step("write", "no path", content="x")
    write("empty path", "", "x")
    write("onto a folder", "d", "x")
    write("onto a link to a folder", "dirlink", "x")
    write("onto an empty folder", "empty-dir", "x")
    write("onto the work directory", ".", "x")
    write("onto the work directory, absolute", "@WORK@", "x")
    write("slash at the end", "w/slash/", "x")
    write("below a file", "lines/x", "x")
    write("far below a file", "lines/x/y/z", "x")
    write("outside", "/etc/glovebox-test", "x")
    write("outside by dots", "../glovebox-test", "x")
    write("below a link out", "outdir/glovebox-test", "x")
    write("through a link out", "out", "x")
    write("through a dangling link out", "dangling-out", "x")
    write("through a dangling link", "dangling", "made\n")
    write("through a dangling link into new folders", "dangling-deep", "made\n")
    write("through a loop", "loop-a", "x")
    write("through a link through a file", "through-file", "x")
    write("below a link", "dirlink/written", "x")
    write("long name", "n" * 300, "x")
    write("name of 255 bytes", "w/" + "n" * 255, "x")
    write("long path", "p/" * 3000 + "x", "x")
    write("NUL in the name", "a\0b", "x")
    write("through a link", "link", "by link\n")
    write("through a chain", "chain", "by chain\n")
    bash("links are still links", "ls -l link chain dangling | cut -d' ' -f1; cat lines missing d/not-yet/made")
    write("onto a fifo", "fifo", "no fifo\n")
    bash("modes",
         "chmod 4751 w/new; mkdir -m 755 w/open; umask 077; stat -c '%a %F %n' w w/1 w/1/2 w/1/2/3/4/file w/new lines fifo d/not-yet missing")
    write("keeps a mode", "w/new", "#!/bin/sh\necho ran\n")
    write("keeps the mode behind a link", "link", "one\ntwo\nthree\n")
    write("into an open folder", "w/open/file", "x")
    bash("modes afterwards", "stat -c '%a %n' w/new lines w/open w/open/file; w/new; umask 022")
    write("for edit without a text", "w/old", "nothing but this")
    bash("hard links", "echo first > w/h1; ln w/h1 w/h2; chmod 444 w/h1")
    write("a hard link that is read-only", "w/h1", "second\n")
    bash("the other hard link", "cat w/h1 w/h2; stat -c '%a %h' w/h1 w/h2")
    bash("nothing is left over", "ls -A w; ls -A | grep -c tmp")
    together("different files", [("write", {"file_path": f"w/t{i}", "content": f"{i}\n" * (i + 1)}) for i in range(8)])
    bash("each has its own", "cat w/t[0-7] | sort | uniq -c")
    together("the same file", [("write", {"file_path": "w/same", "content": f"{i}" * 50000 + "\n"}) for i in range(8)])
    bash("one of them is there, and whole", "wc -c < w/same; fold -w1 w/same | uniq | wc -l; ls -A w | grep -c tmp")
    together("new folders", [("write", {"file_path": f"w/same-folder/{i}/f", "content": "x"}) for i in range(8)])
    together("reads", [("read", {"file_path": "lines", "view_range": [i, i]}) for i in range(5)])
    step("write", "a number for content", file_path="w/number", content=5)


def editing():
    write("for edit", "e", "one two\nthree two\n")
    edit("once", "e", "one", "ONE")
    edit("not unique", "e", "two", "2")
    edit("all", "e", "two", "2", replace_all=True)
    edit("all of one", "e", "ONE", "1", replace_all=True)
    edit("not found", "e", "four", "4")
    edit("all of none", "e", "four", "4", replace_all=True)
    edit("several lines", "e", "2\nthree", "x\ny\nz")
    edit("literal text", "e", "y", "$& $1 $` $' $$ \\1 \\n")
    edit("literal text everywhere", "e", "z", "$&", replace_all=True)
    edit("a pattern is text", "e", ".*", "x")
    edit("by nothing", "e", "x", "")
    edit("by the same", "e", "1", "1")
    edit("nothing", "e", "", "x")
    read("after edits", "e")
    edit("overlapping", "e", "1", "aaaaa")
    edit("overlapping twice", "e", "aa", "b")
    edit("overlapping all", "e", "aa", "b", replace_all=True)
    read("after overlapping", "e")
    write("for edit, unicode", "eu", "grüße 😀 日本\r\n\ufeffx")
    edit("unicode", "eu", "😀 日", "é")
    edit("CRLF", "eu", "\r\n", "\n")
    edit("newline at the end", "eu", "\n", "\r\n")
    read("after unicode", "eu")
    edit("to nothing", "bom", "\ufeffbom\n", "")
    read("emptied", "bom")
    edit("an empty file", "empty", "x", "y")
    edit("keeps a mode", "d/file", "in d", "in d, edited")
    edit("through a link", "link", "two", "zwei")
    edit("through a link to a folder", "dirlink/file", "edited", "edited again")
    bash("modes after edit", "stat -c '%a %n' d/file lines e; cat d/file lines")
    write("for whole", "e2", "all")
    edit("whole", "e2", "all", "nothing but this")
    edit("growing", "e2", "n", "n" * 1000, replace_all=True)
    bash("grown", "wc -c < e2")
    edit("growing without bounds", "a-limit", "x", "x" * 300, replace_all=True)
    bash("not grown", "stat -c %s a-limit")
    edit("missing", "none", "a", "b")
    edit("missing folder", "none/none", "a", "b")
    edit("folder", "d", "a", "b")
    edit("socket", "socket", "a", "b")
    edit("below a file", "lines/x", "a", "b")
    edit("outside", "/etc/hostname", "a", "b")
    edit("link out", "out", "a", "b")
    edit("dangling", "dangling-out", "a", "b")
    edit("loop", "self", "a", "b")
    edit("at the limit", "at-limit", "y", "x")
    edit("over the limit", "over-limit", "y", "x")
    step("edit", "no path", old_string="a", new_string="b")
    step("edit", "no old text", file_path="e", new_string="b")
    step("edit", "nothing at all")
    bash("invalid bytes before", "cp invalid e3; printf 'plain\\n' >> e3")
    edit("a file with invalid bytes", "e3", "plain", "edited")
    bash("invalid bytes after", "od -An -c e3")
    edit("NUL", "nul", "b\0\nc", "B")
    bash("NUL after", "od -An -c nul")
    step("edit", "a word for a boolean", file_path="e2", old_string="zz", new_string="b", replace_all="yes")
    step("edit", "no new text", file_path="w/old", old_string="but")
    together("edits of the same file", [("edit", {"file_path": "e", "old_string": "b", "new_string": "b", "replace_all": True})] * 4)


def globbing():
    for pattern in ("*", "*.txt", "**", "**/*", "**/*.txt", "**/x.txt", "*/x.txt", "*/*/x.txt", "?.txt", "??", "[ab].txt", "[!a].txt",
                    "[^a].txt", "[a-b].*", "[b-a].txt", "[[:alpha:]].txt", "[[:digit:]]", "{a,b}.txt", "{a,b,c}.{txt,md}", "{a,{b,c}}.*",
                    "{a}.txt", "{a,}.txt", "f{1..3}", "f{01..03}", "f{3..1}", "f{1..10..9}", "{a..c}.txt", "{a,b", "a}.txt", "{}", "[",
                    "[a", "[]", "[]a].txt", "", "/etc/*", "..", "../*", "sub/../*", "{..,sub}/*", "{sub,..}", "a..b", "a...", ".",
                    "./*.txt", "././a.txt", "sub//x.txt", "sub", "sub/", "sub/*", "sub/**", "sub/*/", "sub/**/*.txt", "*/", "**/", "***",
                    "**.txt", "a**", "**/**/x.txt", "**/sub/*", "**/sub/**", "*/**", "*/**/*.txt", "sub/**/x.txt", ".*", ".hidden", "**/.*",
                    ".dot/*", ".dot/**", "**/.dot/*", "{.dot,sub}/*", "[.]hidden", "?hidden", "@(.hidden)", "node_modules/**",
                    "node_modules/p/n.txt", "**/n.txt", ".git/*", ".git/config", ".git/refs/main", ".g*/config", "link.txt", "linkdir/*",
                    "linkdir/**", "linkdir/x.txt", "linkout/hostname", "linkout/*", "dot/*.txt", "dot/dot/a.txt", "**/deep/*", "broken",
                    "pipe.txt", "*.TXT", "A.txt", "!(a|b).txt", "@(a|b).txt", "+(a|b).txt", "?(a).txt", "*(a|b).txt", "!(*.txt)", "@(a|b",
                    "!a.txt", "#a.txt", "# a", "a\\.txt", "sub\\x.txt", "a.txt/", "a.txt/**", "nothing*", " *", "*\n", "a.txt\0", "~",
                    "$HOME", "{a.txt,a.txt}", "{*.txt,a.txt}", "*{.txt,.md}", "s*b/*", "[s]ub/x.txt", "(a).txt", "+(f)1"):
        glob(f"{pattern!r}", pattern, "g")
    for pattern in ("*", "[[]x].txt", "[[]*", "[x].txt", "{y}.txt", "*{y}*", "\\{y\\}.txt", "a[*]b", "a*b", "back\\slash", "back?slash",
                    "é*", "[é]t*", "e?", "?", "??", "t??té", "two\nlines", "*\nlines", "bad?", "bad*", "*.tar.*", "(p)", "[(]p)", "!bang",
                    "[!]bang", "a,b", "{a,b}", "$", "+", "@", "-", "[-+]", "[\\w]", "[[:punct:]]", "[[:space:]]", "[[:upper:]]*",
                    "*[[:space:]]*", "[a-z]*", "[A-Z]*", "[!-~]", "[[:nonsense:]]"):
        glob(f"odd {pattern!r}", pattern, "g/odd")
    for pattern in ("*", "**", "*/*", "named/*", "named/**", "up/*", "parent/a.txt", "**/inside", "*/inside", "file", "parent/links/real/*",
                    "parent/parent/lines", "n*/inside", "named/inside"):
        glob(f"links {pattern!r}", pattern, "g/links")
    for pattern in ("*", "**", "[!m]*/*", "**/x", "{d,b}/x", "{d,b}/*", "{z,a}", "{*/x,*/a}", "{b,d}/{x,a}", "**/{x,a}", "{**/x,b/*}", "?",
                    "{?,*}"):
        glob(f"equal times {pattern!r}", pattern, "ties")
    for name, path in (("absolute", "@WORK@/g/sub"), ("of a link", "g/linkdir"), ("slash at the end", "g/sub/"), ("of a file", "g/a.txt"),
                       ("missing", "g/none"), ("outside", "/etc"), ("outside by dots", ".."), ("by a link out", "outdir"),
                       ("by a loop", "loop-a"), ("of a link up", "up"), ("of .git", "g/.git"), ("of node_modules", "g/node_modules"),
                       ("below node_modules", "g/node_modules/p"), ("of a fifo", "g/pipe.txt")):
        glob(f"path {name}", "*", path)
    bash("times that tell files apart", "at=1600000000; for f in *; do touch -h -d @$at \"$f\"; at=$((at + 1)); done")
    glob("in the work directory", "*")
    glob("in the work directory, deep", "g/**/x.txt")
    for pattern in (".git/*", "s/node_modules/**", "*/*/*/n.txt", "*/**/n.txt", ".g*/x"):
        glob(f"in the work directory {pattern!r}", pattern)
    glob("too many alternatives", "f{1..2000}", "g")
    glob("many alternatives", "f{1..900}", "g")
    glob("long pattern", "f" * 5000, "g")
    glob("very long pattern", "f" * 70000, "g")
    glob("more than 200", "**", "ties")
    glob("more than 200, one folder", "many/m*", "ties")
    glob("one of many", "many/m{001,002}", "ties")
    step("glob", "no pattern")
    step("glob", "no pattern, path", path="g")
    step("glob", "a number for a pattern", pattern=5)


def grepping():
    for name, pattern in (("word", "needle"), ("case", "NEEDLE"), ("class", "[Nn]eedle"), ("start", "^needle"), ("end", "needle$"),
                          ("both", "^needle deep$"), ("empty lines", "^$"), ("blanks", "^\\s*$"), ("anything", "."),
                          ("alternatives", "deep|hidden"), ("groups", "(need)(le) (t|d)"), ("lazy", "n.*?e"), ("counted", "e{2}"),
                          ("counted, open", "e{2,}"), ("digits", "\\d+"), ("words", "\\bb\\b"), ("not words", "\\W{3,}"),
                          ("hexadecimal", "\\x6eeedle"), ("a tab", "\\t"), ("slash", "b\\/one"), ("escaped dot", "\\."),
                          ("escaped dash", "a\\-b|needle d"), ("brackets", "[]x]"), ("open brace", "x{"), ("close brace", "}"),
                          ("close bracket", "]"), ("nothing", "haystack"), ("ü", "grün"), ("ü or another", "gr[üu]n"),
                          ("one for ü", "gr.n"), ("emoji", "😀"), ("any for an emoji", "n . needle"), ("replacement", "\ufffd"),
                          ("after U+2028", "^needle two"), ("bom", "^bom"), ("bom itself", "\ufeff"), ("long line", "^l+$"),
                          ("long line of emoji", "^😀"), ("wide line", "^日"), ("upper-case class", "\\S+ \\S+ \\S+ \\S+ \\S+"),
                          ("non-capturing", "(?:needle) deep"), ("named group", "(?<name>needle) deep"), ("unicode escape", "gr\\u00fcn"),
                          ("look-ahead", "needle(?= deep)"), ("not look-ahead", "needle(?! in| at| he| bef| hid| two| thr| tw)"),
                          ("look-behind", "(?<=needle )deep"), ("back-reference", "(e)\\1dle deep"), ("ignore case", "(?i)NEEDLE deep"),
                          ("open group", "(needle"), ("close group", "needle)"), ("open class", "[needle"), ("star first", "*needle"),
                          ("plus twice", "e++"), ("backslash last", "needle\\"), ("range backwards", "[z-a]"),
                          ("count backwards", "e{3,1}"), ("large count", "e{1001}"), ("empty class", "[]"), ("any class", "[^]"),
                          ("posix class", "[[:alpha:]]eedle d"), ("question first", "?"), ("unicode property", "\\p{L}+ deep"),
                          ("empty alternative", "deep|"), ("newline", "a\nb"), ("NUL in the pattern", "a\0b")):
        grep(name, pattern, "s")
    for name, pattern in (("carriage return", "\\r"), ("after a carriage return", "^two"), ("before a carriage return", "one"),
                          ("before NUL", "early"), ("around NUL", "bin"), ("after NUL", "late")):
        grep(name, pattern, "s-odd")
    for name, path in (("one file", "s/b/one"), ("absolute", "@WORK@/s/b"), ("link", "s/link"), ("link to a folder", "s/linkdir"),
                       ("slash at the end", "s/b/"), ("of .git", "s/.git"), ("of node_modules", "s/node_modules"), ("missing", "s/none"),
                       ("fifo", "s/fifo"), ("socket", "socket"), ("outside", "/etc"), ("outside by dots", ".."), ("link out", "s/out"),
                       ("loop", "self"), ("dangling", "dangling-out"), ("empty file", "empty"), ("empty path", "")):
        grep(f"path {name}", "needle [tdi]", path)
    grep("too much", "match", "many")
    grep("much", "line [0-9]{1,3} ", "many")
    grep("too much, one file", "match", "many/lines")
    grep("deep", "depth", "depth")
    grep("invalid bytes", "ok", "invalid")
    grep("dangerous", "(n+)+(n+)+(n+)+!$", "s")
    step("grep", "no pattern")
    step("grep", "empty pattern", pattern="")
    step("grep", "a number for a pattern", pattern=5)
    bash("a directory with a name of invalid bytes",
         r"mkdir s2; printf 'needle\n' > s2/$(printf 'bad\377'); printf 'needle\n' > s2/zz; mkdir s2/e; printf needle > s2/e/f; chmod 0 s2/zz")
    grep("name of invalid bytes", "needle", "s2")


def shell():
    restart()
    bash("output", "echo hello")
    bash("nothing", "true")
    bash("newlines alone", "echo; echo; echo")
    bash("newlines around", "echo; echo x; echo; echo")
    bash("blanks at the end", "printf 'x  \\n \\n'")
    bash("no newline", "printf x")
    bash("both streams", "echo out; echo err >&2; echo out again")
    bash("fails", "false")
    bash("fails and says so", "echo said; (exit 7)")
    bash("status 255", "(exit 255)")
    bash("status by signal", "(sh -c 'kill -9 $$'; exit $?) 2> /dev/null")
    bash("status of the call before", "echo $?")
    bash("arguments", "echo \"$0 $# $-\"; echo $BASH_SUBSHELL $SHLVL; [ $$ = $BASHPID ] && echo same")
    bash("unknown command", "nonsuch-command --flag")
    bash("unknown command on the third line", "\n\nnonsuch-command; true")
    bash("line number", "echo $LINENO\necho $LINENO")
    bash("not executable", "./lines")
    bash("folder", "./d")
    bash("missing file", "cat none < none")
    bash("state",
         "cd d; X=1; Y='a b'; export Z=3; f() { echo \"f:$1:$X\"; }; A=(1 2 3); shopt -s nullglob; set -o pipefail; alias ll='echo aliased'")
    bash("state kept", "pwd; echo \"$X $Y\"; sh -c 'echo $Z'; f q; echo ${A[@]}; echo none*; false | true; echo $?; cd ..")
    bash("function shown", "declare -f f")
    bash("state in a subshell is gone", "(cd /; Q=1); echo \"$PWD$Q\"")
    bash("environment", "env | grep -v '^_=' | sort")
    bash("umask and limits", "umask; ulimit -c; ulimit -s")
    bash("no terminal", "[ -t 0 ] || [ -t 1 ] || [ -t 2 ] || echo none; tty")
    bash("no input", "cat; read x; echo $?")
    bash("here-document", "cat <<EOF\none $X\ntwo\nEOF")
    bash("here-document, quoted", "cat <<'EOF'\none $X\nEOF\ncat <<< word")
    bash("comment at the end", "echo x # comment")
    bash("semicolon at the end", "echo x;")
    bash("quotes", "echo \"it's\" 'a \"b\"' $'c\\'d' \\'")
    bash("many lines", "for i in 1 2 3; do\n  echo $i\ndone\nif true; then\n  echo yes\nfi")
    bash("unicode", "echo 'grüße 日本 😀'; printf '%s' é | wc -c")
    bash("invalid bytes", "printf 'ok\\377\\376|\\300\\257|\\355\\240\\200|\\342\\202|\\360\\237\\230.'")
    bash("NUL printed", "printf 'a\\0b\\n'")
    bash("carriage returns and tabs", "printf 'a\\rb\\tc\\r\\n'")
    bash("colours", r"printf '\033[31mred\033[0m \033[1;32;40mbold\033[m\n'; printf '\033[2J\033[10;20Hx\033[?25l\033[K\n'")
    bash("other sequences", r"printf '\033]0;title\007x\033(By\033[\033[31\n'")
    bash("bell and backspace", r"printf 'a\007b\010c\177'")
    bash("a forged mark", "echo __ANT_CMD_00000000-0000-0000-0000-000000000000_DONE__0; false")
    bash("background job", "sleep 60 & echo started")
    bash("background job is known", "jobs | sed 's/  */ /g'; kill %1; wait; echo $?")
    bash("background job that ended", "(exit 3) & wait $!; echo $?")
    bash("output of a background job in time", "(sleep 0.1; echo late) & wait")
    bash("output between calls", "(sleep 0.2; echo between) &")
    bash("output between calls, next call", "echo next", pause_ms=600)
    bash("last argument", "echo a b")
    bash("last argument, next call", "echo \"$_ ${PIPESTATUS[*]} ${BASH_SOURCE[*]}$FUNCNAME\"; caller")
    bash("history", "history | wc -l; echo !!")
    bash("posix", "set -o posix; export X=1; set +o posix; echo $X")
    bash("separators", "IFS=:; x=a:b; echo $x")
    bash("no globs", "set -f; echo *; set +f; unset IFS")
    bash("no path", "OLD=$PATH; unset PATH; ls; PATH=$OLD")
    bash("locale", "LC_ALL=C; echo é | wc -c; unset LC_ALL")
    bash("directory that is gone", "mkdir gone; cd gone; rmdir ../gone; pwd; ls")
    bash("out of the directory that is gone", "cd ..; cd @WORK@; pwd")
    bash("many processes", "for i in 1 2 3 4 5 6 7 8; do (echo $i) & done > /dev/null; wait; echo done")
    bash("pipes", "seq 5 | tac | head -2 | tr '\\n' ' '")
    bash("process substitution", "cat <(echo a) <(echo b); echo c > >(cat); wait $!; true")
    bash("return", "return 3")
    bash("local", "local x=1")
    bash("break", "break; echo after")
    bash("unset variable", "set -u; echo $NONSUCH", timeout_ms=5000)
    restart()
    bash("strict, fails", "set -e; false; echo after")
    bash("after strict", "echo here")
    bash("strict, kept", "set -e; true")
    bash("strict, fails later", "false")
    bash("strict in a subshell", "(set -e; false; echo after); echo $?")
    bash("division", "echo $((1/0)); echo after", timeout_ms=500)
    bash("bad substitution", "echo ${x!y}; echo after", timeout_ms=500)
    bash("read-only variable", "readonly R=1; R=2; echo after", timeout_ms=500)
    bash("exit", "echo lost; exit 3")
    bash("after exit", "echo new:$R")
    bash("exit 0", "exit")
    bash("exec", "exec echo replaced")
    bash("kill itself", "kill -9 $$")
    bash("terminate itself", "kill -TERM $$; echo still")
    bash("hang up", "trap 'echo hup' HUP; kill -HUP $$; echo still")
    bash("trap at the end", "trap 'echo bye' EXIT; exit 1")
    bash("after the trap", "echo here")
    restart()
    bash("a trap kept", "trap 'echo got it' USR1")
    bash("a trap used", "kill -USR1 $$; true")
    bash("a descriptor kept", "exec 5> w-fd; echo into >&5")
    bash("a descriptor used", "echo more >&5; exec 5>&-; cat w-fd")
    bash("descriptor 9 kept", "exec 9> w-fd9; echo into >&9")
    bash("descriptor 9 used", "echo more >&9; cat w-fd9")
    restart()
    bash("descriptor 200", "exec 200> w-fd200; flock -n 200 && echo into >&200; cat w-fd200")
    bash("after descriptor 200", "echo more >&200; cat w-fd200")
    restart()
    bash("a lock of another command", "exec 8> w-lock; flock -n 8 && echo locked")
    bash("restart with a command", "echo \"x$X\"; flock -n w-lock echo unlocked", restart=True)
    bash("restart", restart=True)
    bash("restart again", restart=True)
    bash("no command")
    bash("empty command", "")
    bash("no command is null")
    STEPS[-1]["input"]["command"] = None
    bash("restart and an empty command", "", restart=True)
    bash("not restart", "echo kept", restart=False)
    together("calls queue", [("bash", {"command": f"echo call {i}; sleep 0.0{i % 3}"}) for i in range(12)])
    together("calls queue around a failure", [("bash", {"command": c}) for c in ("echo a", "exit 1", "echo b", "false", "echo c")])
    together("tools at the same time", [("bash", {"command": "sleep 0.2; echo slow"}), ("read", {"file_path": "lines"}),
                                        ("grep", {"pattern": "^tw", "path": "no-newline"}), ("glob", {"pattern": "no-new*"})])


def limits():
    restart()
    # What the official worker keeps includes its mark: 56 characters for a status of one digit.
    for size in (OUTPUT_LIMIT - 57, OUTPUT_LIMIT - 56, OUTPUT_LIMIT - 55, OUTPUT_LIMIT, OUTPUT_LIMIT + 1):
        bash(f"{size} characters", f"head -c {size} /dev/zero | tr '\\0' x")
    bash("102346 characters and a newline", f"head -c {OUTPUT_LIMIT - 54} /dev/zero | tr '\\0' x; echo")
    bash("a status of two digits", f"head -c {OUTPUT_LIMIT - 57} /dev/zero | tr '\\0' x; (exit 42)")
    bash("too much, and fails", "seq 30000; (exit 1)")
    bash("too much, lines", "seq 30000")
    bash("too much, wide", "seq -f '日本 %g' 20000")
    bash("too much, colours", r"for i in $(seq 8000); do printf '\033[31m%d\033[0m line\n' $i; done")
    bash("too much, then newlines", "seq 30000; yes '' | head -5000")
    bash("newlines alone, too many", "yes '' | head -c 200000")
    bash("many megabytes", "head -c 20000000 /dev/zero | tr '\\0' y; echo end")
    bash("emoji, cut at a whole one", r"yes 😀 | head -60000 | tr -d '\n'")
    bash("emoji, cut in half", r"yes 😀 | head -60000 | tr -d '\n'; printf x")
    bash("much on both streams", "for i in $(seq 2000); do echo out $i; echo err $i >&2; done | tail -3; echo ok")
    write("a long command", "w/long.sh", "echo x\n")
    bash("a long command", "echo " + "long " * 30000 + "| wc -c")
    bash("many lines of command", "n=0\n" + "n=$((n + 1))\n" * 3000 + "echo $n $LINENO")


def hanging():
    restart()
    bash("time-out", "X=lost; echo partial; sleep 30", timeout_ms=500)
    bash("after a time-out", "echo \"x:$X\"")
    bash("time-out of a loop", "while :; do :; done", timeout_ms=500)
    bash("time-out that floods", "yes", timeout_ms=500)
    bash("time-out with a trap", "trap '' TERM INT HUP; sleep 30", timeout_ms=500)
    bash("background job before a time-out", "sleep 4711 & sleep 4712 & echo on")
    bash("time-out with background jobs", "wait", timeout_ms=500)
    sleepers = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done 2> /dev/null | grep -c '^sleep 47'"
    bash("background jobs are gone", "sleep 0.1; " + sleepers)
    bash("a process that left its group", "setsid sleep 4713 > /dev/null 2>&1 & sleep 0.1; echo on")
    bash("time-out after it left", "sleep 30", timeout_ms=500)
    bash("what left its group", "sleep 0.1; " + sleepers + "; true")
    bash("time-out not reached", "echo quick", timeout_ms=5000)
    bash("no time", "echo quick", timeout_ms=0)
    restart()
    bash("less than no time", "echo quick", timeout_ms=-5)
    restart()
    bash("more time than a timer has", "sleep 0.2; echo quick", timeout_ms=3_000_000_000)
    restart()
    bash("a word for a time", "sleep 0.2; echo quick", timeout_ms="soon")
    restart()
    for name, command in (("unclosed quote", "echo 'x"), ("unclosed double quote", 'echo "x'), ("unclosed here-document", "cat <<EOF\nx"),
                          ("unclosed if", "if true; then echo x"), ("unclosed group", "{ echo x"),
                          ("unclosed substitution", "echo $(echo x"), ("stray parenthesis", "echo x; )"), ("stray brace", "echo x; }"),
                          ("stray done", "done"), ("two semicolons", "echo x;;"), ("a comment alone", "# nothing"), ("blanks alone", "  "),
                          ("backslash at the end", "echo x \\")):
        bash(name, command, timeout_ms=500)
        bash(f"after {name}", "echo here", timeout_ms=5000)
        restart()
    bash("noexec", "set -n", timeout_ms=500)
    bash("after noexec", "echo here", timeout_ms=500)
    restart()
    bash("output redirected for good", "exec > w-redirected; echo x", timeout_ms=500)
    bash("after redirecting", "cat w-redirected", timeout_ms=5000)
    restart()
    bash("output closed for good", "exec >&- 2>&-; echo x", timeout_ms=500)
    bash("after closing", "echo here", timeout_ms=5000)
    restart()
    bash("input redirected for good", "exec < lines; read x; echo \"$x\"", timeout_ms=5000)
    bash("after input", "read x; echo \"$x $?\"", timeout_ms=5000)
    restart()
    bash("trace", "set -x; echo x", timeout_ms=5000)
    bash("after trace", "echo y; set +x", timeout_ms=5000)
    restart()
    bash("verbose", "set -v; echo x", timeout_ms=5000)
    bash("after verbose", "echo y", timeout_ms=5000)
    restart()
    bash("trace, a variable", "BASH_XTRACEFD=5 PS4='> '; f() { false; }; f", timeout_ms=5000)
    restart()
    bash("a trap of every command", "trap 'echo debug' DEBUG; echo x", timeout_ms=5000)
    restart()
    bash("a trap of errors", "trap 'echo err' ERR; false; echo x", timeout_ms=5000)
    bash("a trap of errors, kept", "false", timeout_ms=5000)
    restart()
    bash("printf replaced", "printf() { echo forged; }; echo x", timeout_ms=500)
    restart()
    bash("eval replaced", "eval() { echo forged; }; echo x", timeout_ms=5000)
    bash("after eval", "echo here", timeout_ms=5000)
    restart()
    bash("exit with a job that holds the output", "sleep 3 & exit 1", timeout_ms=500)
    restart()
    bash("NUL in the command", "echo a\0b", timeout_ms=5000)
    step("bash", "a number for a command", command=5, timeout_ms=5000)
    step("bash", "a word for restart", command="echo x", restart="no")
    bash("half a millisecond", "echo x", timeout_ms=2000.5)
    bash("at the end", "echo done")


reading()
writing()
editing()
globbing()
grepping()
shell()
limits()
hanging()


def scenario(workdir):
    """All steps, for this work directory."""
    def here(value):
        if isinstance(value, str):
            return value.replace("@WORK@", workdir)
        if isinstance(value, dict):
            return {name: here(inner) for name, inner in value.items()}
        return [here(inner) for inner in value] if isinstance(value, list) else value
    names = [step["id"] for step in STEPS]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, f"steps of the same name: {sorted(twice)}"
    return [here(step) for step in STEPS]


def calls(steps):
    return sum(len(step.get("together", [step])) for step in steps)
