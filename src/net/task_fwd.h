#pragma once

#include "base/error.h"

namespace boost::asio {
class any_io_executor;
template <typename, typename>
class awaitable;
}  // namespace boost::asio

namespace glovebox {
template <class T = void>
using Task = boost::asio::awaitable<Result<T>, boost::asio::any_io_executor>;
}
