#include "runner/retry.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

#include "base/random.h"

namespace glovebox::runner {

namespace {

// The number a text begins with, as JavaScript's parseFloat sees it.
std::optional<double> leading_number(std::string_view text) {
  std::string copy(trim(text));
  char* end = nullptr;
  double number = std::strtod(copy.c_str(), &end);
  if (end == copy.c_str() || !std::isfinite(number)) return std::nullopt;
  return number;
}

std::optional<double> until_date_ms(std::string_view text, std::int64_t now_ms) {
  std::tm date{};
  const std::string copy(trim(text));
  if (!::strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &date)) return std::nullopt;
  return static_cast<double>(::timegm(&date)) * 1000 - static_cast<double>(now_ms);
}

}  // namespace

bool worth_retrying(int status, const http::Headers& headers) {
  auto said = headers.get("x-should-retry");
  if (said == "true") return true;
  if (said == "false") return false;
  return status == 408 || status == 409 || status == 429 || status >= 500;
}

std::optional<Millis> asked_wait(const http::Headers& headers, std::int64_t now_ms) {
  std::optional<double> wait;
  if (auto header = headers.get("retry-after-ms")) wait = leading_number(*header);
  if (auto header = headers.get("retry-after"); header && (!wait || *wait == 0)) {
    auto seconds = leading_number(*header);
    wait = seconds ? *seconds * 1000 : until_date_ms(*header, now_ms);
  }
  constexpr double kLongest = 2147483647.0;
  if (!wait || !(*wait > 0 && *wait <= kLongest)) return std::nullopt;
  return Millis(std::max<std::int64_t>(1, std::llround(*wait)));
}

Millis doubled(Millis first, int n, Millis longest) {
  Millis wait = first;
  for (; n > 0 && wait < longest; --n) wait *= 2;
  return std::min(wait, longest);
}

Millis jittered(Millis wait) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, random_bytes(sizeof bits).data(), sizeof bits);
  const double part = static_cast<double>(bits) / 4294967296.0;
  return Millis(std::llround(static_cast<double>(wait.count()) * (1 - 0.25 * part)));
}

}  // namespace glovebox::runner
