#include "brain/store.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>

namespace glovebox::brain {

std::string_view name(SessionStatus status) {
  switch (status) {
    case SessionStatus::idle: return "idle";
    case SessionStatus::running: return "running";
    case SessionStatus::rescheduling: return "rescheduling";
    case SessionStatus::terminated: return "terminated";
  }
  return "";
}

std::optional<SessionStatus> session_status(std::string_view text) {
  for (auto status : {SessionStatus::idle, SessionStatus::running, SessionStatus::rescheduling,
                      SessionStatus::terminated})
    if (name(status) == text) return status;
  return std::nullopt;
}

std::string render(const Event& event) {
  std::string out = event.json;
  if (out.ends_with('}')) out.pop_back();
  std::string time = event.processed_at ? str('"', rfc3339(event.processed_at), '"') : "null";
  return out += str(out.ends_with('{') ? "" : ",", R"("processed_at":)", time, '}');
}

Micros now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string rfc3339(Micros time) {
  std::int64_t seconds = time / 1'000'000, part = time % 1'000'000;
  if (part < 0) {
    part += 1'000'000;
    --seconds;
  }
  using std::chrono::sys_days;
  const auto days = std::chrono::floor<std::chrono::days>(std::chrono::seconds(seconds));
  const std::chrono::year_month_day date{sys_days(days)};
  const auto day_seconds = static_cast<int>(seconds - std::chrono::seconds(days).count());
  std::array<char, 48> text;
  int size = std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%06dZ",
                           static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                           static_cast<unsigned>(date.day()), day_seconds / 3600,
                           day_seconds / 60 % 60, day_seconds % 60, static_cast<int>(part));
  return std::string(text.data(), static_cast<std::size_t>(size));
}

namespace {

// Takes exactly `digits` digits off the front.
std::optional<int> take_number(std::string_view& text, std::size_t digits) {
  if (text.size() < digits) return std::nullopt;
  int value = 0;
  for (char c : text.substr(0, digits)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  text.remove_prefix(digits);
  return value;
}

bool take_one_of(std::string_view& text, std::string_view choices) {
  if (text.empty() || !choices.contains(text[0])) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<Micros> take_fraction(std::string_view& text) {
  if (!take_one_of(text, ".")) return 0;
  Micros micros = 0, unit = 100'000;
  std::size_t digits = 0;
  for (; !text.empty() && text[0] >= '0' && text[0] <= '9'; text.remove_prefix(1), ++digits) {
    micros += unit * (text[0] - '0');  // what is finer than a microsecond counts nothing
    unit /= 10;
  }
  if (digits == 0) return std::nullopt;
  return micros;
}

// Seconds east of Greenwich.
std::optional<int> take_offset(std::string_view& text) {
  if (take_one_of(text, "Zz")) return 0;
  const int sign = text.starts_with('-') ? -1 : 1;
  // A '+' that nobody encoded in a query string has become a space.
  if (!take_one_of(text, "+- ")) return std::nullopt;
  auto hours = take_number(text, 2);
  if (!hours || *hours > 23 || !take_one_of(text, ":")) return std::nullopt;
  auto minutes = take_number(text, 2);
  if (!minutes || *minutes > 59) return std::nullopt;
  return sign * (*hours * 3600 + *minutes * 60);
}

}  // namespace

std::optional<Micros> parse_rfc3339(std::string_view text) {
  auto year = take_number(text, 4);
  if (!year || !take_one_of(text, "-")) return std::nullopt;
  auto month = take_number(text, 2);
  if (!month || !take_one_of(text, "-")) return std::nullopt;
  auto day = take_number(text, 2);
  if (!day || !take_one_of(text, "Tt ")) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return std::nullopt;
  auto hour = take_number(text, 2);
  if (!hour || *hour > 23 || !take_one_of(text, ":")) return std::nullopt;
  auto minute = take_number(text, 2);
  if (!minute || *minute > 59 || !take_one_of(text, ":")) return std::nullopt;
  auto second = take_number(text, 2);
  if (!second || *second > 60) return std::nullopt;  // 60: a leap second
  auto fraction = take_fraction(text);
  if (!fraction) return std::nullopt;
  auto offset = take_offset(text);
  if (!offset || !text.empty()) return std::nullopt;
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  const std::int64_t seconds = days * 86400 + *hour * 3600 + *minute * 60 + *second - *offset;
  return seconds * 1'000'000 + *fraction;
}

}  // namespace glovebox::brain
