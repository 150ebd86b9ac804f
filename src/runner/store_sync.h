// One memory store of a session, and its folder: who changed what since the last sync, and what is
// done about it. Not for concurrent use.
//
// A file is known (in the baseline) only once it was seen to be the same at both places. So a file
// that could not be written is fetched again and never taken for a deleted one, and whatever
// interrupts a sync, the next one finds out by itself what is left to do.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "net/loop.h"
#include "runner/memory_folder.h"
#include "runner/memory_remote.h"
#include "runner/memory_store.h"

namespace glovebox::runner {

struct MemoryOptions {
  enum class Deletions { send, only_log, never };
  Deletions deletions = Deletions::send;
  // It is in a box of the session's: where the item is lost somebody else may work there by now.
  bool of_session = false;
  Millis interval{15'000};                               // between two syncs
  Millis final_limit{30'000}, flush_limit{30'000};       // at the end
  std::size_t fetches = 16, uploads = 16, flushes = 32;  // at once
  std::size_t memories = 2'000;                          // in one store, as the service allows
  std::size_t content = 1 << 20;  // of one file; the service takes a tenth of it
  std::size_t files = 20'000;     // in one folder; with more nothing is synced
};

class StoreSync {
 public:
  StoreSync(net::Loop& loop, Clock& clock, MemoryStore store, std::string root,
            std::shared_ptr<MemoryRemote> remote, std::shared_ptr<MemoryFolder> folder,
            const MemoryOptions& options);

  // Makes the folder and fills it. One that is there before the session starts is an error, as two
  // sessions would share it; unless it is what a worker of ours that is gone had not put away: with
  // the store's marker in it, it is taken over, and nothing is lost.
  Task<void> download();
  // Both ways. What goes wrong is logged; only Code::cancelled is an error. The last one does not
  // wait for deletions to be believed.
  enum class Sync { ordinary, last };
  Task<void> sync(Sync which);
  // Uploads what has changed and does nothing else.
  Task<void> flush();
  Task<void> remove();  // the folder, if it is ours

  const std::string& root() const { return root_; }
  bool read_only() const { return store_.read_only; }
  std::size_t unsent() const { return unsent_.size(); }  // of a flush that was cut off

 private:
  using Time = std::chrono::steady_clock::time_point;
  using Remote = std::map<std::string, Memory>;  // by file
  struct Upload {
    std::string file;
    std::string hash;  // when the folder was read
    std::optional<Memory> existing;
  };
  struct Pass {  // what one sync is about to do
    Remote remote;
    Hashes base;
    std::vector<Memory> fetches;  // `path` is the file
    std::vector<Upload> uploads;
    std::size_t creates = 0, deletions = 0, held_back = 0, deletion_cap = 0;
    bool full = false;
    Sync which = Sync::ordinary;
  };

  Task<void> sync_both_ways(Sync which);
  Task<void> flush_changed();
  Task<void> fill();
  Task<void> recover(std::string_view why);
  Task<Hashes> scan();
  Task<Remote> list();
  void settle_sent(const Remote& remote);
  Task<void> plan(Pass& pass, std::string file, std::optional<std::string> local);
  Task<void> act(Pass& pass, std::string file, std::optional<std::string> local,
                 MemoryDecision decision);
  Task<bool> delete_remote(Pass& pass, std::string file);  // true: it is gone
  Task<bool> still_deleted(std::string file);
  Task<void> fetch(Memory memory);  // listed without its content
  Task<void> place(Memory memory);  // listed with it
  Task<bool> write(std::string file, std::optional<std::string> content);
  Task<void> upload(Upload upload);
  Task<void> upload_one(Upload upload);
  void warn(std::string_view event, std::string_view file, std::string_view why) const;

  net::Loop& loop_;
  Clock& clock_;
  const MemoryStore store_;
  const std::string root_;
  const std::shared_ptr<MemoryRemote> remote_;
  const std::shared_ptr<MemoryFolder> folder_;
  const MemoryOptions& options_;

  bool created_ = false;                 // the folder is ours to remove
  bool ready_ = false;                   // and was whole once: what it holds is the session's
  Hashes base_;                          // the same here and there, when last seen
  Hashes refused_;                       // what the service would not take
  Hashes sent_;                          // uploads without an answer: they may have arrived
  std::map<std::string, Time> missing_;  // files that are gone, and since when we know
  std::set<std::string> unsent_;
};

}  // namespace glovebox::runner
