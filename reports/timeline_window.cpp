#include "reports/timeline_window.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

namespace tessera::reports {
namespace {

using Json = nlohmann::ordered_json;
using core::Span;
using core::Time;

/// Gives equal texts one number, in order of first use.
class TextTable {
 public:
  std::size_t number_of(const std::string& text) {
    const auto [entry, added] = numbers_.try_emplace(text, texts_.size());
    if (added) texts_.push_back(text);
    return entry->second;
  }
  [[nodiscard]] const Json& texts() const { return texts_; }

 private:
  std::map<std::string, std::size_t> numbers_;
  Json texts_ = Json::array();
};

bool inside(const Span& span, Time start, Time end) {
  return span.start < end && span.start + span.duration > start;
}

/// Shrinks [start, end] towards its middle until few enough spans are in it.
void shrink(const std::vector<Span>& spans, std::size_t most, Time& start, Time& end) {
  while (end - start > core::literals::operator""_us(1)) {
    const auto count = std::count_if(spans.begin(), spans.end(),
                                     [&](const Span& span) { return inside(span, start, end); });
    if (static_cast<std::size_t>(count) <= most) return;
    const Time cut = (end - start) / 8;
    start += cut;
    end -= cut;
  }
}

int longest_process(const std::vector<Span>& spans) {
  std::map<int, Time> total;
  for (const Span& span : spans) total[span.process] += span.duration;
  int process = 0;
  Time longest{};
  for (const auto& [candidate, time] : total) {
    if (time <= longest) continue;
    longest = time;
    process = candidate;
  }
  return process;
}

Json spans_json(std::vector<Span> spans, const TimelineWindow& window, TextTable& names,
                TextTable& categories) {
  std::stable_sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) {
    return a.start != b.start ? a.start < b.start : a.duration > b.duration;  // inner ones on top
  });
  Json array = Json::array();
  for (const Span& span : spans)
    if (inside(span, window.start, window.end))
      array.push_back({span.process, span.thread, core::to_microseconds(span.start),
                       core::to_microseconds(span.duration), names.number_of(span.name),
                       categories.number_of(span.category)});
  return array;
}

}  // namespace

TimelineWindow timeline_window(const core::Timeline& timeline, std::size_t most_spans) {
  TimelineWindow window{};
  for (const Span& span : timeline.spans)
    window.step_end = std::max(window.step_end, span.start + span.duration);
  window.end = window.step_end;
  shrink(timeline.spans, most_spans, window.start, window.end);
  window.main_process = longest_process(timeline.spans);

  TextTable names;
  TextTable categories;
  Json json;
  json["start"] = core::to_microseconds(window.start);
  json["end"] = core::to_microseconds(window.end);
  json["processes"] = Json::array();
  for (const auto& [id, name] : timeline.processes)
    json["processes"].push_back({{"id", id}, {"name", name}});
  json["threads"] = Json::array();
  for (const auto& [track, name] : timeline.threads)
    json["threads"].push_back({{"process", track.first}, {"thread", track.second}, {"name", name}});
  json["spans"] = spans_json(timeline.spans, window, names, categories);
  json["names"] = names.texts();
  json["categories"] = categories.texts();
  window.json = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return window;
}

}  // namespace tessera::reports
