#!/usr/bin/env python3
"""Checks what breaks silently: who includes whom (tools/deps.txt), where heavy headers stand, that CMake names every source, that
no file grows too long, that every folder of src/ explains itself in a README.md, and that Python finds the names it uses. Prints
each breach; exit 1 if there is one.

    tools/check_tree.py [ROOT]
"""
import ast
import builtins
import fnmatch
import os
import re
import sys

MAX_LINES = 700
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def rules(path):
    """({folder: allowed folders}, [(header prefix, patterns of files that may include it)])"""
    allowed, heavy, in_heavy = {}, [], False
    for line in read(path).splitlines():
        line = line.split("#")[0].strip()
        if line == "[heavy]":
            in_heavy = True
        elif line:
            name, _, rest = line.partition(":")
            if in_heavy:
                heavy.append((name.strip(), rest.split()))
            else:
                allowed[name.strip()] = set(rest.split())
    return allowed, heavy


def sources(root, top, suffixes=(".cc", ".h")):
    for folder, folders, files in os.walk(os.path.join(root, top)):
        folders[:] = sorted(f for f in folders if f not in ("corpus", "crashes", "node_modules", "__pycache__"))
        for name in sorted(files):
            if name.endswith(suffixes):
                yield os.path.relpath(os.path.join(folder, name), root)


def check_includes(root, allowed, heavy):
    for path in sources(root, "src"):
        inside = path[len("src/"):]
        folder = inside.split("/")[0]
        for number, line in enumerate(read(os.path.join(root, path)).splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            header = match.group(2)
            target = header.split("/")[0]
            if match.group(1) == '"':
                if "/" not in header or not os.path.isdir(os.path.join(root, "src", target)):
                    yield f"{path}:{number}: include our headers as \"folder/file.h\", not \"{header}\""
                elif target != folder and target not in allowed.get(folder, set()):
                    yield f"{path}:{number}: {folder} may not include {target}"
            # The longest prefix that fits has the say: boost/json/fwd.hpp is light, the rest of boost/json is not.
            prefix, patterns = max(((p, w) for p, w in heavy if header.startswith(p)), key=lambda rule: len(rule[0]),
                                   default=("", ["*"]))
            if not any(fnmatch.fnmatch(inside, p) for p in patterns):
                yield f"{path}:{number}: <{header}> may only stand in {' '.join(patterns)}"


def check_folders(root, allowed):
    for folder in sorted(os.listdir(os.path.join(root, "src"))):
        path = os.path.join(root, "src", folder)
        if not os.path.isdir(path) or not os.listdir(path):
            continue
        if folder not in allowed:
            yield f"src/{folder}: not in tools/deps.txt"
        for name in ("README.md", "CMakeLists.txt"):
            if not os.path.exists(os.path.join(path, name)):
                yield f"src/{folder}: no {name}"


def check_cmake(root):
    """Every source is named by the CMakeLists.txt of its folder or of one above."""
    for path in [*sources(root, "src", (".cc",)), *sources(root, "bench", (".cc",))]:
        folder, named = os.path.dirname(path), False
        while folder and not named:
            cmake = os.path.join(root, folder, "CMakeLists.txt")
            if os.path.exists(cmake):
                wanted = re.escape(os.path.relpath(path, folder))
                named = re.search(rf"(?<![\w./-]){wanted}(?![\w.-])", read(cmake)) is not None
            folder = os.path.dirname(folder)
        if not named:
            yield f"{path}: no CMakeLists.txt names it, so nothing builds it"


def check_files(root):
    for top in ("src", "bench", "fuzz", "tests", "tools"):
        for path in sources(root, top, (".cc", ".h", ".py")):
            text = read(os.path.join(root, path))
            lines = text.count("\n")
            if lines > MAX_LINES:
                yield f"{path}: {lines} lines; split it by verb ({MAX_LINES} at most)"
            if path.endswith(".h") and "#pragma once" not in text:
                yield f"{path}: no #pragma once"
            if top == "src" and UNFINISHED.search(text):
                yield f"{path}: says it is unfinished ({UNFINISHED.search(text).group()})"


def names_in(tree):
    """(all that is bound somewhere, imported ones, used ones): coarse, without scopes, so that nothing right is called wrong."""
    bound, imported, used = {*dir(builtins), "__file__"}, set(), set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                imported |= {(one.asname or one.name).split(".")[0] for one in names}
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name) | ast.ExceptHandler(name=name):
                bound.add(name)
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name):
                bound.add(name)
    return bound | imported, imported, used


def check_names(root):
    for top in ("bench", "tests", "tools"):
        for path in sources(root, top, (".py",)):
            bound, imported, used = names_in(ast.parse(read(os.path.join(root, path))))
            for name in sorted(used - bound):
                yield f"{path}: nothing is called {name}"
            for name in sorted(imported - used):
                yield f"{path}: imports {name} for nothing"


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    allowed, heavy = rules(os.path.join(root, "tools", "deps.txt"))
    breaches = [*check_folders(root, allowed), *check_includes(root, allowed, heavy), *check_cmake(root), *check_files(root),
                *check_names(root)]
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
