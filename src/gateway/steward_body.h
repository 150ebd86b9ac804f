// Bodies of a steward's requests, taken apart and written anew.
#pragma once

#include <string>
#include <string_view>

#include "gateway/steward_rules.h"

namespace glovebox::gateway {

// A box of a session: named as one, of what the operator offers, with volumes of sessions whose
// items it was given. Ports, programs to start with and limits are not its to choose.
Result<std::string> rewrite_new_box(const Stewardship& may, const StewardRecords& knows,
                                    std::string_view json);
Result<std::string> rewrite_new_volume(const StewardRecords& knows, std::string_view json);
Result<std::string> rewrite_open(std::string_view json);  // {"port": N}
// The worker of an item it was given.
Result<std::string> rewrite_worker(const Stewardship& may, const StewardRecords& knows,
                                   std::string_view json);
// Results of calls that say why there is no box: errors, and nothing but text.
Result<std::string> rewrite_refusals(std::string_view json);
Result<std::string> rewrite_reason(std::string_view json);  // {"message"}
// Of a session whose item it was given: its outputs, or a disk of its own.
bool is_volume_of_session(const StewardRecords& knows, const std::string& name);
Result<std::string> rewrite_signal(std::string_view json);  // {"signal": 9 or 15}
Result<std::string> work_in(std::string_view json);         // "work_id"

}  // namespace glovebox::gateway
