// The program's own code, as memory.
#pragma once

namespace glovebox::sys {

// Pages of our program and its libraries that were needed to start alone stay mapped, and count as
// ours, for as long as we live. This lets go of all that nobody ever wrote to: what is needed again
// comes back out of the page cache, sixteen pages with each fault; the rest is the first that the
// kernel takes when memory is short.
void let_go_of_text();

}  // namespace glovebox::sys
