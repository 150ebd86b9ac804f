#include "engine/api_templates.h"

#include <boost/json.hpp>

#include "base/log.h"
#include "base/random.h"
#include "engine/api_state.h"
#include "engine/images.h"
#include "net/task.h"
#include "wire/decode.h"
#include "wire/to_json.h"

namespace glovebox::engine {

namespace json = boost::json;
using http::Request;
using http::Response;

namespace {

constexpr std::size_t kMaxDockerfile = 1 << 20;
constexpr std::size_t kMaxBuilds = 100;
constexpr std::size_t kMaxLog = 1 << 20;
constexpr std::int64_t kUsualDisk = std::int64_t{10} << 30;
constexpr Millis kBuilderLimit = 900s;  // from the request to a builder that has its context

// Where the clients put things.
constexpr const char* kFolder = "/var/lib/tensorlake/rootfs-builder/build";
constexpr const char* kProgram = "/opt/glovebox/builder";
constexpr const char* kScript =
    "#!/bin/sh\n"
    "d=/var/lib/tensorlake/rootfs-builder/build\n"
    "while [ $# -gt 0 ]; do case \"$1\" in --metadata-out) out=$2; shift;; esac; shift; done\n"
    ": > $d/.ready\n"
    "while [ ! -e $d/.status ]; do sleep 0.1; done\n"
    "cat $d/.log\n"
    "[ \"$(cat $d/.status)\" = 0 ] && cp $d/.metadata \"$out\"\n";

struct TemplateBuild {
  std::string id, name, dockerfile;
  std::string builder;  // the image of its sandbox, by which we find that one
  std::optional<ImageRecord> image;
  bool shared = false;
};

struct Templates {
  ApiState& api;
  std::map<std::string, std::shared_ptr<TemplateBuild>> builds;  // by id, oldest first
};

std::int64_t disk_of(const ImageRecord& image) {
  return image.disk_bytes > 0 ? image.disk_bytes : kUsualDisk;
}

json::object template_of(const ImageRecord& image) {
  return {{"id", image.id},
          {"name", image.name},
          {"snapshotId", image.id},
          {"snapshotSandboxId", nullptr},
          {"snapshotUri", "glovebox:" + image.id},
          {"snapshotFormatVersion", "1"},
          {"snapshotSizeBytes", image.bytes},
          {"rootfsDiskBytes", disk_of(image)},
          {"rootfsNodeKind", "base"},
          {"public", image.shared}};
}

// The machine's own image, and the script in it. Built by our own means the first time.
Task<ImageRecord> builder_image(Images& images) {
  Images::Build wanted;
  wanted.name = "glovebox/builder";
  json::array run{
      "/bin/sh", "-c",
      str("mkdir -p /opt/glovebox && printf %s \"$1\" > ", kProgram, " && chmod 755 ", kProgram),
      "sh", kScript};
  wanted.dockerfile = str("FROM host\nRUN ", json::serialize(run), "\n");
  Images::Progress silent{.line = [](std::string_view) {}};
  co_return co_await images.build(std::move(wanted), std::move(silent));
}

Reply list_templates(std::shared_ptr<Templates> templates, Request) {
  CO_TRY(images, templates->api.engine.images().list());
  json::array items;
  for (const auto& image : images) items.push_back(template_of(image));
  co_return http::json(200, json::serialize(json::object{{"items", std::move(items)},
                                                         {"pagination", {{"next", nullptr}}}}));
}

Reply find_template(std::shared_ptr<Templates> templates, Request request) {
  CO_TRY(image, templates->api.engine.images().get(request.param("name")));
  co_return http::json(200, json::serialize(template_of(image)));
}

Reply remove_template(std::shared_ptr<Templates> templates, Request request) {
  CO_TRY_DO(co_await templates->api.engine.remove_image(request.param("name")));
  co_return http::empty(204);
}

// A program in the builder, to its end; `input` is its standard input.
Task<std::string> in_builder(std::shared_ptr<HandLink> hand, std::string script,
                             std::string input = {}) {
  wire::StartSpec spec;
  spec.argv = {"/bin/sh", "-c", std::move(script)};
  spec.cwd = "/";
  spec.user = "root";
  if (!input.empty()) spec.stdin_mode = wire::StdinMode::pipe;
  CO_TRY(operation, co_await Operation::start(hand, std::move(spec)));
  if (!input.empty()) CO_TRY_DO(co_await operation->feed(std::move(input)));
  CO_TRY(outcome, co_await operation->finish(1 << 16));
  if (outcome.info.status != wire::Status::exited || outcome.info.exit_code != 0)
    co_return Error{Code::internal, str("the builder: ", outcome.err)};
  co_return std::move(outcome.out);
}

Task<std::string> next_output(std::shared_ptr<Operation> tar) {
  for (;;) {
    CO_TRY(event, co_await tar->next(net::kForever));
    if (auto* output = std::get_if<OutputEvent>(&event)) {
      if (output->stream == wire::kStdout && !output->bytes.empty())
        co_return std::move(output->bytes);
    } else if (auto* exited = std::get_if<ExitedEvent>(&event)) {
      if (exited->info.status != wire::Status::exited || exited->info.exit_code != 0)
        co_return Error{Code::invalid, "the context could not be read"};
      co_return std::string();
    } else {
      co_return Error{Code::internal, "a part of the context is missing"};
    }
  }
}

Task<std::string> find_builder(std::shared_ptr<Templates> templates, std::string image) {
  auto deadline = std::chrono::steady_clock::now() + kBuilderLimit;
  while (std::chrono::steady_clock::now() < deadline) {
    ListQuery query;
    query.status = "running";
    CO_TRY(page, templates->api.engine.list(std::move(query)));
    for (const auto& record : page.records)
      if (record.image == image) co_return record.id;
    CO_TRY_DO(co_await net::sleep(200ms));
  }
  co_return Error{Code::timeout, "no builder sandbox came"};
}

// Of what the client gives its builder to do.
std::int64_t disk_in(const std::string& spec) {
  auto value = wire::parse_json(spec);
  const json::object* object = value ? value->if_object() : nullptr;
  const json::value* bytes = object ? object->if_contains("rootfsDiskBytes") : nullptr;
  return bytes && bytes->is_int64() ? std::max<std::int64_t>(0, bytes->get_int64()) : 0;
}

Task<ImageRecord> build_in(std::shared_ptr<Templates> templates,
                           std::shared_ptr<TemplateBuild> build, std::int64_t disk_bytes,
                           std::shared_ptr<HandLink> hand, std::shared_ptr<std::string> log) {
  wire::StartSpec tar;
  tar.argv = {"/bin/tar", "-C", str(kFolder, "/context"), "--owner=0", "--group=0", "-cf",
              "-",        "."};
  tar.user = "root";
  CO_TRY(reading, co_await Operation::start(hand, std::move(tar)));
  Images& images = templates->api.engine.images();
  Images::Source source = [reading] { return next_output(reading); };
  CO_TRY(context, co_await images.put_context(std::move(source)));
  Images::Build wanted;
  wanted.name = build->name;
  wanted.dockerfile = build->dockerfile;
  wanted.context = context;
  wanted.shared = build->shared;
  wanted.disk_bytes = disk_bytes;
  Images::Progress progress{.line = [log](std::string_view line) {
    if (log->size() < kMaxLog) *log += str(line, "\n");
  }};
  co_return co_await images.build(std::move(wanted), std::move(progress));
}

Task<void> work_in_builder(std::shared_ptr<Templates> templates,
                           std::shared_ptr<TemplateBuild> build) {
  CO_TRY(id, co_await find_builder(templates, build->builder));
  CO_TRY(hand, co_await templates->api.engine.hand(id));
  CO_TRY_DO(co_await in_builder(hand, str("n=0; while [ ! -e ", kFolder,
                                          "/.ready ]; do sleep 0.1; n=$((n+1)); "
                                          "[ $n -lt 9000 ] || exit 1; done; mkdir -p ",
                                          kFolder, "/context")));
  // For a number that is shown, so a client's file that is too long for us is none.
  auto spec = co_await in_builder(hand, str("cat ", kFolder, "/spec.json 2>/dev/null || :"));
  auto log = std::make_shared<std::string>();
  auto image = co_await build_in(templates, build, spec ? disk_in(*spec) : 0, hand, log);
  std::string metadata;
  if (image) {
    build->image = *image;
    metadata = json::serialize(json::object{{"snapshot_id", image->id},
                                            {"snapshot_uri", "glovebox:" + image->id},
                                            {"snapshot_format_version", "1"},
                                            {"snapshot_size_bytes", image->bytes},
                                            {"rootfs_disk_bytes", disk_of(*image)}});
  } else {
    *log += "error: " + image.error().what + "\n";
  }
  *log += "\n";
  CO_TRY_DO(co_await in_builder(hand, str("cat > ", kFolder, "/.log"), *log));
  CO_TRY_DO(co_await in_builder(hand, str("cat > ", kFolder, "/.metadata"), metadata + "\n"));
  CO_TRY_DO(co_await in_builder(hand, str("echo ", image ? 0 : 1, " > ", kFolder, "/.s && mv ",
                                          kFolder, "/.s ", kFolder, "/.status")));
  co_return ok;
}

Task<void> serve_build(std::shared_ptr<Templates> templates, std::shared_ptr<TemplateBuild> build) {
  auto done = co_await work_in_builder(templates, build);
  templates->api.engine.images().take_back(build->builder);
  co_return done;
}

Reply start_build(std::shared_ptr<Templates> templates, Request request) {
  CO_TRY(value, wire::parse_json(request.body));
  CO_TRY(members, wire::Members::of(value));
  CO_TRY(name, members.text("name", 256));
  CO_TRY(dockerfile, members.text("dockerfile", kMaxDockerfile));
  CO_TRY(shared, members.flag("public"));
  if (!name) co_return members.wrong("name", "must name the template");
  CO_TRY_DO(templates->api.engine.images().check_name(*name));
  Images& images = templates->api.engine.images();
  CO_TRY(builder, co_await builder_image(images), "builder");
  CO_TRY(lent, images.lend(builder.root, builder.config));
  auto build = std::make_shared<TemplateBuild>();
  build->builder = lent;
  build->id = random_id(20);
  build->name = *name;
  build->dockerfile = dockerfile.value_or("");
  build->shared = shared.value_or(false);
  while (templates->builds.size() >= kMaxBuilds) templates->builds.erase(templates->builds.begin());
  templates->builds[build->id] = build;
  templates->api.tasks.spawn("template build " + build->id, serve_build(templates, build));
  json::object answer{{"buildId", build->id},
                      {"snapshotId", build->id},
                      {"snapshotUri", "glovebox:" + build->id},
                      {"rootfsNodeKind", "base"},
                      {"builder",
                       {{"image", build->builder},
                        {"command", kProgram},
                        {"cpus", 1.0},
                        {"memoryMb", 1024},
                        {"diskMb", 10240}}},
                      {"parent", nullptr}};
  co_return http::json(201, wire::to_json(answer));
}

Reply complete_build(std::shared_ptr<Templates> templates, Request request) {
  auto found = templates->builds.find(request.param("build"));
  if (found == templates->builds.end())
    co_return Error{Code::not_found, "no such build", "BUILD_NOT_FOUND"};
  if (!found->second->image)
    co_return Error{Code::conflict, "the build has not come to an image", "BUILD_NOT_COMPLETE"};
  co_return http::json(200, json::serialize(template_of(*found->second->image)));
}

using Handler = Reply (*)(std::shared_ptr<Templates>, Request);

}  // namespace

std::vector<http::Route> template_routes(ApiState& api) {
  auto templates = std::make_shared<Templates>(Templates{api, {}});
  std::vector<http::Route> routes;
  for (std::string_view prefix :
       {"/platform/v1", "/platform/v1/organizations/{org}/projects/{project}"})
    for (const auto& [method, pattern, handler, body] :
         {std::tuple{"GET", "/sandbox-templates", Handler{list_templates}, http::Body::none},
          {"GET", "/sandbox-templates/by-name/{name}", Handler{find_template}, http::Body::none},
          {"DELETE", "/sandbox-templates/{name}", Handler{remove_template}, http::Body::none},
          {"POST", "/sandbox-template-builds", Handler{start_build}, http::Body::whole},
          {"POST", "/sandbox-template-builds/{build}/complete", Handler{complete_build},
           http::Body::whole}}) {
      http::Route route;
      route.method = method;
      route.pattern = str(prefix, pattern);
      route.body = body;
      route.body_limit = 2 * kMaxDockerfile;
      route.handler = [templates, handler](Request request) {
        return handler(templates, std::move(request));
      };
      routes.push_back(std::move(route));
    }
  return routes;
}

}  // namespace glovebox::engine
