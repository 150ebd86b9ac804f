// What those who work for a session ask beside the official API: a file that its metadata names,
// and to say in the session what keeps them from working.
#include "base/log.h"
#include "brain/api.h"
#include "brain/api_body.h"
#include "net/task.h"
#include "wire/session_sources.h"

namespace glovebox::brain {

using wire::Members;

namespace {

constexpr std::size_t kMaxMessage = 4096;

}  // namespace

Reply report_error(Call call) {
  CO_TRY(row, session_of(call));
  CO_TRY_DO(check_newest(call));
  CO_TRY(parsed, body_of(call.request));
  const boost::json::value whole(std::move(parsed));
  CO_TRY(body, Members::of(whole));
  CO_TRY(message, text_up_to(body, "message", kMaxMessage));
  if (!message || message->empty()) co_return body.wrong("message", "is required");
  CO_TRY_DO(call.api.sessions.report(row.id, *message));
  log::info("session.reported", {{"session", row.id}, {"message", *message}});
  co_return http::empty(204);
}

// Who made the session named the file: no other is given to those who work for it.
Reply session_file(Call call) {
  CO_TRY(row, session_of(call));
  const std::string file = call.param("file");
  if (!wire::names_file(row.metadata, file))
    co_return Error{Code::not_found,
                    str("the metadata of session ", row.id, " names no file ", file)};
  co_return co_await get_file_content(std::move(call));
}

}  // namespace glovebox::brain
