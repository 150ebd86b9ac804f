// Programs for a box's /bin/sh that put a session's files in place. They are its user's, and have
// what the box has: no network unless the session has one. Each thing is made as PART/tree first,
// then moved to where it belongs.
#pragma once

#include <string_view>

namespace glovebox::orchestrator {

// SESSION ALL MARK …: "placed" where the mark of all is the session's (a snapshot may bring
// another's with it); else the numbers of the others that are. What is at a target says nothing:
// the image has it, or another source, or it is half of what a dead box was given.
inline constexpr std::string_view kThere = R"sh(
session=$1
is_ours() { [ -f "$1" ] && [ "$(head -c 300 -- "$1")" = "$session" ]; }
if is_ours "$2"; then echo placed; exit; fi
shift 2
n=0
for mark in "$@"; do
  if is_ours "$mark"; then echo $n; fi
  n=$((n + 1))
done
)sh";

inline constexpr std::string_view kBegin = R"sh(rm -rf -- "$1" && mkdir -p -- "$1")sh";

// PART: what an archive holds. Owners and set-id bits of its making do not come along.
inline constexpr std::string_view kUnpack = R"sh(
cd "$1" && mkdir tree || exit 1
if tar -xf archive -C tree --no-same-owner --no-same-permissions 2>why; then exit 0; fi
rm -rf tree && mkdir tree
if command -v unzip >/dev/null && unzip -q archive -d tree 2>/dev/null; then exit 0; fi
if command -v python3 >/dev/null && python3 -m zipfile -e archive tree 2>/dev/null; then exit 0; fi
echo "it is no archive that this image can unpack: $(head -c 300 why)"
exit 1
)sh";

// PART TARGET MARK SESSION
inline constexpr std::string_view kFinish = R"sh(
if [ -d "$1/tree" ] && [ -d "$2" ]; then
  cp -af -- "$1/tree/." "$2/" || exit 1
elif [ -d "$2" ]; then
  echo "there is a directory at $2"
  exit 1
else
  mkdir -p -- "$(dirname -- "$2")" && mv -f -- "$1/tree" "$2" || exit 1
fi
mkdir -p -- "$(dirname -- "$3")" && printf %s "$4" >"$3" || exit 1
rm -rf -- "$1"
rmdir -- "$(dirname -- "$1")" 2>/dev/null || true
)sh";

// PART FROM
inline constexpr std::string_view kCopy = R"sh(
[ -e "$2" ] || { echo "there is no such path in the volume"; exit 1; }
cp -a -- "$2" "$1/tree"
)sh";

// PART
inline constexpr std::string_view kModes = R"sh(xargs -0 -r chmod a+x -- <"$1/executables")sh";
inline constexpr std::string_view kDirectoryModes =
    R"sh(mkdir -p -- "$1/tree" && xargs -0 -r chmod a+x -- <"$1/executables")sh";

// PART URL ID REF FORMAT. A repository of its own making: no templates, so no hooks; no settings
// but these, so no filters and no helpers; nothing is fetched, so no submodules.
inline constexpr std::string_view kCheckout = R"sh(
command -v git >/dev/null || { echo "this image has no git"; exit 1; }
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0 HOME=/nonexistent
export GIT_ALLOW_PROTOCOL=
set -e
part=$1 url=$2 id=$3 ref=$4 format=$5
git init -q --template= --object-format="$format" "$part/tree"
cd "$part/tree"
if [ -s "$part/shallow" ]; then cp "$part/shallow" .git/shallow; fi
git index-pack --stdin <"$part/pack" >/dev/null
rm "$part/pack"
git config remote.origin.url "$url"
git config remote.origin.fetch '+refs/heads/*:refs/remotes/origin/*'
case $ref in
refs/heads/*)
  branch=${ref#refs/heads/}
  git update-ref "refs/remotes/origin/$branch" "$id"
  git update-ref "refs/heads/$branch" "$id"
  git symbolic-ref HEAD "refs/heads/$branch"
  git config "branch.$branch.remote" origin
  git config "branch.$branch.merge" "refs/heads/$branch"
  ;;
refs/*)
  git update-ref "$ref" "$id"
  git update-ref --no-deref HEAD "$(git rev-parse "$id^{commit}")"
  ;;
*) git update-ref --no-deref HEAD "$id" ;;
esac
git reset -q --hard
)sh";

}  // namespace glovebox::orchestrator
