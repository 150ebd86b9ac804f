// Bytes read from a stream and not yet understood.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace glovebox::http {

class InputBuffer {
 public:
  std::string_view view() const { return std::string_view(storage_).substr(begin_, end_ - begin_); }
  bool empty() const { return begin_ == end_; }
  std::size_t size() const { return end_ - begin_; }
  void consume(std::size_t n) {
    begin_ += n;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  // Room to read into; filled() says how much of it was used. It grows from small to large as bytes
  // keep coming, so that an idle connection costs little and a fast one few calls.
  std::span<char> room() {
    if (begin_ > 0) {
      std::memmove(storage_.data(), storage_.data() + begin_, size());
      end_ -= std::exchange(begin_, 0);
    }
    if (storage_.size() - end_ < kSmall / 2 || fast_)
      storage_.resize(std::clamp(storage_.size() * 2, kSmall, end_ + kLarge));
    return {storage_.data() + end_, storage_.size() - end_};
  }
  void filled(std::size_t n) {
    end_ += n;
    fast_ = end_ == storage_.size() && storage_.size() < kLarge;
  }
  void shrink() {  // between messages
    if (!empty() || storage_.size() <= kSmall) return;
    storage_ = std::string();
    fast_ = false;
  }

 private:
  static constexpr std::size_t kSmall = 4 * 1024, kLarge = 64 * 1024;
  std::string storage_;
  std::size_t begin_ = 0, end_ = 0;
  bool fast_ = false;  // the last read filled everything
};

}  // namespace glovebox::http
