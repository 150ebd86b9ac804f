#include <fcntl.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <thread>

#include "base/fd.h"
#include "cli/attach.h"
#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/exec_request.h"
#include "cli/json_text.h"
#include "cli/tree_copy.h"
#include "wire/outputs.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

constexpr std::size_t kMaxList = 64 << 20;
constexpr const char* kListScript = "cd \"$1\" && exec find . -type f -printf '%s %P\\0'";

// A sandbox that has the volume to read and nothing else: what is in it may be hostile, and only
// what is sealed off looks at it. Without a name it also goes by itself.
class Reader {
 public:
  static Result<Reader> open(EngineClient& engine, const std::string& volume) {
    json::object body{
        {"timeout_secs", 300},
        {"network", {{"allow_internet_access", false}}},
        {"file_systems", json::array{json::object{{"file_system_id", volume},
                                                  {"mount_path", std::string(wire::kOutputsPath)},
                                                  {"read_only", true}}}}};
    TRY(made, engine.create(json::serialize(body)), "a sandbox to read them in");
    return Reader(engine, text_of(made, "sandbox_id"));
  }
  Reader(Reader&& other) noexcept : engine_(other.engine_), id_(std::exchange(other.id_, "")) {}
  ~Reader() {
    if (!id_.empty()) (void)engine_.remove(id_);
  }
  const std::string& id() const { return id_; }

 private:
  Reader(EngineClient& engine, std::string id) : engine_(engine), id_(std::move(id)) {}
  EngineClient& engine_;
  std::string id_;
};

std::string read_to_end(int fd) {
  std::string all, piece(64 * 1024, '\0');
  for (;;) {
    ssize_t n = ::read(fd, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return all;
    if (all.size() < kMaxList) all.append(piece, 0, static_cast<std::size_t>(n));
  }
}

Result<json::array> list(EngineClient& engine, const std::string& box) {
  ExecRequest request;
  request.command = {"/bin/sh", "-c", kListScript, "sh", std::string(wire::kOutputsPath)};
  request.stdin_open = false;
  TRY(hello, encode(request));
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return sys_error("pipe");
  Fd from(ends[0]), to(ends[1]);
  std::string said;
  std::thread reader([&] { said = read_to_end(from.get()); });
  auto exited =
      attach(engine, box, {.hello = hello, .forward_stdin = false, .stdout_fd = to.get()});
  to.reset();
  reader.join();
  if (!exited) return std::move(exited.error());
  if (exited->shell_code() != 0)
    return Error{Code::internal, str("listing them failed with exit code ", exited->shell_code())};
  json::array files;
  for (const std::string& entry : split(said, '\0')) {
    auto space = entry.find(' ');
    if (space == entry.npos) continue;
    files.push_back(
        json::object{{"path", valid_utf8(entry.substr(space + 1))},
                     {"size", parse_int<std::int64_t>(entry.substr(0, space)).value_or(0)}});
  }
  return files;
}

Result<int> run(Context& context, Args& args, Output& out) {
  TRY(session, args.positional("SESSION"));
  TRY_DO(args.done());
  auto to = args.option("--to");
  TRY(engine, EngineClient::open(context));
  const std::string volume = wire::outputs_volume(session);
  auto known = engine->request("GET", "/volumes/" + http::encode_path(volume));
  if (!known && known.error().code == Code::not_found)
    return Error{Code::not_found,
                 str("session ", printable(session),
                     " has no outputs here: they come with its first sandbox on this engine")};
  if (!known) return std::move(known.error());
  TRY(reader, Reader::open(*engine, volume));
  if (to) {
    TRY_DO(copy_tree_out(*engine, {reader.id(), std::string(wire::kOutputsPath)}, {"", *to}, out,
                         Onto::merged),
           "copy to ", *to);
    return 0;
  }
  TRY(files, list(*engine, reader.id()));
  out.list(files, {{"SIZE",
                    [](auto& file) {
                      return human_bytes(static_cast<std::uint64_t>(file.at("size").as_int64()));
                    }},
                   {"PATH", [](auto& file) { return text_of(file, "path"); }}});
  return 0;
}

}  // namespace

const Command kSessionOutputs{
    .name = "session outputs",
    .usage = "session outputs SESSION [--to=DIR]",
    .help =
        "List what a session left in /mnt/session/outputs, or copy it.\n"
        "\n"
        "It is a volume of the session's own: it is there when the session's sandbox is not, and\n"
        "while the session works. With --to it is copied into DIR/outputs, or as DIR where there\n"
        "is no DIR. It stays until 'glovebox volume rm outputs-SESSION'.",
    .run = run};

}  // namespace glovebox::cli
