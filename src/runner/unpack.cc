#include "runner/unpack.h"

#include <sys/socket.h>
#include <sys/wait.h>

#include <array>

#include "net/stream.h"
#include "net/task.h"
#include "runner/member_frames.h"
#include "runner/within.h"
#include "sys/process.h"

namespace glovebox::runner {

namespace {

struct Reader {
  sys::Process process;
  std::unique_ptr<net::Stream> stream;
};

Result<Reader> start(net::Loop& loop, const std::string& program, const ArchiveLimits& limits) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return sys_error("a socket for the reader of archives");
  Fd ours(ends[0]), theirs(ends[1]);
  sys::SpawnSpec spec;
  spec.program = program;
  spec.args = {"glovebox-unpack", str(limits.archive), str(limits.unpacked), str(limits.members)};
  spec.fds = {{theirs.get(), 0}, {theirs.get(), 1}};
  TRY(process, sys::spawn(spec), "the reader of archives");
  theirs.reset();
  TRY(stream, net::adopt(loop, std::move(ours)));
  return Reader{std::move(process), std::move(stream)};
}

std::string ending(int status) {
  if (WIFSIGNALED(status)) return str("was ended by signal ", WTERMSIG(status));
  return str("ended with ", WEXITSTATUS(status));
}

Task<std::vector<Member>> talk(net::Loop& loop, std::string program, std::string archive,
                               ArchiveLimits limits) {
  CO_TRY(reader, start(loop, program, limits));
  MemberFrames frames(limits, limits.unpacked_of(archive.size()));
  // It reads everything before it says anything, so neither side waits for the other. Where it
  // breaks off, its exit says more than the broken socket.
  auto sent = co_await reader.stream->write_all(archive, limits.time);
  if (!sent && sent.error().code == Code::cancelled) co_return sent.error();
  archive = {};
  reader.stream->shutdown_write();
  std::string buffer(64 * 1024, '\0');
  for (;;) {
    auto got = co_await reader.stream->read_some(buffer, limits.time);
    if (!got && got.error().code == Code::cancelled) co_return got.error();
    if (!got || *got == 0) break;
    CO_TRY_DO(frames.feed(std::string_view(buffer).substr(0, *got)));
  }
  CO_TRY_DO(co_await net::readable(reader.process.exit_event(), limits.time));
  CO_TRY(status, reader.process.reap());
  if (status != 0) co_return Error{Code::invalid, str("the reader of archives ", ending(status))};
  co_return frames.finish();
}

}  // namespace

Task<std::vector<Member>> unpack(net::Loop& loop, std::string program, std::string archive,
                                 ArchiveLimits limits) {
  if (archive.size() > limits.archive)
    co_return Error{Code::too_large, str("it is larger than ", limits.archive, " bytes")};
  const Millis time = limits.time;
  co_return co_await within(talk(loop, std::move(program), std::move(archive), limits), time);
}

std::function<Task<std::vector<Member>>(std::string archive)> unpacker(net::Loop& loop,
                                                                       std::string program,
                                                                       ArchiveLimits limits) {
  return [&loop, program = std::move(program), limits](std::string archive) {
    return unpack(loop, program, std::move(archive), limits);
  };
}

}  // namespace glovebox::runner
