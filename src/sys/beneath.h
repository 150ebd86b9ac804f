// Files below a directory to which a tenant writes at any time. Every path is walked part by part,
// no link is followed, only plain files are opened: what is there may be a trap, and may change
// between any two calls. Paths are relative and clean: no empty part, no "." and no "..".
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::sys::beneath {

enum class Missing { fail, create };  // folders above a path; those made have mode 0700

// An O_PATH descriptor of the folder; "" is `root` itself. Code::not_found also where a file or a
// link stands in the way.
Result<Fd> open_folder(int root, const std::string& path, Missing missing);

// A file that is not there yet. The mode is exact, whatever the umask.
Result<void> write_new(int root, const std::string& path, std::string_view content, mode_t mode);

// Replaces what is there in one step: it is written beside under a name of its own, ".fs-….tmp".
using Fill = std::function<Result<void>(int file)>;
Result<void> replace(int root, const std::string& path, Missing missing, const Fill& fill,
                     mode_t mode);
Result<void> write_all(int file, std::string_view content);

// Open for reading; nothing where it is not there, an error where it is no plain file.
Result<std::optional<Fd>> open_plain(int root, const std::string& path);

Result<void> remove(int root, const std::string& path);  // whatever it is; gone already is success

// Every plain file below `root`, open for reading. An error also where not all could be seen.
using Visit = std::function<Result<void>(const std::string& path, const Fd& file)>;
Result<void> each_file(int root, std::size_t most, const Visit& visit);

// Hashes of large files stand for their size and times: nobody keeps what they hold.
inline constexpr std::size_t kHashedWhole = 2 << 20;
using Sha256 = std::function<std::string(std::string_view bytes)>;
Result<std::string> hash_of(const Fd& file, const Sha256& sha256);

}  // namespace glovebox::sys::beneath
