#include "sim/core/event_kernel.hpp"

#include <catch2/catch_test_macros.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace tessera::core;

namespace {

/// (picoseconds, what) of everything that a test's bodies did.
using Log = std::vector<std::pair<std::int64_t, std::string>>;

/// Two processes that hand a token to and fro `rounds` times over links of different latency.
Log ping_pong(int rounds) {
  Simulation simulation;
  Log log;
  Port<int>* to_left = nullptr;
  Port<int>* to_right = nullptr;
  Process& left = simulation.add_process("left", [&] {
    if (simulation.now() == 0_ps) to_right->send(0, 3_ns);
    while (const auto token = to_left->receive()) {
      log.emplace_back(simulation.now().value(), "left " + std::to_string(*token));
      if (*token < rounds) to_right->send(*token + 1, 3_ns);
    }
  });
  Process& right = simulation.add_process("right", [&] {
    while (const auto token = to_right->receive()) {
      log.emplace_back(simulation.now().value(), "right " + std::to_string(*token));
      to_left->send(*token + 1, 5_ns);
    }
  });
  Port<int> left_port{left};
  Port<int> right_port{right};
  to_left = &left_port;
  to_right = &right_port;
  simulation.run();
  return log;
}

}  // namespace

TEST_CASE("a process runs once at the start and at every time asked for", "[event_kernel]") {
  Simulation simulation;
  std::vector<std::int64_t> times;
  Process& process =
      simulation.add_process("p", [&] { times.push_back(simulation.now().value()); });
  process.wake_at(7_ns);
  process.wake_at(2_ns);
  process.wake_at(2_ns);  // once only
  process.wake_at(1_ps);
  simulation.run();
  CHECK(times == std::vector<std::int64_t>{0, 1, 2'000, 7'000});
  CHECK(simulation.statistics().events == 4);
  CHECK(simulation.now() == 7_ns);
}

TEST_CASE("wake runs the body again at the same time", "[event_kernel]") {
  Simulation simulation;
  Log log;
  int left = 2;
  Process* self = nullptr;
  Process& a = simulation.add_process("a", [&] {
    log.emplace_back(simulation.now().value(), "a");
    if (left-- > 0) self->wake();
  });
  simulation.add_process("b", [&] { log.emplace_back(simulation.now().value(), "b"); });
  self = &a;
  simulation.run();
  CHECK(log == Log{{0, "a"}, {0, "b"}, {0, "a"}, {0, "a"}});
}

TEST_CASE("a wake at the current time keeps the later ones", "[event_kernel]") {
  Simulation simulation;
  std::vector<std::int64_t> times;
  Process* self = nullptr;
  Process& process = simulation.add_process("p", [&] {
    times.push_back(simulation.now().value());
    if (times.size() == 1) {
      self->wake_at(4_ns);
      self->wake();
    }
  });
  self = &process;
  simulation.run();
  CHECK(times == std::vector<std::int64_t>{0, 0, 4'000});
}

TEST_CASE("messages arrive exactly after their delay", "[event_kernel]") {
  CHECK(ping_pong(2) ==
        Log{{3'000, "right 0"}, {8'000, "left 1"}, {11'000, "right 2"}, {16'000, "left 3"}});
}

TEST_CASE("messages of one time keep the order in which they were sent", "[event_kernel]") {
  Simulation simulation;
  std::string received;
  Port<char>* inbox = nullptr;
  Process& receiver = simulation.add_process("receiver", [&] {
    while (const auto message = inbox->receive()) received += *message;
  });
  Port<char> port{receiver};
  inbox = &port;
  Channel<char> near{port, 1_ns};
  Channel<char> far{port, 9_ns};
  far.send('d');
  near.send('b', 1_ns);
  near.send('a');
  near.send('c', 1_ns);
  port.send('e', 9_ns);
  CHECK(port.pending() == 5);
  simulation.run();
  CHECK(received == "abcde");
  CHECK(port.pending() == 0);
  CHECK(simulation.statistics().events == 4);  // start, 1 ns, 2 ns, 9 ns
}

TEST_CASE("two simulations in one process do not see each other", "[event_kernel]") {
  CHECK(ping_pong(50) == ping_pong(50));
  Simulation a;
  Simulation b;
  std::vector<std::int64_t> a_times;
  std::vector<std::int64_t> b_times;
  Process& in_a = a.add_process("p", [&] { a_times.push_back(a.now().value()); });
  Process& in_b = b.add_process("p", [&] { b_times.push_back(b.now().value()); });
  in_a.wake_at(10_ns);
  in_b.wake_at(20_ns);
  b.run();
  CHECK(a.now() == 0_ps);
  a.run();
  CHECK(a_times == std::vector<std::int64_t>{0, 10'000});
  CHECK(b_times == std::vector<std::int64_t>{0, 20'000});
}

TEST_CASE("a simulation can be run on after it has gone idle", "[event_kernel]") {
  Simulation simulation;
  std::vector<std::int64_t> times;
  Process& process =
      simulation.add_process("p", [&] { times.push_back(simulation.now().value()); });
  simulation.run();
  process.wake_at(3_ns);
  simulation.run();
  simulation.run();
  CHECK(times == std::vector<std::int64_t>{0, 3'000});
}

TEST_CASE("what a body throws leaves run and ends the simulation", "[event_kernel]") {
  Simulation simulation;
  int others = 0;
  Process& bad = simulation.add_process("bad", [&] {
    if (simulation.now() > 0_ps) throw std::out_of_range("no such stage");
  });
  Process& good = simulation.add_process("good", [&] { ++others; });
  bad.wake_at(1_ns);
  good.wake_at(2_ns);
  CHECK_THROWS_AS(simulation.run(), std::out_of_range);
  CHECK(others == 1);
  CHECK_THROWS_AS(simulation.run(), std::logic_error);
}

TEST_CASE("mistakes in using the kernel are reported", "[event_kernel]") {
  Simulation simulation;
  Process& process = simulation.add_process("p", [] {});
  process.wake_at(5_ns);
  simulation.run();
  CHECK_THROWS_AS(process.wake_at(4_ns), std::invalid_argument);
  CHECK_THROWS_AS(simulation.add_process("late", [] {}), std::logic_error);
  Port<int> port{process};
  CHECK_THROWS_AS(port.send(1, Time{-1}), std::invalid_argument);
  CHECK(port.pending() == 0);
}
