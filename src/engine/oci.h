// The JSON of container images: OCI's and Docker's, which differ in names only. All of it is from
// strangers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace glovebox::engine {

// "sha256:" and 64 hexadecimal digits: it becomes part of a path.
Result<void> check_digest(std::string_view digest);

struct ManifestChoice {
  std::string digest, media_type;
  std::string name;    // as an annotation says; may be empty
  bool index = false;  // it is a list again
};
// Of an index (a list of manifests by platform): the one for this machine.
Result<ManifestChoice> choose_manifest(std::string_view json);
bool is_index(std::string_view media_type);

struct Manifest {
  std::string config;               // digest
  std::vector<std::string> layers;  // digests, from the bottom
  std::vector<std::uint64_t> sizes;
};
Result<Manifest> decode_manifest(std::string_view json);

struct DockerManifest {
  std::string name, config;
  std::vector<std::string> layers;  // paths in the archive
};
Result<DockerManifest> decode_docker_manifest(std::string_view json);  // its first image
Result<std::vector<std::string>> decode_diff_ids(std::string_view config_json);

}  // namespace glovebox::engine
