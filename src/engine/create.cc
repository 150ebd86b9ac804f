// Creating a sandbox, and changing one.

#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "engine/finish.h"
#include "engine/port_rules.h"
#include "engine/snapshot.h"
#include "sys/unix_socket.h"

namespace glovebox::engine {

static metrics::Histogram create_seconds("engine_sandbox_create_seconds",
                                         "From the request to a running sandbox.");
static metrics::Counter created_total("engine_sandboxes_created_total", "Sandboxes that came up.");
static metrics::Counter create_failed_total("engine_sandbox_create_failures_total",
                                            "Sandboxes that did not.");
static metrics::Gauge alive("engine_sandboxes", "Sandboxes that are not terminated.");

wire::BoxTerms Core::terms_of(const wire::Resources& resources, const Image& of) const {
  wire::BoxTerms terms;
  terms.limits = {static_cast<std::uint64_t>(resources.memory_mb) << 20,
                  static_cast<std::uint32_t>(std::lround(resources.cpus * 1000)),
                  static_cast<std::uint64_t>(options.default_pids)};
  terms.max_file_bytes = static_cast<std::uint64_t>(resources.disk_mb) << 20;
  terms.env = of.env;
  terms.cwd = of.cwd;
  terms.user = of.user;
  return terms;
}

Result<void> Core::check(const wire::CreateSandbox& spec) const {
  auto later = [](std::string_view what) {
    return Error{Code::unsupported, str(what, ": not to be had here yet"), "NOT_IMPLEMENTED"};
  };
  if (!spec.template_id.empty()) return later("template_id");
  if (spec.has_gpus) return later("resources.gpus");
  if (spec.has_secrets) return later("secret_names");
  if (!spec.isolation.empty() && spec.isolation != "auto" && spec.isolation != "namespace")
    return later("isolation " + spec.isolation);
  TRY_DO(image_for(spec));
  if (spec.timeout_secs && *spec.timeout_secs > options.max_timeout_secs)
    return Error{Code::invalid, str("timeout_secs: at most ", options.max_timeout_secs)};
  if (!spec.name.empty() && names.contains(spec.name))
    return Error{Code::conflict, str("a sandbox named ", spec.name, " exists"), "NAME_TAKEN"};
  if (boxes.size() + arriving >= static_cast<std::size_t>(options.max_sandboxes))
    return Error{Code::exhausted,
                 str("there are ", boxes.size() + arriving, " sandboxes, the limit of this engine"),
                 "TOO_MANY_SANDBOXES"};
  return storage->check_room();
}

wire::SandboxRecord Core::record_of(const wire::CreateSandbox& spec) const {
  wire::SandboxRecord record;
  record.name = spec.name;
  record.image = spec.image;
  record.pool_id = spec.pool_id;
  record.snapshot_id = spec.snapshot_id;
  record.resources = spec.resources;
  record.timeout_secs = spec.timeout_secs.value_or(options.default_timeout_secs);
  if (record.timeout_secs == 0) record.timeout_secs = options.max_timeout_secs;
  record.entrypoint = spec.entrypoint;
  record.network = spec.network;
  record.exposed_ports = spec.exposed_ports;
  record.allow_unauthenticated_access = spec.allow_unauthenticated_access;
  record.created_at = system_clock().unix_ms();
  return record;
}

// The machine's own image follows the machine's packages. Files that were made above an earlier
// one may miss what they were made with: said, not hidden.
static std::string told_of_change(const wire::SnapshotRecord& snapshot, const Image& below) {
  if (snapshot.image_generation == below.generation) return "";
  log::warn("snapshot.other_generation", {{"snapshot", snapshot.id},
                                          {"taken_above", snapshot.image_generation},
                                          {"now", below.generation}});
  return str("its files were made above generation ", snapshot.image_generation,
             " of the image, and lie above ", below.generation,
             " now: the machine's packages have changed");
}

Task<wire::SandboxRecord> Core::create(wire::CreateSandbox spec, std::string files) {
  auto begun = std::chrono::steady_clock::now();
  CO_TRY_DO(inherit(spec));
  CO_TRY_DO(check(spec));
  CO_TRY(plan, plan_of(spec));
  plan.copied_for = std::move(files);
  CO_TRY(file_systems, volumes->check(spec.file_systems, !plan.image->usr_mask.empty()));
  CO_TRY(network_settled, co_await settle_network(spec.network));
  spec.network = std::move(network_settled);
  CO_TRY_DO(check(spec));  // time has passed
  auto box = std::make_shared<Box>();
  box->record = record_of(spec);
  box->record.file_systems = std::move(file_systems);
  if (!plan.snapshot.empty()) {
    CO_TRY(snapshot, snapshots->records.find(plan.snapshot));
    box->record.reason = told_of_change(snapshot, *plan.image);
  }
  wire::SandboxRecord& record = box->record;
  if (!record.name.empty()) {
    CO_TRY(generation, records->next_generation(record.name));
    record.generation = generation;
    names[record.name] = "";  // taken from here on; the id follows
  }
  ++creating;
  ++arriving;
  auto made = co_await launch(box, std::move(plan));
  --creating;
  blanks_wanted.notify();
  box->settled = true;
  box->changed.notify();
  if (!made) {
    create_failed_total.add();
    if (record.id.empty()) {
      --arriving;
      names.erase(record.name);
    } else if (record.status != wire::State::terminated) {
      auto ended = terminate(box, "Failure", "StartupFailedInternalError", made.error().what);
      if (!ended)
        log::error("engine.terminate", {{"sandbox", record.id}, {"error", ended.error().what}});
    }
    co_return std::move(made.error()).with("create sandbox");
  }
  created_total.add();
  create_seconds.observe(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
  log::info("sandbox.created", {{"sandbox", record.id}, {"name", record.name}});
  co_return record;
}

// Files of a snapshot lie above the image they were taken above, whatever its name means by now.
Result<std::shared_ptr<const Image>> Core::image_for(const wire::CreateSandbox& spec) const {
  if (!spec.snapshot_id.empty())
    if (auto held = images->held("snapshot:" + spec.snapshot_id)) return held;
  TRY(other, images->resolve(spec.image.empty() ? options.default_image : spec.image));
  return other ? other : image;
}

Result<BoxPlan> Core::plan_of(const wire::CreateSandbox& spec) const {
  TRY(chosen, image_for(spec));
  return BoxPlan{std::move(chosen), spec.snapshot_id};
}

Task<void> Core::launch(std::shared_ptr<Box> box, BoxPlan plan) {
  wire::SandboxRecord& record = box->record;
  CO_TRY(blank, co_await take_blank(plan, policy_of(record).link));
  record.id = blank.id;
  box->base = blank.base;
  box->plan = std::move(plan);
  if (!record.name.empty()) names[record.name] = record.id;
  boxes[record.id] = box;
  --arriving;
  alive.set(static_cast<std::int64_t>(boxes.size()));

  // From here on a volume's delete sees that it is used.
  for (const wire::FileSystem& fs : record.file_systems)
    CO_TRY_DO(volumes->get(fs.id), "it was removed meanwhile");
  CO_TRY_DO(images->hold(record.id, *box->plan.image), "hold the image");
  CO_FAULT("create.before_row");
  CO_TRY_DO(records->insert({record, box->base, false}), "note");
  CO_FAULT("create.after_row");
  CO_TRY_DO(co_await start(box));
  wire::SandboxRecord running = record;
  running.status = wire::State::running;
  running.tier = "active";
  CO_TRY_DO(records->save(running), "note that it runs");
  CO_FAULT("create.after_running");
  record = std::move(running);
  // A name is a promise: it survives a power cut. A sandbox without one could not outlive it
  // anyway.
  if (!record.name.empty()) CO_TRY_DO(co_await synced());
  co_return ok;
}

Task<void> Core::start(std::shared_ptr<Box> box) {
  const wire::SandboxRecord& record = box->record;
  CO_TRY(listener, sys::listen_unix(path(hand_socket(record.id)), SOCK_STREAM));
  CO_FAULT("create.after_socket");
  CO_TRY_DO(co_await attach_network(box));
  CO_FAULT("create.after_network");
  wire::LaunchBox plan;
  plan.id = record.id;
  plan.hostname = record.name.empty() ? record.id : record.name;
  plan.terms = terms_of(record.resources, *box->plan.image);
  CO_TRY(pid, co_await launcher->launch(std::move(plan), std::move(listener)));
  box->pid = static_cast<pid_t>(pid);
  box->record.host_generation = box->plan.image->host_generation;
  box->record.inside_version.clear();
  // Now that all is mounted and nothing of the tenant runs. What blanks have is the usual limit,
  // above no files but their own.
  if (!box->plan.snapshot.empty() || !box->plan.image->upper.empty() || record.tier == kCold ||
      record.resources.disk_mb != wire::Resources().disk_mb) {
    std::function<Result<void>()> limit = [this, id = record.id, mb = record.resources.disk_mb] {
      return storage->limit_upper(id, mb);
    };
    CO_TRY_DO(co_await pool.run(std::move(limit)), "disk limit");
  }
  CO_FAULT("create.after_launch");
  CO_TRY_DO(co_await mount_volumes(box, record.file_systems));
  CO_FAULT("create.after_volumes");
  const auto& argv = record.entrypoint.empty() ? box->plan.image->entrypoint : record.entrypoint;
  if (argv.empty()) co_return ok;
  CO_TRY(link, co_await HandLink::connect(
                   loop, str("/proc/self/fd/", hands_dir.get(), "/", record.id, ".sock"), 30s));
  box->link = link;
  wire::StartSpec entrypoint;
  entrypoint.argv = argv;
  CO_TRY_DO(co_await link->start(std::move(entrypoint)), "entrypoint");
  co_return ok;
}

Task<wire::SandboxRecord> Core::update(std::string id_or_name, wire::UpdateSandbox change) {
  auto box = find(id_or_name);
  if (!box) {
    CO_TRY(record, records->find(id_or_name));
    co_return Error{Code::conflict, str("sandbox ", record.id, " is ", record.status),
                    "SANDBOX_NOT_RUNNING"};
  }
  const bool new_network = change.network || change.clear_network;
  if (new_network) {
    CO_TRY(settled, co_await settle_network(std::move(change.network)));
    change.network = std::move(settled);
    change.clear_network = !change.network;
    // What is starting may have its link already, of the policy before; and of two changes at once
    // the link of one would be taken away with the other.
    while (!box->settled || box->networking) {
      auto waited = co_await box->changed.wait(1s);
      if (!waited && waited.error().code == Code::cancelled) co_return std::move(waited.error());
    }
    if (box->record.status == wire::State::terminated)
      co_return Error{Code::conflict, str("sandbox ", box->record.id, " is terminated"),
                      "SANDBOX_NOT_RUNNING"};
  }
  wire::SandboxRecord record = box->record;
  const auto network_before = record.network;
  if (change.name && *change.name != record.name) {
    if (names.contains(*change.name))
      co_return Error{Code::conflict, str("a sandbox named ", *change.name, " exists"),
                      "NAME_TAKEN"};
    record.name = *change.name;
  }
  if (change.allow_unauthenticated_access)
    record.allow_unauthenticated_access = *change.allow_unauthenticated_access;
  if (change.exposed_ports) record.exposed_ports = *change.exposed_ports;
  if (change.clear_network) record.network.reset();
  if (change.network) record.network = change.network;
  CO_TRY_DO(PortRules(records->database()).save(*records, record), "note");
  if (record.name != box->record.name) {
    names.erase(box->record.name);
    names[record.name] = record.id;
  }
  box->record = record;
  on_change(record.id);
  if (new_network) {
    box->networking = true;
    auto changed = co_await change_network(box, network_before);
    box->networking = false;
    box->changed.notify();
    CO_TRY_DO(std::move(changed));
  }
  CO_TRY_DO(co_await synced());
  co_return record;
}

}  // namespace glovebox::engine
