#include "runner/result.h"

#include <boost/json.hpp>

#include "runner/json.h"

namespace glovebox::runner {

namespace json = boost::json;

namespace {

json::object text_block(std::string_view text) {
  return {{"type", "text"}, {"text", text.empty() ? "(no output)" : text}};
}

json::object search_result(const json::value& block) {
  json::array content;
  if (const json::value* parts = member(block, "content"); parts && parts->is_array())
    for (const json::value& part : parts->get_array())
      content.push_back(text_block(text(part, "text")));
  const json::value* citations = member(block, "citations");
  const json::value* enabled = citations ? member(*citations, "enabled") : nullptr;
  return {{"type", "search_result"},
          {"source", text(block, "source")},
          {"title", text(block, "title")},
          {"content", std::move(content)},
          {"citations", {{"enabled", enabled && enabled->is_bool() && enabled->get_bool()}}}};
}

json::value block_of(const json::value& block) {
  const std::string type = text(block, "type");
  if (type == "text") return text_block(text(block, "text"));
  const json::value* source = member(block, "source");
  if ((type == "image" || type == "document") && source && source->is_object()) return block;
  if (type == "search_result") return search_result(block);
  return text_block(write_json(block));
}

json::array blocks_of(std::string_view content) {
  auto value = parse_json(content);
  // Not what hands promise to give; the model still gets what there is.
  if (!value) return {text_block(valid_utf8(content))};
  if (value->is_string()) return {text_block(value->get_string())};
  if (!value->is_array()) return {text_block(value->is_null() ? "" : write_json(*value))};
  json::array blocks;
  for (const json::value& block : value->get_array()) blocks.push_back(block_of(block));
  if (blocks.empty()) blocks.push_back(text_block(""));
  return blocks;
}

}  // namespace

std::string result_event(const Event& call, const ToolResult& result) {
  json::object event;
  event["type"] = call.custom ? "user.custom_tool_result" : "user.tool_result";
  event[call.custom ? "custom_tool_use_id" : "tool_use_id"] = call.id;
  event["is_error"] = result.is_error;
  event["content"] = blocks_of(result.content);
  return write_json(std::move(event));
}

ToolResult error_result(std::string_view message) {
  return {str('"', json_escape(message), '"'), true};
}

}  // namespace glovebox::runner
