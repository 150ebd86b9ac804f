#include "engine/image_tool.h"

#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <memory>
#include <optional>

#include "net/stream.h"
#include "net/task.h"
#include "sys/process.h"

namespace glovebox::engine {

namespace {

constexpr Millis kSilence = 600s;  // without a word from it, or without it taking another piece
constexpr Millis kEnd = 60s;       // from its last word to its end
constexpr std::size_t kMaxLine = 4096;
constexpr std::size_t kMaxNotes = 100;

Code code_of(std::string_view text) {
  for (Code code : {Code::invalid, Code::not_found, Code::conflict, Code::too_large,
                    Code::exhausted, Code::unsupported})
    if (text == name(code)) return code;
  return Code::internal;
}

// It has met hostile bytes: what it says is counted, cut and cleaned, and no more.
class Listener {
 public:
  explicit Listener(ImageTool::Progress progress) : progress_(std::move(progress)) {}

  Result<void> hear(std::string_view bytes) {
    buffer_ += bytes;
    for (std::size_t end; (end = buffer_.find('\n')) != buffer_.npos;) {
      std::string line = valid_utf8(buffer_.substr(0, end));
      buffer_.erase(0, end + 1);
      line_said(line);
    }
    if (buffer_.size() > kMaxLine) return Error{Code::internal, "glovebox-image talks nonsense"};
    return ok;
  }
  std::optional<Error> error;
  std::optional<ImageTool::Done> done;

 private:
  static std::string word(std::string_view& line) {
    auto end = std::min(line.find(' '), line.size());
    std::string taken(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
    return taken;
  }
  void line_said(std::string_view line) {
    std::string kind = word(line);
    if (kind == "error") {
      Code code = code_of(word(line));
      error = Error{code, std::string(line), code == Code::exhausted ? "DISK_FULL" : ""};
    } else if (kind == "note") {
      if (notes_.size() < kMaxNotes) notes_.emplace_back(line);
    } else if (kind == "at" || kind == "done") {
      auto bytes = parse_int<std::uint64_t>(word(line)),
           entries = parse_int<std::uint64_t>(word(line));
      if (!bytes || !entries) return;
      if (progress_) progress_(*bytes, *entries);
      if (kind == "done") done = {*bytes, *entries, std::string(line), notes_};
    }
  }
  ImageTool::Progress progress_;
  std::string buffer_;
  std::vector<std::string> notes_;
};

std::string ending(int status) {
  if (WIFSIGNALED(status)) return str("was ended by signal ", WTERMSIG(status));
  return str("ended with ", WEXITSTATUS(status));
}

Result<std::pair<Fd, Fd>> pair_of_sockets() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return sys_error("a socket for glovebox-image");
  return std::pair{Fd(ends[0]), Fd(ends[1])};
}

}  // namespace

struct ImageTool::Job {
  std::unique_ptr<net::Stream> input, output, made;
  std::optional<Error> other_end;  // why who gives, or who takes, gave up
};

// That the program takes no more is for its own words to explain; that there is no more to give is
// an error of who gives.
Task<void> ImageTool::feed(std::shared_ptr<Job> job, Source source) {
  for (;;) {
    auto piece = co_await source();
    if (!piece) {
      job->other_end = piece.error();
      job->output->close();
      co_return ok;
    }
    if (piece->empty()) break;
    auto written = co_await job->input->write_all(*piece, kSilence);
    if (!written) co_return ok;
  }
  job->input->shutdown_write();
  co_return ok;
}

Task<void> ImageTool::drain(std::shared_ptr<Job> job, Sink sink) {
  std::string buffer(64 * 1024, '\0');
  for (;;) {
    auto got = co_await job->made->read_some(buffer, kSilence);
    if (got && *got == 0) co_return ok;
    auto taken = got ? co_await sink(buffer.substr(0, *got)) : Result<void>(std::move(got.error()));
    if (taken) continue;
    job->other_end = taken.error();
    job->made->close();
    job->output->close();
    co_return ok;
  }
}

Task<ImageTool::Done> ImageTool::run(std::vector<std::string> words, Progress progress) {
  return work(std::move(words), Fd(), nullptr, nullptr, std::move(progress));
}
Task<ImageTool::Done> ImageTool::run_on_file(std::vector<std::string> words, Fd input,
                                             Progress progress) {
  return work(std::move(words), std::move(input), nullptr, nullptr, std::move(progress));
}
Task<ImageTool::Done> ImageTool::run_on_stream(std::vector<std::string> words, Source source,
                                               Progress progress) {
  return work(std::move(words), Fd(), std::move(source), nullptr, std::move(progress));
}
Task<ImageTool::Done> ImageTool::run_to_stream(std::vector<std::string> words, Sink sink) {
  return work(std::move(words), Fd(), nullptr, std::move(sink), {});
}

Task<ImageTool::Done> ImageTool::work(std::vector<std::string> words, Fd input, Source source,
                                      Sink sink, Progress progress) {
  auto job = std::make_shared<Job>();
  CO_TRY(output, pair_of_sockets());
  sys::SpawnSpec spec;
  spec.program = program_;
  spec.args = std::move(words);
  spec.args.insert(spec.args.begin(), "glovebox-image");
  if (source) {
    CO_TRY(in, pair_of_sockets());
    CO_TRY(stream, net::adopt(loop_, std::move(in.first)));
    job->input = std::move(stream);
    input = std::move(in.second);
  }
  spec.fds = {{output.second.get(), 1}};
  if (input) spec.fds.emplace_back(input.get(), 0);
  Fd made;
  if (sink) {
    CO_TRY(out, pair_of_sockets());
    CO_TRY(stream, net::adopt(loop_, std::move(out.first)));
    job->made = std::move(stream);
    made = std::move(out.second);
    spec.fds.emplace_back(made.get(), 3);
  }
  CO_TRY(process, sys::spawn(spec), "glovebox-image");
  input.reset();
  made.reset();
  output.second.reset();
  CO_TRY(stream, net::adopt(loop_, std::move(output.first)));
  job->output = std::move(stream);

  net::TaskGroup feeding(loop_);
  if (source) feeding.spawn("feed glovebox-image", feed(job, std::move(source)));
  if (sink) feeding.spawn("drain glovebox-image", drain(job, std::move(sink)));
  Listener listener(std::move(progress));
  std::string buffer(16 * 1024, '\0');
  Result<void> heard = ok;
  while (heard) {
    auto got = co_await job->output->read_some(buffer, kSilence);
    if (!got) heard = std::move(got.error());
    if (!got || *got == 0) break;
    heard = listener.hear(std::string_view(buffer).substr(0, *got));
  }
  // Who takes may be slow with the last of it.
  auto fed = co_await feeding.finish(job->made ? kSilence : kEnd);
  if (!fed && job->made && !job->other_end) job->other_end = fed.error();
  if (job->other_end) co_return std::move(*job->other_end);
  if (!heard) co_return std::move(heard.error());  // dropping the process ends it
  CO_TRY_DO(co_await net::readable(process.exit_event(), kEnd), "end of glovebox-image");
  CO_TRY(status, process.reap());
  if (listener.error) co_return std::move(*listener.error);
  if (status != 0 || !listener.done)
    co_return Error{Code::invalid, str("the reader of archives ", ending(status))};
  co_return std::move(*listener.done);
}

}  // namespace glovebox::engine
