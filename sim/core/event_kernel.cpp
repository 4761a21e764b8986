#include "sim/core/event_kernel.hpp"

#include <cassert>
#include <chrono>
#include <exception>
#include <set>
#include <stdexcept>
#include <systemc>
#include <vector>

/// The SystemC library wants this symbol; elaboration here starts from Simulation instead.
int sc_main(int, char**) { return 0; }

namespace tessera::core {
namespace {

/// Makes one context SystemC's current one while it lives.
class ContextScope {
 public:
  explicit ContextScope(sc_core::sc_simcontext* context)
      : previous_(sc_core::sc_curr_simcontext),
        previous_default_(sc_core::sc_default_global_context) {
    sc_core::sc_curr_simcontext = context;
    sc_core::sc_default_global_context = context;
  }
  ~ContextScope() {
    sc_core::sc_curr_simcontext = previous_;
    sc_core::sc_default_global_context = previous_default_;
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  sc_core::sc_simcontext* previous_;
  sc_core::sc_simcontext* previous_default_;
};

/// Elaborated in picoseconds, the resolution that SystemC starts with.
sc_core::sc_time to_systemc(Time t) {
  return sc_core::sc_time::from_value(static_cast<sc_dt::uint64>(t.value()));
}

std::unique_ptr<sc_core::sc_simcontext> make_context() {
  // Read by the library the first time a context prints its banner.
  setenv("SYSTEMC_DISABLE_COPYRIGHT_MESSAGE", "1", 1);
  // Running on with nothing left to do is fine.
  sc_core::sc_report_handler::set_actions(sc_core::SC_ID_NO_SC_START_ACTIVITY_,
                                          sc_core::SC_DO_NOTHING);
  return std::make_unique<sc_core::sc_simcontext>();
}

}  // namespace

class Simulation::Implementation {
 public:
  explicit Implementation(Simulation& owner) : owner(owner), context(make_context()) {}
  ~Implementation() {
    const ContextScope scope{context.get()};
    processes.clear();
    context.reset();
  }

  Simulation& owner;
  std::unique_ptr<sc_core::sc_simcontext> context;
  std::vector<std::unique_ptr<Process>> processes;
  EventStatistics statistics;
  std::exception_ptr failure;  ///< What left a body first; nothing runs after it.
  bool started = false;
  bool running = false;
};

/// A SystemC module with one method process. SystemC keeps one pending notification an event, the
/// earliest, so the times asked for are kept here and the next is notified after each run.
class Process::Implementation : public sc_core::sc_module {
 public:
  SC_HAS_PROCESS(Implementation);
  Implementation(const sc_core::sc_module_name& module_name, Simulation::Implementation& simulation,
                 std::string name, std::function<void()> body)
      : sc_core::sc_module(module_name),
        simulation(simulation),
        name(std::move(name)),
        body_(std::move(body)) {
    SC_METHOD(step);
    sensitive << event_;
  }

  void wake_at(Time when) {
    const Time now = simulation.owner.now();
    if (when < now)
      throw std::invalid_argument("process " + name + " was to wake " +
                                  std::to_string((now - when).value()) + " ps in the past");
    if (!times_.insert(when).second || *times_.begin() != when) return;
    if (simulation.started) notify(when);
  }

  Simulation::Implementation& simulation;
  const std::string name;

 private:
  void step() {
    if (simulation.failure) return;
    const Time now = simulation.owner.now();
    // What was asked for before the start: the first run, at time 0, comes from SystemC itself.
    times_.erase(times_.begin(), times_.upper_bound(now));
    ++simulation.statistics.events;
    try {
      body_();
    } catch (...) {
      simulation.failure = std::current_exception();
      sc_core::sc_pause();
      return;
    }
    if (!times_.empty()) notify(*times_.begin());
  }

  void notify(Time when) { event_.notify(to_systemc(when - simulation.owner.now())); }

  std::function<void()> body_;
  sc_core::sc_event event_{"wake"};
  std::set<Time> times_;  ///< Not yet run; the first one is notified.
};

Process::Process(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}
Process::~Process() = default;

void Process::wake_at(Time when) {
  const ContextScope scope{implementation_->simulation.context.get()};
  implementation_->wake_at(when);
}
void Process::wake() { wake_at(simulation().now()); }
Simulation& Process::simulation() const { return implementation_->simulation.owner; }
const std::string& Process::name() const { return implementation_->name; }

Simulation::Simulation() : implementation_(std::make_unique<Implementation>(*this)) {}
Simulation::~Simulation() { assert(!implementation_->running && "destroyed inside its own run"); }

Time Simulation::now() const {
  return Time{static_cast<std::int64_t>(implementation_->context->time_stamp().value())};
}

Process& Simulation::add_process(std::string name, std::function<void()> body) {
  if (implementation_->started)
    throw std::logic_error("process " + name + " added after the simulation started");
  const ContextScope scope{implementation_->context.get()};
  // SystemC wants unique names without dots; ours are kept beside.
  const std::string module = "process_" + std::to_string(implementation_->processes.size());
  implementation_->processes.push_back(
      std::make_unique<Process>(std::make_unique<Process::Implementation>(
          module.c_str(), *implementation_, std::move(name), std::move(body))));
  return *implementation_->processes.back();
}

void Simulation::run() {
  Implementation& self = *implementation_;
  if (self.failure) throw std::logic_error("the simulation has ended by an exception");
  if (self.running) throw std::logic_error("run() called from inside a body");
  const ContextScope scope{self.context.get()};
  const auto begin = std::chrono::steady_clock::now();
  self.started = true;
  self.running = true;
  try {
    sc_core::sc_start();
  } catch (...) {  // what SystemC itself reports
    if (!self.failure) self.failure = std::current_exception();
  }
  self.running = false;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  self.statistics.wall_seconds += elapsed.count();
  if (self.failure) std::rethrow_exception(self.failure);
}

const EventStatistics& Simulation::statistics() const { return implementation_->statistics; }

}  // namespace tessera::core
