// The last output of a process: both streams in the order they were read, with offsets that count
// from its start.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "wire/hand.h"

namespace glovebox::hand {

class RingPool;

class Ring {
 public:
  static constexpr std::size_t kLeast = 4096;  // what a ring may have without asking the pool

  explicit Ring(RingPool& pool);
  ~Ring();
  Ring(const Ring&) = delete;

  std::uint64_t begin() const { return begin_; }  // the oldest byte still there
  std::uint64_t end() const { return end_; }      // of the next byte
  // Nothing from this offset on may be lost. ~0: nothing is held.
  void hold_from(std::uint64_t offset) { held_ = offset; }
  // How many bytes, at most `wanted`, may be appended now without losing held ones.
  std::size_t make_room(std::size_t wanted);
  // The oldest bytes make place for these, which are no more than make_room() said.
  void append(wire::Stream stream, std::int64_t unix_ms, std::string_view bytes);
  // At most `limit` bytes from `offset`, which is in [begin, end): of one stream, read at one time.
  wire::Output at(std::uint64_t offset, std::size_t limit) const;
  void set_ended() { ended_ = true; }  // from now on the first to go when the pool is short
  void clear();                        // forgets all bytes, keeps the offsets

 private:
  friend class RingPool;
  struct Record {
    std::uint64_t offset;
    std::int64_t unix_ms;
    wire::Stream stream;
  };
  std::uint64_t held_bytes() const { return held_ < end_ ? end_ - held_ : 0; }
  std::size_t max_records() const { return capacity_ / 64; }
  void grow(std::size_t needed);
  void resize(std::size_t capacity);
  void drop_before(std::uint64_t offset);

  RingPool& pool_;
  std::unique_ptr<char[]> data_;  // byte `offset` is at offset % capacity_
  std::size_t capacity_ = 0;
  std::uint64_t begin_ = 0, end_ = 0;
  std::uint64_t held_ = ~0ull;
  std::deque<Record> records_;  // ascending; the first one covers begin_
  bool ended_ = false;
};

// All rings of the box together: what they hold beyond their least is bounded. When it is short,
// the rings of processes that ended give all, oldest first; then the largest gives half; then
// nobody grows.
class RingPool {
 public:
  explicit RingPool(std::size_t limit) : limit_(limit) {}
  std::size_t used() const { return used_; }

 private:
  friend class Ring;
  bool take(const Ring& asker, std::size_t bytes);
  std::size_t limit_, used_ = 0;
  std::vector<Ring*> rings_;  // in the order of their making
};

}  // namespace glovebox::hand
