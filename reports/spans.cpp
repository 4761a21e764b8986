#include "reports/spans.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

namespace tessera::reports {
namespace {

using core::Span;
using core::Time;
using Track = std::pair<int, int>;  // process, thread

/// JSON string literal, with invalid UTF-8 replaced.
std::string json_string(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Picoseconds as a decimal number of microseconds, without rounding.
std::string microseconds(Time time) {
  constexpr std::int64_t kPicosecondsPerMicrosecond = 1'000'000;
  const std::int64_t whole = time.value() / kPicosecondsPerMicrosecond;
  const std::int64_t rest = time.value() % kPicosecondsPerMicrosecond;
  if (rest == 0) return fmt::format("{}", whole);
  std::string text = fmt::format("{}.{:06}", whole, rest);
  text.erase(text.find_last_not_of('0') + 1);
  return text;
}

/// One lane of a track: spans already placed there that are still open, outermost first.
class Lane {
 public:
  /// Whether a span of these bounds nests into what is here. Requires: starts in rising order.
  bool takes(Time start, Time end) {
    while (!open_ends_.empty() && open_ends_.back() <= start) open_ends_.pop_back();
    if (!open_ends_.empty() && end > open_ends_.back()) return false;
    open_ends_.push_back(end);
    return true;
  }

 private:
  std::vector<Time> open_ends_;
};

/// Spans of one track, spread over as few lanes as nesting needs; lane i of a span list.
std::vector<std::size_t> assign_lanes(const std::vector<const Span*>& spans) {
  std::vector<Lane> lanes;
  std::vector<std::size_t> lane_of;
  for (const Span* span : spans) {
    std::size_t lane = 0;
    while (lane < lanes.size() && !lanes[lane].takes(span->start, span->start + span->duration))
      ++lane;
    if (lane == lanes.size()) {
      lanes.emplace_back();
      lanes.back().takes(span->start, span->start + span->duration);
    }
    lane_of.push_back(lane);
  }
  return lane_of;
}

/// By start; of those that start together the longest first, so that it encloses the others.
bool starts_before(const Span* a, const Span* b) {
  return a->start != b->start ? a->start < b->start : a->duration > b->duration;
}

class TraceWriter {
 public:
  explicit TraceWriter(const core::Timeline& timeline) {
    for (const auto& [process, name] : timeline.processes) {
      metadata("process_name", process, 0, fmt::format("\"name\":{}", json_string(name)));
      metadata("process_sort_index", process, 0, fmt::format("\"sort_index\":{}", order_++));
    }
    for (const auto& [track, name] : timeline.threads) names_[track] = name;
    for (const Span& span : timeline.spans) {
      assert(span.start >= Time{0} && span.duration >= Time{0} && "a span runs forward from 0");
      spans_[{span.process, span.thread}].push_back(&span);
      next_thread_ = std::max(next_thread_, span.thread + 1);
    }
    for (const auto& [track, name] : names_)
      next_thread_ = std::max(next_thread_, track.second + 1);
  }

  std::string write() {
    for (auto& [track, spans] : spans_) {
      std::stable_sort(spans.begin(), spans.end(), starts_before);
      write_track(track, spans);
    }
    return "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n" + events_ + "\n]}\n";
  }

 private:
  void event(const std::string& text) {
    if (!events_.empty()) events_ += ",\n";
    events_ += text;
  }

  void metadata(const char* kind, int process, int thread, const std::string& argument) {
    event(fmt::format(R"({{"name":"{}","ph":"M","pid":{},"tid":{},"args":{{{}}}}})", kind, process,
                      thread, argument));
  }

  void name_thread(Track track, int thread) {
    const auto name = names_.find(track);
    if (name == names_.end()) return;
    metadata("thread_name", track.first, thread,
             fmt::format("\"name\":{}", json_string(name->second)));
    metadata("thread_sort_index", track.first, thread, fmt::format("\"sort_index\":{}", order_++));
  }

  void write_track(Track track, const std::vector<const Span*>& spans) {
    const std::vector<std::size_t> lane_of = assign_lanes(spans);
    const std::size_t lanes = 1 + *std::max_element(lane_of.begin(), lane_of.end());
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const int thread = lane == 0 ? track.second : next_thread_++;
      name_thread(track, thread);
      for (std::size_t i = 0; i < spans.size(); ++i)
        if (lane_of[i] == lane) write_span(*spans[i], thread);
    }
  }

  void write_span(const Span& span, int thread) {
    event(fmt::format(R"({{"name":{},"cat":{},"ph":"X","ts":{},"dur":{},"pid":{},"tid":{}}})",
                      json_string(span.name), json_string(span.category), microseconds(span.start),
                      microseconds(span.duration), span.process, thread));
  }

  std::map<Track, std::string> names_;
  std::map<Track, std::vector<const Span*>> spans_;
  std::string events_;
  int next_thread_ = 0;
  int order_ = 0;
};

}  // namespace

std::string to_trace(const core::Timeline& timeline) { return TraceWriter{timeline}.write(); }

}  // namespace tessera::reports
