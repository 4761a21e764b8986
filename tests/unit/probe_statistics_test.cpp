#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "calibrate/probes/repeat_statistics.hpp"
#include "calibrate/probes/replay_plan.hpp"

namespace tessera::calibrate::probes {

TEST_CASE("repeats are summarised by order statistics, whatever their order", "[probes]") {
  const RepeatStatistics statistics = summarize({5, 1, 3, 2, 4});
  CHECK(statistics.count == 5);
  CHECK(statistics.minimum == 1);
  CHECK(statistics.median == 3);
  CHECK(statistics.maximum == 5);
  CHECK(statistics.p10 == Catch::Approx(1.4));  // between first and second
  CHECK(statistics.p90 == Catch::Approx(4.6));
  CHECK(statistics.spread() == Catch::Approx(3.2 / 3));
}

TEST_CASE("one outlier does not move the median, one repeat is its own spread", "[probes]") {
  CHECK(summarize({1, 1, 1, 1, 1000}).median == 1);
  const RepeatStatistics alone = summarize({7});
  CHECK(alone.median == 7);
  CHECK(alone.spread() == 0);
  CHECK(summarize({1, 2}).median == 1.5);
}

TEST_CASE("statistics scale as one", "[probes]") {
  const RepeatStatistics statistics = scaled(summarize({10, 20, 30}), 0.1);
  CHECK(statistics.minimum == Catch::Approx(1));
  CHECK(statistics.median == Catch::Approx(2));
  CHECK(statistics.maximum == Catch::Approx(3));
  CHECK(statistics.count == 3);
}

TEST_CASE("a graph is as long as asked, in whole rounds of operand sets", "[probes]") {
  const ReplayRequest request{.most_sets = 6, .graph_us = 2000};
  CHECK(plan_replays(request, 6, 100).operations == 24);  // 20 wanted, rounds of 6
  CHECK(plan_replays(request, 1, 100).operations == 20);
  CHECK(plan_replays(request, 6, 5000).operations == 6);   // one round at least
  CHECK(plan_replays(request, 1, 0.5).operations == 512);  // bounded
  CHECK(plan_replays(request, 1, 100).replays == 6);
}

TEST_CASE("flushed operations are timed one by one, more of them", "[probes]") {
  const ReplayRequest request{.state = OperandState::flushed, .replays = 6};
  const ReplayPlan plan = plan_replays(request, 1, 1);
  CHECK(plan.operations == 1);
  CHECK(plan.replays == 30);
  CHECK(operand_sets(request, 1, 1000) == 1);
}

TEST_CASE("operand sets leave a third of the memory free", "[probes]") {
  const ReplayRequest request{.most_sets = 6};
  CHECK(operand_sets(request, 100, 900) == 6);
  CHECK(operand_sets(request, 100, 899) == 5);
  CHECK(operand_sets(request, 100, 50) == 1);
  CHECK(operand_sets({.state = OperandState::warm}, 100, 1 << 30) == 1);
}

}  // namespace tessera::calibrate::probes
