#include "runner/store_sync.h"

#include "base/log.h"
#include "net/task.h"
#include "runner/each.h"
#include "runner/service.h"

namespace glovebox::runner {

namespace {

constexpr int kMaxPages = 1'000;

std::optional<std::string> find(const Hashes& hashes, const std::string& file) {
  auto found = hashes.find(file);
  return found == hashes.end() ? std::nullopt : std::optional(found->second);
}

bool cancelled(const Error& error) { return error.code == Code::cancelled; }

}  // namespace

StoreSync::StoreSync(net::Loop& loop, Clock& clock, MemoryStore store, std::string root,
                     std::shared_ptr<MemoryRemote> remote, std::shared_ptr<MemoryFolder> folder,
                     const MemoryOptions& options)
    : loop_(loop),
      clock_(clock),
      store_(std::move(store)),
      root_(std::move(root)),
      remote_(std::move(remote)),
      folder_(std::move(folder)),
      options_(options) {}

void StoreSync::warn(std::string_view event, std::string_view file, std::string_view why) const {
  log::warn(event, {{"store", store_.id}, {"file", file}, {"why", why}});
}

Task<void> StoreSync::download() {
  CO_TRY(there, co_await folder_->exists(), root_);
  if (there) {
    CO_TRY(left_by_us, co_await folder_->claim(), root_);
    if (left_by_us) {
      CO_TRY(files, co_await scan(), root_);
      left_by_us = folder_state(files, store_.id) == FolderState::ours;
    }
    if (!left_by_us)
      co_return Error{Code::conflict, str(root_, " is there before the session starts")};
    log::info("memory.taken_over", {{"store", store_.id}, {"root", root_}});
    created_ = ready_ = true;
    co_return co_await sync_both_ways(Sync::ordinary);
  }
  created_ = true;
  CO_TRY_DO(co_await folder_->create(), root_);
  CO_TRY_DO(co_await fill(), root_);
  ready_ = true;
  log::info("memory.downloaded",
            {{"store", store_.id}, {"root", root_}, {"memories", base_.size()}});
  co_return ok;
}

Task<void> StoreSync::sync(Sync which) {
  if (!ready_) co_return ok;
  auto done = co_await sync_both_ways(which);
  if (done || cancelled(done.error())) co_return done;
  warn("memory.sync_failed", "", done.error().what);
  co_return ok;
}

Task<void> StoreSync::sync_both_ways(Sync which) {
  CO_TRY(local, co_await scan());
  switch (folder_state(local, store_.id)) {
    case FolderState::foreign:
      warn("memory.foreign_folder", "", "its marker is gone or another's: left as it is");
      co_return ok;
    case FolderState::empty: co_return co_await recover("the folder or its marker is gone");
    case FolderState::ours: break;
  }
  local.erase(std::string(kMemoryMarker));
  Pass pass;
  pass.which = which;
  CO_TRY(remote, co_await list());
  pass.remote = std::move(remote);
  settle_sent(pass.remote);
  // One file that is gone was deleted; of several, none left, the folder was wiped.
  if (local.empty() && base_.size() > 1) co_return co_await recover("all files are gone at once");

  pass.deletion_cap = deletion_cap(base_.size());
  std::set<std::string> files;
  for (const auto& [file, hash] : local) files.insert(file);
  for (const auto& [file, hash] : base_) files.insert(file);
  for (const auto& [file, memory] : pass.remote) files.insert(file);
  for (const std::string& file : files)
    CO_TRY_DO(co_await plan(pass, file, find(local, file)), file);
  base_ = std::move(pass.base);
  CO_TRY_DO(co_await each(loop_, options_.fetches, pass.fetches.size(),
                          [&](std::size_t i) { return fetch(pass.fetches[i]); }));
  CO_TRY_DO(co_await each(loop_, options_.uploads, pass.uploads.size(),
                          [&](std::size_t i) { return upload(pass.uploads[i]); }));
  if (pass.held_back > 0)
    log::warn("memory.deletions_held_back",
              {{"store", store_.id}, {"sent", pass.deletions}, {"held_back", pass.held_back}});
  if (pass.full) warn("memory.store_full", "", "new files stay here alone");
  co_return ok;
}

Task<void> StoreSync::plan(Pass& pass, std::string file, std::optional<std::string> local) {
  auto remote = pass.remote.find(file);
  MemoryState state{std::move(local), find(base_, file),
                    remote == pass.remote.end() ? std::nullopt : std::optional(remote->second.hash),
                    find(refused_, file), store_.read_only};
  MemoryDecision decision = decide(state);
  // Only what may still become a deletion goes on being missed.
  if (decision.action != MemoryAction::remove_remote) missing_.erase(file);
  if (!decision.notice.empty()) warn("memory.conflict", file, decision.notice);
  return act(pass, std::move(file), std::move(state.local), std::move(decision));
}

Task<void> StoreSync::act(Pass& pass, std::string file, std::optional<std::string> local,
                          MemoryDecision decision) {
  if (decision.base) pass.base[file] = *decision.base;
  switch (decision.action) {
    case MemoryAction::none: co_return ok;
    case MemoryAction::fetch: {
      Memory memory = pass.remote.at(file);
      memory.path = file;
      pass.fetches.push_back(std::move(memory));
      co_return ok;
    }
    case MemoryAction::create:
      if (pass.remote.size() + pass.creates >= options_.memories) {
        pass.full = true;
        co_return ok;
      }
      ++pass.creates;
      pass.uploads.push_back({file, *local, {}});
      co_return ok;
    case MemoryAction::update:
      pass.uploads.push_back({file, *local, pass.remote.at(file)});
      co_return ok;
    case MemoryAction::remove_local: {
      // Looked at once more: edited since the scan, it is the only copy.
      auto now = co_await folder_->hash(file);
      if (!now && cancelled(now.error())) co_return now.error();
      if (!now) co_return ok;  // and it stays known: next time
      if (*now && *now != local) {
        pass.base.erase(file);
        co_return co_await plan(pass, file, *now);
      }
      auto removed = co_await folder_->remove(file);
      if (!removed && cancelled(removed.error())) co_return removed;
      if (removed)
        pass.base.erase(file);
      else
        warn("memory.file_stays", file, removed.error().what);
      co_return ok;
    }
    case MemoryAction::remove_remote: {
      CO_TRY(gone, co_await delete_remote(pass, file));
      if (!gone) co_return ok;
      pass.base.erase(file);
      missing_.erase(file);
      co_return ok;
    }
  }
  co_return ok;
}

Task<bool> StoreSync::delete_remote(Pass& pass, std::string file) {
  using Deletions = MemoryOptions::Deletions;
  if (options_.deletions == Deletions::never) co_return false;
  const Time now = clock_.monotonic();
  const Time since = missing_.try_emplace(file, now).first->second;
  if (pass.which != Sync::last && now - since < kDeletionWait) co_return false;
  CO_TRY(deleted, co_await still_deleted(file));
  if (!deleted) co_return false;
  if (pass.deletions >= pass.deletion_cap) {
    ++pass.held_back;
    co_return false;
  }
  ++pass.deletions;
  if (options_.deletions == Deletions::only_log) {
    log::info("memory.would_delete", {{"store", store_.id}, {"file", file}});
    co_return false;
  }
  const Memory& memory = pass.remote.at(file);
  auto removed = co_await remote_->remove(store_.id, memory.id, memory.hash);
  if (removed || status_of(removed.error()) == 404) {
    log::info("memory.deleted", {{"store", store_.id}, {"file", file}});
    co_return true;
  }
  if (cancelled(removed.error())) co_return removed.error();
  const int status = status_of(removed.error());
  warn("memory.not_deleted", file,
       status == 409 || status == 412 ? "deleted here, changed there: the service's stays"
                                      : removed.error().what);
  co_return false;
}

// The folder may have been wiped since the scan, and the file may have come back.
Task<bool> StoreSync::still_deleted(std::string file) {
  auto marker = co_await folder_->hash(std::string(kMemoryMarker));
  if (!marker && cancelled(marker.error())) co_return marker.error();
  if (!marker || *marker != sha256_hex(memory_marker(store_.id))) co_return false;
  auto now = co_await folder_->hash(file);
  if (!now && cancelled(now.error())) co_return now.error();
  if (!now) co_return false;
  if (*now) missing_.erase(file);
  co_return !*now;
}

// What nobody answered may have arrived all the same: what the list then shows is ours, and no
// edit of somebody else's. Forgotten after one list, else it would claim another's equal content.
void StoreSync::settle_sent(const Remote& remote) {
  for (const auto& [file, hash] : sent_) {
    auto found = remote.find(file);
    if (found != remote.end() && found->second.hash == hash) base_[file] = hash;
  }
  sent_.clear();
}

Task<void> StoreSync::fetch(Memory memory) {
  auto full = co_await remote_->get(store_.id, memory.id);
  if (!full) {
    if (cancelled(full.error())) co_return full.error();
    // Deleted since it was listed: the next sync sees that too.
    if (status_of(full.error()) != 404) warn("memory.not_fetched", memory.path, full.error().what);
    co_return ok;
  }
  CO_TRY(written, co_await write(memory.path, std::move(full->content)));
  if (written) base_[memory.path] = full->hash;
  co_return ok;
}

Task<bool> StoreSync::write(std::string file, std::optional<std::string> content) {
  if (!content) {
    warn("memory.not_written", file, "it came without its content");
    co_return false;
  }
  auto written = co_await folder_->write(file, std::move(*content));
  if (written) co_return true;
  if (cancelled(written.error())) co_return written.error();
  warn("memory.not_written", file, written.error().what);
  co_return false;
}

Task<void> StoreSync::upload(Upload upload) {
  const std::string file = upload.file;
  CO_TRY_DO(co_await upload_one(std::move(upload)));
  unsent_.erase(file);
  co_return ok;
}

Task<void> StoreSync::upload_one(Upload upload) {
  const std::string& file = upload.file;
  auto refuse = [&](const std::string& hash, std::string_view why) {
    refused_[file] = hash;
    warn("memory.refused", file, why);
  };
  if (!memory_file(file)) {
    refuse(upload.hash, "a memory cannot have that name");
    co_return ok;
  }
  auto content = co_await folder_->read(file, options_.content);
  if (!content && cancelled(content.error())) co_return content.error();
  if (!content && content.error().code == Code::too_large) {
    refuse(upload.hash, "it is too large");
    co_return ok;
  }
  if (!content) {
    warn("memory.not_uploaded", file, content.error().what);
    co_return ok;
  }
  if (!*content) co_return ok;
  const std::string hash = sha256_hex(**content);
  if (valid_utf8(**content) != **content) {
    refuse(hash, "it is not UTF-8");
    co_return ok;
  }
  sent_[file] = hash;
  for (;;) {
    const bool update = upload.existing.has_value();
    Task<Memory> sending =
        update ? remote_->update(store_.id, upload.existing->id, **content, upload.existing->hash)
               : remote_->create(store_.id, "/" + file, **content);
    auto saved = co_await std::move(sending);
    if (!saved && cancelled(saved.error())) co_return saved.error();
    switch (saved ? UploadEnd::saved : upload_end(update, status_of(saved.error()))) {
      case UploadEnd::saved:
        refused_.erase(file);
        sent_.erase(file);
        base_[file] = saved->hash;
        co_return ok;
      case UploadEnd::gone: upload.existing.reset(); continue;
      // Unless it was this very upload, heard twice: then sent_ and the next list will tell.
      case UploadEnd::overtaken:
        warn("memory.conflict", file, "changed here and there: the service's wins");
        co_return ok;
      case UploadEnd::refused: refuse(hash, saved.error().what); co_return ok;
      case UploadEnd::later: warn("memory.not_uploaded", file, saved.error().what); co_return ok;
    }
  }
}

Task<void> StoreSync::flush() {
  auto done = co_await flush_changed();
  if (done || cancelled(done.error())) co_return done;
  warn("memory.flush_failed", "", done.error().what);
  co_return ok;
}

Task<void> StoreSync::flush_changed() {
  unsent_.clear();
  if (!ready_ || store_.read_only) co_return ok;
  CO_TRY(local, co_await scan());
  if (folder_state(local, store_.id) != FolderState::ours) {
    if (!local.empty()) warn("memory.foreign_folder", "", "nothing of it is uploaded");
    co_return ok;
  }
  local.erase(std::string(kMemoryMarker));
  for (const auto& [file, hash] : local)
    if ((find(base_, file) != hash || sent_.contains(file)) && find(refused_, file) != hash)
      unsent_.insert(file);
  if (unsent_.empty()) co_return ok;
  CO_TRY(remote, co_await list());
  settle_sent(remote);
  std::vector<Upload> uploads;
  for (const std::string& file : std::set(unsent_)) {
    const std::string& hash = local.at(file);
    auto found = remote.find(file);
    const bool there = found != remote.end();
    if (find(base_, file) == hash) {
      unsent_.erase(file);
    } else if (there && found->second.hash == hash) {
      base_[file] = hash;
      unsent_.erase(file);
    } else if (there && found->second.hash != find(base_, file)) {
      warn("memory.conflict", file, "changed here and there: the service's stays");
      unsent_.erase(file);
    } else {
      uploads.push_back({file, hash, there ? std::optional(found->second) : std::nullopt});
    }
  }
  co_return co_await each(loop_, options_.flushes, uploads.size(),
                          [&](std::size_t i) { return upload(uploads[i]); });
}

Task<void> StoreSync::remove() {
  if (!created_) co_return ok;
  auto files = co_await scan();
  if (!files && cancelled(files.error())) co_return files.error();
  if (files && folder_state(*files, store_.id) == FolderState::foreign) {
    warn("memory.foreign_folder", "", "it is not removed");
    co_return ok;
  }
  auto removed = files ? co_await folder_->remove_all() : Result<void>(files.error());
  if (!removed && cancelled(removed.error())) co_return removed;
  if (!removed)
    warn("memory.folder_stays", "", removed.error().what);
  else
    created_ = false;
  co_return ok;
}

// From the service alone: nothing is uploaded, nothing deleted.
Task<void> StoreSync::recover(std::string_view why) {
  warn("memory.downloaded_again", "", why);
  CO_TRY_DO(co_await folder_->create(), root_);
  co_return co_await fill();
}

Task<void> StoreSync::fill() {
  base_.clear();
  sent_.clear();
  missing_.clear();
  CO_TRY_DO(co_await folder_->write(std::string(kMemoryMarker), memory_marker(store_.id)));
  std::string cursor;
  for (int pages = 0; pages < kMaxPages; ++pages) {
    CO_TRY(page, co_await remote_->list(store_.id, MemoryRemote::View::full, cursor));
    CO_TRY_DO(co_await each(loop_, options_.fetches, page.memories.size(),
                            [&](std::size_t i) { return place(page.memories[i]); }));
    if (page.next.empty()) co_return ok;
    cursor = std::move(page.next);
  }
  co_return Error{Code::too_large, "the list of memories does not end"};
}

Task<void> StoreSync::place(Memory memory) {
  auto file = memory_file(memory.path);
  if (!file) {
    warn("memory.not_written", memory.path, "no file can have that name");
    co_return ok;
  }
  CO_TRY(written, co_await write(*file, std::move(memory.content)));
  if (written) base_[*file] = memory.hash;
  co_return ok;
}

Task<Hashes> StoreSync::scan() {
  CO_TRY(files, co_await folder_->scan());
  std::erase_if(files, [](const auto& one) { return unfinished_write(one.first); });
  if (files.size() > options_.files)
    co_return Error{Code::exhausted, str("it has more than ", options_.files, " files")};
  co_return files;
}

Task<StoreSync::Remote> StoreSync::list() {
  Remote remote;
  std::string cursor;
  for (int pages = 0; pages < kMaxPages; ++pages) {
    CO_TRY(page, co_await remote_->list(store_.id, MemoryRemote::View::basic, cursor));
    for (Memory& memory : page.memories)
      if (auto file = memory_file(memory.path)) remote[*file] = std::move(memory);
    if (page.next.empty()) co_return remote;
    cursor = std::move(page.next);
  }
  co_return Error{Code::too_large, "the list of memories does not end"};
}

}  // namespace glovebox::runner
