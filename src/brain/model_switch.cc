#include "base/log.h"
#include "brain/model.h"
#include "net/task.h"

namespace glovebox::brain {
namespace {

// Our own keys open our own doors: one that went astray into the model's place is not sent to
// anybody.
bool is_our_own(const Secret& key) { return key.reveal().starts_with("gb-"); }

Result<std::unique_ptr<Model>> make(net::Loop& loop, ModelOptions options) {
  if (is_our_own(options.key)) {
    log::warn("brain.model_key", {{"error", "the key given for the model is one of Glovebox's"}});
    options.key = Secret();
  }
  if (options.key.empty()) return make_rehearsal_model(options);
  return make_messages_model(loop, std::move(options));
}

// Keeps the model alive until its answer is there, whatever is switched meanwhile.
Task<ModelReply> ask_held(std::shared_ptr<Model> model, std::string request,
                          ModelListener listener) {
  co_return co_await model->ask(std::move(request), std::move(listener));
}

}  // namespace

struct ModelSwitch::Impl {
  explicit Impl(net::Loop& loop) : loop(loop) {}
  net::Loop& loop;
  std::shared_ptr<Model> model;
};

ModelSwitch::ModelSwitch() = default;
ModelSwitch::~ModelSwitch() = default;

Result<std::unique_ptr<ModelSwitch>> ModelSwitch::make(net::Loop& loop, ModelOptions options) {
  std::unique_ptr<ModelSwitch> made(new ModelSwitch());
  made->impl_ = std::make_unique<Impl>(loop);
  TRY_DO(made->set(std::move(options)));
  return made;
}

Result<void> ModelSwitch::set(ModelOptions options) {
  TRY(model, brain::make(impl_->loop, std::move(options)));
  impl_->model = std::move(model);
  log::info("brain.model", {{"kind", impl_->model->kind()}, {"about", impl_->model->describe()}});
  return ok;
}

std::string ModelSwitch::kind() const { return impl_->model->kind(); }
std::string ModelSwitch::describe() const { return impl_->model->describe(); }
std::int64_t ModelSwitch::context_tokens() const { return impl_->model->context_tokens(); }

Task<ModelReply> ModelSwitch::ask(std::string request, ModelListener listener) {
  return ask_held(impl_->model, std::move(request), std::move(listener));
}

}  // namespace glovebox::brain
