// Randomness from the kernel, and ids made of it.
#pragma once

#include <cstddef>
#include <string>

namespace glovebox {

std::string random_bytes(std::size_t n);
std::string random_id(std::size_t n);  // n characters of [0-9a-z], for ids

}  // namespace glovebox
