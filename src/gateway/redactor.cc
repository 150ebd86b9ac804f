#include "gateway/redactor.h"

#include <algorithm>

namespace glovebox::gateway {

std::string Redactor::pass(std::string piece) {
  const std::string_view secret = secret_->reveal();
  if (secret.empty()) return piece;
  std::string text = std::move(held_) + piece;
  held_.clear();
  for (std::size_t at = 0; (at = text.find(secret, at)) != text.npos; at += secret.size())
    text.replace(at, secret.size(), secret.size(), '*');
  // The longest end of the text that is a beginning of the secret.
  for (std::size_t size = std::min(text.size(), secret.size() - 1); size > 0; --size) {
    if (!secret.starts_with(std::string_view(text).substr(text.size() - size))) continue;
    held_ = text.substr(text.size() - size);
    text.resize(text.size() - size);
    break;
  }
  return text;
}

}  // namespace glovebox::gateway
