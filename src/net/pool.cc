#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "net/loop.h"
#include "net/task.h"

namespace asio = boost::asio;

namespace glovebox::net {
namespace {

struct Job {
  std::function<Result<void>()> work;
  asio::any_io_executor executor;
  Result<void> result = Error{Code::cancelled, "the pool was closed"};
  bool ended = false;
  Event end;
};

// Everything of the job but `work` and `result` belongs to the loop's thread, its last reference
// too.
void finish_on_loop(std::shared_ptr<Job> job) {
  auto executor = job->executor;
  asio::post(executor, [job = std::move(job)] {
    job->ended = true;
    job->end.notify();
  });
}

}  // namespace

struct Pool::Impl {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::shared_ptr<Job>> queue;
  bool closing = false;
  std::vector<std::thread> threads;

  std::shared_ptr<Job> next() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return closing || !queue.empty(); });
    if (closing) return nullptr;
    auto job = std::move(queue.front());
    queue.pop_front();
    return job;
  }

  void work() {
    while (auto job = next()) {
      try {
        job->result = job->work();
      } catch (const std::exception& e) {
        job->result = Error{Code::internal, str("exception: ", e.what())};
      }
      finish_on_loop(std::move(job));
    }
  }
};

Pool::Pool(int threads) : impl_(std::make_unique<Impl>()) {
  for (int i = 0; i < threads; ++i)
    impl_->threads.emplace_back([impl = impl_.get()] { impl->work(); });
}

Pool::~Pool() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->closing = true;
  }
  impl_->changed.notify_all();
  for (auto& thread : impl_->threads) thread.join();
  for (auto& job : impl_->queue) finish_on_loop(std::move(job));
}

Task<void> Pool::run(std::function<Result<void>()> work) {
  auto job = std::make_shared<Job>();
  job->work = std::move(work);
  job->executor = co_await asio::this_coro::executor;
  {
    std::lock_guard lock(impl_->mutex);
    impl_->queue.push_back(job);
  }
  impl_->changed.notify_one();
  while (!job->ended) CO_TRY_DO(co_await job->end.wait(kForever));
  co_return job->result;
}

}  // namespace glovebox::net
