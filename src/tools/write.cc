#include <cerrno>
#include <cstdint>

#include "tools/file_tools.h"
#include "tools/fs.h"
#include "tools/place.h"

namespace glovebox::tools {

static Result<Place> writable(std::string_view tool, const std::string& file,
                              const Context& context) {
  TRY(place, locate(context, file));
  if (!place.read_only_root.empty())
    return Error{Code::forbidden,
                 str(tool, ": ", file, " is inside read-only directory ", place.read_only_root)};
  return place;
}

static Sys<void> save_at(const std::string& path, std::string_view content, Missing parents) {
  auto dir = open_dir(parent_of(path), parents);
  if (!dir) return std::unexpected(dir.error());
  return save(dir->get(), name_of(path), content);
}

Result<std::string> write(const Input& input, const Context& context) {
  TRY(file, input.required("file_path"));
  TRY(content, input.text("content"));
  TRY(place, writable("write", file, context));
  const std::string text = content.value_or("");
  // The parent of a root is outside of it: nothing may be made there, not even when the root itself
  // is missing.
  bool is_root = place.path == canonical(absolute("/", context.workdir));
  for (const Root& root : context.allowed_roots)
    is_root = is_root || place.path == canonical(absolute("/", root.path));
  auto saved =
      is_root ? Sys<void>(std::unexpected(EISDIR)) : save_at(place.path, text, Missing::create);
  if (!saved) return Error{Code::internal, str("write: ", file, ": ", reason(saved.error()))};
  return str("wrote ", text.size(), " bytes to ", file);
}

static std::size_t occurrences(std::string_view content, std::string_view text) {
  std::size_t found = 0;
  for (std::size_t at = 0; (at = content.find(text, at)) != content.npos; at += text.size())
    ++found;
  return found;
}

static std::string replaced(std::string_view content, std::string_view old, std::string_view with) {
  std::string out;
  for (std::size_t at; (at = content.find(old)) != content.npos;
       content.remove_prefix(at + old.size()))
    out.append(content.substr(0, at)).append(with);
  return out.append(content);
}

Result<std::string> edit(const Input& input, const Context& context) {
  TRY(file, input.required("file_path"));
  TRY(old_string, input.required("old_string"));
  TRY(new_string, input.text("new_string"));
  TRY(replace_all, input.flag("replace_all"));
  if (!new_string) return Error{Code::invalid, "edit: new_string is required"};
  TRY(place, writable("edit", file, context));

  auto opened = open_regular(place.path);
  if (!opened) return Error{Code::not_found, str("edit: ", file, ": ", reason(opened.error()))};
  if (!opened->file) return Error{Code::invalid, str("edit: ", file, " is not a regular file")};
  const std::size_t limit = context.read_limit;
  auto too_large = [&](std::uint64_t size) {
    return Error{Code::too_large,
                 str("edit: ", file, " is ", size, " bytes, exceeds ", limit,
                     "-byte limit. The edit tool loads the whole file and cannot modify a file "
                     "this large.")};
  };
  auto size = static_cast<std::uint64_t>(opened->info.st_size);
  if (limit && size > limit) return too_large(size);
  auto content = read_up_to(opened->file.get(), limit ? limit + 1 : SIZE_MAX);
  if (!content) return Error{Code::internal, str("edit: ", file, ": ", reason(content.error()))};
  if (limit && content->size() > limit) return too_large(content->size());

  std::size_t found = occurrences(*content, old_string);
  if (found == 0) return Error{Code::not_found, str("edit: old_string not found in ", file)};
  if (found > 1 && !replace_all)
    return Error{Code::conflict,
                 str("edit: old_string appears ", found, " times in ", file, " (must be unique)")};
  // A quarter of a megabyte of "a", each replaced by as much again, would be more memory than there
  // is.
  constexpr std::uint64_t kMaxResult = 64 << 20;
  std::uint64_t result_size = content->size() + found * std::uint64_t{new_string->size()};
  if (result_size > kMaxResult && new_string->size() > old_string.size())
    return Error{Code::too_large, str("edit: the result would exceed ", kMaxResult, " bytes")};

  auto saved = save_at(place.path, replaced(*content, old_string, *new_string), Missing::fail);
  if (!saved) return Error{Code::internal, str("edit: write: ", file, ": ", reason(saved.error()))};
  return str("edited ", file, " (", found, " replacement(s))");
}

}  // namespace glovebox::tools
