// Writes a compressed tar (pax) to a descriptor. Names and attributes are bytes, whatever they are.
// libarchive's own writer would bring a dozen other formats and their libraries into this program.
#pragma once

#include <sys/stat.h>
#include <zstd.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace glovebox::image {

class TarWriter {
 public:
  explicit TarWriter(int to);

  struct Member {
    std::string path = {};
    char type = '0';  // '0' file, '1' another name of `link`, '2' link, '3' device 0:0,
                      // '5' directory, '6' pipe
    struct stat info{};
    std::string link = {};
    std::map<std::string, std::string> attributes = {};
    // Of a file with holes: where its data is. Empty: there are none.
    std::vector<std::pair<off_t, off_t>> data = {};  // offset, length
  };
  // Of a file all its data follows, without holes; then finish_data().
  Result<void> begin(const Member& member);
  Result<void> data(std::string_view bytes);
  Result<void> finish_data();
  Result<void> finish();

 private:
  Result<void> header(const Member& member, char type, std::string_view name, off_t size);
  Result<void> pad();
  Result<void> put(std::string_view bytes, ZSTD_EndDirective end = ZSTD_e_continue);
  int to_;
  std::unique_ptr<ZSTD_CCtx, decltype([](ZSTD_CCtx* of) { ::ZSTD_freeCCtx(of); })> zstd_;
  std::string buffer_;
  std::uint64_t written_ = 0;
};

}  // namespace glovebox::image
