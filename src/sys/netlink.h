// What is said to the kernel over netlink: a batch of messages with attributes, sent whole and
// answered message by message. Used for links (link.h) and for rules (nft.h).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::sys {

class NetlinkBatch {
 public:
  // Begins a message. `flags` are added to NLM_F_REQUEST; `header` is the family's fixed part. What
  // it is about stands in front of the kernel's error, if there is one.
  NetlinkBatch& message(std::uint16_t type, std::uint16_t flags, std::string_view header,
                        std::string about = {});
  template <class T>
    requires std::is_trivially_copyable_v<T>
  NetlinkBatch& message(std::uint16_t type, std::uint16_t flags, const T& header,
                        std::string about = {}) {
    return message(type, flags, bytes_of(header), std::move(about));
  }

  // Attributes of the message begun last.
  NetlinkBatch& bytes(std::uint16_t attribute, std::string_view value);
  NetlinkBatch& text(std::uint16_t attribute, std::string_view value);  // with its final zero
  NetlinkBatch& u8(std::uint16_t attribute, std::uint8_t value);
  NetlinkBatch& u32(std::uint16_t attribute, std::uint32_t value);
  NetlinkBatch& be32(std::uint16_t attribute, std::uint32_t value);
  NetlinkBatch& be64(std::uint16_t attribute, std::uint64_t value);
  template <class Inside>
  NetlinkBatch& nest(std::uint16_t attribute, Inside inside) {
    std::size_t at = open(attribute);
    inside();
    close(at);
    return *this;
  }
  // Some attributes hold a header of the family's before their own attributes.
  template <class T>
    requires std::is_trivially_copyable_v<T>
  NetlinkBatch& raw(const T& header) {
    return append(bytes_of(header));
  }

  // The message begun last is to be answered also if all is well.
  NetlinkBatch& want_answer();

  std::size_t size() const { return abouts_.size(); }
  bool empty() const { return abouts_.empty(); }

 private:
  friend class Netlink;
  template <class T>
  static std::string_view bytes_of(const T& value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
  }
  NetlinkBatch& append(std::string_view bytes);
  std::size_t open(std::uint16_t attribute);
  void close(std::size_t at);

  std::string data_;
  std::size_t last_ = 0;             // where the last message begins
  std::vector<std::string> abouts_;  // one for each message, in order
};

struct NetlinkMessage {
  std::uint16_t type = 0;
  std::string payload;
};

// A netlink socket. It blocks, but the kernel answers before send() returns.
class Netlink {
 public:
  static Result<Netlink> open(int protocol);
  // Of another network namespace, say.
  explicit Netlink(Fd socket) : socket_(std::move(socket)) {}

  // Sends the batch; the first error there is, else ok. The kernel goes on after an error, unless
  // the batch is a transaction of nftables: that is done whole or not at all.
  Result<void> apply(NetlinkBatch batch);
  // One request, answered by many messages.
  Result<std::vector<NetlinkMessage>> dump(NetlinkBatch request);

 private:
  Result<void> send(NetlinkBatch& batch);
  Fd socket_;
  std::uint32_t seq_ = 1;
};

// Calls `each(type, value)` for the attributes in `bytes`; stops at what is none.
template <class Each>
void each_attribute(std::string_view bytes, Each each) {
  while (bytes.size() >= 4) {
    std::uint16_t length, type;
    std::memcpy(&length, bytes.data(), 2);
    std::memcpy(&type, bytes.data() + 2, 2);
    if (length < 4 || length > bytes.size()) return;
    each(static_cast<std::uint16_t>(type & 0x3fff), bytes.substr(4, length - 4u));
    bytes.remove_prefix(std::min<std::size_t>(bytes.size(), (length + 3u) & ~3u));
  }
}

}  // namespace glovebox::sys
