// When a request is worth another attempt, and when: the rules of the official core client.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/clock.h"
#include "http/message.h"

namespace glovebox::runner {

bool worth_retrying(int status, const http::Headers& headers);

// What the answer asks for, if that is a time worth the name. `now_ms` is the wall clock's.
std::optional<Millis> asked_wait(const http::Headers& headers, std::int64_t now_ms);

// first · 2^n, never over `longest`.
Millis doubled(Millis first, int n, Millis longest);
// Up to a quarter less, so that many that failed together do not come back together.
Millis jittered(Millis wait);

}  // namespace glovebox::runner
