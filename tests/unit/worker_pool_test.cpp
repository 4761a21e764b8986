#include "sim/app/worker_pool.hpp"

#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <set>
#include <stdexcept>
#include <string>

using tessera::app::own_peak_memory;
using tessera::app::work_in_processes;
using tessera::app::WorkOutcome;
using tessera::core::Bytes;
using tessera::core::Refusal;
using tessera::core::RefusalKind;

TEST_CASE("outcomes keep the order of the work, whatever the number of jobs", "[worker_pool]") {
  for (const int jobs : {1, 2, 7}) {
    std::set<std::size_t> seen;
    const auto outcomes = work_in_processes(
        20, jobs,
        [](std::size_t i) {
          return std::string(i == 3 ? 1'000'000 : i, static_cast<char>('a' + i));
        },
        [&](std::size_t i, const WorkOutcome&) { seen.insert(i); });
    REQUIRE(outcomes.size() == 20);
    CHECK(seen.size() == 20);
    CHECK(outcomes[3].get() == std::string(1'000'000, 'd'));
    CHECK(outcomes[0].get().empty());
    CHECK(outcomes[19].get() == std::string(19, 't'));
  }
}

TEST_CASE("a worker that dies costs its own piece only", "[worker_pool]") {
  const auto outcomes = work_in_processes(6, 2, [](std::size_t i) {
    if (i == 1) kill(getpid(), SIGKILL);
    if (i == 4) _exit(9);
    return std::to_string(i);
  });
  CHECK(outcomes[1].kind == WorkOutcome::Kind::crashed);
  CHECK(outcomes[1].reason == "the worker process was ended by signal 9 (Killed)");
  CHECK_THROWS_AS(outcomes[1].get(), std::runtime_error);
  CHECK(outcomes[4].reason == "the worker process exited with code 9");
  for (const std::size_t i : {0, 2, 3, 5}) CHECK(outcomes[i].get() == std::to_string(i));
}

TEST_CASE("what work throws comes back with its kind", "[worker_pool]") {
  const auto outcomes = work_in_processes(2, 1, [](std::size_t i) -> std::string {
    if (i == 0) throw Refusal(RefusalKind::does_not_fit, "too big");
    throw std::out_of_range("no such row");
  });
  CHECK(outcomes[0].kind == WorkOutcome::Kind::refused);
  CHECK(outcomes[0].refusal == RefusalKind::does_not_fit);
  CHECK_THROWS_AS(outcomes[0].get(), Refusal);
  CHECK(outcomes[1].kind == WorkOutcome::Kind::failed);
  CHECK(outcomes[1].reason == "no such row");
}

TEST_CASE("no work needs no worker", "[worker_pool]") {
  CHECK(work_in_processes(0, 4, [](std::size_t) { return std::string(); }).empty());
}

TEST_CASE("memory of workers is the sum over those that lived at once", "[worker_pool]") {
  constexpr std::size_t kBlock = 64 << 20;
  const auto fill = [](std::size_t i) {
    const std::string block(i == 0 || i == 2 ? kBlock : 1, 'x');
    if (i == 2) _exit(1);  // the dead are counted too
    return std::string(1, block.back());
  };
  const Bytes own = own_peak_memory();
  Bytes one{}, two{};
  (void)work_in_processes(3, 1, fill, {}, &one);
  (void)work_in_processes(3, 2, fill, {}, &two);
  CHECK(one >= Bytes{kBlock});
  CHECK(two > one);
#ifndef __SANITIZE_ADDRESS__   // which keeps what was freed
  const Bytes pages{8 << 20};  // of the program and its libraries, as they happen to be mapped
  CHECK(one <= own + Bytes{kBlock} + pages);
  CHECK(two <= one + one + pages);
#endif
  CHECK(own_peak_memory() < own + Bytes{kBlock});  // what workers have is not this process's
}
