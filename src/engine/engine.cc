#include "engine/engine.h"

#include <algorithm>

#include "base/log.h"
#include "engine/finish.h"
#include "engine/port_rules.h"
#include "engine/snapshot.h"

namespace glovebox::engine {

Core::Core(net::Loop& loop_, Options options_)
    : loop(loop_),
      options(std::move(options_)),
      work(loop_),
      managed(std::make_unique<ManagedProcesses>(*this)) {
  if (options.image_program.empty()) {
    const std::string& hand = options.hand_program;
    options.image_program = hand.substr(0, hand.rfind('/') + 1) + "glovebox-image";
  }
}

Core::~Core() = default;

std::shared_ptr<Box> Core::find(const std::string& id_or_name) const {
  auto box = boxes.find(id_or_name);
  if (box != boxes.end()) return box->second;
  auto name = names.find(id_or_name);
  if (name == names.end()) return nullptr;
  box = boxes.find(name->second);
  return box == boxes.end() ? nullptr : box->second;
}

Task<void> Core::synced() {
  // What a record's files begin with first: without it the record says too little.
  std::function<Result<void>()> sync = [this]() -> Result<void> {
    TRY_DO(images->records().sync());
    return records->sync();
  };
  co_return co_await pool.run(std::move(sync));
}

Result<std::shared_ptr<Box>> Core::known(const std::string& id_or_name) {
  if (auto box = find(id_or_name)) return box;
  TRY(record, records->find(id_or_name));
  return Error{Code::gone, str("sandbox ", record.id, " is terminated"), "SANDBOX_TERMINATED"};
}

namespace {

// An operation under way in a box.
struct Use {
  Use(std::shared_ptr<Box> in, Purpose purpose)
      : box(std::move(in)), watches(purpose == Purpose::watch) {
    ++box->life.uses;
    if (watches) ++box->life.watchers;
  }
  Use(const Use&) = delete;
  ~Use() {
    --box->life.uses;
    if (watches) --box->life.watchers;
    box->life.last_use = std::chrono::steady_clock::now();
  }
  std::shared_ptr<Box> box;
  bool watches;
  std::shared_ptr<HandLink> link;
};

}  // namespace

Task<std::shared_ptr<HandLink>> Core::hand(std::string id_or_name, Purpose purpose) {
  CO_TRY(box, known(id_or_name));
  CO_TRY_DO(co_await awake(box));
  auto use = std::make_shared<Use>(box, purpose);
  CO_TRY(link, co_await link_of(box));
  use->link = link;
  co_return std::shared_ptr<HandLink>(use, link.get());
}

Task<std::shared_ptr<HandLink>> Core::peek(std::string id_or_name) {
  CO_TRY(box, known(id_or_name));
  bool runs = box->record.status == wire::State::running && !box->life.frozen && !box->life.moving;
  if (!runs) co_return std::shared_ptr<HandLink>();
  co_return co_await link_of(box);
}

Task<std::shared_ptr<HandLink>> Core::look(std::string id_or_name) {
  CO_TRY(box, known(id_or_name));
  if (box->pid == 0 || box->record.tier == kCold) co_return std::shared_ptr<HandLink>();
  co_return co_await link_of(box);
}

Task<std::shared_ptr<HandLink>> Core::link_of(std::shared_ptr<Box> box) {
  for (;;) {
    if (box->record.status == wire::State::terminated)
      co_return Error{Code::gone, str("sandbox ", box->record.id, " is terminated"),
                      "SANDBOX_TERMINATED"};
    if (box->link && box->link->alive()) co_return box->link;
    if (!box->linking) break;
    auto waited = co_await box->changed.wait(1s);  // somebody else is dialling
    if (!waited && waited.error().code == Code::cancelled) co_return std::move(waited.error());
  }
  box->linking = true;
  auto link = co_await HandLink::connect(
      loop, str("/proc/self/fd/", hands_dir.get(), "/", box->record.id, ".sock"), 30s);
  box->linking = false;
  if (link) box->link = *link;
  box->changed.notify();
  if (!link) co_return std::move(link.error()).with(str("the hand of ", box->record.id));
  co_return *link;
}

Task<std::unique_ptr<Engine>> Engine::open(net::Loop& loop, Options options) {
  auto core = std::make_unique<Core>(loop, std::move(options));
  CO_TRY_DO(co_await core->open(), "open engine in ", core->options.state_dir);
  co_return std::unique_ptr<Engine>(new Engine(std::move(core)));
}

Engine::Engine(std::unique_ptr<Core> core) : core_(std::move(core)) {}
Engine::~Engine() = default;

// The record with what changes too often to be noted down.
static wire::SandboxRecord as_it_is(const Box& box) {
  wire::SandboxRecord record = box.record;
  record.last_activity_at = last_activity_ms(box);
  return record;
}

Task<wire::SandboxRecord> Engine::create(wire::CreateSandbox spec) {
  return core_->finish("create", core_->create(std::move(spec)));
}
Result<wire::SandboxRecord> Engine::get(std::string id_or_name) const {
  if (auto box = core_->find(id_or_name)) return as_it_is(*box);
  return core_->records->find(id_or_name);
}
Result<ListPage> Engine::list(ListQuery query) const {
  TRY(page, core_->records->list(query));
  // A row does not say what changes with every operation: whether the box is paused.
  for (wire::SandboxRecord& record : page.records)
    if (auto box = core_->boxes.find(record.id); box != core_->boxes.end())
      record = as_it_is(*box->second);
  return page;
}
Task<wire::SandboxRecord> Engine::update(std::string id_or_name, wire::UpdateSandbox change) {
  return core_->finish("update", core_->update(std::move(id_or_name), std::move(change)));
}
Task<wire::SnapshotRecord> Engine::snapshot(std::string id_or_name, wire::TakeSnapshot wanted) {
  return core_->finish("snapshot", core_->snapshot(std::move(id_or_name), std::move(wanted)));
}
Result<std::vector<wire::SnapshotRecord>> Engine::snapshots() const {
  TRY(records, core_->snapshots->records.list());
  std::erase_if(records, [](const auto& record) { return record.temporary; });
  return records;
}
Result<wire::SnapshotRecord> Engine::get_snapshot(std::string id) const {
  return core_->snapshots->records.find(id);
}
Task<void> Engine::delete_snapshot(std::string id) {
  return core_->finish("delete snapshot", core_->delete_snapshot(std::move(id)));
}
Result<void> Engine::check_snapshot(const std::string& id) const {
  TRY_DO(core_->usable_snapshot(id));
  return ok;
}
Task<void> Engine::export_snapshot(std::string id, std::function<Task<void>(std::string)> sink) {
  return core_->export_snapshot(std::move(id), std::move(sink));
}
Task<wire::SnapshotRecord> Engine::import_snapshot(std::function<Task<std::string>()> source) {
  return core_->import_snapshot(std::move(source));
}
Task<std::vector<wire::SandboxRecord>> Engine::copy(std::string id_or_name, int times) {
  return core_->finish("copy", core_->copy(std::move(id_or_name), times));
}
Task<wire::SandboxRecord> Engine::rollback(std::string id_or_name, std::string snapshot_id) {
  return core_->finish("rollback", core_->rollback(std::move(id_or_name), std::move(snapshot_id)));
}
Task<void> Engine::remove(std::string id_or_name) {
  return core_->finish("remove", core_->remove(std::move(id_or_name)));
}
Task<bool> Engine::suspend(std::string id_or_name) {
  return core_->finish("suspend", core_->suspend(std::move(id_or_name)));
}
Task<bool> Engine::resume(std::string id_or_name) {
  return core_->finish("resume", core_->resume(std::move(id_or_name)));
}
Task<std::shared_ptr<HandLink>> Engine::peek(std::string id_or_name) {
  return core_->peek(std::move(id_or_name));
}
Images& Engine::images() { return *core_->images; }
Task<void> Engine::remove_image(std::string name_or_id) {
  return core_->finish("remove image", core_->images->remove(std::move(name_or_id)));
}
Volumes& Engine::volumes() { return *core_->volumes; }
Task<Volume> Engine::create_volume(std::string name, std::int64_t size_mb) {
  return core_->finish("create volume", core_->volumes->create(std::move(name), size_mb));
}
Task<void> Engine::remove_volume(std::string id_or_name) {
  return core_->finish("remove volume", core_->volumes->remove(std::move(id_or_name)));
}
Task<wire::SandboxRecord> Engine::attach_volume(std::string id_or_name, wire::FileSystem wanted) {
  return core_->finish("attach volume",
                       core_->attach_volume(std::move(id_or_name), std::move(wanted)));
}
Task<wire::SandboxRecord> Engine::detach_volume(std::string id_or_name, std::string mount_path) {
  return core_->finish("detach volume",
                       core_->detach_volume(std::move(id_or_name), std::move(mount_path)));
}
Task<std::shared_ptr<HandLink>> Engine::hand(std::string id_or_name, Purpose purpose) {
  return core_->hand(std::move(id_or_name), purpose);
}

Task<std::unique_ptr<net::Stream>> Engine::dial(std::string id_or_name, int port, Millis limit) {
  return core_->dial(std::move(id_or_name), port, limit);
}
Task<std::shared_ptr<net::Descriptor>> Engine::dial_socket(std::string id_or_name, int port,
                                                           Millis limit) {
  return core_->dial_socket(std::move(id_or_name), port, limit);
}
Result<bool> Engine::had(const std::string& name) const {
  if (core_->find(name)) return false;
  TRY(next, core_->records->next_generation(name));
  return next > 1;
}
void Engine::when_changed(std::function<void(const std::string& id)> call) {
  core_->on_change = std::move(call);
}
Result<std::vector<wire::IngressPort>> Engine::ports(const std::string& id_or_name) const {
  TRY(record, get(id_or_name));
  return exposed_ports(core_->records->database(), record);
}
Task<void> Engine::verify_port(std::string id_or_name, wire::IngressPort port) {
  return core_->finish("verify port", core_->verify_port(std::move(id_or_name), std::move(port)));
}
Task<void> Engine::unverify_port(std::string id_or_name, int port) {
  return core_->finish("unverify port", core_->unverify_port(std::move(id_or_name), port));
}
Task<std::shared_ptr<HandLink>> Engine::look(std::string id_or_name) {
  return core_->look(std::move(id_or_name));
}
Task<std::vector<SandboxUsage>> Engine::usage() { return core_->usage(); }
ManagedProcesses& Engine::managed() { return *core_->managed; }
Task<Uplink> Engine::open_uplink(std::string id_or_name, int port) {
  return core_->finish("uplink", core_->open_uplink(std::move(id_or_name), port));
}

Task<wire::Pool> Engine::create_pool(wire::PoolSpec spec) {
  return core_->finish("pool.create", core_->create_pool(std::move(spec)));
}
Task<wire::Pool> Engine::update_pool(std::string id, wire::PoolSpec spec) {
  return core_->finish("pool.update", core_->update_pool(std::move(id), std::move(spec)));
}
Task<void> Engine::remove_pool(std::string id) {
  return core_->finish("pool.remove", core_->remove_pool(std::move(id)));
}
std::vector<wire::Pool> Engine::pools() const {
  std::vector<wire::Pool> all;
  for (const auto& [id, one] : core_->pools->all) all.push_back(one->record);
  std::ranges::sort(all, {}, &wire::Pool::created_at);
  return all;
}
Result<PoolView> Engine::pool(const std::string& id) const {
  TRY(found, core_->pool_of(id));
  return PoolView{found->record, core_->containers_of(*found)};
}
Task<wire::SandboxRecord> Engine::claim(std::string pool_id, wire::ClaimSandbox wanted) {
  return core_->finish("pool.claim", core_->claim(std::move(pool_id), std::move(wanted)));
}

const std::string& Engine::instance() const { return core_->instance; }
const std::string& Engine::default_image() const { return core_->options.default_image; }
const Secret& Engine::token_key() const { return core_->token_key; }
std::size_t Engine::running() const { return core_->boxes.size(); }

Task<void> Engine::close() {
  core_->closing = true;
  core_->stopping = true;
  core_->blanks_wanted.notify();
  co_return co_await core_->work.finish(10s);
}
Task<void> Engine::destroy_all() {
  CO_TRY_DO(co_await core_->destroy_all());
  co_return co_await close();
}

}  // namespace glovebox::engine
