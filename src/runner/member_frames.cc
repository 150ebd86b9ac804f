#include "runner/member_frames.h"

#include "wire/bytes.h"

namespace glovebox::runner {

namespace {

constexpr std::size_t kHead = 5;  // kind, length
constexpr std::size_t kMaxPayload = 2 << 20;
constexpr std::size_t kMaxReason = 500;

std::string record(char kind, std::string_view payload) {
  wire::Writer writer;
  writer.u8(static_cast<std::uint8_t>(kind)).text(payload);
  return writer.take();
}

Error nonsense() { return {Code::invalid, "the reader of archives talks nonsense"}; }

}  // namespace

std::string member_record(const Member& member) {
  wire::Writer payload;
  payload.u8(static_cast<std::uint8_t>(member.kind)).u8(member.executable).text(member.name);
  return record('m', payload.take());
}
std::string content_record(std::string_view piece) { return record('c', piece); }
std::string refusal_record(std::string_view why) { return record('x', why.substr(0, kMaxReason)); }
std::string end_record() { return record('e', ""); }

Result<void> MemberFrames::feed(std::string_view bytes) {
  buffer_ += bytes;
  std::string_view rest = buffer_;
  while (rest.size() >= kHead) {
    wire::Reader head(rest);
    TRY(kind, head.u8());
    TRY(length, head.u32());
    if (length > kMaxPayload) return nonsense();
    if (rest.size() < kHead + length) break;
    TRY_DO(take(static_cast<char>(kind), rest.substr(kHead, length)));
    rest.remove_prefix(kHead + length);
  }
  buffer_.erase(0, buffer_.size() - rest.size());
  return ok;
}

Result<void> MemberFrames::take(char kind, std::string_view payload) {
  if (ended_) return nonsense();
  switch (kind) {
    case 'm': {
      if (members_.size() >= limits_.members)
        return Error{Code::too_large, str("it has more than ", limits_.members, " members")};
      wire::Reader reader(payload);
      TRY(of, reader.u8());
      TRY(executable, reader.u8());
      TRY(name, reader.text(kMaxPayload));
      if (!reader.done() || of > static_cast<std::uint8_t>(Member::Kind::special))
        return nonsense();
      names_ += name.size() + 1;
      if (names_ > limits_.names)
        return Error{Code::too_large, "its names are too long altogether"};
      members_.push_back({static_cast<Member::Kind>(of), executable != 0, std::move(name), ""});
      return ok;
    }
    case 'c':
      if (members_.empty() || members_.back().kind != Member::Kind::file) return nonsense();
      if (payload.size() > unpacked_)
        return Error{Code::too_large, "it unpacks to more than it may"};
      unpacked_ -= payload.size();
      members_.back().content += payload;
      return ok;
    case 'x': return Error{Code::invalid, valid_utf8(payload.substr(0, kMaxReason))};
    case 'e':
      if (!payload.empty()) return nonsense();
      ended_ = true;
      return ok;
    default: return nonsense();
  }
}

Result<std::vector<Member>> MemberFrames::finish() {
  if (!ended_ || !buffer_.empty()) return Error{Code::invalid, "the reader of archives broke off"};
  return std::move(members_);
}

}  // namespace glovebox::runner
