#include "wire/to_json.h"

#include <boost/json.hpp>
#include <cmath>

#include "base/str.h"

namespace glovebox::wire {

namespace json = boost::json;

namespace {

void write(std::string& out, const json::value& value);

void write(std::string& out, double number) {
  if (!std::isfinite(number)) {
    out += "null";
    return;
  }
  const std::string text = str(number);
  out += text;
  if (text.find_first_of(".e") == text.npos) out += ".0";  // and stays a double when it is read
}

void write(std::string& out, const json::array& array) {
  out += '[';
  for (bool first = true; const json::value& item : array) {
    if (!std::exchange(first, false)) out += ',';
    write(out, item);
  }
  out += ']';
}

void write(std::string& out, const json::object& object) {
  out += '{';
  for (bool first = true; const auto& [key, value] : object) {
    if (!std::exchange(first, false)) out += ',';
    out += json::serialize(key);
    out += ':';
    write(out, value);
  }
  out += '}';
}

void write(std::string& out, const json::value& value) {
  if (value.is_object())
    write(out, value.get_object());
  else if (value.is_array())
    write(out, value.get_array());
  else if (value.is_double())
    write(out, value.get_double());
  else
    out += json::serialize(value);
}

template <class T>
std::string written(const T& value) {
  std::string out;
  write(out, value);
  return out;
}

}  // namespace

std::string to_json(const json::value& value) { return written(value); }
std::string to_json(const json::object& object) { return written(object); }
std::string to_json(const json::array& array) { return written(array); }

}  // namespace glovebox::wire
