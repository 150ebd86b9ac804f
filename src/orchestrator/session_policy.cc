#include "orchestrator/session_policy.h"

#include <algorithm>
#include <boost/json.hpp>

#include "base/log.h"
#include "net/task.h"
#include "orchestrator/session_files.h"
#include "runner/result.h"
#include "wire/outputs.h"

namespace glovebox::orchestrator {

namespace json = boost::json;

namespace {

constexpr std::string_view kOwnVolumePath = "/workspace";

Error refusal(std::string_view key, const std::string& value, std::string_view setting) {
  return {Code::forbidden,
          str(key, ": '", valid_utf8(value),
              "' is not offered here: it is not in the operator's setting ", setting)};
}

bool offered(const std::vector<std::string>& list, const std::string& name) {
  return std::ranges::any_of(list, [&](const auto& one) { return one == "*" || one == name; });
}

Result<BoxVolume> volume_of(const std::string& text, const std::string& session,
                            const Ceiling& ceiling) {
  // A volume of its own is no more than the box has anyway: a disk.
  if (text == "per-session")
    return BoxVolume{.name = own_volume(session), .path = std::string(kOwnVolumePath), .own = true};
  auto parts = split(text, ':');
  const bool read_only = parts.size() == 3 && parts[2] == "ro";
  if ((parts.size() != 2 && !read_only) || parts[0].empty() || !parts[1].starts_with('/'))
    return Error{Code::invalid, str("session.volume: '", valid_utf8(text),
                                    "' is neither per-session nor NAME:/path nor NAME:/path:ro")};
  if (!offered(ceiling.volumes, parts[0]))
    return refusal("session.volume", parts[0], "orchestrator.session_volumes");
  return BoxVolume{.name = parts[0], .path = parts[1], .read_only = read_only};
}

Result<void> apply(BoxWish& wish, std::string_view key, const std::string& value,
                   const std::string& session, const Ceiling& ceiling) {
  auto one_of = [&](std::initializer_list<std::string_view> words) -> Result<void> {
    if (std::ranges::find(words, value) != words.end()) return ok;
    std::string list;
    for (auto word : words) list += str(list.empty() ? "" : ", ", word);
    return Error{Code::invalid, str(key, ": '", valid_utf8(value), "' is none of ", list)};
  };
  if (key == "session.image") {
    if (!offered(ceiling.images, value)) return refusal(key, value, "orchestrator.session_images");
    wish.image = value;
  } else if (key == "session.snapshot") {
    if (!offered(ceiling.snapshots, value))
      return refusal(key, value, "orchestrator.session_snapshots");
    wish.snapshot = value;
  } else if (key == "session.volume") {
    for (const auto& text : split(value, ',')) {
      TRY(volume, volume_of(text, session, ceiling));
      wish.volumes.push_back(std::move(volume));
    }
  } else if (key == "session.network") {
    TRY_DO(one_of({"none", "internet"}));
    wish.internet = value == "internet";
    if (wish.internet && !ceiling.internet)
      return Error{Code::forbidden,
                   "session.network: sessions may not have the internet here; the operator allows "
                   "it with orchestrator.session_internet = true"};
  } else if (key == "session.isolation") {
    TRY_DO(one_of({"auto", "namespace", "gvisor", "microvm"}));
    wish.isolation = value;
  } else if (key == "session.box") {
    TRY_DO(one_of({"keep", "ephemeral"}));
    wish.ephemeral = value == "ephemeral";
  }
  return wire::add_sources(wish.sources, key, value);
}

// Directories and volumes that files are taken from are what the operator named; such a volume is
// mounted to read, out of the way.
Result<void> check_sources(BoxWish& wish, const Ceiling& ceiling) {
  for (const wire::SessionSource& source : wish.sources.all) {
    if (source.kind == wire::SessionSource::Kind::directory)
      TRY_DO(directory_named(ceiling.directories, source.what), "glovebox.files");
    if (source.kind != wire::SessionSource::Kind::volume) continue;
    if (!offered(ceiling.volumes, source.what))
      return refusal("glovebox.files", source.what, "orchestrator.session_volumes");
    BoxVolume mounted{.name = source.what, .path = source_mount(source.what), .read_only = true};
    if (std::ranges::find(wish.volumes, mounted.path, &BoxVolume::path) == wish.volumes.end())
      wish.volumes.push_back(std::move(mounted));
  }
  return ok;
}

// What stands before the reason, for who reads it in the session.
std::string told_as(const Error& error) {
  return str(error.tag == kSessionFiles ? "the files this session asks for cannot be had: "
                                        : "this session has no sandbox: ",
             error.what);
}

// Hands, or the reason why there are none.
class ExplainingHands : public runner::Hands {
 public:
  ExplainingHands(std::shared_ptr<runner::Hands> hands, std::string why, Tell tell)
      : hands_(std::move(hands)), why_(std::move(why)), tell_(std::move(tell)) {}

  bool has(std::string_view tool) const override {
    constexpr std::string_view kTools[] = {"bash", "read", "write", "edit", "glob", "grep"};
    return hands_ ? hands_->has(tool) : std::ranges::find(kTools, tool) != std::end(kTools);
  }
  Task<void> open() override {
    if (hands_) {
      auto opened = co_await hands_->open();
      if (opened || !lasting(opened.error())) co_return opened;
      why_ = told_as(opened.error());
    }
    log::warn("session.no_box", {{"error", why_}});
    co_return co_await tell_(why_);
  }
  Task<runner::ToolResult> call(runner::ToolCall call) override {
    if (why_.empty()) return hands_->call(std::move(call));
    return explain();
  }
  std::uint64_t place() const override { return hands_ ? hands_->place() : 0; }
  Task<void> close(End how) override {
    if (!hands_) co_return ok;
    co_return co_await hands_->close(how);
  }

 private:
  Task<runner::ToolResult> explain() { co_return runner::error_result("Error: " + why_); }

  const std::shared_ptr<runner::Hands> hands_;  // null: there are none
  std::string why_;
  const Tell tell_;
};

}  // namespace

Result<BoxWish> wish_of(const runner::Session& session, const Ceiling& ceiling) {
  BoxWish wish;
  wish.volumes.push_back(outputs_of(session.id));
  boost::system::error_code wrong;
  json::value whole = json::parse(session.json, wrong);
  const json::value* metadata =
      !wrong && whole.is_object() ? whole.get_object().if_contains("metadata") : nullptr;
  if (!metadata || !metadata->is_object()) return wish;
  for (const auto& [key, value] : metadata->get_object())
    if (value.is_string())
      TRY_DO(apply(wish, key, std::string(value.get_string()), session.id, ceiling),
             "the session's metadata");
  TRY_DO(check_sources(wish, ceiling), "the session's metadata");
  return wish;
}

BoxVolume outputs_of(std::string_view session) {
  return {.name = wire::outputs_volume(session),
          .path = std::string(wire::kOutputsPath),
          .own = true,
          .optional = true};
}

std::string own_volume(std::string_view session) { return str("session-", session); }

bool lasting(const Error& error) {
  return error.code == Code::invalid || error.code == Code::unsupported ||
         error.code == Code::forbidden;
}

std::shared_ptr<runner::Hands> explaining(std::shared_ptr<runner::Hands> hands, Tell tell) {
  return std::make_shared<ExplainingHands>(std::move(hands), "", std::move(tell));
}

std::shared_ptr<runner::Hands> refusing(Error why, Tell tell) {
  return std::make_shared<ExplainingHands>(nullptr, told_as(why), std::move(tell));
}

}  // namespace glovebox::orchestrator
