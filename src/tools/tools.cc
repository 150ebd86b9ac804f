#include "tools/tools.h"

#include <exception>

#include "tools/file_tools.h"

namespace glovebox::tools {

constexpr struct {
  std::string_view name;
  Result<std::string> (*run)(const Input&, const Context&);
} kTools[] = {{"read", read}, {"write", write}, {"edit", edit}, {"glob", glob}, {"grep", grep}};

static Result<std::string> run(std::string_view name, std::string_view json,
                               const Context& context) {
  for (const auto& tool : kTools) {
    if (tool.name != name) continue;
    TRY(input, Input::parse(name, json));
    return tool.run(input, context);
  }
  return Error{Code::not_found, str("unknown tool: ", name)};
}

ToolResult run_tool(std::string_view tool, std::string_view json, const Context& context) {
  try {
    auto result = run(tool, json, context);
    if (!result) return {valid_utf8(result.error().what), true};
    if (result->empty()) return {"(no output)", false};
    return {valid_utf8(*result), false};
  } catch (const std::exception& exception) {  // in practice: no memory
    return {str(tool, ": ", exception.what()), true};
  }
}

std::string encode(const ToolResult& result) {
  return str(R"({"content":")", json_escape(result.content), R"(","is_error":)", result.is_error,
             '}');
}

}  // namespace glovebox::tools
