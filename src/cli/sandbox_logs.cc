#include <boost/json.hpp>
#include <ctime>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/json_text.h"
#include "cli/wait.h"
#include "net/task.h"
#include "wire/to_json.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

constexpr Millis kPollPause{400};
constexpr int kErrorLevel = 5;

std::string clock_of(std::int64_t unix_ms) {
  const std::time_t seconds = unix_ms / 1000;
  std::tm there{};
  ::localtime_r(&seconds, &there);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &there);
  char millis[8];
  std::snprintf(millis, sizeof millis, ".%03d", static_cast<int>(unix_ms % 1000));
  return str(text, millis);
}

// The pid, or the name of a managed one, of a line's process.
std::string speaker(const json::object& line) {
  std::string pid, managed;
  const json::value* attributes = line.if_contains("resourceAttributes");
  if (!attributes || !attributes->is_array()) return "";
  for (const json::value& pair : attributes->as_array()) {
    const std::string key = text_at(pair, "/0");
    if (key == "process.pid") pid = text_at(pair, "/1");
    if (key == "process.managed.id") managed = text_at(pair, "/1");
  }
  return managed.empty() ? pid : managed;
}

struct Style {
  bool times = false, speakers = true;
};

// An archive on its way out, for instance, which a terminal would be full of.
bool binary(const std::string& body) { return body.find('\0') != body.npos; }

void show(const json::object& line, const Style& style, Output& out) {
  if (out.json()) return out.text(wire::to_json(line) + "\n");
  std::string text;
  if (style.times)
    if (auto ms = parse_int<std::int64_t>(text_of(line, "timestamp")))
      text += (*ms > 0 ? clock_of(*ms) : std::string(23, ' ')) + "  ";  // of what is missing
  const bool is_error = text_of(line, "level") == std::to_string(kErrorLevel);
  if (style.speakers) text += str(printable(speaker(line)), is_error ? " ! " : " | ");
  const std::string body = text_of(line, "body");
  out.text(
      str(text,
          binary(body) ? str("[", human_bytes(body.size()), " that are no text]") : printable(body),
          "\n"));
}

// The processes that are meant by a pid, a name, or the id that the logs give them.
Result<std::string> process_query(EngineClient& engine, const std::string& box,
                                  const std::string& wanted) {
  TRY(processes, engine.log_processes(box));
  std::string query;
  for (const json::value& item : processes) {
    const json::object& process = item.as_object();
    if (wanted == text_of(process, "processPid") ||
        wanted == text_of(process, "processManagedName") ||
        wanted == text_of(process, "processManagedId"))
      query += "&processId=" + http::encode_query(text_of(process, "processId"));
  }
  if (query.empty())
    return Error{Code::not_found, str("no process ", wanted, " said anything in ", box)};
  return query;
}

Result<int> run(Context& context, Args& args, Output& out) {
  TRY(box, args.positional("NAME"));
  TRY_DO(args.done());
  TRY(tail, args.number("--tail", 1, 10'000, 0));
  const Style style{args.flag("--times"), !args.option("--process").has_value()};
  TRY(engine, EngineClient::open(context));
  std::string filter;
  if (auto process = args.option("--process")) {
    TRY(query, process_query(*engine, box, *process));
    filter = std::move(query);
  }
  if (auto text = args.option("--containing")) filter += "&body=" + http::encode_query(*text);
  if (args.flag("--errors")) filter += str("&level=", kErrorLevel);
  std::string token;
  for (bool first = true;; first = false) {
    std::string query = first && tail ? str("?tail=", tail) : "?head=1000";
    if (!token.empty()) query += "&nextToken=" + http::encode_query(token);
    TRY(page, engine->logs(box, query + filter), "logs of ", box);
    if (const json::value* lines = page.if_contains("logs"); lines && lines->is_array())
      for (const json::value& line : lines->as_array())
        if (line.is_object()) show(line.as_object(), style, out);
    if (!out.written()) return 1;  // nobody reads us any more
    const bool more = page.contains("nextToken") && !text_of(page, "nextToken").empty();
    if (!more && !args.flag("-f")) return 0;
    token = text_of(page, more ? "nextToken" : "followToken");
    if (more) continue;
    TRY(record, engine->get(box));
    if (text_of(record, "status") == "terminated") {
      out.note(str("glovebox: sandbox ", box, " has ended"));
      return 0;
    }
    TRY_DO(wait(engine->loop(), net::sleep(kPollPause)));
  }
}

}  // namespace

const Command kSandboxLogs{
    .name = "sandbox logs",
    .usage =
        "sandbox logs NAME [-f] [--tail=N] [--process=PROCESS] [--containing=TEXT] [--errors] "
        "[--times]",
    .help =
        "Show what the processes of a sandbox said.\n"
        "\n"
        "In the order it came, of all processes together: their number or name before each "
        "line, `!` where\n"
        "it was said on stderr. -f goes on until the sandbox ends; looking wakes no sandbox. "
        "--process is a\n"
        "number or the name of a managed process. Of each process the last 256 KiB are kept, "
        "for as long\n"
        "as the sandbox lives.",
    .run = run};

}  // namespace glovebox::cli
