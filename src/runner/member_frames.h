// How the reader of archives tells its parent what it finds: records of a kind, a length and a
// payload. The parent does not trust it: every limit is checked again here.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runner/skill_archive.h"

namespace glovebox::runner {

std::string member_record(const Member& member);     // without its content, which follows
std::string content_record(std::string_view piece);  // of the last member
std::string refusal_record(std::string_view why);    // the last one
std::string end_record();                            // the last one

class MemberFrames {
 public:
  // `unpacked`: the most that all contents together may be.
  MemberFrames(const ArchiveLimits& limits, std::size_t unpacked)
      : limits_(limits), unpacked_(unpacked) {}
  Result<void> feed(std::string_view bytes);  // an error is final
  Result<std::vector<Member>> finish();       // once nothing more comes

 private:
  Result<void> take(char kind, std::string_view payload);

  const ArchiveLimits limits_;
  std::size_t unpacked_;
  std::size_t names_ = 0;
  std::string buffer_;
  std::vector<Member> members_;
  bool ended_ = false;
};

}  // namespace glovebox::runner
