// For tests: a process in namespaces of its own, to look at and to enter; it lives until the test
// ends.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "sys/inside.h"
#include "sys/process.h"

namespace glovebox::sys {

class ProcessInside : public ::testing::Test {
 protected:
  // `enter` runs in the process. Where it may not, the test is skipped.
  void start(bool (*enter)()) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    Fd told(ends[0]), tell(ends[1]);
    pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      char done = enter() ? 'y' : 'n';
      if (::write(tell.get(), &done, 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    process_.emplace(*Process::adopt(child));
    char done = 'n';
    ASSERT_EQ(::read(told.get(), &done, 1), 1);
    if (done != 'y') GTEST_SKIP() << "namespaces can be made by root only";
    auto handle = open_process(child);
    ASSERT_TRUE(handle) << handle.error().what;
    handle_ = std::move(*handle);
  }
  std::string inside(const std::string& path) {
    return str("/proc/", process_->pid(), "/root", path);
  }

  std::optional<Process> process_;
  Fd handle_;
};

}  // namespace glovebox::sys
