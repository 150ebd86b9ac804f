// Content blocks as clients send them: text, images, documents, search results. Only for .cc files
// of this folder.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>

#include "base/error.h"

namespace glovebox::brain {

enum class Content {
  message,  // text, image, document; at least one block, no empty text
  system,   // text, not empty
  quote,    // text, inside a search result
  result,   // what a tool gave: all kinds, or nothing at all
};

// The blocks as they are stored: what is known of each, and nothing else. A null `value` is a
// member that was not sent.
Result<boost::json::array> check_content(const boost::json::value* value, std::string where,
                                         Content what);

}  // namespace glovebox::brain
