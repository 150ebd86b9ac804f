#include "base/metrics.h"

#include <algorithm>
#include <cstdio>
#include <mutex>
#include <tuple>

#include "base/str.h"

namespace glovebox::metrics {

namespace {
std::mutex& lock() {
  static std::mutex mutex;
  return mutex;
}
std::vector<Metric*>& all() {
  static std::vector<Metric*> metrics;
  return metrics;
}
}  // namespace

Metric::Metric(std::string_view name, std::string_view help, std::string_view type,
               std::string labels)
    : name_(name), help_(help), type_(type), labels_(std::move(labels)) {
  std::scoped_lock guard(lock());
  all().push_back(this);
}
Metric::~Metric() {
  std::scoped_lock guard(lock());
  std::erase(all(), this);
}

std::string Metric::series(std::string_view suffix, std::string_view more) const {
  std::string inside = labels_;
  if (!more.empty()) inside += (inside.empty() ? "" : ",") + std::string(more);
  return inside.empty() ? str(name_, suffix) : str(name_, suffix, "{", inside, "}");
}

Counter::Counter(std::string_view name, std::string_view help, std::string labels)
    : Metric(name, help, "counter", std::move(labels)) {}
void Counter::print(std::string& out) const { out += str(series(), " ", value(), "\n"); }

Gauge::Gauge(std::string_view name, std::string_view help, std::string labels)
    : Metric(name, help, "gauge", std::move(labels)) {}
void Gauge::print(std::string& out) const { out += str(series(), " ", value(), "\n"); }

Histogram::Histogram(std::string_view name, std::string_view help, std::string labels)
    : Metric(name, help, "histogram", std::move(labels)) {}

void Histogram::observe(double seconds) {
  auto bound = std::lower_bound(std::begin(kBounds), std::end(kBounds), seconds);
  counts_[bound - std::begin(kBounds)].fetch_add(1, std::memory_order_relaxed);
  sum_us_.fetch_add(static_cast<std::uint64_t>(seconds * 1e6), std::memory_order_relaxed);
}

void Histogram::print(std::string& out) const {
  std::uint64_t below = 0;
  for (std::size_t i = 0; i <= std::size(kBounds); ++i) {
    below += counts_[i].load(std::memory_order_relaxed);
    std::string bound = i < std::size(kBounds) ? str(kBounds[i]) : "+Inf";
    out += str(series("_bucket", str("le=\"", bound, "\"")), " ", below, "\n");
  }
  double sum = static_cast<double>(sum_us_.load(std::memory_order_relaxed)) / 1e6;
  out += str(series("_sum"), " ", sum, "\n", series("_count"), " ", below, "\n");
}

std::string render() {
  std::scoped_lock guard(lock());
  std::vector<Metric*> sorted = all();
  std::sort(sorted.begin(), sorted.end(), [](const Metric* a, const Metric* b) {
    return std::tie(a->name_, a->labels_) < std::tie(b->name_, b->labels_);
  });
  std::string out;
  const Metric* previous = nullptr;
  for (const Metric* metric : sorted) {
    if (!previous || previous->name_ != metric->name_)
      out += str("# HELP ", metric->name_, " ", metric->help_, "\n# TYPE ", metric->name_, " ",
                 metric->type_, "\n");
    metric->print(out);
    previous = metric;
  }
  return out;
}

}  // namespace glovebox::metrics
