// multipart/form-data as it arrives, in pieces of any size. Keeps no more than one head and the
// length of the boundary, however long the parts are.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace glovebox::brain {

struct FormPart {
  std::string name;
  std::optional<std::string> filename;  // with its folders, if the client sent them
  std::string type;                     // Content-Type; "" where there is none
};

class FormSink {  // what is done with the parts; an error ends the parsing
 public:
  virtual ~FormSink() = default;
  virtual Result<void> begin(const FormPart& part) = 0;
  virtual Result<void> data(std::string_view bytes) = 0;  // never empty
  virtual Result<void> end() = 0;
};

struct FormLimits {
  std::size_t parts = 1'000;
  std::size_t head = 8 * 1024;  // of one part
};

class FormParser {
 public:
  FormParser(std::string_view boundary, FormLimits limits, FormSink& sink);
  Result<void> feed(std::string_view bytes);
  Result<void> finish();  // an error where the last boundary did not come

 private:
  enum class State { preamble, boundary, head, data, done };
  Result<bool> step();  // false: needs more bytes
  Result<bool> scan();
  Result<bool> after_boundary();
  Result<bool> head();

  const std::string delimiter_;  // "\r\n--boundary"
  const FormLimits limits_;
  FormSink& sink_;
  State state_ = State::preamble;
  // A body may begin with its first boundary, where no line ended before.
  std::string kept_ = "\r\n";
  std::size_t at_ = 0;  // of kept_, how much is used up
  std::size_t parts_ = 0;
};

// The boundary of a Content-Type; Code::invalid where it is no multipart/form-data.
Result<std::string> form_boundary(std::string_view content_type);

}  // namespace glovebox::brain
