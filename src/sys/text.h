// The program's own code, as memory.
#pragma once

namespace glovebox::sys {

// Pages of our program and its libraries that were needed to start alone stay mapped, and count as
// ours, for as long as we live. This lets go of all that nobody ever wrote to: what is needed again
// comes back out of the page cache, sixteen pages with each fault; the rest is the first that the
// kernel takes when memory is short.
void let_go_of_text();

// Says so at the right times: after the first piece of work all that it took to start is of no use
// any more; after a few more it is clear what all of them need, and what only the first did.
class Settling {
 public:
  void worked() {
    if (count_ >= kFew) return;
    if (++count_ == 1 || count_ == kFew) let_go_of_text();
  }

 private:
  static constexpr int kFew = 4;
  int count_ = 0;
};

}  // namespace glovebox::sys
