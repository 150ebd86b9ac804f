// Task<T>: a coroutine that gives a Result<T>. It starts when awaited (or spawned), runs on the one
// event-loop thread, and ends early with Code::cancelled when its TaskGroup is dropped.
//
// Headers that only declare coroutines include net/task_fwd.h; files that define them include this
// one.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "net/task_fwd.h"
