#include "engine/oci.h"

#include <algorithm>
#include <boost/json.hpp>

namespace glovebox::engine {

namespace json = boost::json;

namespace {

constexpr std::size_t kMaxLayers = 500;

#if defined(__x86_64__)
constexpr std::string_view kArchitecture = "amd64";
#elif defined(__aarch64__)
constexpr std::string_view kArchitecture = "arm64";
#endif

Result<json::value> parse(std::string_view text) {
  boost::system::error_code wrong;
  json::value value = json::parse(text, wrong);
  if (wrong) return Error{Code::invalid, "is no JSON"};
  return value;
}

const json::value* at(const json::value& value, std::string_view name) {
  const json::object* object = value.if_object();
  return object ? object->if_contains(name) : nullptr;
}
std::string text(const json::value& value, std::string_view name) {
  const json::value* found = at(value, name);
  return found && found->is_string() ? std::string(found->as_string()) : "";
}
const json::array* list(const json::value& value, std::string_view name) {
  const json::value* found = at(value, name);
  return found ? found->if_array() : nullptr;
}

bool is_layer(std::string_view type) {
  return type.empty() || ((type.starts_with("application/vnd.oci.image.layer.v1.tar") ||
                           type.starts_with("application/vnd.docker.image.rootfs.diff.tar")) &&
                          !type.ends_with("encrypted"));
}

}  // namespace

Result<void> check_digest(std::string_view digest) {
  auto hexadecimal = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (!digest.starts_with("sha256:") || digest.size() != 7 + 64 ||
      !std::ranges::all_of(digest.substr(7), hexadecimal))
    return Error{Code::invalid,
                 str("'", valid_utf8(digest.substr(0, 100)), "' is no sha256 digest")};
  return ok;
}

bool is_index(std::string_view type) {
  return type == "application/vnd.oci.image.index.v1+json" ||
         type == "application/vnd.docker.distribution.manifest.list.v2+json";
}

Result<ManifestChoice> choose_manifest(std::string_view bytes) {
  TRY(whole, parse(bytes));
  const json::array* manifests = list(whole, "manifests");
  if (!manifests) return Error{Code::invalid, "it has no list of manifests"};
  const json::value* best = nullptr;
  std::string others;
  for (const json::value& entry : *manifests) {
    const json::value* platform = at(entry, "platform");
    std::string os = platform ? text(*platform, "os") : "linux";
    std::string machine = platform ? text(*platform, "architecture") : std::string(kArchitecture);
    if (os == "unknown") continue;  // attestations
    if (os == "linux" && machine == kArchitecture) {
      if (!best) best = &entry;
    } else {
      others += str(others.empty() ? "" : ", ", os, "/", machine);
    }
  }
  if (!best)
    return Error{Code::unsupported,
                 str("there is no image for linux/", kArchitecture,
                     others.empty() ? "" : str(", only for ", valid_utf8(others.substr(0, 200)))),
                 "WRONG_PLATFORM"};
  ManifestChoice choice{text(*best, "digest"), text(*best, "mediaType"), "", false};
  TRY_DO(check_digest(choice.digest));
  choice.index = is_index(choice.media_type);
  if (const json::value* notes = at(*best, "annotations")) {
    choice.name = text(*notes, "io.containerd.image.name");
    if (choice.name.empty()) choice.name = text(*notes, "org.opencontainers.image.ref.name");
  }
  return choice;
}

Result<Manifest> decode_manifest(std::string_view bytes) {
  TRY(whole, parse(bytes));
  const json::value* config = at(whole, "config");
  const json::array* layers = list(whole, "layers");
  if (!config || !layers)
    return Error{Code::invalid, "it is no image manifest (of schema 2 or OCI)"};
  if (layers->size() > kMaxLayers) return Error{Code::too_large, "too many layers"};
  Manifest manifest{text(*config, "digest"), {}, {}};
  TRY_DO(check_digest(manifest.config));
  for (const json::value& layer : *layers) {
    std::string type = text(layer, "mediaType");
    if (!is_layer(type))
      return Error{Code::unsupported, str("a layer is '", valid_utf8(type), "', no tar")};
    manifest.layers.push_back(text(layer, "digest"));
    TRY_DO(check_digest(manifest.layers.back()));
    const json::value* size = at(layer, "size");
    manifest.sizes.push_back(size && size->is_int64() && size->as_int64() > 0
                                 ? static_cast<std::uint64_t>(size->as_int64())
                                 : 0);
  }
  return manifest;
}

Result<DockerManifest> decode_docker_manifest(std::string_view bytes) {
  TRY(whole, parse(bytes));
  const json::array* images = whole.if_array();
  if (!images || images->empty()) return Error{Code::invalid, "it names no image"};
  if (images->size() > 1)
    return Error{Code::unsupported, "it holds several images; save them one by one"};
  const json::value& image = images->front();
  DockerManifest out;
  out.config = text(image, "Config");
  if (const json::array* tags = list(image, "RepoTags"))
    if (!tags->empty() && tags->front().is_string())
      out.name = std::string(tags->front().as_string());
  const json::array* layers = list(image, "Layers");
  if (out.config.empty() || !layers) return Error{Code::invalid, "it names no configuration"};
  if (layers->size() > kMaxLayers) return Error{Code::too_large, "too many layers"};
  for (const json::value& layer : *layers) {
    if (!layer.is_string()) return Error{Code::invalid, "a layer has no name"};
    out.layers.emplace_back(layer.as_string());
  }
  return out;
}

Result<std::vector<std::string>> decode_diff_ids(std::string_view bytes) {
  TRY(whole, parse(bytes));
  const json::value* fs = at(whole, "rootfs");
  const json::array* ids = fs ? list(*fs, "diff_ids") : nullptr;
  if (!ids) return Error{Code::invalid, "the configuration does not list its layers"};
  std::vector<std::string> out;
  for (const json::value& id : *ids)
    out.push_back(id.is_string() ? std::string(id.as_string()) : "");
  return out;
}

}  // namespace glovebox::engine
