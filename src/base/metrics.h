// Counters, gauges and histograms, declared where they are counted, printed as Prometheus text.
//   static metrics::Counter created("engine_sandboxes_created_total", "Sandboxes created.");
//   created.add();
// Single-threaded parts count from their loop; the values are atomics because blocking-pool threads
// count too.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace glovebox::metrics {

class Metric {
 public:
  virtual ~Metric();
  Metric(const Metric&) = delete;
  virtual void print(std::string& out) const = 0;

 protected:
  // `labels` is the inside of the braces, such as `verb="create"`; metrics of one name are printed
  // together.
  Metric(std::string_view name, std::string_view help, std::string_view type, std::string labels);
  std::string series(std::string_view suffix = "", std::string_view more_labels = "") const;
  std::string name_, help_, type_, labels_;
  friend std::string render();
};

class Counter : public Metric {
 public:
  Counter(std::string_view name, std::string_view help, std::string labels = "");
  void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }
  void print(std::string& out) const override;

 private:
  std::atomic<std::uint64_t> value_{0};
};

class Gauge : public Metric {
 public:
  Gauge(std::string_view name, std::string_view help, std::string labels = "");
  void set(std::int64_t n) { value_.store(n, std::memory_order_relaxed); }
  void add(std::int64_t n) { value_.fetch_add(n, std::memory_order_relaxed); }
  std::int64_t value() const { return value_.load(std::memory_order_relaxed); }
  void print(std::string& out) const override;

 private:
  std::atomic<std::int64_t> value_{0};
};

// Seconds, in fixed buckets from 100 µs to 60 s.
class Histogram : public Metric {
 public:
  Histogram(std::string_view name, std::string_view help, std::string labels = "");
  void observe(double seconds);
  void print(std::string& out) const override;

 private:
  static constexpr double kBounds[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
                                       0.01,   0.025,   0.05,   0.1,   0.25,   0.5,
                                       1,      2.5,     5,      10,    60};
  std::atomic<std::uint64_t> counts_[std::size(kBounds) + 1]{};
  std::atomic<std::uint64_t> sum_us_{0};
};

std::string render();  // all metrics of this process, as Prometheus text

}  // namespace glovebox::metrics
