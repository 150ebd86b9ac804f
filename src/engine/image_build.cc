// Images from Dockerfiles. Each step that changes files is made on a copy of the root of the step
// before, and kept under a key of what it was made of: that is the cache. RUN runs in a sandbox
// whose own files are that copy; COPY and ADD are glovebox-image's.

#include "engine/image_build.h"

#include <algorithm>

#include "base/fault.h"
#include "base/log.h"
#include "base/random.h"
#include "engine/api_state.h"
#include "engine/finish.h"
#include "engine/sha256.h"
#include "net/task.h"

namespace glovebox::engine {

namespace {

constexpr std::size_t kMaxLine = 2000;          // of what a step prints
constexpr std::size_t kMaxWords = 4096;         // sources of one COPY
constexpr std::size_t kMaxSettings = 64 << 10;  // names and values of a stage's ENV, LABEL and ARG

Error at(const Instruction& step, Error error, const std::map<int, std::string>& doing) {
  if (error.code == Code::not_found) error.code = Code::invalid;
  if (!doing.empty()) {
    auto words = doing.find(step.line);
    return words == doing.end() ? std::move(error) : std::move(error).with(words->second);
  }
  if (error.tag.empty() && error.code == Code::invalid) error.tag = "DOCKERFILE";
  return std::move(error).with(str("Dockerfile line ", step.line, ": ", step.name));
}

Result<void> check_settings(std::size_t bytes) {
  if (bytes <= kMaxSettings) return ok;
  return Error{Code::invalid,
               str("the stage's ENV, LABEL and ARG are more than ", kMaxSettings, " bytes"),
               "DOCKERFILE"};
}
std::size_t bytes_of(const auto& pairs) {
  std::size_t bytes = 0;
  for (const auto& [name, value] : pairs) bytes += name.size() + value.size();
  return bytes;
}

void put(std::vector<std::string>& env, const std::string& name, const std::string& value) {
  std::erase_if(env, [&](const auto& entry) { return entry.starts_with(name + "="); });
  env.push_back(name + "=" + value);
}

// "/a/b" and "c/../d" is "/a/d".
std::string join_path(const std::string& folder, const std::string& path) {
  std::string whole = path.starts_with('/') ? path : str(folder.empty() ? "/" : folder, "/", path);
  std::vector<std::string> parts;
  for (auto& part : split(whole, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else {
      parts.push_back(std::move(part));
    }
  }
  std::string out;
  for (const auto& part : parts) out += "/" + part;
  return out.empty() ? "/" : out;
}

// A sandbox that goes, whatever becomes of the build.
class StepBox {
 public:
  StepBox(Core& core, std::string id) : core_(core), id_(std::move(id)) {}
  StepBox(const StepBox&) = delete;
  ~StepBox() {
    if (!core_.closing) core_.work.spawn("remove build sandbox", core_.remove(id_));
  }
  const std::string& id() const { return id_; }

 private:
  Core& core_;
  std::string id_;
};

// If the build does not wait for it any more, it goes as soon as it is there.
Task<std::shared_ptr<StepBox>> make_box(Core& core, wire::CreateSandbox spec) {
  std::string lent = spec.image;
  auto made = co_await core.create(std::move(spec));
  core.images->take_back(lent);
  if (!made) co_return std::move(made.error());
  co_return std::make_shared<StepBox>(core, made->id);
}

// Output in lines, whatever pieces it comes in.
class Lines {
 public:
  explicit Lines(const Images::Progress& progress) : progress_(progress) {}
  void add(std::string_view bytes) {
    for (char c : bytes) {
      if (c == '\n' || c == '\r' || line_.size() >= kMaxLine) end();
      if (c != '\n' && c != '\r') line_ += c;
    }
  }
  void end() {
    if (!line_.empty()) progress_.line(std::exchange(line_, ""));
  }

 private:
  const Images::Progress& progress_;
  std::string line_;
};

}  // namespace

Variables Builder::variables() const {
  Variables all = stage_.args;
  for (const auto& entry : stage_.config.env) {
    auto equals = entry.find('=');
    if (equals != entry.npos) all[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  return all;
}

Task<ImageRecord> Builder::run() {
  std::vector<std::string> ignored;
  CO_TRY(steps, parse_dockerfile(request_.dockerfile, &ignored));
  for (const auto& name : ignored) progress_.line(name + " means nothing here and is left out");
  std::size_t number = 0;
  bool done = false;
  for (const Instruction& step : steps) {
    if (step.name == "FROM" && in_stage_ && !request_.target.empty() &&
        stage_.name == request_.target) {
      done = true;
      break;
    }
    if (request_.doing.empty())
      progress_.line(str("step ", ++number, " of ", steps.size(), ": ", step.name, " ",
                         valid_utf8(step.text.substr(0, 200))));
    else if (auto words = request_.doing.find(step.line); words != request_.doing.end())
      progress_.line(words->second);
    auto carried_out = co_await carry_out(step);
    if (!carried_out) co_return at(step, std::move(carried_out.error()), request_.doing);
  }
  if (!request_.target.empty() && !done && stage_.name != request_.target)
    co_return Error{Code::invalid, str("no stage is called ", request_.target), "DOCKERFILE"};
  for (const auto& [name, value] : request_.args)
    if (!used_args_.contains(name)) progress_.line(str("no ARG ", name, ": its value is not used"));
  ImageRecord image;
  image.name = request_.name;
  image.config = stage_.config;
  image.source = request_.source;
  image.shared = request_.shared;
  image.disk_bytes = request_.disk_bytes;
  image.root = stage_.root;
  if (stage_.config.over.empty()) {
    CO_TRY(root, co_await images_.finished(stage_.root));
    image.root = root;
  }
  co_return co_await images_.publish(std::move(image), request_.reuse);
}

Task<void> Builder::carry_out(Instruction step) {
  if (step.name == "FROM") return from(std::move(step));
  if (step.name == "RUN") return run_step(std::move(step));
  if (step.name == "COPY" || step.name == "ADD") return copy(std::move(step));
  if (step.name == "WORKDIR") return workdir(std::move(step));
  return configure(std::move(step));
}

Task<void> Builder::from(Instruction step) {
  CO_TRY(all, words(step.text, global_args_));
  if (all.empty() || all.size() == 2 || all.size() > 3 ||
      (all.size() == 3 && lower(all[1]) != "as"))
    co_return Error{Code::invalid, "must be FROM IMAGE or FROM IMAGE AS STAGE"};
  if (in_stage_) stages_.push_back(stage_);
  in_stage_ = true;
  Stage fresh;
  fresh.name = all.size() == 3 ? all[2] : "";
  const std::string& base = all[0];
  auto earlier = std::ranges::find(stages_, base, &Stage::name);
  if (earlier != stages_.end() && !base.empty()) {
    fresh.root = earlier->root;
    fresh.config = earlier->config;
  } else if (base == "scratch") {
    CO_TRY(root, co_await empty_root("scratch"));
    fresh.root = root;
  } else {
    CO_TRY(found, images_.records().image(base));
    if (!found && images_.is_default(base)) {
      CO_TRY(root, co_await empty_root("host"));
      fresh.root = root;
      fresh.config.over = "host";
    } else {
      if (!found) {
        progress_.line(str(base, " is not here: it is pulled"));
        Images::Pull wanted{base, base, {}};
        CO_TRY(pulled, co_await images_.pull(std::move(wanted), progress_));
        found = std::move(pulled);
      }
      fresh.root = found->root;
      fresh.config = found->config;
      fresh.config.labels.clear();
    }
  }
  stage_ = std::move(fresh);
  stand_on(stage_.root);
  co_return ok;
}

void Builder::stand_on(const std::string& root) {
  pins_.emplace_back(images_, root);
  stage_.root = root;
}

// Nothing, or nothing over the machine's own image.
Task<std::string> Builder::empty_root(std::string kind) {
  std::string key = Sha256().field("empty").field(kind).hex();
  if (!images_.has_root(key)) {
    CO_TRY(draft, co_await images_.draft(""));
    CO_TRY_DO(co_await images_.keep(std::move(draft), {key, "", 0, 0}));
  }
  if (kind == "host") co_return key;
  co_return co_await images_.finished(key);
}

// True: the step's result is there and is now the stage's root.
Result<bool> Builder::cached(const std::string& key) {
  if (request_.fresh && !made_.contains(key)) return false;
  if (!images_.has_root(key)) return false;
  TRY_DO(images_.records().touch_root(key, system_clock().unix_ms()));
  progress_.line("  as it was the last time");
  stand_on(key);
  return true;
}

Task<void> Builder::keep(Images::Draft draft, std::string key, std::uint64_t bytes,
                         std::uint64_t entries) {
  if (request_.fresh && images_.has_root(key)) {
    // The old one is somebody's; this one is another, though it was made the same way.
    key = Sha256().field(key).field(random_id(16)).hex();
  }
  const bool reuse = request_.reuse == Images::Reuse::yes;
  RootRecord root{key, reuse ? stage_.root : "", bytes, entries, reuse};
  CO_TRY_DO(co_await images_.keep(std::move(draft), std::move(root)));
  made_.insert(key);
  stand_on(key);
  co_return ok;
}

Task<void> Builder::run_step(Instruction step) {
  if (!step.flags.empty())
    co_return Error{Code::unsupported, str("--", step.flags.begin()->first, " is not known")};
  std::vector<std::string> argv =
      step.list ? *step.list : std::vector<std::string>{"/bin/sh", "-c", step.text};
  if (argv.empty()) co_return Error{Code::invalid, "of nothing"};
  std::vector<std::string> env = stage_.config.env;
  for (const auto& [name, value] : stage_.args)
    if (std::ranges::none_of(env, [&](const auto& e) { return e.starts_with(name + "="); }))
      env.push_back(name + "=" + value);
  Sha256 hash;
  hash.field("run").field(stage_.root).field(stage_.config.over);
  for (const auto* list : {&argv, &env}) {
    hash.field(str(list->size()));
    for (const auto& word : *list) hash.field(word);
  }
  std::string key = hash.field(stage_.config.cwd).field(stage_.config.user).hex();
  CO_TRY(known, cached(key));
  if (known) co_return ok;

  CO_TRY(name, images_.lend(stage_.root, stage_.config));
  wire::CreateSandbox spec;
  spec.image = name;
  spec.resources = {2.0, 2048, 20480};
  spec.timeout_secs = images_.core().options.max_timeout_secs;
  Core& core = images_.core();
  CO_TRY(box, co_await core.finish("build sandbox", make_box(core, std::move(spec))));
  CO_TRY_DO(co_await execute(box->id(), std::move(argv), std::move(env)));
  CO_FAULT("image.build.after_run");
  CO_TRY(draft, co_await images_.draft_of_box(box->id()));
  CO_TRY(range, Images::Range::take(core));
  std::vector<std::string> call{"count", range.text(), images_.tree(draft)};
  // For people; a tree that cannot be counted (names beyond PATH_MAX) is as good as another.
  auto there = co_await images_.tool().run(std::move(call));
  const std::uint64_t bytes = there ? there->bytes : 0, entries = there ? there->entries : 0;
  co_return co_await keep(std::move(draft), std::move(key), bytes, entries);
}

Task<void> Builder::execute(std::string id, std::vector<std::string> argv,
                            std::vector<std::string> env) {
  CO_TRY(hand, co_await images_.core().hand(id));
  wire::StartSpec spec;
  spec.argv = std::move(argv);
  spec.env = std::move(env);
  spec.cwd = stage_.config.cwd.empty() ? "/" : stage_.config.cwd;
  spec.user = stage_.config.user;
  CO_TRY(operation, co_await Operation::start(hand, std::move(spec)));
  Lines out(progress_);
  for (;;) {
    CO_TRY(event, co_await operation->next(net::kForever));
    if (auto* output = std::get_if<OutputEvent>(&event)) out.add(output->bytes);
    auto* ended = std::get_if<ExitedEvent>(&event);
    if (!ended) continue;
    out.end();
    const wire::ProcessInfo& info = ended->info;
    if (info.status == wire::Status::oom_killed)
      co_return Error{Code::invalid, "ran out of memory"};
    if (info.status == wire::Status::signaled)
      co_return Error{Code::invalid, str("was ended by signal ", info.signal)};
    if (info.exit_code != 0)
      co_return Error{Code::invalid, str("ended with exit code ", info.exit_code)};
    co_return ok;
  }
}

Result<std::string> Builder::source_of(const Instruction& step) {
  auto flag = step.flags.find("from");
  if (flag == step.flags.end()) {
    if (!context_) return Error{Code::invalid, "the build has no context to copy from"};
    return images_.tree(*context_);
  }
  const std::string& from = flag->second;
  for (std::size_t i = 0; i < stages_.size(); ++i)
    if ((!from.empty() && stages_[i].name == from) || str(i) == from)
      return images_.tree(stages_[i].root);
  TRY(found, images_.records().image(from));
  if (!found)
    return Error{Code::invalid, str("--from=", from, ": neither a stage before nor an image here")};
  pins_.emplace_back(images_, found->root);
  return images_.tree(found->root);
}

Task<void> Builder::copy(Instruction step) {
  for (const auto& [name, value] : step.flags)
    if (name != "from" && name != "chown" && name != "chmod" && name != "link")
      co_return Error{Code::unsupported, str("--", name, " is not known")};
  std::vector<std::string> all;
  if (step.list) {
    for (const auto& word : *step.list) {
      CO_TRY(text, expand(word, variables()));
      all.push_back(std::move(text));
    }
  } else {
    CO_TRY(split, words(step.text, variables()));
    all = std::move(split);
  }
  if (all.size() < 2) co_return Error{Code::invalid, "must be SOURCE... DESTINATION"};
  if (all.size() > kMaxWords) co_return Error{Code::too_large, "too many sources"};
  std::string dest = all.back();
  all.pop_back();
  for (const auto& source : all)
    if (source.find("://") != source.npos)
      co_return Error{Code::unsupported, "addresses are not fetched; RUN a program that does"};
  const bool folder = dest.ends_with('/') || dest == "." || dest.ends_with("/.");
  dest = join_path(stage_.config.cwd, dest);
  if (folder && dest != "/") dest += "/";
  CO_TRY(owner, expand(step.flags.contains("chown") ? step.flags["chown"] : "", variables()));
  std::string mode;
  if (step.flags.contains("chmod")) {
    unsigned bits = 0;
    const std::string& text = step.flags["chmod"];
    auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), bits, 8);
    if (wrong != std::errc{} || end != text.data() + text.size() || bits > 07777)
      co_return Error{Code::unsupported, "--chmod: must be an octal number"};
    mode = str(bits);
  }
  CO_TRY(source, source_of(step));
  std::vector<std::string> plan{dest, owner, mode, step.name == "ADD" ? "add" : "copy"};
  plan.insert(plan.end(), all.begin(), all.end());
  co_return co_await place(std::move(source), std::move(plan));
}

Task<void> Builder::workdir(Instruction step) {
  CO_TRY(path, expand(step.text, variables()));
  stage_.config.cwd = join_path(stage_.config.cwd, path);
  std::string here = images_.tree(stage_.root);
  std::vector<std::string> plan{stage_.config.cwd + "/", "", "", "copy"};
  co_return co_await place(std::move(here), std::move(plan));
}

// `plan`: destination, owner, mode, kind, sources. Without sources only the destination is made.
Task<void> Builder::place(std::string source, std::vector<std::string> plan) {
  const bool over = !stage_.config.over.empty();
  if (over && (plan[0] == "/usr" || plan[0].starts_with("/usr/")))
    co_return Error{Code::unsupported,
                    "/usr of the machine's own image cannot be written; begin with another image"};
  std::string files;
  if (plan.size() > 4) {
    CO_TRY(range, Images::Range::take(images_.core()));
    auto limits = images_.limits();
    std::vector<std::string> call{"digest", range.text(), source, limits[0], limits[1]};
    call.insert(call.end(), plan.begin(), plan.end());
    CO_TRY(named, co_await images_.tool().run(std::move(call)));
    files = named.text;
  }
  Sha256 hash;
  hash.field("copy").field(stage_.root).field(stage_.config.over).field(files);
  for (std::size_t i = 0; i < 4; ++i) hash.field(plan[i]);
  std::string key = hash.hex();
  CO_TRY(known, cached(key));
  if (known) co_return ok;
  CO_TRY(draft, co_await images_.draft(stage_.root));
  CO_TRY(range, Images::Range::take(images_.core()));
  std::vector<std::string> call{"copy", range.text()};
  if (over) call[0] = "copy-over";
  if (over) call.push_back(images_.core().path(images_.core().image->root));
  std::string tree = images_.tree(draft);
  call.push_back(over ? tree.substr(0, tree.rfind('/')) : tree);
  call.push_back(std::move(source));
  for (auto& word : images_.limits()) call.push_back(std::move(word));
  call.insert(call.end(), plan.begin(), plan.end());
  CO_TRY(done, co_await images_.tool().run(std::move(call)));
  auto before = images_.records().root(stage_.root).value_or(RootRecord());
  co_return co_await keep(std::move(draft), std::move(key), before.bytes + done.bytes,
                          before.entries + done.entries);
}

Task<void> Builder::configure(Instruction step) {
  ImageConfig& config = stage_.config;
  if (step.name == "ENV" || step.name == "LABEL") {
    CO_TRY(pairs, assignments(step.text, variables()));
    CO_TRY_DO(check_settings(bytes_of(pairs)));
    for (auto& [name, value] : pairs) {
      if (step.name == "ENV")
        put(config.env, name, value);
      else
        config.labels[name] = value;
    }
  } else if (step.name == "ARG") {
    auto equals = step.text.find('=');
    std::string name(trim(std::string_view(step.text).substr(0, equals)));
    auto given = request_.args.find(name);
    std::string value;
    bool set = true;
    if (given != request_.args.end()) {
      value = given->second;
    } else if (equals != step.text.npos) {
      CO_TRY(split, words(step.text.substr(equals + 1), in_stage_ ? variables() : global_args_));
      value = split.empty() ? "" : split[0];
    } else if (in_stage_ && global_args_.contains(name)) {
      value = global_args_[name];
    } else {
      set = false;
    }
    used_args_.insert(name);
    if (set) (in_stage_ ? stage_.args : global_args_)[name] = value;
  } else if (step.name == "USER") {
    CO_TRY(user, expand(step.text, variables()));
    config.user = std::move(user);
  } else if (step.name == "ENTRYPOINT" || step.name == "CMD") {
    std::vector<std::string> argv = step.list ? *step.list : std::vector<std::string>{};
    if (!step.list && !step.text.empty()) argv = {"/bin/sh", "-c", step.text};
    if (step.name == "CMD") {
      config.cmd = std::move(argv);
    } else {
      config.entrypoint = std::move(argv);
      config.cmd.clear();  // that of the image below was for another program
    }
  }
  std::size_t bytes = bytes_of(config.labels) + bytes_of(in_stage_ ? stage_.args : global_args_);
  for (const auto& entry : config.env) bytes += entry.size();
  co_return check_settings(bytes);
}

Task<std::string> Images::put_context(Source bytes) {
  CO_TRY(fresh, co_await draft(""));
  CO_TRY(range, Range::take(core_));
  std::vector<std::string> call{"unpack", range.text(), tree(fresh)};
  for (auto& word : limits()) call.push_back(std::move(word));
  CO_TRY_DO(co_await tool_.run_on_stream(std::move(call), std::move(bytes)), "context");
  // As many as builds may begin at once; the oldest was forgotten by who sent it.
  constexpr std::size_t kMaxContexts = 16;
  while (contexts_.size() >= kMaxContexts) contexts_.erase(contexts_.begin());
  char number[24];
  std::snprintf(number, sizeof number, "%016llx",
                static_cast<unsigned long long>(system_clock().unix_ms()));
  std::string name = str("context-", number, "-", random_id(12));
  contexts_.emplace(name, std::move(fresh));
  co_return name;
}

Task<ImageRecord> Images::build(Build request, Progress progress) {
  CO_TRY_DO(check_name(request.name));
  std::optional<Draft> context;
  if (!request.context.empty()) {
    auto found = contexts_.find(request.context);
    if (found == contexts_.end())
      co_return Error{Code::not_found, "no such context; send it again", "CONTEXT_NOT_FOUND"};
    context = std::move(found->second);
    contexts_.erase(found);
  }
  const Reuse reuse = request.reuse;
  auto made =
      co_await Builder(*this, std::move(request), std::move(context), std::move(progress)).run();
  if (reuse == Reuse::no) {
    // What came of the build does not depend on it; the next removal finds what is left.
    auto dropped = co_await drop_unused();
    if (!dropped) log::warn("image.left_over", {{"error", dropped.error().what}});
  }
  co_return made;
}

}  // namespace glovebox::engine
