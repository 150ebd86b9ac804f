// One error type for the whole program, and the few words around it.
//
//   Result<Fd> open_log(const std::string& path) {
//     TRY(dir, open_dir(parent(path)), "log folder");     // declares `dir` or returns the error
//     with context in front TRY_DO(lock(dir), "lock ", path);                   // for results
//     without a value return Fd(...);                                     // or: return
//     Error{Code::conflict, "…"};
//   }
// In coroutines the same are CO_TRY and CO_TRY_DO.
#pragma once

#include <cstring>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include "base/str.h"

namespace glovebox {

enum class Code {
  invalid,          // the request is wrong, and will stay wrong
  unauthenticated,  // no credential, or one we do not know
  forbidden,        // known, and not allowed
  not_found,
  conflict,     // right in itself, wrong for the present state
  gone,         // was there, never comes back
  too_large,    // a body, a line, a list
  exhausted,    // a limit of ours is reached; later may do
  unsupported,  // named, understood, and not to be had here
  unavailable,  // the other side is not there (yet)
  timeout,
  cancelled,
  internal,  // our own mistake, or a machine that fails us
};
std::string_view name(Code code);

struct Error {
  Code code = Code::internal;
  std::string what;
  std::string tag = {};  // The API's own word where it has one ("IS_DIRECTORY"); else empty.

  Error with(std::string context) && {
    if (!context.empty()) what = context + ": " + what;
    return std::move(*this);
  }
};

template <class T>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using value_type = T;
  using std::expected<T, Error>::expected;
  Result(Error error) : std::expected<T, Error>(std::unexpect, std::move(error)) {}
};

template <>
class [[nodiscard]] Result<void> : public std::expected<void, Error> {
 public:
  using value_type = void;
  using std::expected<void, Error>::expected;
  Result(Error error) : std::expected<void, Error>(std::unexpect, std::move(error)) {}
};

inline const Result<void> ok{};

// The error of a failed system call; `errno_value` decides the code.
Error sys_error(std::string what, int errno_value);
Error sys_error(std::string what);        // with the present errno
std::string errno_name(int errno_value);  // "ENOENT"

}  // namespace glovebox

#define GB_CAT2(a, b) a##b
#define GB_CAT(a, b) GB_CAT2(a, b)

#define GB_TRY(ret, name, expr, ...)                                                           \
  auto name##_result = (expr);                                                                 \
  if (!name##_result) ret std::move(name##_result.error()).with(::glovebox::str(__VA_ARGS__)); \
  auto name = std::move(*name##_result)
#define GB_TRY_DO(ret, expr, ...)                                                          \
  do {                                                                                     \
    auto try_result = (expr);                                                              \
    if (!try_result) ret std::move(try_result.error()).with(::glovebox::str(__VA_ARGS__)); \
  } while (false)

#define TRY(name, expr, ...) GB_TRY(return, name, expr, __VA_ARGS__)
#define TRY_DO(expr, ...) GB_TRY_DO(return, expr, __VA_ARGS__)
#define CO_TRY(name, expr, ...) GB_TRY(co_return, name, expr, __VA_ARGS__)
#define CO_TRY_DO(expr, ...) GB_TRY_DO(co_return, expr, __VA_ARGS__)
