#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace tessera::testing {

/// The rules of the Trace Event Format for "X" and "M" events that a reader relies on.
inline std::vector<std::string> field_errors(const nlohmann::json& event) {
  std::vector<std::string> errors;
  const auto need = [&](const char* field, bool good) {
    if (!good) errors.push_back(event.dump() + ": " + field);
  };
  need("name", event.contains("name") && event["name"].is_string());
  need("pid", event.contains("pid") && event["pid"].is_number_integer());
  need("tid", event.contains("tid") && event["tid"].is_number_integer());
  const std::string phase = event.value("ph", "");
  if (phase == "X") {
    need("cat", event.contains("cat") && event["cat"].is_string());
    need("ts", event.contains("ts") && event["ts"].is_number() && event["ts"] >= 0);
    need("dur", event.contains("dur") && event["dur"].is_number() && event["dur"] >= 0);
  } else {
    need("ph", phase == "M");
    need("args", event.contains("args") && event["args"].size() == 1);
  }
  return errors;
}

/// Picoseconds, so that ends compare exactly.
inline std::int64_t picoseconds(const nlohmann::json& microseconds) {
  return std::llround(microseconds.get<double>() * 1e6);
}

/// Events of one track must nest, and come in order of start.
inline std::vector<std::string> nesting_errors(const nlohmann::json& events) {
  std::vector<std::string> errors;
  std::map<std::pair<int, int>, std::vector<std::int64_t>> open;  // ends, outermost first
  std::map<std::pair<int, int>, std::int64_t> last;
  for (const nlohmann::json& event : events) {
    if (event["ph"] != "X") continue;
    const std::pair<int, int> track{event["pid"], event["tid"]};
    const std::int64_t start = picoseconds(event["ts"]);
    const std::int64_t end = start + picoseconds(event["dur"]);
    auto& ends = open[track];
    while (!ends.empty() && ends.back() <= start) ends.pop_back();
    if (!ends.empty() && end > ends.back()) errors.push_back(event.dump() + " overlaps");
    if (last.contains(track) && start < last[track]) errors.push_back(event.dump() + " is late");
    ends.push_back(end);
    last[track] = start;
  }
  return errors;
}

/// What in a trace breaks the format's rules; empty when valid.
inline std::vector<std::string> trace_errors(const nlohmann::json& trace) {
  std::vector<std::string> errors;
  if (!trace.is_object() || !trace.contains("traceEvents")) return {"no traceEvents"};
  for (const nlohmann::json& event : trace["traceEvents"])
    for (const std::string& error : field_errors(event)) errors.push_back(error);
  if (!errors.empty()) return errors;
  return nesting_errors(trace["traceEvents"]);
}

}  // namespace tessera::testing
