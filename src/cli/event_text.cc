#include "cli/event_text.h"

#include <boost/json.hpp>

#include "base/str.h"
#include "cli/json_text.h"
#include "cli/output.h"
#include "wire/to_json.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

constexpr std::size_t kCallLimit = 200, kResultLimit = 500;

bool is_continuation(char c) { return (c & '\xc0') == '\x80'; }

std::string result(const json::object& event, const Style& style) {
  std::string text = content_text(event.if_contains("content"));
  while (text.ends_with('\n')) text.pop_back();
  std::string shown = text.empty() ? "(no output)" : printable_lines(cut(text, kResultLimit));
  const json::value* error = event.if_contains("is_error");
  bool failed = error && error->is_bool() && error->as_bool();
  return str(failed ? style.red("✗ ") : style.dim("← "), shown, "\n");
}

std::string call(const json::object& event, const Style& style) {
  std::string name = text_of(event, "name");
  if (std::string server = text_of(event, "mcp_server_name"); !server.empty())
    name = str(server, "/", name);
  std::string summary = printable(cut(call_summary(event), kCallLimit));
  return str(style.cyan("→ "), printable(name), summary.empty() ? "" : "  ", summary, "\n");
}

std::string idle(const json::object& event, const Style& style) {
  std::string reason = text_at(json::value(event), "/stop_reason/type");
  if (reason == "requires_action") return "";  // who waits for whom is told where it is known
  std::string why = text_at(json::value(event), "/stop_details/explanation");
  return style.dim(str("· done (", printable(reason), ")")) +
         (why.empty() ? "" : str("  ", printable(cut(why, kResultLimit)))) + "\n";
}

std::string error(const json::object& event, const Style& style) {
  json::value value(event);
  std::string text = str(printable(text_at(value, "/error/type")), ": ",
                         printable(cut(text_at(value, "/error/message"), kResultLimit)));
  if (text_at(value, "/error/retry_status/type") == "retrying") text += " (it is tried again)";
  return str(style.red("✗ "), text, "\n");
}

std::string verdict(const json::object& event, const Style& style) {
  bool allowed = text_of(event, "result") == "allow";
  std::string why = text_of(event, "deny_message");
  return style.dim(allowed ? "· allowed" : "· denied") +
         (why.empty() ? "" : str("  ", printable(cut(why, kCallLimit)))) + "\n";
}

}  // namespace

std::string Style::in(std::string_view code, std::string_view text) const {
  return colours ? str("\x1b[", code, "m", text, "\x1b[0m") : std::string(text);
}

EventText describe(const json::object& event, const Style& style) {
  std::string type = text_of(event, "type");
  auto mark = [&](std::string_view word) { return style.dim(str("· ", word)) + "\n"; };
  auto content = [&] { return content_text(event.if_contains("content")); };
  if (type == "session.status_running") return {mark("running")};
  if (type == "agent.thinking") return {mark("thinking")};
  if (type == "agent.tool_use" || type == "agent.mcp_tool_use" || type == "agent.custom_tool_use")
    return {call(event, style)};
  if (type == "user.tool_result" || type == "agent.tool_result" ||
      type == "user.custom_tool_result" || type == "agent.mcp_tool_result")
    return {result(event, style)};
  if (type == "agent.message") {
    std::string text = content();
    while (text.ends_with('\n')) text.pop_back();
    return {str("\n", printable_lines(text, ""), "\n\n")};
  }
  if (type == "user.message") return {str(style.bold(">"), " ", printable_lines(content()), "\n")};
  if (type == "user.tool_confirmation") return {verdict(event, style)};
  if (type == "user.interrupt") return {mark("interrupted")};
  if (type == "session.status_idle") return {idle(event, style)};
  if (type == "session.status_rescheduled") return {mark("waiting to try again")};
  if (type == "session.error") return {error(event, style), true};
  if (type == "session.status_terminated") return {mark("session terminated")};
  if (type == "session.deleted") return {mark("session deleted")};
  return {};
}

std::string call_summary(const json::object& event) {
  const json::value* input = event.if_contains("input");
  if (!input || !input->is_object() || input->as_object().empty()) return "";
  for (const char* member : {"command", "path", "file_path", "pattern", "query", "url"})
    if (const json::value* value = input->as_object().if_contains(member);
        value && value->is_string())
      return std::string(value->as_string());
  return wire::to_json(*input);
}

std::string content_text(const json::value* content) {
  if (!content || content->is_null()) return "";
  if (content->is_string()) return std::string(content->as_string());
  if (!content->is_array()) return wire::to_json(*content);
  std::string out;
  for (const json::value& block : content->as_array()) {
    if (!out.empty() && !out.ends_with('\n')) out += '\n';
    std::string type = text_at(block, "/type");
    out += type == "text" ? text_at(block, "/text") : str("[", type, "]");
  }
  return out;
}

std::string cut(std::string_view text, std::size_t most) {
  std::size_t characters = 0, end = text.size();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_continuation(text[i])) continue;
    if (characters++ == most) end = i;
  }
  if (characters <= most) return std::string(text);
  return str(text.substr(0, end), " … (+", characters - most, " chars)");
}

std::string printable_lines(std::string_view text, std::string_view indent) {
  std::string out;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] != '\n' && text[i] != '\t') continue;
    out += printable(text.substr(begin, i - begin));
    if (i < text.size()) out += text[i];
    if (i < text.size() && text[i] == '\n') out += indent;
    begin = i + 1;
  }
  return out;
}

bool ends_turn(const json::object& event) {
  return text_of(event, "type") == "session.status_idle" &&
         text_at(json::value(event), "/stop_reason/type") != "requires_action";
}

}  // namespace glovebox::cli
