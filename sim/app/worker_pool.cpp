#include "sim/app/worker_pool.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <functional>
#include <numeric>
#include <system_error>
#include <utility>

namespace tessera::app {
namespace {

/// Precedes the bytes of every answer.
struct AnswerHeader {
  WorkOutcome::Kind kind;
  core::RefusalKind refusal;
  std::uint64_t size;
};

[[noreturn]] void throw_system_error(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

/// False at the end of the stream or when the other side is gone.
bool receive_all(int socket, void* data, std::size_t size) {
  auto* at = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = recv(socket, at, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

bool send_all(int socket, const void* data, std::size_t size) {
  const auto* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t sent = send(socket, at, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    at += sent;
    size -= static_cast<std::size_t>(sent);
  }
  return true;
}

WorkOutcome attempt(const std::function<std::string(std::size_t)>& work, std::size_t index) {
  WorkOutcome outcome;
  try {
    outcome.bytes = work(index);
    outcome.kind = WorkOutcome::Kind::done;
  } catch (const core::Refusal& refusal) {
    outcome.kind = WorkOutcome::Kind::refused;
    outcome.refusal = refusal.kind();
    outcome.reason = refusal.what();
  } catch (const std::exception& error) {
    outcome.kind = WorkOutcome::Kind::failed;
    outcome.reason = error.what();
  }
  return outcome;
}

/// The life of a worker: indices come in, answers go out, until the parent closes its end.
[[noreturn]] void serve(int socket, const std::function<std::string(std::size_t)>& work) {
  std::uint64_t index = 0;
  while (receive_all(socket, &index, sizeof index)) {
    const WorkOutcome outcome = attempt(work, index);
    const std::string& text =
        outcome.kind == WorkOutcome::Kind::done ? outcome.bytes : outcome.reason;
    const AnswerHeader header{outcome.kind, outcome.refusal, text.size()};
    if (!send_all(socket, &header, sizeof header) || !send_all(socket, text.data(), text.size()))
      break;
  }
  _exit(0);  // neither flushes nor destroys what belongs to the parent
}

std::string describe_end(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("the worker process was ended by signal {} ({})", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
  return fmt::format("the worker process exited with code {}", WEXITSTATUS(status));
}

core::Bytes peak_resident(const rusage& usage) {
  return core::Bytes{usage.ru_maxrss * std::int64_t{1024}};  // Linux counts KiB
}

/// One forked process and what it is doing. When it has ended its peak memory is added to `peaks`.
class Worker {
 public:
  Worker(const std::function<std::string(std::size_t)>& work, const std::vector<int>& others,
         std::vector<core::Bytes>& peaks)
      : peaks_(peaks) {
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
      throw_system_error("socketpair");
    pid_ = fork();
    if (pid_ < 0) {
      close(sockets[0]);
      close(sockets[1]);
      throw_system_error("fork");
    }
    if (pid_ == 0) {
      close(sockets[0]);
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody would take the answer
      // A sibling's socket held open here would hide that the parent has closed it.
      for (const int other : others) close(other);
      serve(sockets[1], work);
    }
    close(sockets[1]);
    socket_ = sockets[0];
  }
  ~Worker() { end(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  [[nodiscard]] int socket() const { return socket_; }
  [[nodiscard]] std::size_t piece() const { return piece_; }

  void give(std::size_t piece) {
    piece_ = piece;
    const std::uint64_t index = piece;
    send_all(socket_, &index, sizeof index);  // if it is dead, take() will find out
  }

  /// Waits for the answer to the piece given. A crashed worker has ended when this returns.
  WorkOutcome take() {
    WorkOutcome outcome;
    AnswerHeader header{};
    if (receive_all(socket_, &header, sizeof header)) {
      std::string text(header.size, '\0');
      if (receive_all(socket_, text.data(), text.size())) {
        outcome.kind = header.kind;
        outcome.refusal = header.refusal;
        (header.kind == WorkOutcome::Kind::done ? outcome.bytes : outcome.reason) = std::move(text);
        return outcome;
      }
    }
    outcome.reason = describe_end(end());
    return outcome;
  }

 private:
  int end() {
    if (pid_ <= 0) return 0;
    close(socket_);
    int status = 0;
    rusage usage{};
    while (wait4(pid_, &status, 0, &usage) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    peaks_.push_back(peak_resident(usage));
    return status;
  }

  std::vector<core::Bytes>& peaks_;

  pid_t pid_ = -1;
  int socket_ = -1;
  std::size_t piece_ = 0;
};

/// Workers that each have a piece, and the pieces that wait.
class Pool {
 public:
  using Next = std::function<std::optional<std::size_t>()>;

  Pool(const Next& next, const std::function<std::string(std::size_t)>& work)
      : next_(next), work_(work) {}

  /// Another worker for another piece; false when there is none.
  bool hire() {
    const auto piece = next_();
    if (!piece) return false;
    std::vector<int> sockets;
    for (const auto& worker : workers_) sockets.push_back(worker->socket());
    workers_.push_back(std::make_unique<Worker>(work_, sockets, peaks_));
    workers_.back()->give(*piece);
    return true;
  }
  [[nodiscard]] bool is_busy() const { return !workers_.empty(); }

  /// The `jobs` largest peaks together: no more workers than that lived at once. Requires:
  /// !is_busy().
  [[nodiscard]] core::Bytes peak_memory(int jobs) const {
    std::vector<core::Bytes> peaks = peaks_;
    std::sort(peaks.begin(), peaks.end(), std::greater<>());
    if (peaks.size() > static_cast<std::size_t>(jobs)) peaks.resize(static_cast<std::size_t>(jobs));
    return std::accumulate(peaks.begin(), peaks.end(), core::Bytes{});
  }

  /// The next outcome of any worker; hands out the next piece before it returns.
  std::pair<std::size_t, WorkOutcome> take_one() {
    const auto worker = wait_for_any();
    const std::size_t piece = (*worker)->piece();
    WorkOutcome outcome = (*worker)->take();
    if (outcome.kind == WorkOutcome::Kind::crashed) {
      workers_.erase(worker);
      hire();
    } else if (const auto more = next_()) {
      (*worker)->give(*more);
    } else {
      workers_.erase(worker);
    }
    return {piece, std::move(outcome)};
  }

 private:
  std::vector<std::unique_ptr<Worker>>::iterator wait_for_any() {
    std::vector<pollfd> waits;
    for (const auto& worker : workers_) waits.push_back({worker->socket(), POLLIN, 0});
    while (poll(waits.data(), waits.size(), -1) < 0)
      if (errno != EINTR) throw_system_error("poll");
    const auto ready = std::find_if(waits.begin(), waits.end(),
                                    [](const pollfd& wait) { return wait.revents != 0; });
    return workers_.begin() + (ready - waits.begin());
  }

  const Next& next_;
  const std::function<std::string(std::size_t)>& work_;
  std::vector<core::Bytes> peaks_;  ///< Of workers that have ended; outlives those that have not.
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace

const std::string& WorkOutcome::get() const {
  if (kind == Kind::refused) throw core::Refusal(refusal, reason);
  if (kind != Kind::done) throw std::runtime_error(reason);
  return bytes;
}

std::vector<WorkOutcome> work_in_processes(
    std::size_t count, int jobs, const std::function<std::string(std::size_t)>& work,
    const std::function<void(std::size_t, const WorkOutcome&)>& finished,
    core::Bytes* workers_memory) {
  std::vector<WorkOutcome> outcomes(count);
  std::size_t given = 0;
  stream_in_processes([&]() { return given < count ? std::optional(given++) : std::nullopt; }, jobs,
                      work,
                      [&](std::size_t index, WorkOutcome outcome) {
                        if (finished) finished(index, outcome);
                        outcomes[index] = std::move(outcome);
                      },
                      workers_memory);
  return outcomes;
}

void stream_in_processes(const std::function<std::optional<std::size_t>()>& next, int jobs,
                         const std::function<std::string(std::size_t)>& work,
                         const std::function<void(std::size_t, WorkOutcome)>& finished,
                         core::Bytes* workers_memory) {
  assert(jobs >= 1 && "work needs a worker");
  Pool pool{next, work};
  for (int i = 0; i < jobs && pool.hire(); ++i) {
  }
  while (pool.is_busy()) {
    auto [index, outcome] = pool.take_one();
    finished(index, std::move(outcome));
  }
  if (workers_memory) *workers_memory = pool.peak_memory(jobs);
}

core::Bytes own_peak_memory() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) throw_system_error("getrusage");
  return peak_resident(usage);
}

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

}  // namespace tessera::app
