#include "cli/args.h"

#include <cmath>
#include <limits>

#include "base/str.h"
#include "cli/suggest.h"

namespace glovebox::cli {

namespace {

constexpr std::string_view kUsageTag = "USAGE";

struct Option {
  bool takes_value = false;
  bool repeatable = false;
};

struct Grammar {
  std::map<std::string, Option, std::less<>> options;
  bool has_rest = false;

  explicit Grammar(std::string_view usage) {
    for (const std::string& word : split(usage, ' ')) {
      std::string_view text = word;
      bool repeatable = text.ends_with("...");
      if (text.starts_with('[')) text.remove_prefix(1);
      if (!text.starts_with('-')) continue;
      text = text.substr(0, text.find(']'));
      if (text == "--") {
        has_rest = true;
        break;
      }
      std::size_t equals = text.find('=');
      options[std::string(text.substr(0, equals))] = {equals != text.npos, repeatable};
    }
  }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& [name, option] : options) out.push_back(name);
    return out;
  }
};

// A number and the unit behind it.
std::optional<std::pair<double, std::string>> number_and_unit(std::string_view text) {
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || !std::isfinite(value) || value < 0) return std::nullopt;
  return std::pair{value, lower(std::string_view(end, text.data() + text.size() - end))};
}

}  // namespace

Error usage_error(std::string what) {
  return Error{Code::invalid, std::move(what), std::string(kUsageTag)};
}
bool is_usage_error(const Error& error) { return error.tag == kUsageTag; }

Result<Millis> parse_duration(std::string_view text) {
  static const std::map<std::string, double, std::less<>> kUnits = {
      {"", 1e3}, {"ms", 1}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}, {"d", 86400e3}};
  auto read = number_and_unit(text);
  auto unit = read ? kUnits.find(read->second) : kUnits.end();
  if (unit == kUnits.end() || read->first * unit->second > 1e13)
    return usage_error(str("'", text, "' is not a duration such as 10s, 5m or 2h"));
  return Millis(static_cast<std::int64_t>(std::llround(read->first * unit->second)));
}

Result<std::int64_t> parse_mebibytes(std::string_view text) {
  static const std::map<std::string, double, std::less<>> kUnits = {
      {"", 1},      {"m", 1},      {"mb", 1},      {"mib", 1},      {"g", 1024},
      {"gb", 1024}, {"gib", 1024}, {"t", 1 << 20}, {"tb", 1 << 20}, {"tib", 1 << 20}};
  auto read = number_and_unit(text);
  auto unit = read ? kUnits.find(read->second) : kUnits.end();
  if (unit == kUnits.end() || read->first * unit->second > 1e13)
    return usage_error(str("'", text, "' is not a size such as 512M or 2G"));
  return static_cast<std::int64_t>(std::ceil(read->first * unit->second));
}

Result<Args> Args::parse(std::string_view usage, const std::vector<std::string>& words) {
  Grammar grammar(usage);
  Args args;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") {
      if (!grammar.has_rest) return usage_error("nothing may stand behind -- here");
      args.rest_.assign(words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words.end());
      break;
    }
    if (!word.starts_with('-') || word == "-") {
      args.positionals_.push_back(word);
      continue;
    }
    std::size_t equals = word.find('=');
    std::string name = word.substr(0, equals);
    auto option = grammar.options.find(name);
    if (option == grammar.options.end())
      return usage_error(str("there is no option ", name, did_you_mean(name, grammar.names())));
    auto& values = args.given_[name];
    if (!values.empty() && !option->second.repeatable)
      return usage_error(str(name, " is given more than once"));
    if (!option->second.takes_value) {
      if (equals != word.npos) return usage_error(str(name, " takes no value"));
      values.emplace_back();
    } else if (equals != word.npos) {
      values.push_back(word.substr(equals + 1));
    } else if (i + 1 < words.size() && words[i + 1] != "--") {
      values.push_back(words[++i]);
    } else {
      return usage_error(str(name, " needs a value"));
    }
  }
  return args;
}

bool Args::flag(std::string_view name) const { return given_.contains(name); }

std::optional<std::string> Args::option(std::string_view name) const {
  auto found = given_.find(name);
  if (found == given_.end()) return std::nullopt;
  return found->second.back();
}

std::vector<std::string> Args::options(std::string_view name) const {
  auto found = given_.find(name);
  return found == given_.end() ? std::vector<std::string>{} : found->second;
}

Result<Millis> Args::duration(std::string_view name, Millis otherwise) const {
  auto text = option(name);
  if (!text) return otherwise;
  TRY(value, parse_duration(*text), name);
  return value;
}

Result<std::int64_t> Args::number(std::string_view name, std::int64_t least, std::int64_t most,
                                  std::int64_t otherwise) const {
  auto text = option(name);
  if (!text) return otherwise;
  auto value = parse_int<std::int64_t>(*text);
  if (!value || *value < least || *value > most)
    return usage_error(str(name, ": '", *text, "' is not a number from ", least, " to ", most));
  return *value;
}

Result<std::string> Args::positional(std::string_view what) {
  if (next_ == positionals_.size()) return usage_error(str(what, " is missing"));
  return positionals_[next_++];
}

std::optional<std::string> Args::optional() {
  if (next_ == positionals_.size()) return std::nullopt;
  return positionals_[next_++];
}

std::vector<std::string> Args::remaining() {
  std::vector<std::string> out(positionals_.begin() + static_cast<std::ptrdiff_t>(next_),
                               positionals_.end());
  next_ = positionals_.size();
  return out;
}

Result<void> Args::done() const {
  if (next_ != positionals_.size())
    return usage_error(str("'", positionals_[next_], "' is one word too many"));
  return ok;
}

}  // namespace glovebox::cli
