#include "hand/ring.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace glovebox::hand {
namespace {

std::size_t beyond_least(std::size_t capacity) {
  return capacity > Ring::kLeast ? capacity - Ring::kLeast : 0;
}

}  // namespace

Ring::Ring(RingPool& pool) : pool_(pool) { pool_.rings_.push_back(this); }

Ring::~Ring() {
  clear();
  std::erase(pool_.rings_, this);
}

std::size_t Ring::make_room(std::size_t wanted) {
  wanted = std::min(wanted, wire::kRingBytes);
  if (held_ == ~0ull) return wanted;
  // What comes next is held: no more of it than is certain to have room.
  if (held_bytes() == 0) return std::min(wanted, std::max(capacity_, kLeast));
  grow(wanted);
  // One more piece may come, so one must be free, of those that nobody holds.
  while (records_.size() >= max_records()) {
    if (records_.size() < 2 || records_[1].offset > held_) return 0;
    drop_before(records_[1].offset);
  }
  return std::min<std::uint64_t>(wanted, capacity_ - held_bytes());
}

void Ring::append(wire::Stream stream, std::int64_t unix_ms, std::string_view bytes) {
  if (bytes.empty()) return;
  grow(bytes.size());
  assert(held_bytes() == 0 || held_bytes() + bytes.size() <= capacity_);
  if (bytes.size() > capacity_) {
    std::size_t lost = bytes.size() - capacity_;
    end_ += lost;
    bytes.remove_prefix(lost);
    drop_before(end_);
  }
  if (end_ - begin_ + bytes.size() > capacity_) drop_before(end_ + bytes.size() - capacity_);
  if (records_.empty() || records_.back().stream != stream || records_.back().unix_ms != unix_ms)
    records_.push_back({end_, unix_ms, stream});
  std::size_t at = end_ % capacity_;
  std::size_t first = std::min(bytes.size(), capacity_ - at);
  std::memcpy(data_.get() + at, bytes.data(), first);
  std::memcpy(data_.get(), bytes.data() + first, bytes.size() - first);
  end_ += bytes.size();
  while (records_.size() > max_records()) drop_before(records_[1].offset);
}

wire::Output Ring::at(std::uint64_t offset, std::size_t limit) const {
  assert(offset >= begin_ && offset < end_);
  auto next = std::upper_bound(
      records_.begin(), records_.end(), offset,
      [](std::uint64_t value, const Record& record) { return value < record.offset; });
  const Record& record = *std::prev(next);
  std::uint64_t until = next == records_.end() ? end_ : next->offset;
  std::size_t place = offset % capacity_;
  std::size_t size = std::min({static_cast<std::size_t>(until - offset), limit, capacity_ - place});
  return {offset, record.stream, record.unix_ms, {data_.get() + place, size}};
}

void Ring::clear() {
  pool_.used_ -= beyond_least(capacity_);
  data_.reset();
  capacity_ = 0;
  drop_before(end_);
}

// Doubles until there is place for what is kept and `needed` more, as far as the pool allows.
void Ring::grow(std::size_t needed) {
  std::uint64_t wanted =
      std::max<std::uint64_t>(end_ - begin_ + needed, 64 * (records_.size() + 1));
  wanted = std::min<std::uint64_t>(wanted, wire::kRingBytes);
  std::size_t capacity = std::max(capacity_, kLeast);
  while (capacity < wanted) capacity *= 2;
  capacity = std::min(capacity, wire::kRingBytes);
  if (capacity == capacity_) return;
  while (capacity > kLeast && !pool_.take(*this, capacity - std::max(capacity_, kLeast)))
    capacity /= 2;
  if (capacity > capacity_) resize(capacity);
}

void Ring::resize(std::size_t capacity) {
  std::unique_ptr<char[]> data(new char[capacity]);
  if (end_ - begin_ > capacity) drop_before(end_ - capacity);
  for (std::uint64_t offset = begin_; offset < end_;) {
    std::size_t size = std::min({static_cast<std::size_t>(end_ - offset),
                                 capacity_ - offset % capacity_, capacity - offset % capacity});
    std::memcpy(data.get() + offset % capacity, data_.get() + offset % capacity_, size);
    offset += size;
  }
  pool_.used_ += beyond_least(capacity);
  pool_.used_ -= beyond_least(capacity_);
  data_ = std::move(data);
  capacity_ = capacity;
  while (records_.size() > max_records()) drop_before(records_[1].offset);
}

void Ring::drop_before(std::uint64_t offset) {
  begin_ = offset;
  while (!records_.empty()) {
    std::uint64_t until = records_.size() > 1 ? records_[1].offset : end_;
    if (until > begin_) break;
    records_.pop_front();
  }
}

bool RingPool::take(const Ring& asker, std::size_t bytes) {
  auto enough = [&] { return used_ + bytes <= limit_; };
  for (Ring* ring : rings_) {
    if (enough()) return true;
    if (ring->ended_ && ring != &asker && ring->capacity_ > 0 && ring->held_bytes() == 0)
      ring->clear();
  }
  while (!enough()) {
    Ring* largest = nullptr;
    for (Ring* ring : rings_)
      if (ring != &asker && ring->capacity_ > Ring::kLeast && ring->held_bytes() == 0 &&
          (!largest || ring->capacity_ > largest->capacity_))
        largest = ring;
    // Nobody gives up half to become smaller than the one who asks would be.
    if (!largest || largest->capacity_ / 2 < asker.capacity_) return false;
    largest->resize(largest->capacity_ / 2);
  }
  return true;
}

}  // namespace glovebox::hand
