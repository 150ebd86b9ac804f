// Images from a registry. Layers that are here are not asked for; each of the others is unpacked as
// soon as it came and was found to be what its digest says, so that a pull that breaks off goes on
// there the next time.

#include <fcntl.h>
#include <unistd.h>

#include "engine/core.h"
#include "engine/images.h"
#include "engine/oci.h"
#include "engine/registry.h"
#include "net/task.h"

namespace glovebox::engine {

namespace {

constexpr std::uint64_t kLookEvery = 16 << 20;  // bytes between two looks at the free space

struct Download {
  Core& core;
  std::shared_ptr<Registry> registry;
  std::string digest;
  std::uint64_t size = 0;
  std::size_t number = 0, of = 0;
  int folder = -1;
  Images::Progress progress;
  std::uint64_t looked_at = 0;

  Result<void> passed(std::uint64_t done) {
    if (progress.bytes) progress.bytes(done, size);
    if (done < looked_at + kLookEvery && done >= looked_at) return ok;
    looked_at = done;
    return core.storage->check_room();
  }
};

Task<Fd> download(Download job) {
  // It has no name: whatever becomes of us, nothing is left.
  Fd file(::openat(job.folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file) co_return sys_error("a place for a layer");
  job.progress.line(str("download layer ", job.number, " of ", job.of));
  Registry::Progress tell = [&job](std::uint64_t done) { return job.passed(done); };
  CO_TRY_DO(co_await job.registry->blob(job.digest, job.size, file.get(), std::move(tell)));
  if (::lseek(file.get(), 0, SEEK_SET) < 0) co_return sys_error("rewind");
  co_return file;
}

}  // namespace

Task<ImageRecord> Images::pull(Pull request, Progress progress) {
  CO_TRY(reference, parse_reference(request.reference));
  std::string name = request.name.empty() ? request.reference : request.name;
  CO_TRY_DO(check_name(name));
  auto registry = std::make_shared<Registry>(core_.loop, reference, std::move(request.credentials));
  CO_TRY(text, co_await registry->manifest(reference.tag));
  for (int depth = 0; is_index(text.media_type); ++depth) {
    if (depth > 3) co_return Error{Code::invalid, "an index within an index within an index"};
    CO_TRY(chosen, choose_manifest(text.bytes), "index");
    CO_TRY(next, co_await registry->manifest(chosen.digest));
    text = std::move(next);
  }
  CO_TRY(manifest, decode_manifest(text.bytes), "manifest");
  CO_TRY(config_text, co_await registry->small_blob(manifest.config), "configuration");
  CO_TRY(config, decode_oci_config(config_text));
  std::vector<Layer> layers;
  for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
    Download job{
        core_,      registry, manifest.layers[i], manifest.sizes[i], i + 1, manifest.layers.size(),
        dir_.get(), progress};
    layers.push_back({manifest.layers[i], [job] { return download(job); }});
  }
  CO_TRY(top, co_await apply(std::move(layers), progress));
  CO_TRY(root, co_await finished(top));
  ImageRecord image;
  image.name = std::move(name);
  image.root = root;
  image.source = reference.text;
  image.digest = text.digest;
  image.config = std::move(config);
  co_return co_await publish(std::move(image), Reuse::no);
}

}  // namespace glovebox::engine
