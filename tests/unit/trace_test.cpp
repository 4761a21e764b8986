#include <catch2/catch_test_macros.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "reports/spans.hpp"
#include "tests/sample_result.hpp"
#include "tests/trace_rules.hpp"

namespace {

using nlohmann::json;
using namespace tessera::core::literals;
using tessera::core::Timeline;
using tessera::testing::trace_errors;
using Errors = std::vector<std::string>;

json trace_of(const Timeline& timeline) {
  return json::parse(tessera::reports::to_trace(timeline));
}

std::vector<json> spans_of(const json& trace) {
  std::vector<json> spans;
  for (const json& event : trace["traceEvents"])
    if (event["ph"] == "X") spans.push_back(event);
  return spans;
}

}  // namespace

TEST_CASE("spans.json keeps the rules of the trace format", "[report]") {
  const json trace = trace_of(tessera::testing::sample_timeline());
  CHECK(trace_errors(trace) == Errors{});
  CHECK(spans_of(trace).size() == 404);  // 4 ranks, 20 rounds of 5, one optimizer each
}

TEST_CASE("an empty timeline is a valid trace", "[report]") {
  CHECK(trace_of({}) == json::parse(R"({"displayTimeUnit":"ms","traceEvents":[]})"));
}

TEST_CASE("times are microseconds, exact to the picosecond", "[report]") {
  Timeline timeline;
  timeline.spans = {{1, 2, "a", "x", 1'234'567_ps, 2_us}};
  CHECK(tessera::reports::to_trace(timeline) ==
        "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"
        R"({"name":"a","cat":"x","ph":"X","ts":1.234567,"dur":2,"pid":1,"tid":2})"
        "\n]}\n");
}

TEST_CASE("tracks carry their names", "[report]") {
  Timeline timeline;
  timeline.processes = {{7, "rank \"7\""}};
  timeline.threads = {{{7, 3}, "computation"}};
  timeline.spans = {{7, 3, "a", "x", 0_ps, 1_us}};
  const json events = trace_of(timeline)["traceEvents"];
  CHECK(events[0]["name"] == "process_name");
  CHECK(events[0]["args"]["name"] == "rank \"7\"");
  CHECK(events[2]["name"] == "thread_name");
  CHECK(events[2]["tid"] == 3);
  CHECK(events[2]["args"]["name"] == "computation");
}

TEST_CASE("spans that overlap without nesting go to tracks of their own", "[report]") {
  Timeline timeline;
  timeline.threads = {{{0, 0}, "link"}};
  timeline.spans = {{0, 0, "first", "x", 0_us, 10_us},
                    {0, 0, "inside", "x", 2_us, 8_us},
                    {0, 0, "across", "x", 5_us, 10_us},
                    {0, 0, "after", "x", 10_us, 1_us}};
  const json trace = trace_of(timeline);
  CHECK(trace_errors(trace) == Errors{});
  std::map<std::string, int> track;
  for (const json& span : spans_of(trace)) track[span["name"]] = span["tid"];
  CHECK(track ==
        std::map<std::string, int>{{"first", 0}, {"inside", 0}, {"across", 1}, {"after", 0}});
}

TEST_CASE("the checks of these tests notice overlap, disorder and missing fields", "[report]") {
  const auto errors = [](const char* events) {
    return trace_errors(json::parse(std::string(R"({"traceEvents":[)") + events + "]}")).size();
  };
  CHECK(errors(R"({"name":"a","cat":"x","ph":"X","ts":0,"dur":5,"pid":0,"tid":0},
                  {"name":"b","cat":"x","ph":"X","ts":3,"dur":5,"pid":0,"tid":0})") == 1);
  CHECK(errors(R"({"name":"a","cat":"x","ph":"X","ts":9,"dur":5,"pid":0,"tid":0},
                  {"name":"b","cat":"x","ph":"X","ts":3,"dur":5,"pid":0,"tid":0})") == 1);
  CHECK(errors(R"({"name":"a","cat":"x","ph":"X","ts":"0","dur":-5,"pid":0,"tid":0})") == 2);
}
