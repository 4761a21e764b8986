#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "sim/core/units.hpp"

/// Timed events between the parts of a system, on SystemC: the only door to it. An event costs
/// hundreds of nanoseconds, so processes are few and long-lived; what happens in millions belongs
/// into plain objects behind one process.
namespace tessera::core {

class Simulation;

/// One activity of a simulation: its body runs once when the simulation starts and again at every
/// wake, as a SystemC method does; it must return and may not block. Owned by its Simulation.
class Process {
 public:
  class Implementation;
  explicit Process(std::unique_ptr<Implementation> implementation);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Runs the body at `when`. Every distinct time asked for is kept; equal times run it once.
  /// Throws std::invalid_argument when `when` is in the past.
  void wake_at(Time when);
  /// Runs the body again at the current time, after every body that is due now has run.
  void wake();

  [[nodiscard]] Simulation& simulation() const;
  [[nodiscard]] const std::string& name() const;

 private:
  std::unique_ptr<Implementation> implementation_;
};

/// What a simulation did, for --verbose; never part of a result.
struct EventStatistics {
  std::uint64_t events = 0;  ///< Bodies run.
  double wall_seconds = 0;   ///< Spent inside run().
  [[nodiscard]] double events_per_second() const {
    return wall_seconds > 0 ? static_cast<double>(events) / wall_seconds : 0;
  }
};

/// One SystemC context with a resolution of 1 ps. Several may exist in one thread, one inside
/// another's run() excepted; none may be shared between threads.
class Simulation {
 public:
  Simulation();
  ~Simulation();
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  [[nodiscard]] Time now() const;

  /// Bodies that are due at the same time run in an order that depends on nothing but the calls
  /// made. Names may repeat. Throws std::logic_error once the simulation has started.
  Process& add_process(std::string name, std::function<void()> body);

  /// Runs until no wake is left; may be called again after further wakes. An exception that leaves
  /// a body ends the simulation and leaves run(); afterwards run() throws std::logic_error.
  void run();

  [[nodiscard]] const EventStatistics& statistics() const;

  class Implementation;

 private:
  std::unique_ptr<Implementation> implementation_;
};

/// Where a process receives messages of one type. Messages come out in order of their time;
/// messages of one time in the order in which they were sent.
template <class Message>
class Port {
 public:
  /// `receiver` is woken whenever a message is due.
  explicit Port(Process& receiver) : receiver_(receiver) {}
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  /// The message can be received at now + delay. Throws std::invalid_argument when delay < 0.
  void send(Message message, Time delay) {
    const Time due = receiver_.simulation().now() + delay;
    receiver_.wake_at(due);
    messages_.emplace(due, std::move(message));
  }
  /// The next message that is due; none when none is. A receiver takes all of them: it is not woken
  /// again for what it leaves.
  std::optional<Message> receive() {
    const auto first = messages_.begin();
    if (first == messages_.end() || first->first > receiver_.simulation().now())
      return std::nullopt;
    std::optional<Message> message{std::move(first->second)};
    messages_.erase(first);
    return message;
  }
  /// Messages sent and not received, due or not.
  [[nodiscard]] std::size_t pending() const { return messages_.size(); }

 private:
  Process& receiver_;
  std::multimap<Time, Message> messages_;  ///< Equal keys keep the order of insertion.
};

/// A link of fixed latency to a port; several channels may end in one port.
template <class Message>
class Channel {
 public:
  Channel(Port<Message>& to, Time latency) : to_(to), latency_(latency) {}
  /// Delivers at now + latency + delay.
  void send(Message message, Time delay = Time{}) {
    to_.send(std::move(message), latency_ + delay);
  }

 private:
  Port<Message>& to_;
  Time latency_;
};

}  // namespace tessera::core
