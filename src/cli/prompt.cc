#include "cli/prompt.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"
#include "base/str.h"

namespace glovebox::cli {

constexpr std::size_t kPromptLimit = 8 << 20;

Result<std::string> read_input(const std::string& path, std::size_t limit) {
  Fd file;
  if (path != "-") {
    file.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return sys_error(path);
  }
  int fd = file ? file.get() : STDIN_FILENO;
  std::string text;
  char piece[64 * 1024];
  for (;;) {
    ssize_t n = ::read(fd, piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return sys_error(path);
    if (n == 0) return text;
    text.append(piece, static_cast<std::size_t>(n));
    if (text.size() > limit) return Error{Code::too_large, str(path, ": over ", limit, " bytes")};
  }
}

Result<std::optional<std::string>> read_prompt(const Context& context, Args& args,
                                               std::string_view variable) {
  std::optional<std::string> prompt;
  int sources = 0;
  if (auto word = args.optional()) {
    prompt = std::move(*word);
    ++sources;
    if (*prompt == "-") {
      TRY(text, read_input("-", kPromptLimit), "stdin");
      prompt = std::move(text);
    }
  }
  TRY_DO(args.done());
  if (args.rest().size() > 1) return usage_error("the PROMPT is one word: put it in quotes");
  if (!args.rest().empty()) {
    prompt = args.rest()[0];
    ++sources;
  }
  if (auto file = args.option("--prompt-file")) {
    TRY(text, read_input(*file, kPromptLimit), "--prompt-file");
    prompt = std::move(text);
    ++sources;
  }
  if (sources > 1) return usage_error("more than one PROMPT is given");
  if (sources == 0 && !variable.empty()) prompt = context.variable(variable);
  if (prompt && valid_utf8(*prompt) != *prompt)
    return usage_error("the PROMPT must be UTF-8: it travels as JSON");
  if (prompt && trim(*prompt).empty()) return usage_error("the PROMPT is empty");
  return prompt;
}

}  // namespace glovebox::cli
