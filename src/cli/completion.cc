#include "cli/completion.h"

#include <set>
#include <vector>

#include "base/str.h"

namespace glovebox::cli {

namespace {

// The options in a usage line, as they are typed: "--env=" takes a value, "-t" does not.
std::vector<std::string> options_in(std::string_view usage) {
  std::vector<std::string> out;
  for (const std::string& word : split(usage, ' ')) {
    std::string_view text = word;
    if (text.starts_with('[')) text.remove_prefix(1);
    if (!text.starts_with('-')) continue;
    text = text.substr(0, text.find(']'));
    if (text == "--") break;
    std::size_t equals = text.find('=');
    out.emplace_back(text.substr(0, equals == text.npos ? equals : equals + 1));
  }
  return out;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += str(out.empty() ? "" : " ", word);
  return out;
}

// What may come behind each beginning of a command: "" → "sandbox …", "sandbox" → "create ls …".
std::string next_words(Commands commands, std::string_view pattern) {
  std::vector<std::pair<std::string, std::vector<std::string>>> tree;
  for (const Command* command : commands) {
    if (command->kind != Command::Kind::normal) continue;
    std::string before;
    for (const std::string& word : split(command->name, ' ')) {
      auto at = tree.begin();
      while (at != tree.end() && at->first != before) ++at;
      if (at == tree.end()) at = tree.insert(at, {before, {}});
      bool there = false;
      for (const std::string& known : at->second) there |= known == word;
      if (!there) at->second.push_back(word);
      before += str(before.empty() ? "" : " ", word);
    }
  }
  std::string out;
  for (auto& [before, words] : tree) {
    if (before.empty()) words.emplace_back("help");
    std::string line(pattern);
    line.replace(line.find("@KEY"), 4, before);
    line.replace(line.find("@WORDS"), 6, joined(words));
    out += line;
  }
  return out;
}

std::string options(Commands commands, std::string_view pattern) {
  std::string out;
  for (const Command* command : commands) {
    if (command->kind != Command::Kind::normal) continue;
    std::string line(pattern);
    line.replace(line.find("@KEY"), 4, command->name);
    line.replace(line.find("@WORDS"), 6, joined(options_in(command->usage)));
    out += line;
  }
  return out;
}

std::string files_behind(Commands commands) {
  std::set<std::string> options;
  for (const Command* command : commands)
    for (const std::string& word : split(command->usage, ' '))
      if (std::size_t equals = word.find("=FILE"); equals != word.npos)
        options.insert(
            word.substr(word.starts_with('[') ? 1 : 0, equals - (word.starts_with('[') ? 1 : 0)));
  std::string out;
  for (const std::string& option : options) out += str(out.empty() ? "" : "|", option);
  return out;
}

}  // namespace

std::string bash_completion(Commands commands) {
  return str(R"(# bash completion of glovebox; made by: glovebox completion bash
_glovebox() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
  local i command="" words="" options=""
  declare -A next=(
)",
             next_words(commands, "    [\"_@KEY\"]=\"@WORDS\"\n"), R"(  )
  declare -A flags=(
)",
             options(commands, "    [\"@KEY\"]=\"@WORDS\"\n"), R"(  )
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ ${COMP_WORDS[i]} == -- ]] && { compopt -o default; return; }
    [[ ${COMP_WORDS[i]} == help && -z $command ]] && continue
    [[ " ${next[_$command]-} " == *" ${COMP_WORDS[i]} "* ]] && command+="${command:+ }${COMP_WORDS[i]}"
  done
  if [[ $previous == = || $word == = ]]; then previous=${COMP_WORDS[COMP_CWORD-2]}; [[ $word == = ]] && word=""; fi
  case $previous in
    )",
             files_behind(commands), R"(|--config) compopt -o default; return ;;
    --state) compopt -o dirnames; return ;;
  esac
  if [[ $word == -* ]]; then
    words="${flags[$command]-} )",
             joined(options_in(kGlobalUsage)), R"("
  else
    words="${next[_$command]-}"
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  if [[ ${COMPREPLY[0]-} == *= ]]; then compopt -o nospace; fi
  if [[ -z $words ]]; then compopt -o default; fi
}
complete -F _glovebox glovebox
)");
}

std::string zsh_completion(Commands commands) {
  return str(R"(#compdef glovebox
# zsh completion of glovebox; made by: glovebox completion zsh
_glovebox() {
  local command="" i
  local -A next flags
  next=(
)",
             next_words(commands, "    '_@KEY' '@WORDS'\n"), R"(  )
  flags=(
)",
             options(commands, "    '@KEY' '@WORDS'\n"), R"(  )
  for ((i = 2; i < CURRENT; i++)); do
    [[ $words[i] == -- ]] && { _files; return }
    [[ $words[i] == help && -z $command ]] && continue
    if (( ${${=next[_$command]}[(Ie)$words[i]]} )); then command+="${command:+ }$words[i]"; fi
  done
  local -a plain valued
  local option
  if [[ $words[CURRENT] == -* ]]; then
    for option in ${=flags[$command]} )",
             joined(options_in(kGlobalUsage)), R"(; do
      if [[ $option == *= ]]; then valued+=($option); else plain+=($option); fi
    done
    if [[ $words[CURRENT] == (-*=*) ]]; then
      case ${words[CURRENT]%%=*} in
        )",
             files_behind(commands), R"(|--config) compset -P '*='; _files ;;
        --state) compset -P '*='; _files -/ ;;
      esac
      return
    fi
    compadd -S '' -- $valued
    compadd -- $plain
  elif [[ -n ${next[_$command]} ]]; then
    compadd -- ${=next[_$command]}
  else
    _files
  fi
}
if [[ $funcstack[1] == _glovebox ]]; then _glovebox "$@"; else compdef _glovebox glovebox; fi
)");
}

}  // namespace glovebox::cli
